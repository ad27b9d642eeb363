"""`mitogen.parent.answers`: what masters wait on for the answer to a call, mostly with a real context."""

from __future__ import annotations

import functools
import os
import posixpath
import shlex
import signal
import threading
import time
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest

import mitogen.master
from mitogen.core import latch
from mitogen.core.errors import CallError, ChannelError, Error, LatchError, TimeoutError
from mitogen.core.framing import HEADER, HEADER_SIZE, MAGIC
from mitogen.core.handles import CALL_FUNCTION, IS_DEAD
from mitogen.core.receiver import Receiver
from mitogen.core.serialization import JOIN_LIMIT, RAW, dumps
from mitogen.parent import CallChain
from mitogen.parent.answers import Answer, ask, ask_later
from mitogen.select import Select
from tests.core.tools import PATIENCE, Node, Peer, asleep, collect_logs, ended, in_thread
from tests.integration import remote

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mitogen.core import Context as CoreContext
    from mitogen.parent import Context

CHILD, OTHER, HANDLE = 7, 8, 5


@pytest.fixture(scope="module")
def shared() -> Iterator[Context]:
    """A context that all tests use which leave it as it was."""
    with mitogen.master.Router() as router:
        # As many as are ever kept, so that no test is taken to have left the pipes of its threads behind.
        while len(latch._idle_pipes) < latch._MAX_IDLE:
            latch._idle_pipes.append(latch._Pipe())
        context = router.local()
        context.call(remote.noted)
        yield context


@pytest.fixture
def context(shared: Context) -> Iterator[Context]:
    """The shared context, which no wait on it may be left of."""
    before = set(router_of(shared)._handlers)
    yield shared
    assert shared.call(remote.identity, 1) == 1
    assert set(router_of(shared)._handlers) == before


def router_of(context: CoreContext) -> Any:
    return context.router


def answer_of(context: Context, fn: Any, *args: object) -> Answer:
    """Call `fn`, and return what waits for its result."""
    chain = CallChain(context)
    answer = ask(context, CALL_FUNCTION, chain._body(fn, args, {}))
    assert type(answer) is Answer
    return answer


def is_waited_for(router: Any) -> bool:
    """Return True if a thread waits for an answer."""
    owners = [getattr(entry[0], "__self__", None) for entry in list(router._handlers.values())]
    return any(isinstance(owner, Answer) and owner._pipe is not None for owner in owners)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture
def node() -> Iterator[Node]:
    yield from ended(Node(0))


@pytest.fixture
def peer(node: Node) -> Iterator[Peer]:
    """A child that answers what the test has it answer."""
    peer = Peer(node, CHILD)
    yield peer
    peer.sock.close()


def reply(peer: Peer, handle: int, data: bytes, src_id: int = CHILD, reply_to: int = 0) -> None:
    peer.sock.sendall(HEADER.pack(MAGIC, 0, src_id, src_id, handle, reply_to, len(data)) + data)


def asked(node: Node) -> Answer:
    """Send a call to the peer; return what waits for the answer."""
    answer = ask(node.context(CHILD), HANDLE, b"a call")
    assert answer is not None
    return answer


def in_wait(answer: Answer) -> Any:
    """Have a thread wait for `answer`; return what gives its result, once it does."""
    result = in_thread(lambda: answer.get_data(PATIENCE))
    tick = threading.Event()
    for _ in range(int(PATIENCE / 0.001)):
        if answer._pipe is not None:
            return result
        tick.wait(0.001)
    raise AssertionError("nobody waits")


# -- Results -------------------------------------------------------------------------------------------

VALUES: list[object] = [
    None,
    True,
    False,
    0,
    255,
    256,
    65_535,
    65_536,
    -1,
    1 << 31,
    1 << 70,
    1.5,
    float("inf"),
    "",
    "text",
    "x" * 100_000,
    b"",
    b"\0",
    b"\x80",
    b"small",
    b"x" * (JOIN_LIMIT - 2),
    b"x" * (JOIN_LIMIT - 1),
    b"\0" * JOIN_LIMIT,
    b"\x80" * 100_000,
    bytes(range(256)) * 20_000,
    bytearray(b"\0" * 100_000),
    (1, [2, {"three": {4}}], b"x" * 50_000),
    [b"\0" * 20_000, b"\0"],
    {},
]


@pytest.mark.parametrize("value", VALUES, ids=lambda v: ascii(v)[:20])
def test_a_value_comes_back_as_it_was(context: Context, value: object) -> None:
    for result in (
        context.call(remote.identity, value),
        context.call_async(remote.identity, value).get_data(PATIENCE),
        context.call_async(remote.identity, value).get(PATIENCE).unpickle(),
    ):
        assert result == value
        assert type(result) is type(value)


@pytest.mark.parametrize("size", [0, 1, JOIN_LIMIT - 2, JOIN_LIMIT - 1, JOIN_LIMIT, 65_536, 5_000_000])
def test_bytes_of_any_size_come_to_who_asked_for_them(context: Context, size: int) -> None:
    for _ in range(3):
        assert answer_of(context, remote.bytes_of, size).get_data(PATIENCE) == b"x" * size


def test_the_usual_call_waits_on_an_answer_and_on_a_receiver_without_more(context: Context) -> None:
    chain = CallChain(context)
    body = chain._body(abs, (-1,), {})
    answer = chain._ask("_ask", body)
    assert type(answer) is Answer
    assert answer.get_data(PATIENCE) == 1
    receiver = chain._ask("_ask_later", body)
    assert type(receiver) is Receiver
    assert (receiver.context, receiver.maxsize, receiver.notify) == (context, None, None)
    assert receiver.get_data(PATIENCE) == 1


def test_a_call_whose_arguments_are_large_waits_on_a_receiver(context: Context) -> None:
    chain = CallChain(context)
    receiver = chain._ask("_ask", chain._body(len, ("x" * 100_000,), {}))
    assert type(receiver) is Receiver
    assert receiver.get_data(PATIENCE) == 100_000


def test_what_a_function_raises_is_raised_here(context: Context) -> None:
    with pytest.raises(CallError, match="builtins.ValueError: bad|ValueError: bad") as info:
        context.call(remote.raise_named, "ValueError", "bad")
    assert "raise_named" in info.value.traceback
    receiver = context.call_async(remote.raise_named, "ValueError", "bad")
    msg = receiver.get(PATIENCE)
    assert isinstance(msg.unpickle(throw=False), CallError)
    with pytest.raises(CallError, match="bad"):
        msg.unpickle()
    with pytest.raises(CallError, match="bad"):
        context.call_async(remote.raise_named, "ValueError", "bad").get_data(PATIENCE)


def test_a_dead_answer_is_raised(node: Node, peer: Peer) -> None:
    for is_early in True, False:
        answer = asked(node)
        result = None if is_early else in_wait(answer)
        reply(peer, answer.handle, b"there is no such handle", reply_to=IS_DEAD)
        with pytest.raises(ChannelError, match="^there is no such handle$"):
            result() if result else answer.get_data(PATIENCE)
        assert answer.handle not in node.router._handlers


def test_an_answer_that_was_there_already_needs_no_wait(node: Node, peer: Peer) -> None:
    answer = asked(node)
    peer.read(HEADER_SIZE + len(b"a call"))
    reply(peer, answer.handle, RAW + b"it")
    while answer._msg is None:
        node.settle()
    assert answer.get_data(0) == b"it"


def test_nobody_else_answers(node: Node, peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = collect_logs(monkeypatch)
    other = Peer(node, OTHER)
    answer = asked(node)
    result = in_wait(answer)
    reply(other, answer.handle, RAW + b"false", src_id=OTHER)
    while not lines:
        node.settle()
    assert "by its policy" in lines[0][2]
    reply(peer, answer.handle, RAW + b"true")
    assert result() == b"true"
    other.sock.close()


def test_an_answer_is_taken_once(node: Node, peer: Peer) -> None:
    answer = asked(node)
    peer.read(HEADER_SIZE + len(b"a call"))
    reply(peer, answer.handle, RAW + b"first")
    reply(peer, answer.handle, RAW + b"second", reply_to=77)
    assert answer.get_data(PATIENCE) == b"first"
    magic, _, _, _, handle, reply_to, _ = HEADER.unpack(peer.read(HEADER_SIZE))
    assert (magic, handle, reply_to) == (MAGIC, 77, IS_DEAD)


# -- What is not asked like that -----------------------------------------------------------------------


def test_what_is_unusual_is_not_asked_and_leaves_nothing_behind(node: Node, peer: Peer) -> None:
    def try_both(context_id: int, body: Any) -> list[object]:
        context = node.context(context_id)
        before = dict(node.router._handlers)
        found: list[object] = [ask(context, HANDLE, body), ask_later(context, HANDLE, body)]
        assert node.router._handlers == before
        return found

    for context_id, body in [(CHILD, b"x" * JOIN_LIMIT), (CHILD, [b"x"]), (0, b"x"), (99, b"x")]:
        assert try_both(context_id, body) == [None, None]
    peer.sock.close()
    peer.gone.get(PATIENCE)
    assert try_both(CHILD, b"x") == [None, None]
    assert peer.stream.sent == 0


def test_a_handle_that_somebody_chose_is_not_used(node: Node, peer: Peer) -> None:
    taken = node.router._next_handle() + 1
    inbox, _ = node.inbox(taken)
    assert ask(node.context(CHILD), HANDLE, b"x") is None
    assert node.router._handlers[taken][0] is inbox
    answer = asked(node)
    assert answer.handle == taken + 1
    answer.close()
    inbox, _ = node.inbox(taken + 2)
    assert ask_later(node.context(CHILD), HANDLE, b"x") is None
    assert node.router._handlers[taken + 2][0] is inbox


@pytest.mark.parametrize("asking", [ask, ask_later])
def test_an_exception_while_a_call_is_sent_leaves_no_handle(
    node: Node, peer: Peer, asking: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(buffers: object) -> bool:
        raise KeyboardInterrupt

    before = dict(node.router._handlers)
    monkeypatch.setattr(peer.stream, "write", fail)
    with pytest.raises(KeyboardInterrupt):
        asking(node.context(CHILD), HANDLE, b"x")
    assert node.router._handlers == before


def test_who_must_not_wait_is_told(context: Context) -> None:
    broker = router_of(context).broker
    with pytest.raises(Error, match="must not wait"):
        broker.defer_sync(lambda: context.call(abs, -1), PATIENCE)
    # But may ask.
    receiver: Receiver = broker.defer_sync(lambda: context.call_async(abs, -1), PATIENCE)
    assert receiver.get_data(PATIENCE) == 1


# -- Time-outs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("timeout", [0, -1, 0.01, 0.05])
def test_a_wait_ends_in_time_and_the_answer_may_come_later(
    node: Node, peer: Peer, timeout: float
) -> None:
    answer = asked(node)
    started = time.monotonic()
    with pytest.raises(TimeoutError, match="in time"):
        answer.get_data(timeout)
    assert max(timeout, 0) <= time.monotonic() - started < PATIENCE
    assert answer._pipe is None
    reply(peer, answer.handle, RAW + b"late")
    assert answer.get_data(PATIENCE) == b"late"


def test_wake_ups_for_nothing_make_a_wait_no_longer(node: Node, peer: Peer) -> None:
    answer = asked(node)
    done = threading.Event()

    def wake() -> None:
        while not done.wait(0.001):
            pipe = answer._pipe
            if pipe is not None:
                os.write(pipe.write_fd, b"\0")

    waker = in_thread(wake)
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        answer.get_data(0.05)
    assert 0.05 <= time.monotonic() - started < PATIENCE
    done.set()
    waker()


def test_a_call_that_takes_too_long_is_interrupted_and_the_next_one_answered(context: Context) -> None:
    pid = context.call(os.getpid)
    for _ in range(3):
        with pytest.raises(TimeoutError, match=r"sleep\(\) in .* took more than 0\.05 seconds"):
            CallChain(context, timeout=0.05).call(time.sleep, 60)
        assert CallChain(context, timeout=PATIENCE).call(os.getpid) == pid


def test_time_outs_that_race_with_answers_mix_up_nothing(context: Context) -> None:
    timed_out = 0
    for i in range(200):
        try:
            assert CallChain(context, timeout=(1 + i % 40) * 2e-5).call(remote.identity, i) == i
        except TimeoutError:
            timed_out += 1
        assert context.call(remote.identity, (i, i)) == (i, i)
    assert timed_out > 0


# -- Ends ----------------------------------------------------------------------------------------------


def test_the_end_of_the_context_ends_a_wait_with_its_reason(node: Node, peer: Peer) -> None:
    waiting = asked(node)
    result = in_wait(waiting)
    later, receiver = asked(node), ask_later(node.context(CHILD), HANDLE, b"x")
    peer.sock.close()
    for wait in result, lambda: later.get_data(PATIENCE), lambda: receiver and receiver.get(PATIENCE):
        with pytest.raises(ChannelError, match="the connection to context context-7 was closed by it"):
            wait()


def test_a_context_that_goes_while_it_is_waited_for(router: mitogen.master.Router) -> None:
    for name in "call", "call_async":
        context = router.local()
        context.call(remote.noted)
        with pytest.raises(ChannelError, match=context.name):
            if name == "call":
                context.call(os._exit, 3)
            else:
                context.call_async(os._exit, 3).get(PATIENCE)
        # And before.
        with pytest.raises(ChannelError, match=context.name):
            context.call(os.getpid)
        with pytest.raises(ChannelError, match=context.name):
            context.call_async(os.getpid).get(PATIENCE)


def test_a_context_that_goes_takes_all_waits_of_all_threads_with_it(
    router: mitogen.master.Router, tmp_path: Path
) -> None:
    context = router.local()
    pid = context.call(os.getpid)
    results = [
        in_thread(lambda: context.call(remote.sleep, 60, str(tmp_path / "began"))) for _ in range(5)
    ]
    receivers = [context.call_async(remote.identity, i) for i in range(5)]
    tick = threading.Event()
    while not (tmp_path / "began").exists():
        tick.wait(0.001)
    os.kill(pid, signal.SIGKILL)
    for wait in [*results, *(receiver.get for receiver in receivers)]:
        with pytest.raises(ChannelError, match=context.name):
            wait()


def test_the_end_of_the_broker_ends_waits(node: Node, peer: Peer) -> None:
    result = in_wait(asked(node))
    later, receiver = asked(node), ask_later(node.context(CHILD), HANDLE, b"x")
    node.end()
    for wait in result, lambda: later.get_data(PATIENCE), lambda: receiver and receiver.get(PATIENCE):
        with pytest.raises(ChannelError):
            wait()


@pytest.mark.parametrize("how", ["put", "close", "shut down"])
def test_a_wait_with_a_pipe_older_than_its_link_is_ended_by_others(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with mitogen.master.Router() as router:
        # Those of earlier waits are used again, and have lower numbers than the descriptors of the link.
        monkeypatch.setattr(latch, "_idle_pipes", [latch._Pipe() for _ in range(8)])
        context = router.local()
        # Whatever else it has to say at first.
        context.call(remote.noted)
        link: Any = router.stream_by_id(context.context_id)
        link.left_alone = 0
        answer = answer_of(context, time.sleep, 60)
        receiver = context.call_async(time.sleep, 60)
        result = in_thread(receiver.get) if how == "close" else in_wait(answer)
        tick = threading.Event()
        for _ in range(1000):
            # Unless the context just said something else: then its link is left alone once.
            if link.reader:
                break
            tick.wait(0.001)
        if how == "close":
            receiver.close()
        elif how == "put":
            answer.put(mitogen.core.Message.dead("enough"))
        else:
            router.broker.shutdown()
        # The context may just be able to tell of what the shutdown interrupted.
        with pytest.raises((ChannelError, CallError)):
            result()


def test_the_end_of_the_broker_ends_calls_and_later_ones_are_refused(
    router: mitogen.master.Router,
) -> None:
    context = router.local()
    context.call(remote.noted)
    result = in_wait(answer_of(context, time.sleep, 60))
    receiver = context.call_async(time.sleep, 60)
    router.broker.shutdown()
    # The context may just be able to tell of what it interrupted.
    with pytest.raises((ChannelError, CallError)):
        result()
    with pytest.raises((ChannelError, CallError)):
        receiver.get_data(PATIENCE)
    router.broker.join()
    before = set(router._handlers)
    for call in context.call, context.call_async:
        with pytest.raises(ChannelError, match="shut down"):
            call(os.getpid)
    assert set(router._handlers) == before


# -- Interruptions -------------------------------------------------------------------------------------


def test_ctrl_c_ends_a_wait_and_the_context_goes_on(context: Context, tmp_path: Path) -> None:
    router = router_of(context)
    pid = context.call(os.getpid)

    def interrupt(path: Path) -> None:
        tick = threading.Event()
        while not path.exists() or not is_waited_for(router):
            tick.wait(0.001)
        # The thread that waits goes on meanwhile, to where it sleeps.
        router.broker.defer_sync(bool, PATIENCE)
        os.kill(os.getpid(), signal.SIGINT)

    for number in range(5):
        path = tmp_path / str(number)
        with pytest.raises(KeyboardInterrupt):
            sent = in_thread(lambda path=path: interrupt(path))  # type: ignore[misc]
            context.call(remote.sleep, 60, str(path))
        sent()
        assert context.call(os.getpid) == pid


class Interrupted(BaseException):
    """What the signal's handler raises."""


# The moment may be that of a weak reference's callback, which can't raise.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_exception_at_any_moment_of_a_call_mixes_up_nothing(shared: Context) -> None:
    armed: list[bool] = []

    def interrupt(signum: int, frame: object) -> None:
        # May come late: the interpreter looks for signals now and then only.
        if armed:
            armed.clear()
            raise Interrupted

    before = signal.signal(signal.SIGALRM, interrupt)
    interrupted = 0
    try:
        for turn in range(400):
            try:
                armed.append(True)
                signal.setitimer(signal.ITIMER_REAL, (1 + turn % 100) * 4e-6)
                if turn % 2:
                    assert shared.call(remote.identity, turn) == turn
                else:
                    assert shared.call_async(remote.identity, turn).get_data(PATIENCE) == turn
                armed.clear()
            except Interrupted:
                interrupted += 1
            signal.setitimer(signal.ITIMER_REAL, 0)
            # Whatever became of that, the next one is answered.
            assert CallChain(shared, timeout=PATIENCE).call(remote.identity, (turn,)) == (turn,)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert interrupted > 0


# -- Several threads -----------------------------------------------------------------------------------


def test_results_go_to_the_threads_that_asked(context: Context) -> None:
    def work(number: int) -> None:
        for i in range(60):
            value = (number, i)
            assert context.call(remote.identity, value) == value
            receiver = context.call_async(remote.identity, value)
            size = (number * 7919 + i * 6101) % 60_000
            assert context.call(remote.bytes_of, size) == b"x" * size
            assert context.call(remote.identity, bytes([number]) * size) == bytes([number]) * size
            assert receiver.get_data(PATIENCE) == value

    threads = [in_thread(lambda n=n: work(n), 3 * PATIENCE) for n in range(6)]  # type: ignore[misc]
    for done in threads:
        done()


def test_a_thread_that_asks_for_much_keeps_no_other_from_its_answers(context: Context) -> None:
    def much() -> None:
        for _ in range(5):
            assert context.call(remote.bytes_of, 5_000_000) == b"x" * 5_000_000

    done = in_thread(much)
    for i in range(100):
        assert context.call(remote.identity, i) == i
    done()


def test_two_contexts_are_called_at_once(router: mitogen.master.Router) -> None:
    contexts = [router.local(), router.local()]
    pids = [context.call(os.getpid) for context in contexts]
    assert len({*pids, os.getpid()}) == 3

    def work(context: Context, pid: int) -> None:
        for _ in range(100):
            assert context.call(os.getpid) == pid

    threads = [
        in_thread(lambda c=context, p=pid: work(c, p))  # type: ignore[misc]
        for context, pid in list(zip(contexts, pids)) * 2
    ]
    for done in threads:
        done()


# -- Receivers of call_async ---------------------------------------------------------------------------


def test_a_receiver_of_a_call_times_out_and_gets_its_answer_later(
    context: Context, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    receiver = context.call_async(remote.wait_for, str(go))
    assert receiver.empty()
    for timeout in 0, 0.01:
        with pytest.raises(TimeoutError):
            receiver.get(timeout)
    with pytest.raises(TimeoutError):
        receiver.get(block=False)
    go.touch()
    msg = receiver.get(PATIENCE)
    assert (msg.receiver, msg.src_id) == (receiver, context.context_id)


@pytest.mark.parametrize("is_early", [True, False])
def test_a_receiver_of_a_call_has_one_message(context: Context, is_early: bool) -> None:
    receiver = context.call_async(remote.identity, "it")
    if not is_early:
        # Brought by the broker thread, or along with what is waited for here.
        context.call(remote.identity, "behind")
        assert not receiver.empty()
    assert receiver.get(PATIENCE).unpickle() == "it"
    assert receiver.empty()
    # The broker thread notes that this was all only once the message is there.
    router_of(context).broker.defer_sync(bool, PATIENCE)
    for _ in range(2):
        with pytest.raises(ChannelError, match="one message"):
            receiver.get(PATIENCE)
    assert receiver.handle not in router_of(context)._handlers


def test_iteration_over_a_receiver_of_a_call_ends(context: Context) -> None:
    found = []
    for msg in context.call_async(remote.identity, "it"):
        found.append(msg.unpickle())
        # The broker thread notes that this was all only once the message is there.
        router_of(context).broker.defer_sync(bool, PATIENCE)
    assert found == ["it"]


def test_a_receiver_of_a_call_may_be_closed(context: Context, tmp_path: Path) -> None:
    go = tmp_path / "go"
    receiver = context.call_async(remote.wait_for, str(go))
    result = in_thread(receiver.get)
    asleep(receiver._latch)
    receiver.close()
    receiver.close()
    with pytest.raises(ChannelError, match="this receiver was closed"):
        result()
    with pytest.raises(ChannelError, match="this receiver was closed"):
        receiver.get(PATIENCE)
    with pytest.raises(LatchError):
        receiver.empty()
    assert receiver.handle not in router_of(context)._handlers
    # The answer is dropped.
    go.touch()
    assert context.call(remote.identity, "next") == "next"


def test_receivers_of_calls_in_a_select(context: Context) -> None:
    receivers = [context.call_async(remote.identity, i) for i in range(20)]
    select = Select(receivers)
    found = []
    while select:
        msg = select.get(PATIENCE)
        assert msg.receiver in receivers
        found.append(msg.unpickle())
    assert sorted(found) == list(range(20))
    assert Select.all(context.call_async(abs, -i) for i in range(3)) == [0, 1, 2]


def test_a_receiver_of_a_call_notifies_whoever_reads_the_link(context: Context) -> None:
    # Also where that is a thread that waits for another answer.
    for _ in range(20):
        notified: list[Receiver] = []
        receiver = context.call_async(remote.identity, "it")
        receiver.notify = notified.append
        context.call(remote.identity, "behind")
        msg = receiver.get(PATIENCE)
        assert (msg.receiver, msg.unpickle()) == (receiver, "it")
        router_of(context).broker.defer_sync(bool, PATIENCE)
        assert notified in ([receiver], [])


def test_a_select_tells_of_a_context_that_died(router: mitogen.master.Router) -> None:
    context = router.local()
    receiver = context.call_async(os._exit, 0)
    msg = Select([receiver]).get(PATIENCE)
    assert msg.is_dead
    assert msg.receiver is receiver


def test_a_dropped_receiver_costs_nothing_once_its_answer_came(context: Context) -> None:
    for i in range(100):
        context.call_async(remote.identity, i)
    assert context.call(remote.identity, 1) == 1


def test_a_call_may_be_cancelled(context: Context) -> None:
    receiver = context.call_async(time.sleep, 60)
    context.default_call_chain.cancel(receiver)
    with pytest.raises(ChannelError, match="closed"):
        receiver.get(PATIENCE)
    assert CallChain(context, timeout=PATIENCE).call(abs, -1) == 1


# -- What is held --------------------------------------------------------------------------------------


def test_a_thousand_calls_need_no_more_descriptors_than_one(context: Context) -> None:
    context.call(remote.identity, 0)
    context.call_async(remote.identity, 0).get(PATIENCE)
    before = descriptors()
    for i in range(500):
        assert context.call(remote.identity, i) == i
        assert context.call_async(remote.identity, i).get_data(PATIENCE) == i
        if i % 50 == 0:
            with pytest.raises(TimeoutError):
                CallChain(context, timeout=0.001).call(time.sleep, 60)
            with pytest.raises(CallError):
                context.call(remote.raise_named, "ValueError", "kept by the test")
    assert descriptors() <= before


def test_an_exception_that_is_kept_keeps_no_descriptor(context: Context) -> None:
    kept = []
    for _ in range(2):
        before = descriptors()
        for _ in range(20):
            try:
                CallChain(context, timeout=0.001).call(time.sleep, 60)
            except TimeoutError as e:
                kept.append(e)
    assert descriptors() <= before
    assert len(kept) == 40


# -- How functions are named ---------------------------------------------------------------------------


class Texts:
    """Functions that are called in the context by names of their own."""

    @classmethod
    def split(cls, text: str) -> str:
        return "%s of %s" % (text, cls.__name__)

    @staticmethod
    def join(text: str) -> str:
        return "static " + text


class Others(Texts):
    """Inherits the functions."""


def split(text: str) -> str:
    return "split " + text


def test_functions_of_the_same_name_are_not_mixed_up(context: Context) -> None:
    # Twice, so that the second time their paths are known.
    for _ in range(2):
        assert context.call(shlex.split, "a b") == ["a", "b"]
        assert context.call(posixpath.split, "a b") == ("", "a b")
        assert context.call(split, "a b") == "split a b"
        assert context.call(Texts.split, "a b") == "a b of Texts"
        assert context.call(Others.split, "a b") == "a b of Others"
        assert context.call(str.split, "a b") == ["a", "b"]
        assert context.call(bytes.split, b"a b") == [b"a", b"b"]
        assert context.call(shlex.join, ["a b"]) == "'a b'"
        assert context.call(posixpath.join, "a", "b") == "a/b"
        assert context.call(Texts.join, "a") == "static a"
        assert context.call(os.getpid) != os.getpid()
        assert context.call(abs, -1) == 1
        assert context.call(int, "12") == 12
        assert context.call(dict.fromkeys, "a") == {"a": None}
        assert context.call(int.from_bytes, b"\x01\x00", "big") == 256
        assert context.call(bytes.fromhex, "00ff") == b"\x00\xff"
        assert context.call(bytearray.fromhex, "00ff") == bytearray(b"\x00\xff")
        year = functools.partial(date.fromisoformat, "2020-01-02")
        assert context.call(year).isoformat() == "2020-01-02"


def test_partials_bring_their_arguments_each_time(context: Context) -> None:
    for value in "a", "b":
        fn = functools.partial(remote.echo, value, key=value)
        for number in 1, 2:
            args, kwargs = context.call(fn, number)
            assert (list(args), kwargs) == ([value, number], {"key": value})
        nested = functools.partial(functools.partial(remote.identity), value)
        assert context.call(nested) == value
        assert context.call_async(nested).get_data(PATIENCE) == value


def test_functions_that_cannot_be_named_are_refused_each_time(context: Context) -> None:
    def nested() -> None:
        pass

    refused: list[Any] = [nested, lambda: None, "text".upper, [].append]
    for fn in refused * 2:
        with pytest.raises(TypeError, match="can't call"):
            context.call(fn)


def test_a_function_is_named_as_it_is_called_now(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[object] = [context.call(split, "a b")]
    monkeypatch.setattr(split, "__module__", "posixpath")
    found.append(context.call(split, "a b"))
    assert found == ["split a b", ("", "a b")]


@pytest.mark.parametrize("value", [1, "x", None, 1.5, True])
def test_subclasses_of_scalars_are_no_scalars(context: Context, value: object) -> None:
    assert context.call(remote.identity, value) == value

    class Text(str):
        __slots__ = ()

    with pytest.raises(mitogen.core.SerializationError, match=r"args\[0\]"):
        context.call(remote.identity, Text("x"))
    with pytest.raises(mitogen.core.SerializationError, match=r"args\[0\]\[0\]"):
        context.call_async(remote.identity, (Text("x"),))


def test_the_plain_body_of_a_call_is_what_the_look_would_give(node: Node) -> None:
    chain = CallChain(node.context(CHILD))
    body = chain._body(remote.identity, (1, "x", None, 1.5, True), {})
    call: tuple[object, ...] = (
        None,
        "tests.integration.remote",
        None,
        "identity",
        (1, "x", None, 1.5, True),
        {},
    )
    assert body == dumps(call)
    assert chain._handle == CALL_FUNCTION


@pytest.mark.parametrize("asks", ["call", "call_async"])
def test_a_ctrl_c_just_after_a_call_was_sent_interrupts_it(
    context: Context, asks: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    link: Any = context._router().stream_by_id(context.context_id)
    write = link.write

    def write_and_be_interrupted(buffers: list[bytes]) -> bool:
        monkeypatch.undo()
        assert write(buffers)
        raise KeyboardInterrupt

    monkeypatch.setattr(link, "write", write_and_be_interrupted)
    with pytest.raises(KeyboardInterrupt):
        getattr(context, asks)(time.sleep, 10 * PATIENCE)
    assert CallChain(context, timeout=PATIENCE).call(abs, -1) == 1
