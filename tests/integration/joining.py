# ruff: noqa: I002 - Python 3.6 has no `annotations` in `__future__`, and this module runs there as it is.
# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators, allow-any-generics
"""Functions for the tests of `mitogen.unix`, for any Python from 3.6 on."""

import os
import time

import mitogen.core
import mitogen.unix
from mitogen.parent.callchain import CallChain

_listeners: list = []


@mitogen.core.takes_router
def listen(path, router):
    """Let clients join by this context; return the path of its socket."""
    _listeners.append(mitogen.unix.Listener.build_stream(router, path))
    return _listeners[-1].path


@mitogen.core.takes_router
def start(router):
    """Start a context below this one."""
    return router.local()


@mitogen.core.takes_router
def wait_for(context_id, path, router):
    """Wait for a message of a context that never sends one; return why that ended."""
    receiver = mitogen.core.Receiver(router, respondent=router.make_context(context_id))
    with open(path, "w"):
        pass
    try:
        receiver.get()
    except mitogen.core.ChannelError as e:
        return str(e)


def join_and_call(path, context_id):
    """Join another tree, interrupt a call there, and make one."""
    router, _ = mitogen.unix.connect(path)
    with router:
        context = router.context_by_id(context_id)
        try:
            CallChain(context, timeout=0.05).call(time.sleep, 60)
        except mitogen.core.TimeoutError:
            return context.call(os.getpid), mitogen.context_id, router.context_id


def send(sender, value):
    """Send a value to whoever waits for it."""
    sender.send(value)


def touch(path):
    """Leave a mark of having been called."""
    with open(path, "w"):
        pass


def touch_and_sleep(path):
    """The same, and do not come back."""
    touch(path)
    time.sleep(60)


def identity(value):
    """Return `value`, and who did."""
    return value, os.getpid()
