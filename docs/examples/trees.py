"""Contexts that start contexts."""

import os

import mitogen.core
import mitogen.master


def started_by() -> int:
    """Return the process that started this one."""
    return os.getppid()


@mitogen.core.takes_router
def start_two(router: mitogen.core.Router) -> "list[mitogen.core.Context]":
    """Start contexts here, and hand them to whoever called."""
    return [router.local(name=name) for name in ("left", "right")]


if __name__ == "__main__":
    with mitogen.master.Router() as router:
        gateway = router.local(name="gateway")
        inner = router.local(via=gateway, name="inner")
        print("started by the gateway:", inner.call(started_by) == gateway.call(os.getpid))

        for context in gateway.call(start_two):
            print(context.name, context.call(started_by) == gateway.call(os.getpid))

        gateway.shutdown(wait=True)
        try:
            inner.call(started_by)
        except mitogen.core.ChannelError as e:
            print(e)
