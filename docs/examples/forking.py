"""A forked process must not use the contexts of the one it was forked from."""

import os
import warnings

import mitogen.core
import mitogen.master

if __name__ == "__main__":
    with mitogen.master.Router() as router:
        context = router.local()
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of any fork with threads.
        if os.fork() == 0:
            try:
                context.call(os.getpid)
            except mitogen.core.ChannelError as e:
                print("in the fork:", e, flush=True)
            os._exit(0)
        os.wait()
        print("here:", context.call(os.getpid) > 0)
