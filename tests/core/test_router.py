"""`mitogen.core.router`: several contexts in this one process, joined by sockets.

The usual tree is a chain: 0 is the master, 1 its child, 2 the child of 1; and 3 is another child of 0.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from mitogen.core import handles
from mitogen.core.errors import CallError, ChannelError, Error
from mitogen.core.framing import encode_header
from mitogen.core.latch import Latch
from mitogen.core.message import Message, make
from mitogen.core.router import has_parent_authority
from mitogen.core.signals import listen
from tests.core.tools import PATIENCE, Inbox, Node, Peer, Tree, collect_logs, ended, in_thread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mitogen.core.stream import Stream


@pytest.fixture
def node() -> Iterator[Node]:
    yield from ended(Node(0))


@pytest.fixture
def tree() -> Iterator[Tree]:
    tree = Tree({0: None, 1: 0, 2: 1, 3: 0})
    yield tree
    tree.end()


def reason(msg: Message) -> str:
    """Return why `msg` is dead."""
    assert msg.is_dead
    return str(msg.unpickle(throw=False))


def echo(msg: Message) -> None:
    """A handler that sends everything back."""
    if not msg.is_dead:
        msg.reply(msg.data)


# -- Delivery ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("src", [0, 1, 2, 3])
@pytest.mark.parametrize("dst", [0, 1, 2, 3])
def test_a_message_gets_from_anywhere_to_anywhere_and_its_answer_back(
    tree: Tree, src: int, dst: int
) -> None:
    inbox, handle = tree[dst].inbox()
    tree[src].send(dst, handle, b"hello", reply_to=77)
    msg = inbox.get()
    assert (msg.src_id, msg.auth_id, msg.dst_id, msg.handle) == (src, src, dst, handle)
    assert msg.data == b"hello"
    assert msg.router is tree[dst].router
    tree[dst].router.del_handler(handle)
    tree[dst].router.add_handler(echo, handle)
    assert tree[src].ask(dst, handle, b"again").unpickle() == b"again"


def test_messages_between_two_contexts_stay_in_order(tree: Tree) -> None:
    inbox, handle = tree[3].inbox()
    for i in range(500):
        tree[2].send(3, handle, b"%d" % i)
    assert [int(inbox.get().data) for _ in range(500)] == list(range(500))


def test_handlers_run_on_the_broker_thread_of_their_context(tree: Tree) -> None:
    latch = Latch()
    handle = tree[2].router.add_handler(lambda msg: latch.put(threading.get_ident()))
    for src in (0, 1, 2):
        tree[src].send(2, handle)
        assert latch.get(PATIENCE) == tree[2].broker._thread_id


def test_the_lower_overhead_version_of_route_does_the_same(tree: Tree) -> None:
    inbox, handle = tree[2].inbox()
    tree[0].run(lambda: tree[0].router._async_route(tree[0].message(2, handle, b"x")))
    assert inbox.get().data == b"x"


# -- No delivery ------------------------------------------------------------------------------------


@pytest.mark.parametrize("src", [0, 1, 2])
def test_a_message_to_nobody_is_answered_dead_by_the_root(tree: Tree, src: int) -> None:
    answer = tree[src].ask(999, 1)
    assert answer.src_id == 0
    assert "no route to context 999" in reason(answer)


@pytest.mark.parametrize(("src", "dst"), [(0, 0), (0, 2), (2, 0), (2, 3), (1, 1)])
def test_a_message_to_an_unknown_handle_is_answered_dead_by_its_context(
    tree: Tree, src: int, dst: int
) -> None:
    answer = tree[src].ask(dst, 4242)
    assert answer.src_id == dst
    assert reason(answer) == "context %d has no handle 4242" % dst


def test_a_message_that_asks_for_no_answer_gets_none(tree: Tree) -> None:
    inbox, handle = tree[0].inbox()
    tree[0].send(999, 1)
    tree[0].send(2, 4242)
    tree[2].send(0, handle, b"marker")
    assert inbox.get().data == b"marker"
    assert inbox.empty()


def test_a_dead_message_is_never_answered(tree: Tree) -> None:
    inbox, handle = tree[2].inbox()
    for dst, unknown in ((0, 4242), (999, 1), (3, 4242)):
        msg = Message.dead("x", dst_id=dst, handle=unknown, src_id=2, auth_id=2)
        tree[2].router.route(msg)
    assert tree[2].ask(0, 4242).is_dead
    tree[3].send(2, handle, b"marker")
    assert inbox.get().data == b"marker"
    assert inbox.empty()


def test_a_message_to_a_context_whose_link_is_gone_is_answered_dead(tree: Tree) -> None:
    gone = Latch()
    listen(tree.streams[3][0], "disconnect", gone.put)
    tree[3].end()
    gone.get(PATIENCE)
    answer = tree[2].ask(3, 1)
    assert "context" in reason(answer)
    assert tree[2].ask(0, 4242).is_dead  # The others live on.


# -- Handlers ---------------------------------------------------------------------------------------


def test_a_handle_may_be_chosen_or_left_to_the_router(node: Node) -> None:
    assert node.router.add_handler(print, 123) == 123
    handle = node.router.add_handler(print)
    assert handle >= handles.FIRST_DYNAMIC_HANDLE
    assert node.router.add_handler(print) != handle


def test_a_handle_in_use_is_refused(node: Node) -> None:
    node.router.add_handler(print, 123)
    with pytest.raises(Error, match="123"):
        node.router.add_handler(print, 123)


def test_a_handle_that_somebody_chose_is_not_given_to_another(node: Node) -> None:
    free = node.router.add_handler(print)
    inbox, chosen = node.inbox(free + 1)
    assert node.router.add_handler(print) != chosen
    node.send(0, chosen, b"x")
    assert inbox.get().data == b"x"


def test_a_handler_can_be_removed_once(node: Node) -> None:
    _, handle = node.inbox()
    node.router.del_handler(handle)
    assert node.ask(0, handle).is_dead
    with pytest.raises(KeyError):
        node.router.del_handler(handle)


def test_who_asks_a_handler_that_raises_is_told(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    collect_logs(monkeypatch)
    handle = tree[2].router.add_handler(lambda msg: 1 // 0)
    assert "failed" in reason(tree[0].ask(2, handle))


def test_a_handler_that_need_not_persist_gets_one_message(tree: Tree) -> None:
    inbox, handle = tree[2].inbox(persist=False)
    tree[0].send(2, handle, b"one")
    assert "has no handle" in reason(tree[0].ask(2, handle, b"two"))
    assert inbox.get().data == b"one"
    assert inbox.empty()


def test_a_handler_that_raises_is_logged_and_stays(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = collect_logs(monkeypatch)

    def fails(msg: Message) -> None:
        if not msg.is_dead:
            raise ValueError("the reason")

    handle = node.router.add_handler(fails)
    for _ in range(2):
        node.send(0, handle, b"x")
    node.settle()
    assert [text.count("ValueError: the reason") for _, _, text in lines] == [1, 1]


# -- Policies ---------------------------------------------------------------------------------------


def test_a_policy_sees_the_message_and_the_link_it_came_on(tree: Tree) -> None:
    seen = Latch()

    def policy(msg: Message, stream: Stream | None) -> bool:
        seen.put((msg.data, stream))
        return True

    inbox, handle = tree[0].inbox(policy=policy)
    tree[2].send(0, handle, b"x")
    assert seen.get(PATIENCE) == (b"x", tree.streams[1][0])
    inbox.get()
    tree[0].send(0, handle, b"y")
    assert seen.get(PATIENCE) == (b"y", None)


@pytest.mark.parametrize("src", [0, 1, 2])
def test_what_a_policy_refuses_is_answered_with_an_error_and_logged(
    tree: Tree, src: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = collect_logs(monkeypatch)
    inbox, handle = tree[0].inbox(policy=lambda msg, stream: False, persist=False)
    answer = tree[src].ask(0, handle, b"hunter2")
    with pytest.raises(CallError, match="refused .* policy"):
        answer.unpickle()
    assert inbox.empty()
    assert any("handle %d" % handle in text for _, _, text in lines)
    assert not any("hunter2" in text for _, _, text in lines)


def test_a_refused_message_does_not_use_up_the_handler(tree: Tree) -> None:
    inbox, handle = tree[0].inbox(policy=lambda msg, stream: msg.src_id == 3, persist=False)
    tree[2].ask(0, handle)
    tree[3].send(0, handle, b"x")
    assert inbox.get().data == b"x"


def test_a_policy_holds_for_dead_messages_too(tree: Tree) -> None:
    inbox, handle = tree[2].inbox(policy=has_parent_authority)
    tree[3].router.route(Message.dead("evil", dst_id=2, handle=handle, src_id=3, auth_id=3))
    tree[3].ask(2, 4242)
    assert inbox.empty()


def test_a_policy_that_raises_refuses(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    collect_logs(monkeypatch)
    inbox, handle = tree[0].inbox(policy=lambda msg, stream: 1 // 0)
    with pytest.raises(CallError):
        tree[2].ask(0, handle).unpickle()
    assert inbox.empty()
    assert tree[2].ask(0, 4242).is_dead


@pytest.mark.parametrize(("src", "allowed"), [(0, True), (1, True), (2, True), (3, False)])
def test_parents_and_the_context_itself_have_the_authority_of_a_parent(
    tree: Tree, src: int, allowed: bool
) -> None:
    inbox, handle = tree[2].inbox(policy=has_parent_authority)
    if allowed:
        tree[src].send(2, handle, b"try")
        assert inbox.get().data == b"try"
    else:
        with pytest.raises(CallError):
            tree[src].ask(2, handle, b"try").unpickle()
        assert inbox.empty()


def test_a_message_acts_with_the_authority_it_was_given(tree: Tree) -> None:
    inbox, handle = tree[2].inbox(policy=has_parent_authority)
    # The master lets 3 act for it: what 3 sent comes on from the master.
    tree[0].router.route(tree[0].message(2, handle, b"x", src_id=3, auth_id=0))
    msg = inbox.get()
    assert (msg.src_id, msg.auth_id) == (3, 0)


def test_a_message_that_no_router_received_has_no_authority() -> None:
    assert not has_parent_authority(Message())


# -- Loss -------------------------------------------------------------------------------------------


def test_a_handler_is_told_when_the_context_it_waits_for_is_gone(tree: Tree) -> None:
    inbox, handle = tree[0].inbox(respondent=tree[0].context(3))
    other, _ = tree[0].inbox(respondent=tree[0].context(1))
    plain, _ = tree[0].inbox()
    tree[3].end()
    assert "context-3" in reason(inbox.get())
    assert other.empty()
    assert plain.empty()
    assert "has no handle" in reason(tree[0].ask(0, handle))


def test_with_a_context_go_those_behind_it(tree: Tree) -> None:
    inbox, _ = tree[0].inbox(respondent=tree[0].context(2))
    tree[1].end()
    assert "context-1" in reason(inbox.get())


def test_a_child_is_told_when_its_parents_are_gone(tree: Tree) -> None:
    inboxes = [tree[2].inbox(respondent=tree[2].context(i))[0] for i in (1, 0)]
    tree[1].end()
    for inbox in inboxes:
        assert "context-1" in reason(inbox.get())


def test_a_child_is_told_when_what_it_reached_by_its_parent_is_gone(tree: Tree) -> None:
    inbox, _ = tree[2].inbox(respondent=tree[2].context(3))
    tree[1].end()
    assert inbox.get().is_dead


def test_who_waits_for_a_context_that_is_gone_already_is_told_at_once(tree: Tree) -> None:
    gone = Latch()
    listen(tree.streams[3][0], "disconnect", gone.put)
    tree[3].end()
    gone.get(PATIENCE)
    assert tree[0].ask(3, 1).is_dead
    inbox, _ = tree[0].inbox(respondent=tree[0].context(3))
    assert "the connection to context" in reason(inbox.get())


def test_a_context_fires_disconnect_once_when_it_is_gone(node: Node) -> None:
    peer = Peer(node, 7)
    context = node.context(7)
    gone = Latch()
    listen(context, "disconnect", gone.put)
    peer.sock.close()
    gone.get(PATIENCE)
    node.settle()
    assert gone.empty()


def test_every_handler_is_told_when_the_router_ends(tree: Tree) -> None:
    fired = Latch()
    listen(tree[2].router, "shutdown", fired.put)
    inboxes = [tree[2].inbox()[0] for _ in range(3)]
    tree[2].end()
    fired.get(PATIENCE)
    for inbox in inboxes:
        assert "router has shut down" in reason(inbox.get())
        assert inbox.empty()


def test_a_handler_that_comes_after_the_end_is_told_at_once(node: Node) -> None:
    node.end()
    inbox, handle = node.inbox()
    assert "shut down" in reason(inbox.get())
    with pytest.raises(KeyError):
        node.router.del_handler(handle)


def test_no_handler_is_forgotten_that_comes_while_the_router_ends() -> None:
    for _ in range(30):
        node = Node(0)

        def register(node: Node = node) -> list[Inbox]:
            return [node.inbox()[0] for _ in range(50)]

        threads = [in_thread(register) for _ in range(2)]
        node.end()
        for done in threads:
            for inbox in done():
                assert inbox.get().is_dead
                assert inbox.empty()


def test_sending_after_the_end_is_an_error_or_answered_dead(tree: Tree) -> None:
    tree[0].end()
    for dst in (0, 1, 2, 3):
        inbox = Inbox()
        try:
            tree[0].router.route(tree[0].message(dst, 1))
        except ChannelError as e:
            assert "shut down" in str(e)
        assert inbox.empty()


# -- Liars ------------------------------------------------------------------------------------------


@pytest.fixture
def liar(node: Node) -> Iterator[Peer]:
    """Context 7, a child that says what it likes; context 8 is an honest sibling."""
    peer = Peer(node, 7)
    yield peer
    peer.sock.close()


@pytest.fixture
def sibling(node: Node) -> Iterator[Peer]:
    peer = Peer(node, 8)
    yield peer
    peer.sock.close()


def say(
    peer: Peer, dst: int, src: int, auth: int, handle: int, reply_to: int = 0, data: bytes = b""
) -> None:
    peer.sock.sendall(encode_header(make(dst, src, auth, handle, reply_to, data)) + data)


@pytest.mark.parametrize(("src", "auth"), [(0, 0), (7, 0), (0, 7), (8, 8), (7, 8), (8, 7), (99, 99)])
@pytest.mark.parametrize("dst", [0, 7, 8, 99])
def test_a_child_that_lies_about_itself_is_neither_heard_nor_answered_nor_passed_on(
    node: Node, liar: Peer, sibling: Peer, src: int, auth: int, dst: int
) -> None:
    inbox, handle = node.inbox()
    say(liar, dst, src, auth, handle, reply_to=1000, data=b"lie")
    say(liar, 0, 7, 7, handle, data=b"truth")
    assert inbox.get().data == b"truth"
    node.send(8, 5, b"end")
    node.send(7, 5, b"end")
    for peer in (liar, sibling):
        header = make(peer.stream.remote_id, 0, 0, 5, 0, b"end")
        assert peer.read(29) == encode_header(header) + b"end"


def test_a_liar_is_logged_without_what_it_said_and_not_each_time(
    node: Node, liar: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = collect_logs(monkeypatch)
    inbox, handle = node.inbox()
    for _ in range(100):
        say(liar, 0, 0, 0, handle, data=b"hunter2")
    say(liar, 0, 7, 7, handle)
    inbox.get()
    assert 1 <= len(lines) <= 2
    assert "context-7" in lines[0][2]
    assert "hunter2" not in lines[0][2]


def test_a_parent_that_lies_is_not_believed_either(tree: Tree) -> None:
    inbox, handle = tree[1].inbox()
    # 2 is behind 1: nothing of it can come from above.
    stream = tree.streams[1][0]
    stream.send(make(1, 2, 2, handle, 0, b"lie"))
    stream.send(make(1, 1, 1, handle, 0, b"lie"))
    stream.send(make(1, 0, 0, handle, 0, b"truth"))
    assert inbox.get().data == b"truth"
    assert inbox.empty()


def test_a_message_never_goes_back_where_it_came_from(node: Node, liar: Peer) -> None:
    node.run(lambda: node.router.add_route(70, 7))
    inbox, handle = node.inbox()
    say(liar, 70, 7, 7, 1, reply_to=1234)
    say(liar, 0, 7, 7, handle)
    inbox.get()
    header = liar.read(26)
    assert header[:26][2:6] == (7).to_bytes(4, "big")
    assert (1234).to_bytes(4, "big") in header


# -- Limits -----------------------------------------------------------------------------------------


@pytest.fixture
def small() -> Iterator[Tree]:
    tree = Tree({0: None, 1: 0}, node0={"max_message_size": 1000}, node1={"max_message_size": 5000})
    yield tree
    tree.end()


@pytest.mark.parametrize("dst", [0, 1])
def test_a_message_over_the_limit_is_an_error_where_it_is_sent(small: Tree, dst: int) -> None:
    inbox, handle = small[dst].inbox()
    with pytest.raises(Error, match=r"1000 bytes.* it has 1001"):
        small[0].send(dst, handle, b"x" * 1001)
    small[0].send(dst, handle, b"x" * 1000)
    assert inbox.get().size() == 1000
    assert inbox.empty()


def test_a_message_over_the_limit_from_another_ends_its_link(
    small: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    collect_logs(monkeypatch)
    inbox, handle = small[0].inbox(respondent=small[0].context(1))
    small[1].send(0, handle, b"x" * 1001)
    assert "1001 bytes" in reason(inbox.get())


# -- Unidirectional ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("src", "dst", "allowed"), [(2, 3, False), (3, 2, False), (2, 0, True), (2, 1, True), (0, 2, True)]
)
def test_a_unidirectional_router_keeps_its_children_apart(
    tree: Tree, src: int, dst: int, allowed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = collect_logs(monkeypatch)
    tree[0].router.unidirectional = True
    assert tree[0].router.unidirectional
    tree[dst].router.add_handler(echo, 123)
    answer = tree[src].ask(dst, 123, b"x")
    if allowed:
        assert answer.unpickle() == b"x"
    else:
        assert "unidirectional" in reason(answer)
        assert any("unidirectional" in text for _, _, text in lines)


# -- Routes -----------------------------------------------------------------------------------------


def test_the_stream_for_a_context_is_that_of_the_known_route_or_of_the_parent(tree: Tree) -> None:
    down, up = tree.streams[2][0], tree.streams[1][1]
    router = tree[1].router
    assert router.stream_by_id(2) is down
    assert router.stream_by_id(0) is up
    assert router.stream_by_id(999) is up
    assert router.stream_by_id(1) is None
    assert tree[0].router.stream_by_id(999) is None
    assert tree[0].router.stream_by_id(2) is tree.streams[1][0]


def test_a_route_needs_a_link_to_go_by(node: Node) -> None:
    with pytest.raises(Error, match="no link leads to context 8"):
        node.run(lambda: node.router.add_route(9, 8))


def test_several_routers_may_share_a_broker(node: Node) -> None:
    from mitogen.core.router import Router

    other = Router(node.broker, 5)
    inbox = Inbox()
    handle = other.add_handler(inbox)
    other.route(make(5, 5, 5, handle, 0, b"x"))
    assert inbox.get().data == b"x"


def test_many_threads_send_and_ask_at_once(tree: Tree) -> None:
    tree[3].router.add_handler(echo, 123)

    def ask(i: int) -> Any:
        return [tree[2].ask(3, 123, b"%d.%d" % (i, j)).unpickle() for j in range(50)]

    threads = [in_thread(lambda i=i: ask(i)) for i in range(4)]  # type: ignore[misc]
    assert [done() for done in threads] == [[b"%d.%d" % (i, j) for j in range(50)] for i in range(4)]


def test_nobody_answers_for_the_respondent(tree: Tree) -> None:
    inbox, handle = tree[0].inbox(respondent=tree[0].context(3))
    tree[1].send(0, handle, b"forged")
    tree[2].send(0, handle, b"forged")
    tree[1].router.route(Message.dead("forged", dst_id=0, handle=handle, src_id=1, auth_id=1))
    tree[1].ask(0, 4242)
    tree[2].ask(0, 4242)
    tree[3].send(0, handle, b"real")
    assert inbox.get().data == b"real"
    assert inbox.empty()


def test_who_is_on_the_way_to_the_respondent_may_say_that_it_is_not_there(tree: Tree) -> None:
    inbox, handle = tree[2].inbox(respondent=tree[2].context(3))
    tree[1].router.route(Message.dead("no way", dst_id=2, handle=handle, src_id=1, auth_id=1))
    assert reason(inbox.get()) == "no way"


def test_nobody_but_a_parent_says_that_another_parent_is_not_there(tree: Tree) -> None:
    inbox, handle = tree[2].inbox(respondent=tree[2].context(0))
    tree[3].router.route(Message.dead("forged", dst_id=2, handle=handle, src_id=3, auth_id=3))
    tree[3].ask(2, 4242)
    tree[1].router.route(Message.dead("no way", dst_id=2, handle=handle, src_id=1, auth_id=1))
    assert reason(inbox.get()) == "no way"


def test_the_end_of_one_context_takes_no_look_at_the_others(tree: Tree) -> None:
    looked: list[int] = []
    contexts: dict[int, object] = tree[0].router._contexts  # type: ignore[assignment]
    contexts[77] = lambda: looked.append(77)
    lost = tree[0].context(1)
    tree[0].run(lambda: tree[0].router.lose([1], "gone"))
    assert (lost.reason, looked) == ("gone", [])
    del contexts[77]
