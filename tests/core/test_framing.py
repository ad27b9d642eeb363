"""`mitogen.core.framing`: whole, byte by byte, with trailing data; and what a hostile peer may send."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mitogen.core.framing import HEADER, HEADER_SIZE, LARGE_BODY, MAGIC, FrameDecoder, encode_header
from mitogen.core.message import make

if TYPE_CHECKING:
    from mitogen.core.message import Message

LIMIT = 4 * LARGE_BODY


def frame(body: bytes = b"", dst: int = 1) -> bytes:
    msg = make(dst, 2, 3, 4, 5, body)
    return encode_header(msg) + body


def fields(msg: Message) -> tuple[int, int, int, int, int, bytes]:
    return msg.dst_id, msg.src_id, msg.auth_id, msg.handle, msg.reply_to, msg.data


def expected(body: bytes = b"", dst: int = 1) -> tuple[int, int, int, int, int, bytes]:
    return dst, 2, 3, 4, 5, body


# -- The layout -------------------------------------------------------------------------------------


def test_the_header_is_that_of_the_protocol() -> None:
    header = encode_header(make(1, 2, 3, 4, 5, b"123456"))
    words = "00000001 00000002 00000003 00000004 00000005 00000006"
    assert header == b"MI" + bytes.fromhex(words)
    assert len(header) == HEADER_SIZE == 26


def test_all_fields_have_32_bits() -> None:
    top = 2**32 - 1
    [msg] = FrameDecoder(LIMIT).receive_data(encode_header(make(top, top, top, top, top, b"")))
    assert fields(msg) == (top, top, top, top, top, b"")


def test_the_length_of_a_body_in_parts_is_their_sum() -> None:
    assert HEADER.unpack(encode_header(make(1, 2, 3, 4, 5, [b"a", b"bc"])))[-1] == 3


# -- Any split --------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 1000, LARGE_BODY - 1, LARGE_BODY, LARGE_BODY + 1, LIMIT])
def test_one_message_arrives_whole(size: int) -> None:
    body = b"x" * size
    decoder = FrameDecoder(LIMIT)
    [msg] = decoder.receive_data(frame(body))
    assert fields(msg) == expected(body)
    assert decoder.error is None


def test_nothing_in_gives_nothing_out() -> None:
    decoder = FrameDecoder(LIMIT)
    assert decoder.receive_data(b"") == []
    assert decoder.error is None


def test_many_messages_in_one_read_come_out_in_order() -> None:
    data = b"".join(frame(b"x" * i, dst=i) for i in range(50))
    msgs = FrameDecoder(LIMIT).receive_data(data)
    assert [fields(msg) for msg in msgs] == [expected(b"x" * i, i) for i in range(50)]


def test_a_message_that_comes_byte_by_byte_is_complete_with_its_last_byte() -> None:
    decoder = FrameDecoder(LIMIT)
    data = frame(b"hello")
    for i in range(len(data) - 1):
        assert decoder.receive_data(data[i : i + 1]) == []
    [msg] = decoder.receive_data(data[-1:])
    assert fields(msg) == expected(b"hello")


def test_the_start_of_the_next_message_is_kept_for_it() -> None:
    decoder = FrameDecoder(LIMIT)
    data = frame(b"one") + frame(b"two")
    [first] = decoder.receive_data(data[:-2])
    [second] = decoder.receive_data(data[-2:])
    assert (first.data, second.data) == (b"one", b"two")


def test_bodies_are_bytes_which_nothing_can_change_any_more() -> None:
    for body in (b"x", b"x" * LARGE_BODY):
        decoder = FrameDecoder(LIMIT)
        data = frame(body)
        msgs = decoder.receive_data(data[:-1]) + decoder.receive_data(data[-1:])
        assert type(msgs[0].body) is bytes


# -- Large bodies -----------------------------------------------------------------------------------


def test_a_large_body_may_come_as_data_and_what_follows_it_too() -> None:
    decoder = FrameDecoder(LIMIT)
    body = b"x" * LARGE_BODY
    data = frame(body) + frame(b"next")
    assert decoder.receive_data(data[:HEADER_SIZE]) == []
    assert decoder.receive_data(data[HEADER_SIZE:1000]) == []
    assert decoder.receive_data(b"") == []
    msgs = decoder.receive_data(data[1000:])
    assert [msg.data for msg in msgs] == [body, b"next"]


# -- Hostile peers ----------------------------------------------------------------------------------


def test_a_wrong_magic_is_an_error_and_the_end() -> None:
    decoder = FrameDecoder(LIMIT)
    assert decoder.receive_data(b"HTTP/1.1 400 Bad Request\r\n\r\n") == []
    assert decoder.error is not None
    assert "0x4854" in decoder.error
    assert decoder.receive_data(frame(b"too late")) == []


def test_messages_ahead_of_the_damage_are_delivered() -> None:
    decoder = FrameDecoder(LIMIT)
    [msg] = decoder.receive_data(frame(b"good") + b"x" * HEADER_SIZE + frame(b"lost"))
    assert msg.data == b"good"
    assert decoder.error is not None


def test_damage_in_the_middle_of_a_header_is_found_once_the_header_is_there() -> None:
    decoder = FrameDecoder(LIMIT)
    assert decoder.receive_data(b"x") == []
    assert decoder.error is None
    assert decoder.receive_data(b"x" * HEADER_SIZE) == []
    assert decoder.error is not None


def test_a_body_over_the_limit_is_refused_before_it_is_there() -> None:
    decoder = FrameDecoder(LIMIT)
    assert decoder.receive_data(HEADER.pack(MAGIC, 1, 77, 3, 4, 5, LIMIT + 1)) == []
    assert decoder.error is not None
    assert "context 77" in decoder.error
    assert str(LIMIT + 1) in decoder.error
    assert str(LIMIT) in decoder.error


def test_a_body_of_exactly_the_limit_is_accepted() -> None:
    decoder = FrameDecoder(LIMIT)
    assert decoder.receive_data(HEADER.pack(MAGIC, 1, 2, 3, 4, 5, LIMIT)) == []
    assert decoder.error is None
    assert decoder.receive_data(b"x" * (LIMIT - 1)) == []
    [msg] = decoder.receive_data(b"x")
    assert msg.size() == LIMIT
