"""What mitogen.utils has for small programs."""

import collections
import enum
import os
import tempfile

import mitogen.master
import mitogen.utils


class Color(str, enum.Enum):
    """Text with a class of its own, which can't be sent."""

    RED = "red"


def say(value: object) -> object:
    """Return what came; and print it."""
    print("got", value)
    return value


@mitogen.utils.with_router
def ask(router: mitogen.master.Router, value: object) -> object:
    """Called without the router, which lives as long as the call."""
    return router.local(name="worker").call(say, value)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "log")
        mitogen.utils.log_to_file(path)

        plain = mitogen.utils.cast(collections.OrderedDict(color=Color.RED))
        print(plain, type(plain).__name__)
        print(ask(plain))
        print(mitogen.utils.run_with_router(lambda router: router.local().call(os.getpid)) > 0)

        with open(path) as f:
            print(f.read(), end="")
