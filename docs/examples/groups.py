"""Who may talk to whom."""

import mitogen.core
import mitogen.master


def ask(context: mitogen.core.Context) -> str:
    """Send a message to another context, and return what became of it."""
    try:
        context.send_await(mitogen.core.Message(handle=1234), 5.0)
    except mitogen.core.ChannelError as e:
        return str(e)
    return "an answer"


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def call(context: mitogen.core.Context) -> int:
    """Call another context from this one."""
    return context.call(add, 2, 3)  # type: ignore[no-any-return]


if __name__ == "__main__":
    with mitogen.master.Router() as router:
        groups: "dict[int, str]" = {}
        router.routing_policy = lambda src, dst: groups.get(src) == groups.get(dst)
        one, two, other = (router.local(name=name) for name in ("one", "two", "other"))
        groups.update({one.context_id: "office", two.context_id: "office", other.context_id: "plant"})

        print(one.call(ask, two))
        print(one.call(ask, other))

        two.allow_calls_from(one)
        print(one.call(call, two))
