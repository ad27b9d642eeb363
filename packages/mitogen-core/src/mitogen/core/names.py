"""The documented names of `mitogen.core`, and where each is defined: the table behind its `__getattr__`.

Outside the bundle: only user code goes by these names; the library itself imports from the modules.
"""

from __future__ import annotations

#: Where each name is defined.
HOMES = {
    "broker": "Broker",
    "calls": "CallInterrupted",
    "channel": "Channel",
    "child": "ExternalContext",
    "context": "Context",
    "errors": "CallError ChannelError Error LatchError SerializationError StreamError TimeoutError",
    "handles": "ADD_ROUTE ALLOCATE_ID CALL_FUNCTION CALL_SERVICE CANCEL_CALL DEL_ROUTE DETACHING"
    " FORWARD_LOG FORWARD_MODULE GET_MODULE IS_DEAD LOAD_MODULE SHUTDOWN",
    "importer": "Importer",
    "latch": "Latch",
    "message": "Message",
    "receiver": "Receiver Sender",
    "router": "Router has_parent_authority",
    "signals": "fire listen unlisten",
    "stdtypes": "Blob Secret",
    "stream": "BasicStream Side Stream",
    "targets": "takes_econtext takes_router",
}


def find(name: str) -> object:
    """Return what `name` stands for.

    :raises AttributeError: it is not a documented name.
    """
    if name == "__all__":
        return sorted(" ".join(HOMES.values()).split())
    for home, names in HOMES.items():
        if name in names.split():
            module = __import__("mitogen.core." + home, None, None, [name])
            return getattr(module, name)
    raise AttributeError("mitogen.core has no attribute %r" % name)
