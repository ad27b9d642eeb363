"""Ask three contexts who they are."""

import os
import sys


def describe() -> str:
    """Run in the contexts."""
    return "process %d, Python %d.%d" % (os.getpid(), sys.version_info[0], sys.version_info[1])


if __name__ == "__main__":
    import mitogen.master  # Below the guard, since contexts have no need of it.

    with mitogen.master.Router() as router:
        for name in ("red", "green", "blue"):
            print(name, "is", router.local(name=name).call(describe))
