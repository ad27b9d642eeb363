"""A context that outlives its parent."""

import os
import tempfile
import time

import mitogen.core
import mitogen.master


@mitogen.core.takes_econtext
def work_alone(path: str, econtext: mitogen.core.ExternalContext) -> None:
    """Leave the parent, then go on; the process ends with this function."""
    econtext.detach()
    with open(path + ".new", "w") as f:
        f.write("done without a parent")
    os.rename(path + ".new", path)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        path = folder + "/result"
        with mitogen.master.Router() as router:
            context = router.local(name="daemon")
            try:
                context.call(work_alone, path)
            except mitogen.core.ChannelError as e:
                print(e)
        while not os.path.exists(path):
            time.sleep(0.01)
        with open(path) as f:
            print(f.read())
