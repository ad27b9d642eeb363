"""Reading a link on the very thread that waits for its next message: `lead`.

Otherwise an answer wakes the broker thread, which reads it and wakes the thread that waits: two switches
between threads and four system calls for one message. A thread that is about to sleep takes the link over
instead (`Stream.reader`), sleeps on it as well as on its own pipe, and reads once:

* If that is just the message that it waits for, whole and nothing besides, it goes on with it.
* Anything else (other messages, parts, the end) it hands to the broker thread along with the link, and
  sleeps on as usual. The link is left alone for the next waits then, for more of them each time: where
  many messages are under way, two threads that take turns would cost more than they save.

So messages are handled in the order in which they came, handlers run on the broker thread alone, and the
decoder never meets a second thread. The link is given back before a message is returned: what a call does
can be interrupted, and whatever else comes is handled, by the broker thread as ever.

There is epoll only: other systems do not let a thread change what another one waits for.

Outside the bundle: masters have it, and children on the same machine; the way to others takes longer than
all that this saves.
"""

from __future__ import annotations

import select
from os import read

from mitogen.core.calls import Dispatcher
from mitogen.core.errors import ChannelError
from mitogen.core.framing import HEADER, HEADER_SIZE, MAGIC
from mitogen.core.handles import CALL_FUNCTION, IS_DEAD
from mitogen.core.latch import Latch
from mitogen.core.message import make
from mitogen.core.poller import IN
from mitogen.core.routing import DELIVER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from mitogen.core.broker import Broker
    from mitogen.core.context import Context
    from mitogen.core.router import Router
    from mitogen.core.stream import Stream

#: Most waits for which a link is left alone.
_MOST_LEFT_ALONE = 255
#: Most bytes of the one read.
_MOST_READ = 65536

sleep = Latch.sleep
_unpack_from = HEADER.unpack_from
#: What sleeps on a pipe and a link, by their descriptors. Only one thread at a time has the pipe.
_polls: dict[tuple[int, int], Any] = {}


def _poll_of(pipe_fd: int, fd: int) -> Any:
    if len(_polls) > 999:
        _polls.clear()
    poll = select.poll()
    poll.register(pipe_fd, select.POLLIN)
    poll.register(fd, select.POLLIN)
    return poll


class _Turn:
    """What a thread took over, and read: the value of `Stream.reader` meanwhile."""

    __slots__ = ("data", "fd", "link")

    def __init__(self, link: Stream, fd: int) -> None:
        self.link = link
        self.fd = fd
        self.data: list[bytes] = []

    def end(self, poller: Any) -> None:
        """Let the broker thread read again."""
        link = self.link
        with link._lock:
            if not link.closed:
                try:
                    poller._impl.modify(self.fd, IN)
                except OSError:
                    pass  # It is paused: whoever did that will let it be read again.
        # Last: an exception of a signal's handler may come anywhere before, and it is handed over then.
        link.reader.clear()

    def hand_over(self, broker: Broker) -> None:
        """Give the broker thread the link, and what was read; unless that was done. Any thread."""
        if self.link.reader.get(0) is self:
            try:
                broker.defer(self._receive, broker)
            except ChannelError:
                pass  # It has ended, and the link with it.

    def _receive(self, broker: Broker) -> None:
        link = self.link
        if link.reader.get(0) is self:
            for data in self.data:
                if not link.closed:
                    link.received += len(data)
                    broker._call(link, lambda broker, data=data: link.receive_data(broker, data))  # type: ignore[misc]
            self.end(broker.poller)


def lead(router: Router, link: Any, handle: int, pipe_fd: int, timeout: float | None) -> Any:
    """Sleep as `Latch.sleep` does; but read `link` meanwhile, if nobody else does.

    Any thread but the broker's. Written in one piece, since each function on the way of a call costs it
    about a microsecond.

    :param link: the link that the next message will come on.
    :param handle: the handle that it is for.
    :returns: the message, if it came like that; None after any other wake-up.
    """
    side = link and link.receive_side
    if not side:
        return sleep(pipe_fd, timeout)
    known: dict[str, int] = link.__dict__
    left = known.get("left_alone", 0)
    if left:
        known["left_alone"] = left - 1
        return sleep(pipe_fd, timeout)
    fd = side.fd
    broker = router.broker
    poller = broker.poller
    turn = _Turn(link, fd)
    taken: list[Any] = []
    try:
        is_mine = False
        if link.reader.setdefault(0, turn) is turn:
            decoder = link._decoder
            # Else it is within a frame, paused, or a socket, which is watched for writing as well.
            if (
                not (decoder._rest or decoder._body or side is link.transmit_side)
                and fd in poller._readers
            ):
                with link._lock:
                    if not link.closed:
                        try:
                            poller._impl.modify(fd, 0)
                            is_mine = True
                        except OSError:
                            pass  # Just paused.
            if not is_mine:
                del link.reader[0]
        if not is_mine:
            return sleep(pipe_fd, timeout)
        fds = pipe_fd, fd
        poll = _polls.get(fds)
        if poll is None:
            poll = _polls[fds] = _poll_of(*fds)
        ready = poll.poll(None if timeout is None else int(min(timeout, 1e6) * 1000) + 1)
        for ready_fd, _ in ready:
            if ready_fd != fd:
                # What is in the queue goes first.
                read(ready_fd, 1)
                ready = None
        if not ready:
            turn.end(poller)
            return None
        with link._lock:
            # Else the number may be another file's by now.
            if not link.closed:
                size = 1000 + 64 * link.received // (link.messages_received + 1)
                try:
                    # One step for the interpreter, so that nothing that was read is lost.
                    turn.data.extend(map(read, (fd,), (min(size, _MOST_READ),)))
                    poller._impl.modify(fd, IN)
                except OSError:
                    pass  # Nothing there; or broken, as the broker thread will find; or paused.
        for data in turn.data:
            if len(data) < HEADER_SIZE:
                break
            magic, dst, src, auth, to, reply_to, length = _unpack_from(data)
            if magic != MAGIC or to != handle or reply_to == IS_DEAD or len(data) != HEADER_SIZE + length:
                break
            entry = router._handlers.get(handle)
            if (
                entry is None
                or (entry[2] and src != entry[2].context_id)
                or router.table.decide(dst, src, auth, length, link, router.unidirectional, reply_to)
                is not DELIVER
            ):
                break
            msg = make(dst, src, auth, handle, reply_to, data[HEADER_SIZE:])
            msg.router = router
            if entry[3] and not entry[3](msg, link):
                break
            if not entry[1]:
                taken.extend(map(router._handlers.pop, (handle,), (None,)))
                if taken[0] is not entry:
                    break
            if entry[2]:
                # What the receiver's own handler would note.
                receiver: Any = entry[0].__self__  # type: ignore[union-attr]
                receiver._over = not entry[1]
                msg.receiver = receiver
            link.received += len(data)
            link.messages_received += 1
            known["misses"] = 0
            # Watched again already.
            link.reader.clear()
            return msg
        known["misses"] = known["left_alone"] = min(2 * known.get("misses", 0) + 1, _MOST_LEFT_ALONE)
        turn.hand_over(broker)
        return None
    except BaseException:
        # Of a signal's handler, anywhere above: neither the link nor a message must be lost.
        if taken and taken[0] and link.reader.get(0) is turn:
            router._handlers[handle] = taken[0]
            taken[0][0].__self__._over = False
        turn.hand_over(broker)
        raise


def install(config: dict[str, Any]) -> None:
    """Have the main thread of this process, a child, read its calls itself."""
    run: Any = Dispatcher.run

    def lead_and_run(dispatcher: Dispatcher) -> None:
        router = dispatcher._router
        dispatcher.calls.sleep = lambda fd, timeout: lead(  # type: ignore[method-assign]
            router, router.table.parent_link, CALL_FUNCTION, fd, timeout
        )
        run(dispatcher)

    setattr(Dispatcher, "run", lead_and_run)  # noqa: B010


def lead_to_answer(router: Router, respondent: Context, handle: int) -> Any:
    """Return how to sleep for an answer of `respondent` to a receiver's handle: `Router.lead`."""
    respondent_id = respondent.context_id
    return lambda fd, timeout: lead(router, router.table.link_to(respondent_id), handle, fd, timeout)
