"""What can be sent, and what is refused."""

import datetime
import threading
from typing import Any, NamedTuple

import mitogen.core
import mitogen.master
import mitogen.utils


class Point(NamedTuple):
    """A subclass of tuple: the receiver might not have the class, so it is refused."""

    x: int
    y: int


def echo(value: Any) -> Any:
    """Return what came."""
    return value


def locks() -> Any:
    """Return something that can't be sent."""
    return {"locks": [threading.Lock()]}


if __name__ == "__main__":
    with mitogen.master.Router() as router:
        context = router.local()

        value = {"day": datetime.date(2026, 1, 2), 3: [b"raw", ("a", None)], "tags": {"x"}}
        print(context.call(echo, value) == value)

        print([mitogen.core.Blob(bytes(1000000)), mitogen.core.Secret("password")])
        print(context.call(echo, mitogen.core.Secret("password")) == "password")

        for wrong in ({"locks": [threading.Lock()]}, [Point(1, 2)]):
            try:
                context.call(echo, wrong)
            except mitogen.core.SerializationError as e:
                print("refused here:", e)
        print(context.call(echo, mitogen.utils.cast([Point(1, 2)])))

        try:
            context.call(locks)
        except mitogen.core.CallError as e:
            print("refused there:", e.text)
