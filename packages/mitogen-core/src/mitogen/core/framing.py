"""Bytes to messages and messages to bytes: the wire format, without I/O.

    magic  dst_id  src_id  auth_id  handle  reply_to  length   data
    u16    u32     u32     u32      u32     u32       u32      `length` bytes      (big endian)

Owns the header's layout and the limits of what a peer may make us hold. A stream feeds a `FrameDecoder`
what it read, in any split. A wrong magic or an over-long length is an error value in `error`, after which
nothing more is decoded: a damaged stream has no next frame worth guessing at.

Large bodies: once a header announces more than the bytes at hand, the rest of the body is gathered in a
buffer of its size. It is that of a `BytesIO`, because that turns into a `bytes` object without a copy.
Rejected: to have the stream read straight into that buffer, for a third more code here.
"""

from __future__ import annotations

from io import BytesIO
from struct import Struct

from mitogen.core.message import make

TYPE_CHECKING = False
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
    body = msg.body
    size = msg.size() if type(body) is list else len(body)
    return _pack(MAGIC, msg.dst_id, msg.src_id, msg.auth_id, msg.handle, msg.reply_to, size)


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
        #: A large body that is being filled, its header, and its size.
        self._body: BytesIO | None = None
        self._header: tuple[int, ...] = ()
        self._length = 0

    def receive_data(self, data: bytes) -> list[Message]:
        """Decode `data`, the next bytes of the stream, and return the messages it completes."""
        messages: list[Message] = []
        body = self._body
        if body is not None:
            missing = self._length - body.tell()
            body.write(data[:missing])
            if len(data) < missing:
                return messages
            dst, src, auth, handle, reply_to = self._header
            messages.append(make(dst, src, auth, handle, reply_to, body.getvalue()))
            self._body = None
            data = data[missing:]
        elif self._rest:
            data = self._rest + data
        start, end = 0, len(data)
        while end - start >= HEADER_SIZE and self.error is None:
            magic, dst, src, auth, handle, reply_to, length = _unpack_from(data, start)
            if magic != MAGIC:
                self.error = "not a frame: it begins with %#06x" % magic
            elif length > self.max_message_size:
                self.error = "a message of %d bytes from context %d is over the limit of %d" % (
                    length,
                    src,
                    self.max_message_size,
                )
            else:
                start += HEADER_SIZE
                if end - start >= length:
                    messages.append(make(dst, src, auth, handle, reply_to, data[start : start + length]))
                    start += length
                    continue
                if length >= LARGE_BODY:
                    self._header, self._length = (dst, src, auth, handle, reply_to), length
                    self._body = BytesIO(bytes(length))
                    self._body.write(data[start:])
                    start = end
                else:
                    start -= HEADER_SIZE
                break
        self._rest = data[start:] if self.error is None else b""
        return messages
