"""`mitogen.core.message`: fields, bodies, dead messages, replies."""

from __future__ import annotations

from typing import Any

import pytest

import mitogen
from mitogen.core import handles, serialization
from mitogen.core.errors import CallError, ChannelError, Error, SerializationError
from mitogen.core.message import REASON_LIMIT, Message, make


class Outbox:
    """What a message needs of a router: an identity, and somewhere to put replies."""

    def __init__(self, context_id: int) -> None:
        self.context_id = context_id
        self.sent: list[Message] = []

    def route(self, msg: Message) -> None:
        self.sent.append(msg)


def received(outbox: Outbox | None = None, **kwargs: Any) -> Message:
    """Make a message as the router `outbox` would have received it."""
    msg = Message(**kwargs)
    msg.router = outbox  # type: ignore[assignment]
    return msg


# -- Fields -----------------------------------------------------------------------------------------


def test_a_new_message_comes_from_this_context_and_goes_nowhere_yet() -> None:
    msg = Message()
    assert (msg.dst_id, msg.handle, msg.reply_to, msg.data) == (0, 0, 0, b"")
    assert msg.src_id == msg.auth_id == mitogen.context_id
    assert msg.router is None
    assert msg.receiver is None


def test_any_field_may_be_given() -> None:
    msg = Message(dst_id=1, src_id=2, auth_id=3, handle=4, reply_to=5, data=b"x")
    fields = (msg.dst_id, msg.src_id, msg.auth_id, msg.handle, msg.reply_to, msg.data)
    assert fields == (1, 2, 3, 4, 5, b"x")


def test_a_misspelled_field_is_an_error() -> None:
    with pytest.raises(AttributeError):
        Message(destination=1)


def test_making_a_message_from_all_fields_gives_the_same_as_naming_them() -> None:
    one, two = (
        make(1, 2, 3, 4, 5, b"x"),
        Message(dst_id=1, src_id=2, auth_id=3, handle=4, reply_to=5, data=b"x"),
    )
    assert all(getattr(one, name) == getattr(two, name) for name in Message.__slots__)


# -- Bodies -----------------------------------------------------------------------------------------


def test_the_size_of_a_body_in_parts_is_that_of_the_joined_one() -> None:
    msg = make(1, 2, 3, 4, 5, [b"ab", b"", b"cde"])
    assert msg.size() == 5
    assert msg.body == [b"ab", b"", b"cde"]
    assert msg.data == b"abcde"
    assert msg.size() == 5


def test_data_may_be_replaced() -> None:
    msg = Message(data=b"x")
    msg.data = b"yy"
    assert (msg.data, msg.size()) == (b"yy", 2)


def test_a_value_travels_as_the_body() -> None:
    assert Message.pickled({"a": [1]}, handle=3).unpickle() == {"a": [1]}
    assert Message.pickled({}, handle=3).handle == 3


def test_a_value_that_cannot_be_sent_makes_no_message() -> None:
    with pytest.raises(SerializationError, match="object"):
        Message.pickled([object()])


def test_a_message_unpacks_as_itself_and_its_value() -> None:
    msg, data = Message.pickled("x")
    assert isinstance(msg, Message)
    assert data == "x"


def test_a_damaged_body_is_the_documented_error() -> None:
    for data in (b"", b"\x80\x04", b"garbage"):
        with pytest.raises(SerializationError):
            Message(data=data).unpickle()


def test_the_error_of_a_call_is_raised_or_returned() -> None:
    msg = Message.pickled(CallError("a.B", "text"))
    with pytest.raises(CallError, match="a.B: text"):
        msg.unpickle()
    assert msg.unpickle(throw=False).type_name == "a.B"


# -- Dead messages ----------------------------------------------------------------------------------


def test_a_dead_message_says_why() -> None:
    msg = Message.dead("the reason", handle=7)
    assert msg.is_dead
    assert msg.handle == 7
    assert msg.reply_to == handles.IS_DEAD
    with pytest.raises(ChannelError, match="^the reason$"):
        msg.unpickle()
    assert str(msg.unpickle(throw=False)) == "the reason"


def test_a_dead_message_without_a_reason_has_a_text_all_the_same() -> None:
    assert str(Message.dead().unpickle(throw=False)) == "the channel was closed"


def test_a_reason_is_text_and_never_a_format_or_a_pickle() -> None:
    for reason in ("100 %s", "\x80\x04N."):
        assert str(Message.dead(reason).unpickle(throw=False)) == reason


def test_a_reason_that_is_not_utf8_is_shown_as_far_as_it_goes() -> None:
    msg = Message(reply_to=handles.IS_DEAD, data=b"a\xffb")
    assert str(msg.unpickle(throw=False)) == "a\ufffdb"
    assert Message.dead("a\udc80b").data == b"a?b"


def test_a_long_reason_is_cut() -> None:
    assert len(Message.dead("x" * 100000).data) < REASON_LIMIT + 100


def test_other_messages_are_not_dead() -> None:
    assert not Message(reply_to=1000).is_dead


# -- Replies ----------------------------------------------------------------------------------------


def test_a_reply_goes_back_to_the_handle_that_waits_in_the_name_of_this_context() -> None:
    outbox = Outbox(5)
    received(outbox, dst_id=5, src_id=9, auth_id=0, handle=101, reply_to=1234).reply("x")
    [reply] = outbox.sent
    fields = (reply.dst_id, reply.src_id, reply.auth_id, reply.handle, reply.reply_to)
    assert fields == (9, 5, 5, 1234, 0)
    assert reply.unpickle() == "x"


def test_a_message_may_be_the_reply_as_it_is() -> None:
    outbox = Outbox(5)
    received(outbox, src_id=9, reply_to=1234).reply(Message.dead("no"))
    [reply] = outbox.sent
    assert (reply.dst_id, reply.handle) == (9, 1234)
    assert reply.is_dead


def test_fields_of_a_reply_may_be_given() -> None:
    outbox = Outbox(5)
    received(outbox, src_id=9, reply_to=1234).reply("x", reply_to=77, handle=8)
    assert (outbox.sent[0].reply_to, outbox.sent[0].handle) == (77, 8)


def test_no_reply_is_sent_where_none_was_asked_for() -> None:
    outbox = Outbox(5)
    received(outbox, src_id=9).reply("x")
    assert outbox.sent == []


def test_a_dead_message_is_never_answered() -> None:
    outbox = Outbox(5)
    received(outbox, src_id=9, reply_to=handles.IS_DEAD).reply("x")
    assert outbox.sent == []


def test_a_router_may_be_named_for_a_message_that_came_by_none() -> None:
    outbox: Any = Outbox(5)
    Message(src_id=9, reply_to=1234).reply("x", router=outbox)
    assert len(outbox.sent) == 1


def test_without_any_router_a_reply_is_refused_with_what_to_do() -> None:
    with pytest.raises(Error, match=r"reply\(router=\.\.\.\)"):
        Message(reply_to=1000).reply("x")


# -- repr -------------------------------------------------------------------------------------------


def test_a_message_shows_where_it_goes_but_nothing_of_what_it_says() -> None:
    text = repr(Message.pickled("hunter2", dst_id=3, src_id=4, auth_id=5, handle=6, reply_to=7))
    assert "4 -> 3" in text
    assert "auth 5" in text
    assert "handle 6" in text
    assert "hunter2" not in text


def test_showing_a_message_does_not_join_its_body() -> None:
    msg = make(1, 2, 3, 4, 5, [serialization.RAW, b"x" * 5])
    assert "6 bytes" in repr(msg)
    assert type(msg.body) is list
