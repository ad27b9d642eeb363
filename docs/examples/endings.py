"""End one context, or all."""

import os

import mitogen.core
import mitogen.master

if __name__ == "__main__":
    with mitogen.master.Router() as router:
        one, other = router.local(name="one"), router.local(name="other")
        mitogen.core.listen(other, "disconnect", lambda: print("other is gone"))
        one.shutdown(wait=True)
        try:
            one.call(os.getpid)
        except mitogen.core.ChannelError as e:
            print(e)
        print("other is there:", other.call(os.getpid) > 0)
    try:
        other.call(os.getpid)
    except mitogen.core.ChannelError as e:
        print(e)
