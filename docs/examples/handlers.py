"""A handle of one's own: answer messages without a receiver."""

import mitogen.core
import mitogen.master
import mitogen.parent

#: Agreed upon by both sides; at least 1000, since the library has those below.
LOOK_UP = 2000


def on_look_up(msg: mitogen.core.Message) -> None:
    """Run on the broker thread of the master: must not block."""
    if not msg.is_dead:
        msg.reply({"blue": "#0000ff"}.get(msg.unpickle()))


@mitogen.core.takes_econtext
def ask(name: str, econtext: mitogen.core.ExternalContext) -> object:
    """Ask the master from within a call."""
    msg = mitogen.core.Message.pickled(name, handle=LOOK_UP)
    return econtext.master.send_await(msg, deadline=10)


if __name__ == "__main__":
    with mitogen.master.Router() as router:
        router.add_handler(on_look_up, LOOK_UP, policy=mitogen.parent.is_immediate_child)
        context = router.local()
        print(context.call(ask, "blue"))
        router.del_handler(LOOK_UP)
        try:
            context.call(ask, "blue")
        except mitogen.core.CallError as e:
            print(e.type_name, "-", e.text)
