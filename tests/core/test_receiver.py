"""`mitogen.core.receiver` and `context`: waiting for messages, and sending to who waits."""

from __future__ import annotations

import gc
import operator
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from mitogen.core import serialization
from mitogen.core.channel import Channel
from mitogen.core.context import Context
from mitogen.core.errors import (
    CallError,
    ChannelError,
    Error,
    LatchError,
    SerializationError,
    TimeoutError,
)
from mitogen.core.latch import Latch
from mitogen.core.message import Message
from mitogen.core.receiver import Receiver, Sender
from tests.core.tools import PATIENCE, Node, Peer, Tree, asleep, ended, in_thread

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def node() -> Iterator[Node]:
    yield from ended(Node(0))


@pytest.fixture
def tree() -> Iterator[Tree]:
    tree = Tree({0: None, 1: 0, 2: 1})
    yield tree
    tree.end()


def post(node: Node, receiver: Receiver, value: Any) -> None:
    """Send `value` to a receiver of the same context, and wait until it is there."""
    body = serialization.dumps(value)
    node.send(0, receiver.handle, b"".join(body) if isinstance(body, list) else body)
    node.settle()


# -- get --------------------------------------------------------------------------------------------


def test_get_returns_messages_in_order_which_unpack_with_their_value(node: Node) -> None:
    receiver = Receiver(node.router)
    post(node, receiver, "one")
    post(node, receiver, "two")
    msg, data = receiver.get()
    assert isinstance(msg, Message)
    assert data == "one"
    assert msg.receiver is receiver
    assert receiver.get_data() == "two"


def test_get_wakes_up_for_a_message(node: Node) -> None:
    receiver = Receiver(node.router)
    result = in_thread(receiver.get_data)
    asleep(receiver._latch)
    post(node, receiver, 1)
    assert result() == 1


def test_the_one_message_is_not_taken_for_gone_while_it_arrives(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its handle is unregistered by then, and nothing is in the queue yet."""
    receiver = Receiver(node.router, persist=False)
    put = receiver._latch.put
    found: list[type] = []

    def look_and_put(msg: Message) -> None:
        try:
            receiver.get(block=False)
        except Error as e:
            found.append(type(e))
        put(msg)

    monkeypatch.setattr(receiver._latch, "put", look_and_put)
    post(node, receiver, 1)
    assert found == [TimeoutError]
    assert receiver.get_data() == 1
    with pytest.raises(ChannelError, match="had its one message"):
        receiver.get(block=False)


@pytest.mark.parametrize("options", [{"timeout": 0.01}, {"block": False}, {"timeout": 0}])
def test_get_gives_up_after_its_time(node: Node, options: dict[str, Any]) -> None:
    with pytest.raises(TimeoutError):
        Receiver(node.router).get(**options)


def test_a_message_that_is_there_is_returned_without_waiting(node: Node) -> None:
    receiver = Receiver(node.router)
    post(node, receiver, 1)
    assert receiver.get(block=False).unpickle() == 1


def test_empty_tells_whether_get_would_block(node: Node) -> None:
    receiver = Receiver(node.router)
    assert receiver.empty()
    post(node, receiver, 1)
    assert not receiver.empty()


def test_the_error_of_a_call_is_raised_when_its_value_is_asked_for(node: Node) -> None:
    receiver = Receiver(node.router)
    for _ in range(2):
        post(node, receiver, CallError("a.B"))
    assert isinstance(receiver.get(), Message)
    with pytest.raises(CallError):
        receiver.get_data()


def test_a_dead_message_ends_the_wait_with_its_reason_or_is_returned(node: Node) -> None:
    receiver = Receiver(node.router)
    for _ in range(2):
        node.router.route(Message.dead("the reason", dst_id=0, handle=receiver.handle))
    with pytest.raises(ChannelError, match="^the reason$"):
        receiver.get(PATIENCE)
    assert receiver.get(PATIENCE, throw_dead=False).is_dead


def test_a_handle_may_be_chosen(node: Node) -> None:
    assert Receiver(node.router, 123).handle == 123
    with pytest.raises(Error, match="123"):
        Receiver(node.router, 123)


def test_a_receiver_that_need_not_persist_takes_one_message(tree: Tree) -> None:
    receiver = Receiver(tree[0].router, persist=False)
    tree[2].send(0, receiver.handle, serialization.dumps(1))  # type: ignore[arg-type]
    assert receiver.get_data(PATIENCE) == 1
    assert tree[2].ask(0, receiver.handle).is_dead


def test_a_receiver_shows_its_handle(node: Node) -> None:
    assert repr(Receiver(node.router, 123)) == "Receiver(handle 123)"


# -- Iteration --------------------------------------------------------------------------------------


def test_iteration_ends_when_the_sender_closes(node: Node) -> None:
    receiver = Receiver(node.router)
    sender = receiver.to_sender()
    for i in range(3):
        sender.send(i)
    sender.close()
    assert [data for _, data in receiver] == [0, 1, 2]


def test_iteration_ends_when_the_receiver_is_closed(node: Node) -> None:
    receiver = Receiver(node.router)
    result = in_thread(lambda: [msg.unpickle() for msg in receiver])
    asleep(receiver._latch)
    post(node, receiver, 1)
    asleep(receiver._latch)
    receiver.close()
    assert result() == [1]


def test_an_error_of_a_call_does_not_end_the_iteration(node: Node) -> None:
    receiver = Receiver(node.router)
    post(node, receiver, CallError("a.B"))
    receiver.to_sender().close()
    assert len(list(receiver)) == 1


# -- close ------------------------------------------------------------------------------------------


def test_close_ends_every_wait_and_every_later_one(node: Node) -> None:
    receiver = Receiver(node.router)
    results = [in_thread(receiver.get) for _ in range(3)]
    asleep(receiver._latch, 3)
    receiver.close()
    receiver.close()
    for result in results:
        with pytest.raises(ChannelError, match="closed"):
            result()
    for use in (receiver.get, receiver.get_data, lambda: receiver.get(block=False)):
        with pytest.raises(ChannelError, match="closed"):
            use()
    with pytest.raises(LatchError):
        receiver.empty()


def test_a_closed_receiver_is_told_to_senders(tree: Tree) -> None:
    receiver = Receiver(tree[0].router)
    receiver.close()
    answer = tree[2].ask(0, receiver.handle)
    assert "no handle" in str(answer.unpickle(throw=False))


def test_a_message_that_arrives_in_the_moment_of_closing_is_answered_dead(tree: Tree) -> None:
    receiver = Receiver(tree[0].router)
    receiver._latch.close()
    answer = tree[2].ask(0, receiver.handle)
    assert "closed" in str(answer.unpickle(throw=False))


def test_questions_that_nobody_read_are_answered_dead_when_the_receiver_is_closed(tree: Tree) -> None:
    receiver = Receiver(tree[0].router)
    inbox, handle = tree[2].inbox()
    for _ in range(2):
        tree[2].send(0, receiver.handle, reply_to=handle)
    while len(receiver._latch._queue) < 2:
        time.sleep(0.001)
    receiver.close()
    assert ["closed" in str(inbox.get().unpickle(throw=False)) for _ in range(2)] == [True, True]
    receiver.close()
    tree[0].settle()
    assert inbox.empty()


def test_closing_leaves_a_handle_alone_that_is_somebody_elses_by_now(node: Node) -> None:
    receiver = Receiver(node.router, 123)
    node.router.del_handler(123)
    inbox, _ = node.inbox(123)
    receiver.close()
    node.send(0, 123)
    inbox.get()


# -- Credit -----------------------------------------------------------------------------------------


def test_what_could_not_be_sent_uses_up_no_credit(tree: Tree) -> None:
    receiver = Receiver(tree[0].router, maxsize=1)
    sender = Sender(tree[2].context(0), receiver.handle, 1)
    for _ in range(3):
        with pytest.raises(Error, match="larger"):
            sender.send(b"x" * tree[2].router.max_message_size, PATIENCE)
    sender.send(1, PATIENCE)
    assert receiver.get_data(PATIENCE) == 1
    sender.send(2, PATIENCE)
    assert receiver.get_data(PATIENCE) == 2


def test_what_was_read_may_be_told_after_the_end(tree: Tree) -> None:
    receiver = Receiver(tree[0].router, maxsize=1)
    sender = Sender(tree[2].context(0), receiver.handle, 1)
    sender.send(1, PATIENCE)
    credit = sender._credit
    assert credit is not None
    credit._on_reply(Message.dead("the end"))
    credit._on_reply(Message.pickled(1))
    with pytest.raises(ChannelError, match="the end"):
        sender.send(2, PATIENCE)


class _Slow(dict):  # type: ignore[type-arg]
    """Counts, between whose reading and writing other threads have all the time they need."""

    def pop(self, *args: Any) -> Any:
        count = dict.pop(self, *args)
        time.sleep(0.01)
        return count

    def get(self, *args: Any) -> Any:
        count = dict.get(self, *args)
        time.sleep(0.01)
        return count


def test_threads_that_read_at_the_same_time_lose_no_credit(tree: Tree) -> None:
    receiver = Receiver(tree[0].router, maxsize=8)
    receiver._unpaid = _Slow()
    sender = Sender(tree[2].context(0), receiver.handle, 8)
    results = [in_thread(lambda: [receiver.get_data(PATIENCE) for _ in range(10)]) for _ in range(3)]
    for i in range(30):
        sender.send(i, PATIENCE)
    assert sorted(i for result in results for i in result()) == list(range(30))


def test_threads_that_send_at_the_same_time_share_their_credit(tree: Tree) -> None:
    receiver = Receiver(tree[0].router, maxsize=2)
    sender = Sender(tree[2].context(0), receiver.handle, 2)
    start = threading.Barrier(4)

    def send() -> None:
        start.wait(PATIENCE)
        sender.send(1, PATIENCE)

    results = [in_thread(send) for _ in range(4)]
    for _ in results:
        receiver.get(PATIENCE)
    for result in results:
        result()
    assert len([handle for handle in tree[2].router._handlers if handle >= 1000]) == 1


def test_messages_can_be_read_after_the_end_although_nobody_can_be_told(tree: Tree) -> None:
    receiver = Receiver(tree[0].router, maxsize=2)
    sender = Sender(tree[2].context(0), receiver.handle, 2)
    for i in range(2):
        sender.send(i, PATIENCE)
    while len(receiver._latch._queue) < 2:
        time.sleep(0.001)
    tree[0].end()
    assert [receiver.get_data(PATIENCE) for _ in range(2)] == [0, 1]
    with pytest.raises(ChannelError):
        receiver.get(PATIENCE)


def test_little_is_remembered_of_senders_that_were_told_of_everything(tree: Tree) -> None:
    receiver = Receiver(tree[0].router, maxsize=2)
    for _ in range(5):
        Sender(tree[2].context(0), receiver.handle, 2).send(1, PATIENCE)
        receiver.get(PATIENCE)
    assert receiver._unpaid == {}


# -- Those who were given a sender --------------------------------------------------------------------


def test_a_receiver_that_was_closed_is_not_kept_by_those_who_had_its_sender(tree: Tree) -> None:
    before = set(tree[0].router._handlers)
    receiver = Receiver(tree[0].router)
    receiver.note_holder(tree[0].context(1))
    receiver.note_holder(tree[0].context(2))
    receiver.close()
    kept = weakref.ref(receiver)
    del receiver
    gc.collect()
    assert kept() is None
    assert set(tree[0].router._handlers) == before


def test_a_sender_that_was_given_to_one_that_is_gone_ends_the_wait(tree: Tree) -> None:
    receiver = Receiver(tree[2].router)
    serialization.dumps(receiver.to_sender())
    receiver.note_holder(tree[2].context(99))
    with pytest.raises(ChannelError, match="context 99"):
        receiver.get(PATIENCE)


# -- notify -----------------------------------------------------------------------------------------


def test_notify_is_called_on_the_broker_thread_after_the_message_is_there(node: Node) -> None:
    receiver = Receiver(node.router)
    seen = Latch()
    receiver.notify = lambda r: seen.put((r, r.empty(), threading.get_ident()))
    post(node, receiver, 1)
    assert seen.get(PATIENCE) == (receiver, False, node.broker._thread_id)
    receiver.notify = None
    post(node, receiver, 2)
    assert seen.empty()


def test_notify_is_called_for_dead_messages_too(tree: Tree) -> None:
    receiver = Receiver(tree[0].router, respondent=tree[0].context(1))
    seen = Latch()
    receiver.notify = seen.put
    tree[1].end()
    assert seen.get(PATIENCE) is receiver


def test_a_notify_that_raises_does_not_lose_the_message(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.core.tools import collect_logs

    collect_logs(monkeypatch)
    receiver = Receiver(node.router)
    receiver.notify = operator.methodcaller("no_such_method")
    post(node, receiver, 1)
    receiver.notify = None
    assert receiver.get_data(PATIENCE) == 1


# -- Loss -------------------------------------------------------------------------------------------


def test_the_loss_of_the_respondent_ends_the_wait(tree: Tree) -> None:
    context = tree[0].context(2)
    receiver = Receiver(tree[0].router, respondent=context)
    assert receiver.context is context
    result = in_thread(receiver.get)
    asleep(receiver._latch)
    tree[1].end()
    with pytest.raises(ChannelError, match="context-1"):
        result()


@pytest.mark.parametrize("end", ["respondent", "router"])
def test_the_loss_ends_the_wait_of_every_thread(tree: Tree, end: str) -> None:
    receiver = Receiver(tree[0].router, respondent=tree[0].context(1))
    results = [in_thread(lambda: receiver.get(PATIENCE)) for _ in range(3)]
    asleep(receiver._latch, 3)
    tree[0 if end == "router" else 1].end()
    for result in results:
        with pytest.raises(ChannelError):
            result()


def test_a_wait_that_begins_after_the_loss_was_seen_ends_too(tree: Tree) -> None:
    receiver = Receiver(tree[0].router, respondent=tree[0].context(1))
    tree[1].end()
    for _ in range(2):
        with pytest.raises(ChannelError):
            receiver.get(PATIENCE)


def test_a_receiver_of_one_message_says_that_no_more_will_come(tree: Tree) -> None:
    receiver = Receiver(tree[0].router, persist=False)
    tree[1].send(0, receiver.handle, serialization.dumps(1))  # type: ignore[arg-type]
    assert receiver.get_data(PATIENCE) == 1
    with pytest.raises(ChannelError, match="no more"):
        receiver.get(PATIENCE)


def test_messages_from_before_the_loss_come_first(tree: Tree) -> None:
    receiver = Receiver(tree[0].router, respondent=tree[0].context(1))
    for i in range(3):
        tree[1].send(0, receiver.handle, serialization.dumps(i))  # type: ignore[arg-type]
    tree[1].end()
    assert [receiver.get_data(PATIENCE) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ChannelError):
        receiver.get(PATIENCE)


def test_the_end_of_the_router_ends_waits_old_and_new(node: Node) -> None:
    receiver = Receiver(node.router)
    post(node, receiver, "before")
    result = in_thread(lambda: [msg.unpickle() for msg in receiver])
    node.end()
    assert result() == ["before"]
    for _ in range(2):
        with pytest.raises(ChannelError, match="shut down"):
            receiver.get(PATIENCE)
    with pytest.raises(ChannelError):
        Receiver(node.router).get(PATIENCE)


# -- Sender -----------------------------------------------------------------------------------------


def test_a_sender_can_be_sent_and_used_elsewhere(tree: Tree) -> None:
    receiver = Receiver(tree[0].router)
    at_two = Receiver(tree[2].router)
    tree[0].send(2, at_two.handle, serialization.dumps(receiver.to_sender()))  # type: ignore[arg-type]
    sender = at_two.get_data(PATIENCE)
    assert sender == receiver.to_sender()
    assert sender.context.router is tree[2].router
    sender.send({"from": 2})
    msg, data = receiver.get(PATIENCE)
    assert data == {"from": 2}
    assert msg.src_id == 2


def test_what_cannot_be_sent_is_refused_by_the_sender(node: Node) -> None:
    receiver = Receiver(node.router)
    with pytest.raises(SerializationError, match="object"):
        receiver.to_sender().send([object()])
    assert receiver.empty()


def test_closing_a_sender_ends_the_wait_and_leaves_the_receiver_open(node: Node) -> None:
    receiver = Receiver(node.router)
    sender = receiver.to_sender()
    sender.close()
    with pytest.raises(ChannelError, match="context 0 closed"):
        receiver.get(PATIENCE)
    sender.send(1)
    assert receiver.get_data(PATIENCE) == 1


def test_a_sender_elsewhere_closes_in_the_name_of_its_own_context(tree: Tree) -> None:
    receiver = Receiver(tree[0].router)
    Sender(tree[2].context(0), receiver.handle).close()
    with pytest.raises(ChannelError, match="context 2 closed"):
        receiver.get(PATIENCE)


def test_senders_are_equal_if_they_lead_to_the_same(node: Node) -> None:
    one, two = Sender(Context(None, 1), 5), Sender(Context(None, 1, "other name"), 5)
    assert one == two
    assert len({one, two}) == 1
    assert one != Sender(Context(None, 2), 5)
    assert one != Sender(Context(None, 1), 6)
    assert one != 5
    assert repr(one) == "Sender(Context(1, 'context-1'), handle 5)"


def test_a_sender_received_outside_of_a_router_is_a_mere_name() -> None:
    sender = Sender(Context(None, 1), 5)
    with pytest.raises(Error, match="outside of a router"):
        sender.send(1)
    with pytest.raises(Error, match="outside of a router"):
        sender.close()


# -- Channel ----------------------------------------------------------------------------------------


def test_a_channel_works_in_both_directions(tree: Tree) -> None:
    one = Channel(tree[0].router, tree[0].context(2), 0)
    two = Channel(tree[2].router, tree[2].context(0), one.handle)
    one.dst_handle = two.handle
    one.send("down")
    two.send("up")
    assert two.get_data(PATIENCE) == "down"
    assert one.get_data(PATIENCE) == "up"
    assert "Sender" in repr(one)
    assert "Receiver" in repr(one)


def test_closing_a_channel_ends_both_sides(tree: Tree) -> None:
    two = Receiver(tree[2].router)
    one = Channel(tree[0].router, tree[0].context(2), two.handle)
    one.close()
    with pytest.raises(ChannelError, match="context 0 closed"):
        two.get(PATIENCE)
    with pytest.raises(ChannelError):
        one.get(PATIENCE)


def test_the_loss_of_the_other_side_ends_a_wait_on_a_channel(tree: Tree) -> None:
    channel = Channel(tree[0].router, tree[0].context(1), 5)
    tree[1].end()
    with pytest.raises(ChannelError):
        channel.get(PATIENCE)


# -- Context ----------------------------------------------------------------------------------------


def serve(node: Node) -> int:
    """Register what answers with its message's data; return the handle."""
    return node.router.add_handler(lambda msg: None if msg.is_dead else msg.reply(msg.unpickle()))


def test_send_async_returns_what_receives_the_answer(tree: Tree) -> None:
    handle = serve(tree[2])
    receiver = tree[0].context(2).send_async(Message.pickled("x", handle=handle))
    assert receiver.context == tree[0].context(2)
    assert receiver.get_data(PATIENCE) == "x"
    assert receiver.handle not in tree[0].router._handlers


def test_send_async_may_expect_several_answers(tree: Tree) -> None:

    def count(msg: Message) -> None:
        if not msg.is_dead:
            for i in range(3):
                msg.reply(i)

    handle = tree[2].router.add_handler(count)
    receiver = tree[0].context(2).send_async(Message(handle=handle), persist=True)
    assert [receiver.get_data(PATIENCE) for _ in range(3)] == [0, 1, 2]
    receiver.close()


def test_send_await_returns_the_answer(tree: Tree) -> None:
    handle = serve(tree[2])
    assert tree[0].context(2).send_await(Message.pickled([1], handle=handle), PATIENCE) == [1]


def test_send_await_gives_up_after_its_time_and_leaves_nothing_behind(tree: Tree) -> None:
    handle = tree[2].router.add_handler(lambda msg: None)
    before = set(tree[0].router._handlers)
    start = time.monotonic()
    with pytest.raises(TimeoutError):
        tree[0].context(2).send_await(Message(handle=handle), 0.02)
    assert time.monotonic() - start >= 0.02
    assert set(tree[0].router._handlers) == before


def test_send_await_gives_up_after_its_time_also_while_the_link_is_full(node: Node) -> None:
    node.router.high_water_mark = 0
    peer = Peer(node, 1)
    context = node.context(1)
    while not peer.stream.queued:
        context.send(Message(handle=5000, data=bytes(1 << 20)))
    before = set(node.router._handlers)
    with pytest.raises(TimeoutError, match="wait to be sent"):
        context.send_await(Message(handle=5000), 0.02)
    assert set(node.router._handlers) == before
    peer.sock.close()


def test_send_await_raises_what_the_other_side_says(tree: Tree) -> None:
    context = tree[0].context(2)
    with pytest.raises(ChannelError, match="has no handle 4242"):
        context.send_await(Message(handle=4242), PATIENCE)
    with pytest.raises(ChannelError, match="no route|not connected"):
        tree[0].context(99).send_await(Message(handle=1), PATIENCE)


def test_a_message_that_could_not_be_sent_leaves_no_handle_behind(tree: Tree) -> None:
    before = set(tree[0].router._handlers)
    too_large = Message(handle=1, data=b"x" * (tree[0].router.max_message_size + 1))
    with pytest.raises(Error, match="larger"):
        tree[0].context(2).send_async(too_large)
    assert set(tree[0].router._handlers) == before


def test_a_context_can_be_sent_and_used_elsewhere(tree: Tree) -> None:
    handle = serve(tree[0])
    at_two = Receiver(tree[2].router)
    tree[0].send(2, at_two.handle, serialization.dumps(Context(tree[0].router, 0, "zero")))  # type: ignore[arg-type]
    context = at_two.get_data(PATIENCE)
    assert (context.context_id, context.name) == (0, "zero")
    assert context.router is tree[2].router
    msg = Message.pickled("x", handle=handle, src_id=2, auth_id=2)
    assert context.send_await(msg, PATIENCE) == "x"


def test_contexts_are_equal_if_their_ids_are() -> None:
    assert Context(None, 1) == Context(None, 1, "other name")
    assert Context(None, 1) != Context(None, 2)
    assert Context(None, 1) != 1
    assert len({Context(None, 1), Context(None, 1)}) == 1
    assert repr(Context(None, 1)) == "Context(1, 'context-1')"


def test_a_context_without_a_router_cannot_be_used() -> None:
    with pytest.raises(Error, match="outside of a router"):
        Context(None, 1).send(Message())


@pytest.mark.parametrize("context_id", ["1", None, 1.5, [], -1, 1 << 32])
def test_a_context_id_that_is_none_is_a_damaged_message(context_id: Any) -> None:
    context: Any = Context(None, 1, "name")
    context.context_id = context_id
    data: Any = serialization.dumps(context)
    with pytest.raises(SerializationError):
        serialization.loads(data, None)


def test_who_asks_again_before_the_broker_thread_notes_the_only_message_is_told(node: Node) -> None:
    receiver: Any = Receiver(node.router, persist=False)
    put, has_one = receiver._latch.put, threading.Event()

    def put_slowly(msg: Message) -> None:
        put(msg)
        assert has_one.wait(PATIENCE)

    def get_twice() -> None:
        receiver.get(PATIENCE)
        with pytest.raises(ChannelError, match="one message"):
            receiver.get(PATIENCE)
        has_one.set()

    receiver._latch.put = put_slowly
    result = in_thread(get_twice)
    asleep(receiver._latch)
    node.router.route(Message(dst_id=node.router.context_id, handle=receiver.handle, data=b""))
    result()
