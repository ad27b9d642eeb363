"""What every context runs: messages, links, routing, imports and calls.

A package of small modules, each with one concept; this page re-exports the documented names, so that
`mitogen.core.Router` is the address users write. It uses the standard library only, and imports as little
of that as it can: a child is sent this package and must have it running within milliseconds.

From the pure to the wired (each line imports only from those above it):

    handles, errors, timers, poller     vocabulary; pure parts
    serialization, message              values and messages
    framing, routing                    the wire format; where messages go
    logs, signals, latch                telling, and waiting
    broker, stream                      the I/O thread and its links
    receiver, context, router           handles, contexts, and what connects them
    importer, stdio, calls              what children do with messages
    child, boot                         putting it all together
"""

from __future__ import annotations

from mitogen.core.broker import Broker
from mitogen.core.calls import CallInterrupted, takes_econtext, takes_router
from mitogen.core.child import ExternalContext
from mitogen.core.context import Context
from mitogen.core.errors import (
    CallError,
    ChannelError,
    Error,
    LatchError,
    SerializationError,
    StreamError,
    TimeoutError,
)
from mitogen.core.handles import (
    ADD_ROUTE,
    ALLOCATE_ID,
    CALL_FUNCTION,
    CALL_SERVICE,
    CANCEL_CALL,
    DEL_ROUTE,
    DETACHING,
    FORWARD_LOG,
    FORWARD_MODULE,
    GET_MODULE,
    IS_DEAD,
    LOAD_MODULE,
    SHUTDOWN,
)
from mitogen.core.importer import Importer
from mitogen.core.latch import Latch
from mitogen.core.message import Message
from mitogen.core.receiver import Channel, Receiver, Sender
from mitogen.core.router import Router, has_parent_authority
from mitogen.core.serialization import Blob, Secret
from mitogen.core.signals import fire, listen, unlisten
from mitogen.core.stream import BasicStream, Side, Stream

__all__ = [
    "ADD_ROUTE",
    "ALLOCATE_ID",
    "CALL_FUNCTION",
    "CALL_SERVICE",
    "CANCEL_CALL",
    "DEL_ROUTE",
    "DETACHING",
    "FORWARD_LOG",
    "FORWARD_MODULE",
    "GET_MODULE",
    "IS_DEAD",
    "LOAD_MODULE",
    "SHUTDOWN",
    "BasicStream",
    "Blob",
    "Broker",
    "CallError",
    "CallInterrupted",
    "Channel",
    "ChannelError",
    "Context",
    "Error",
    "ExternalContext",
    "Importer",
    "Latch",
    "LatchError",
    "Message",
    "Receiver",
    "Router",
    "Secret",
    "Sender",
    "SerializationError",
    "Side",
    "Stream",
    "StreamError",
    "TimeoutError",
    "fire",
    "has_parent_authority",
    "listen",
    "takes_econtext",
    "takes_router",
    "unlisten",
]
