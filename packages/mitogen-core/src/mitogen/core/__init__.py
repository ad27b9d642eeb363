"""What every context runs: messages, links, routing, imports and calls.

A package of small modules, each with one concept; this page knows the documented names, so that
`mitogen.core.Router` is the address users write. It uses the standard library only, and imports as little
of that as it can: a child is sent this package and must have it running within milliseconds. For the same
reason a name is imported when it is first used.

From the pure to the wired (each line imports only from those above it):

    handles, errors, timers, poller     vocabulary; pure parts
    serialization, message              values and messages
    framing, routing                    the wire format; where messages go
    logs, signals, latch                telling, and waiting
    broker, stream                      the I/O thread and its links
    receiver, context, router           handles, contexts, and what connects them
    importer, stdio, calls              what children do with messages
    child, boot                         putting it all together

What few children need is not in the bundle, but imported when it is needed: receiver, channel, credit,
deadlines, watching, opening, names, targets, describe, explain, stdtypes, loghandler, debuglog, detach,
profiling, pressure, keepalive, stats; upgrade and forwarding, for those with children; locallog, for
masters. Where they are of use, pollers, oldpython and leading come along with the bundle.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mitogen.core.broker import Broker as Broker
    from mitogen.core.calls import CallInterrupted as CallInterrupted
    from mitogen.core.channel import Channel as Channel
    from mitogen.core.child import ExternalContext as ExternalContext
    from mitogen.core.context import Context as Context
    from mitogen.core.errors import CallError as CallError
    from mitogen.core.errors import ChannelError as ChannelError
    from mitogen.core.errors import Error as Error
    from mitogen.core.errors import LatchError as LatchError
    from mitogen.core.errors import SerializationError as SerializationError
    from mitogen.core.errors import StreamError as StreamError
    from mitogen.core.errors import TimeoutError as TimeoutError
    from mitogen.core.handles import ADD_ROUTE as ADD_ROUTE
    from mitogen.core.handles import ALLOCATE_ID as ALLOCATE_ID
    from mitogen.core.handles import CALL_FUNCTION as CALL_FUNCTION
    from mitogen.core.handles import CALL_SERVICE as CALL_SERVICE
    from mitogen.core.handles import CANCEL_CALL as CANCEL_CALL
    from mitogen.core.handles import DEL_ROUTE as DEL_ROUTE
    from mitogen.core.handles import DETACHING as DETACHING
    from mitogen.core.handles import FORWARD_LOG as FORWARD_LOG
    from mitogen.core.handles import FORWARD_MODULE as FORWARD_MODULE
    from mitogen.core.handles import GET_MODULE as GET_MODULE
    from mitogen.core.handles import IS_DEAD as IS_DEAD
    from mitogen.core.handles import LOAD_MODULE as LOAD_MODULE
    from mitogen.core.handles import SHUTDOWN as SHUTDOWN
    from mitogen.core.importer import Importer as Importer
    from mitogen.core.latch import Latch as Latch
    from mitogen.core.message import Message as Message
    from mitogen.core.receiver import Receiver as Receiver
    from mitogen.core.receiver import Sender as Sender
    from mitogen.core.router import Router as Router
    from mitogen.core.router import has_parent_authority as has_parent_authority
    from mitogen.core.signals import fire as fire
    from mitogen.core.signals import listen as listen
    from mitogen.core.signals import unlisten as unlisten
    from mitogen.core.stdtypes import Blob as Blob
    from mitogen.core.stdtypes import Secret as Secret
    from mitogen.core.stream import BasicStream as BasicStream
    from mitogen.core.stream import Side as Side
    from mitogen.core.stream import Stream as Stream
    from mitogen.core.targets import takes_econtext as takes_econtext
    from mitogen.core.targets import takes_router as takes_router


def __getattr__(name: str) -> object:
    # Any other name in lower case and one word is that of a module, which the import system loads itself,
    # once it has been told that there is no such attribute.
    if name.islower() and "_" not in name and name not in ("fire", "listen", "unlisten"):
        raise AttributeError(name)
    from mitogen.core.names import find

    value = globals()[name] = find(name)
    return value
