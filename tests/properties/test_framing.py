"""Framing: how a stream is cut into reads never matters, and no peer can make it do anything but fail.

Inputs that were found to fail are kept as `@example`s.
"""

from __future__ import annotations

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from mitogen.core.framing import HEADER, HEADER_SIZE, LARGE_BODY, MAGIC, FrameDecoder, encode_header
from mitogen.core.message import Message, make

LIMIT = 3 * LARGE_BODY

word = st.integers(0, 2**32 - 1)
# Lengths around every threshold, without hypothesis having to draw every byte.
length = st.one_of(
    st.integers(0, 100),
    st.sampled_from([LARGE_BODY, LARGE_BODY - HEADER_SIZE, LIMIT]).flatmap(
        lambda n: st.integers(max(0, n - 2), min(LIMIT, n + 2))
    ),
    st.integers(0, LIMIT),
)
bodies = st.builds(
    lambda seed, n: (seed * (n // len(seed) + 1))[:n], st.binary(min_size=1, max_size=7), length
)
messages = st.builds(make, word, word, word, word, word, bodies)

#: How the far end's bytes become reads: sizes, used over and over.
reads = st.lists(st.integers(1, LARGE_BODY + 100), min_size=1, max_size=8)


def fields(msg: Message) -> tuple[Any, ...]:
    return msg.dst_id, msg.src_id, msg.auth_id, msg.handle, msg.reply_to, msg.data


def encode(msgs: list[Message]) -> bytes:
    return b"".join(encode_header(msg) + msg.data for msg in msgs)


def feed(decoder: FrameDecoder, data: bytes, sizes: list[int]) -> list[Message]:
    """Feed `data` as a stream would, in reads of `sizes`; check after each what is held."""
    found: list[Message] = []
    start = turn = 0
    # So that a large body in tiny reads does not take most of the time of all examples.
    least = len(data) // 300
    while start < len(data):
        size = max(least, sizes[turn % len(sizes)])
        turn += 1
        found += decoder.receive_data(data[start : start + size])
        start += size
        check_bounds(decoder)
    return found


def check_bounds(decoder: FrameDecoder) -> None:
    """One incomplete frame is held at most: a start of it, or its body, whose length was accepted."""
    assert len(decoder._rest) < HEADER_SIZE + LARGE_BODY
    if decoder._body is not None:
        assert decoder._rest == b""
        assert len(decoder._body.getbuffer()) <= decoder.max_message_size
    if decoder.error is not None:
        assert decoder._rest == b""


@given(st.lists(messages, max_size=6), reads)
@example([make(1, 2, 3, 4, 5, b"x" * LARGE_BODY), make(1, 2, 3, 4, 5, b"")], [HEADER_SIZE])
@example([make(1, 2, 3, 4, 5, b"x" * LARGE_BODY)] * 2, [LARGE_BODY + HEADER_SIZE - 1])
def test_any_chunking_gives_the_same_messages(msgs: list[Message], sizes: list[int]) -> None:
    decoder = FrameDecoder(LIMIT)
    found = feed(decoder, encode(msgs), sizes)
    assert [fields(msg) for msg in found] == [fields(msg) for msg in msgs]
    assert decoder.error is None
    assert decoder._rest == b""
    assert decoder._body is None


@given(messages)
def test_a_header_reads_back_as_it_was_written(msg: Message) -> None:
    assert HEADER.unpack(encode_header(msg)) == (MAGIC, *fields(msg)[:5], msg.size())


#: Streams that are nearly right: true frames, headers with some field wrong, and noise.
noise = st.one_of(
    st.binary(max_size=60),
    messages.map(lambda msg: encode([msg])),
    st.builds(
        HEADER.pack,
        st.sampled_from([MAGIC, MAGIC, 0, 0x4D00]),
        word,
        word,
        word,
        word,
        word,
        word | length,
    ),
)


@given(st.lists(noise, max_size=6).map(b"".join), reads)
@example(b"\x4d", [1])
@example(HEADER.pack(MAGIC, 0, 0, 0, 0, 0, LIMIT + 1), [HEADER_SIZE])
@example(HEADER.pack(MAGIC, 0, 0, 0, 0, 0, LIMIT) + b"x", [HEADER_SIZE])
def test_arbitrary_bytes_give_messages_or_the_documented_error(data: bytes, sizes: list[int]) -> None:
    decoder = FrameDecoder(LIMIT)
    found = feed(decoder, data, sizes)
    for msg in found:
        assert msg.size() <= LIMIT
        assert type(msg.body) is bytes
    # The messages are the start of the stream: nothing is skipped, nothing is made up.
    assert data.startswith(encode(found))
    whole = FrameDecoder(LIMIT)
    assert [fields(msg) for msg in whole.receive_data(data)] == [fields(msg) for msg in found]
    assert whole.error == decoder.error
    if decoder.error is not None:
        assert decoder.receive_data(encode([make(1, 2, 3, 4, 5, b"later")])) == []
