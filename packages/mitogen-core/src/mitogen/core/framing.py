"""Bytes to messages and messages to bytes: the wire format, without I/O.

    magic  dst_id  src_id  auth_id  handle  reply_to  length   data
    u16    u32     u32     u32      u32     u32       u32      `length` bytes      (big endian)

Owns the header's layout and the limits of what a peer may make us hold. A stream feeds a `FrameDecoder`
what it read, in any split. A wrong magic or an over-long length is an error value in `error`, after which
nothing more is decoded: a damaged stream has no next frame worth guessing at.

Large bodies: once a header announces more than the bytes at hand, the decoder offers the rest of the body
as a writable buffer (`body_buffer`), so that the stream can read into it with no copy in between.
The buffer is that of a `BytesIO`, because that turns into a `bytes` object without a copy.
"""

from __future__ import annotations

from io import BytesIO
from struct import Struct
from typing import TYPE_CHECKING

from mitogen.core.message import make

if TYPE_CHECKING:
    from mitogen.core.message import Message

MAGIC = 0x4D49
HEADER = Struct(">HLLLLLL")
HEADER_SIZE = HEADER.size

#: Bodies shorter than this are gathered with what follows them; for longer ones the buffer of their own
#: saves more than it costs.
LARGE_BODY = 16384

_pack = HEADER.pack
_unpack_from = HEADER.unpack_from


def encode_header(msg: Message) -> bytes:
    """Return the header of `msg`; its body follows on the wire, kept apart so that it is not copied."""
    return _pack(MAGIC, msg.dst_id, msg.src_id, msg.auth_id, msg.handle, msg.reply_to, msg.size())


class FrameDecoder:
    """Turn the bytes of one direction of a link into messages.

    Holds at most one incomplete frame, so at most `max_message_size` bytes and one header. Not
    thread-safe: one reader feeds it.

    :param max_message_size: largest body, in bytes, that is accepted.
    :ivar error: None, or why the stream can't be decoded any further.
    """

    def __init__(self, max_message_size: int) -> None:
        self.max_message_size = max_message_size
        self.error: str | None = None
        #: Start of a frame that is not complete, never as much as a header and a LARGE_BODY.
        self._rest = b""
        #: A large body that is being filled, its header, and how much of it is there.
        self._body: BytesIO | None = None
        self._header: tuple[int, ...] = ()
        self._filled = 0

    def receive_data(self, data: bytes) -> list[Message]:
        """Decode `data`, the next bytes of the stream, and return the messages it completes."""
        messages: list[Message] = []
        if self._body is not None:
            view = self.body_buffer()
            taken = data[: len(view)]
            view[: len(taken)] = taken
            view.release()
            msg = self.body_received(len(taken))
            if msg is None:
                return messages
            messages.append(msg)
            data = data[len(taken) :]
        elif self._rest:
            data = self._rest + data
        start, end = 0, len(data)
        while end - start >= HEADER_SIZE and self.error is None:
            magic, dst, src, auth, handle, reply_to, length = _unpack_from(data, start)
            if magic != MAGIC:
                self.error = "not a frame: found magic %#06x where %#06x was due" % (magic, MAGIC)
            elif length > self.max_message_size:
                self.error = "a message of %d bytes from context %d is over the limit of %d" % (
                    length,
                    src,
                    self.max_message_size,
                )
            else:
                body = start + HEADER_SIZE
                if end - body >= length:
                    start = body + length
                    messages.append(make(dst, src, auth, handle, reply_to, data[body:start]))
                    continue
                if length >= LARGE_BODY:
                    self._begin_body((dst, src, auth, handle, reply_to, length), data[body:])
                    start = end
                break
        self._rest = data[start:] if self.error is None else b""
        return messages

    def _begin_body(self, header: tuple[int, ...], data: bytes) -> None:
        self._header = header
        self._body = BytesIO(bytes(header[-1]))
        self._body.write(data)
        self._filled = len(data)

    def body_buffer(self) -> memoryview:
        """Return what is missing of a large body, to be read into; empty when none is under way.

        Report what was filled with `body_received` before anything else is decoded.
        """
        if self._body is None:
            return memoryview(b"")
        return self._body.getbuffer()[self._filled :]

    def body_received(self, count: int) -> Message | None:
        """Note that `count` bytes of `body_buffer` were filled; return the message if complete."""
        self._filled += count
        header = self._header
        if self._body is None or self._filled < header[-1]:
            return None
        body = self._body.getvalue()
        self._body = None
        return make(header[0], header[1], header[2], header[3], header[4], body)
