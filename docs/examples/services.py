"""A service in a context, one in the program, and how calls run."""

from __future__ import annotations

from typing import Any

import mitogen.core
from mitogen.service import AllowAny, AllowParents, SerializedInvoker, Service, arg_spec, expose


class Counter(Service):
    """Counts, one call at a time."""

    invoker_class = SerializedInvoker
    count = 0

    @expose(AllowParents())
    @arg_spec({"by": int})
    def add(self, by: int = 1) -> int:
        """Return the new count."""
        self.count += by
        return self.count


class Board(Service):
    """Takes messages of any context."""

    @expose(AllowAny())
    @arg_spec({"text": str})
    def post(self, text: str, msg: mitogen.core.Message) -> str:
        """Return what is put on the board."""
        return "context %d says %s" % (msg.src_id, text)


@mitogen.core.takes_econtext
def report(text: str, econtext: Any) -> str:
    """Run in a context: call the service of its parent."""
    return str(econtext.parent.call_service("__main__.Board", "post", text=text))


if __name__ == "__main__":
    from mitogen.master import Router
    from mitogen.service import Pool

    with Router() as router:
        pool = Pool(router, services=[Board(router)])
        context = router.local()
        pending = [context.call_service_async(Counter, "add", by=n) for n in (1, 10, 100)]
        print([receiver.get_data() for receiver in pending])
        print(context.call(report, "hello"))
        try:
            context.call_service(Counter, "add", by="one")
        except mitogen.core.CallError as e:
            print(e.text)
