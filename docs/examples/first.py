import os
import sys


def describe() -> str:
    """Runs in the contexts."""
    return "process %d, Python %s" % (os.getpid(), sys.version.split()[0])


if __name__ == "__main__":
    from mitogen.master import Router  # Below the guard: the contexts have no need of it.

    with Router() as router:
        for name in ("red", "green", "blue"):
            print(name, "is", router.local(name=name).call(describe))
