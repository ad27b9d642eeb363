"""What is said on a connection before it carries frames: a state machine, without I/O.

================  =========  ================  ==================================================
state             event      next state        what the connection does
================  =========  ================  ==================================================
WAIT_HELLO        Hello      WAIT_READY        send what the interpreter needs
WAIT_READY        SEND_CORE  WAIT_READY        the installed core is another one: send the bundle
WAIT_READY        READY      FRAMES            hand everything that follows to the frame decoder
any               other      FAILED            end the connection
================  =========  ================  ==================================================

Text in front of the hello is noise of login shells and banners. It is skipped, but the end of it is kept:
when no hello comes, it is often the explanation.
"""

from __future__ import annotations

from mitogen.core.child import READY as READY_LINE
from mitogen.parent.bootstrap import MARKER, Hello

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Union

    Event = Union[Hello, str]

WAIT_HELLO, WAIT_READY, FRAMES, FAILED = "WAIT_HELLO", "WAIT_READY", "FRAMES", "FAILED"
HELLO, READY, SEND_CORE = "HELLO", "READY", "SEND_CORE"

TRANSITIONS = {
    (WAIT_HELLO, HELLO): WAIT_READY,
    (WAIT_READY, SEND_CORE): WAIT_READY,
    (WAIT_READY, READY): FRAMES,
}

#: Bytes of noise that are kept, and longest line that is taken for one of ours.
NOISE_LIMIT = 4096

_LINES = {READY_LINE.rstrip(): READY, b"MITOGEN-SEND": SEND_CORE}


class Handshake:
    """Take what the target writes, until frames begin.

    :ivar state: one of the states above.
    :ivar noise: the end of what was not understood.
    :ivar rest: what followed READY: the first bytes of frames.
    """

    def __init__(self) -> None:
        self.state = WAIT_HELLO
        self.noise = b""
        self.rest = b""
        self._buffer = b""

    def receive_data(self, data: bytes) -> list[Event]:
        """Take `data`, in any split, and return the events in it, a `Hello` or a name each."""
        events: list[Event] = []
        self._buffer += data
        while self.state in (WAIT_HELLO, WAIT_READY):
            line, newline, rest = self._buffer.partition(b"\n")
            if not newline:
                break
            self._buffer = rest
            self._take_line(line.rstrip(b"\r"), events)
        if self.state == FRAMES:
            self.rest, self._buffer = self._buffer, b""
        elif len(self._buffer) > NOISE_LIMIT:
            self._note(self._buffer)
            self._buffer = self._buffer[-NOISE_LIMIT:]
        return events

    def _take_line(self, line: bytes, events: list[Event]) -> None:
        # A prompt or banner without a newline may stand in front of the marker.
        start = line.find(MARKER)
        if start >= 0:
            try:
                hello = Hello(line[start:])
            except ValueError:
                self._note(line)
                return
            self._move(HELLO)
            events.append(hello)
        elif line in _LINES:
            self._move(_LINES[line])
            events.append(_LINES[line])
        else:
            self._note(line)

    def _move(self, event: str) -> None:
        self.state = TRANSITIONS.get((self.state, event), FAILED)

    def _note(self, line: bytes) -> None:
        self.noise = (self.noise + line + b"\n")[-NOISE_LIMIT:]
