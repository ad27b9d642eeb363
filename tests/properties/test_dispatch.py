"""Dispatch: whatever is sent to be called, each question gets one answer, and the next call is run.

The router and the dispatcher are real; the links are lists. What arrives comes in order, some of it while
a call runs, as the broker thread would bring it. Inputs that were found to fail are kept as `@example`s.
"""

from __future__ import annotations

import signal
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hypothesis import example, given
from hypothesis import strategies as st

from mitogen.core import handles, logs, takes_econtext
from mitogen.core.calls import Dispatcher
from mitogen.core.errors import CallError, Error
from mitogen.core.message import Message
from mitogen.core.serialization import dumps, loads
from mitogen.core.targets import forget_chain
from tests.core.tools import ForwardingRouter
from tests.properties.strategies import containers, hashable, joined

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

HERE, PARENT, MASTER, COUSIN, CHILD, DRIVER = 5, 1, 0, 777, 10, 888
LIMIT = 20_000


@dataclass(frozen=True)
class Sender:
    """Who sends: what the message claims, the link it comes on ("" for none), and what that makes it."""

    src: int
    auth: int
    link: str
    may_call: bool = True
    believed: bool = True


SENDERS = [
    Sender(PARENT, PARENT, "up"),
    Sender(MASTER, MASTER, "up"),
    Sender(COUSIN, MASTER, "up"),
    Sender(HERE, HERE, ""),
    Sender(COUSIN, COUSIN, "up", may_call=False),
    Sender(CHILD, CHILD, "down", may_call=False),
    Sender(MASTER, MASTER, "down", may_call=False, believed=False),
    Sender(CHILD, PARENT, "down", may_call=False, believed=False),
    Sender(HERE, HERE, "up", may_call=False, believed=False),
]
# Mostly those whose calls are run.
senders = st.sampled_from(SENDERS[:4] * 3 + SENDERS)


# -- What is called ---------------------------------------------------------------------------------


class Odd(BaseException):
    def __str__(self) -> str:
        raise KeyboardInterrupt

    __repr__ = __str__


def echo(tag: int, value: Any = None) -> Any:
    World.current.ran.add(tag)
    return value


def meanwhile(tag: int, value: Any = None) -> Any:
    """Have more messages arrive while this call runs."""
    World.current.ran.add(tag)
    for message in World.current.during.pop(tag, ()):
        World.current.arrive(message)
    return value


@takes_econtext
def who(tag: int, value: Any = None, econtext: Any = None) -> Any:
    World.current.ran.add(tag)
    assert econtext is World.current
    return value


def nested(depth: int = 2000) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def fail(tag: int, how: str) -> Any:
    World.current.ran.add(tag)
    if how == "recursion":
        return fail(tag, how)
    if how in RESULTS:
        return RESULTS[how]()
    raise FAILURES[how]


#: What `fail` raises.
FAILURES: dict[str, BaseException] = {
    "raise": ValueError("no"),
    "exit": SystemExit(3),
    "interrupt": KeyboardInterrupt(),
    "generator": GeneratorExit(),
    "odd": Odd(),
    "long": RuntimeError("x" * 2 * LIMIT),
    "long name": type("N" * 2 * LIMIT, (Exception,), {})("x"),
    "remote": CallError("their.Error", "theirs"),
    "remote, long": CallError("their.Error" * LIMIT, "theirs", "", CallError("x")),
}
#: What `fail` returns, and can't be sent.
RESULTS: dict[str, Callable[[], object]] = {
    "unsendable": object,
    "large": lambda: b"x" * 2 * LIMIT,
    "deep": nested,
}
KINDS = [*FAILURES, *RESULTS, "recursion"]
#: Names that lead nowhere, or to what can't be called like this.
WRONG: list[tuple[Any, ...]] = [
    ("no.such.module", None, "f"),
    ("", None, "f"),
    (None, None, "f"),
    (__name__, None, "no_such_function"),
    (__name__, "No.Such", "method"),
    (__name__, 1, "echo"),
    (__name__, None, None),
    (__name__, None, "LIMIT"),
]


# -- What arrives -----------------------------------------------------------------------------------


@dataclass
class Arrival:
    """A message to the dispatcher."""

    sender: Sender
    #: Whether a reply is asked for.
    asks: bool = False


@dataclass
class Call(Arrival):
    chain: Any = None
    #: "echo", "who", "forget", "wrong", or one of KINDS.
    what: str = "echo"
    #: The chain that "forget" names, or an index of WRONG.
    which: Any = 0
    during: list[Arrival] = field(default_factory=list)


@dataclass
class Body(Arrival):
    """Not a call, but bytes or a value."""

    body: Any = b""
    raw: bool = False


@dataclass
class Cancel(Arrival):
    """Cancel a call of the same sender: by its place among those that ask, or by other data."""

    of: int | bytes = 0


@dataclass
class Dead(Arrival):
    handle: int = handles.CALL_FUNCTION


def encoded(what: Arrival) -> bytes:
    """Return the data of a message that is no call."""
    assert isinstance(what, Body)
    body: Any = what.body if what.raw else dumps(what.body)
    return joined(body)


CHAINS: list[Any] = ["chain-1", "chain-2", 0, "", ()]
chains = st.sampled_from([None, None, "chain-1", "chain-1", "chain-1", *CHAINS, [], {}, ([],)])
yes = st.sampled_from([True, True, True, False])

# Bytes that have a C unpickler allocate what four bytes of the message say are left out.
any_bytes = st.binary(max_size=60).map(
    lambda data: data.translate(None, b"rpjBTVXL\x8a\x8b\x8d\x8e\x95\x96")
)
simple_calls = st.builds(
    Call, senders, yes, chains, st.sampled_from(["echo", "echo", "who", *KINDS]), st.just(0)
)
wrong_calls = st.builds(Call, senders, yes, chains, st.just("wrong"), st.integers(0, len(WRONG) - 1))
forgets = st.builds(Call, senders, yes, st.none() | chains, st.just("forget"), st.sampled_from(CHAINS))
others = st.one_of(
    st.builds(
        Body, senders, yes, any_bytes | any_bytes.map(lambda data: b"\x80\x04" + data), st.just(True)
    ),
    st.builds(Body, senders, yes, hashable | containers),
    st.builds(
        Body, senders, yes, st.tuples(chains, st.sampled_from(["os", __name__]), st.none()) | chains
    ),
)
# No call has the handle 0: those that ask for no reply can't be cancelled.
cancels = st.builds(
    Cancel,
    st.sampled_from(SENDERS),
    st.booleans(),
    st.integers(0, 5) | st.binary(max_size=8).map(lambda data: data.replace(b"0", b"")),
)
deaths = st.builds(
    Dead, senders, st.just(False), st.sampled_from([handles.CALL_FUNCTION, handles.CANCEL_CALL])
)
arrivals = st.one_of(simple_calls, simple_calls, forgets, wrong_calls, others, cancels, deaths)
busy_calls = st.builds(
    Call, senders, yes, chains, st.just("echo"), st.just(0), st.lists(arrivals | cancels, max_size=3)
)
scripts = st.lists(st.lists(arrivals | busy_calls, max_size=4), min_size=1, max_size=2)


# -- The context that is called ---------------------------------------------------------------------


class Broker:
    """As much of a broker as the router needs: it does at once what it is asked to."""

    dead_reason = ""

    def defer(self, func: Any, *args: Any) -> None:
        func(*args)


class Link:
    reason = ""
    queued = 0

    def __init__(self, name: str, sent: list[Message]) -> None:
        self.name = name
        self._sent = sent

    def send(self, msg: Message) -> bool:
        self._sent.append(msg)
        return True


class World:
    """A context, and all that happened to it. `current` is how the functions above find it."""

    current: World

    def __init__(self) -> None:
        World.current = self
        broker: Any = Broker()
        self.router = ForwardingRouter(broker, HERE, (PARENT, MASTER), LIMIT)
        self.replies: list[Message] = []
        self.links: dict[str, Any] = {name: Link(name, self.replies) for name in ("up", "down")}
        self.router.add_link(self.router.make_context(PARENT), self.links["up"])
        self.router.add_link(self.router.make_context(CHILD), self.links["down"])
        econtext: Any = self
        self.dispatcher = Dispatcher(self.router, econtext)
        #: Tags of the calls whose function was entered.
        self.ran: set[int] = set()
        #: What arrives while the call with this tag runs.
        self.during: dict[int, list[Arrival]] = {}
        #: What arrived: each with its handle for replies (0: none), which is also the tag of a call.
        self.arrived: list[tuple[Arrival, int]] = []
        #: Handles of calls to be run that ask for a reply; of those cancelled in time, and too late.
        self.asked: list[int] = []
        self.cancelled: set[int] = set()
        self.late: set[int] = set()

    def __enter__(self) -> World:
        self._sink, self._level = logs.sink, logs.child_level
        logs.sink, logs.child_level = lambda level, name, text: None, logs.DEBUG
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        logs.sink, logs.child_level = self._sink, self._level

    def deliver(self, sender: Sender, handle: int, body: Any, reply_to: int) -> bool:
        msg = Message(
            dst_id=HERE,
            src_id=sender.src,
            auth_id=sender.auth,
            handle=handle,
            reply_to=reply_to,
            body=body,
        )
        if sender.link:
            self.router._async_route(msg, self.links[sender.link])
            return True
        try:
            self.router.route(msg)
        except Error:
            return False  # Too large: the sender is told at once.
        return True

    def arrive(self, what: Arrival) -> None:
        tag = 2000 + len(self.arrived)
        reply_to = tag if what.asks else 0
        if what.asks and not what.sender.link:
            self.router.add_handler(self.replies.append, reply_to)
        self.arrived.append((what, reply_to))
        if isinstance(what, Dead):
            self.deliver(what.sender, what.handle, b"gone", handles.IS_DEAD)
            return
        if isinstance(what, Cancel):
            self._cancel(what, reply_to)
            return
        if isinstance(what, Call):
            self.during[tag] = what.during
            body: Any = dumps(self._call(what, tag))
        else:
            body = encoded(what)
        if what.asks and is_run(what):
            self.asked.append(tag)
        if not self.deliver(what.sender, handles.CALL_FUNCTION, body, reply_to):
            self.arrived[-1] = (what, 0)

    def _call(self, what: Call, tag: int) -> tuple[Any, ...]:
        name, args = what.what, (tag, tag)
        if name == "forget":
            return what.chain, forget_chain.__module__, None, "forget_chain", (what.which,), {}
        if name == "wrong":
            return (what.chain, *WRONG[what.which], args, {})
        if name in KINDS:
            return what.chain, __name__, None, "fail", (tag, name), {}
        return what.chain, __name__, None, "meanwhile" if what.during else name, args, {}

    def _cancel(self, what: Cancel, reply_to: int) -> None:
        data = what.of
        if isinstance(data, int):
            target = self.asked[data % len(self.asked)] if self.asked else 1999
            data = b"%d" % target
            theirs = any(tag == target and what.sender.src == to.sender.src for to, tag in self.arrived)
            if what.sender.may_call and theirs:
                (self.late if self.answers(target) else self.cancelled).add(target)
        self.deliver(what.sender, handles.CANCEL_CALL, data, reply_to)

    def answers(self, tag: int) -> list[Message]:
        return [msg for msg in self.replies if msg.handle == tag]


def run(script: list[list[Arrival]]) -> World:
    """Have everything arrive and be run: what comes together waits together, behind one another."""
    driver = Sender(DRIVER, MASTER, "up")
    handler = signal.getsignal(signal.SIGINT)
    try:
        with World() as world:
            pending = deque(script)
            seen: list[int] = []

            def ask() -> None:
                seen.append(len(world.arrived))
                world.deliver(driver, handles.CALL_FUNCTION, dumps(NEXT), 1002)

            def sent(msg: Message) -> bool:
                """Take a reply; that to NEXT says that all that had arrived before it was run."""
                if msg.handle != 1002:
                    world.replies.append(msg)
                    return True
                for what in pending.popleft() if pending else []:
                    world.arrive(what)
                if pending or len(world.arrived) > seen[-1]:
                    ask()
                else:
                    world.deliver(driver, handles.CALL_FUNCTION, dumps(LAST), 1001)
                    world.dispatcher.finish()
                return True

            world.links["up"].send = sent
            ask()
            world.dispatcher.run()
            return world
    finally:
        signal.signal(signal.SIGINT, handler)


NEXT: tuple[Any, ...] = (None, __name__, None, "echo", (0,), {})
LAST: tuple[Any, ...] = (None, __name__, None, "echo", (1, "alive"), {})


# -- What must hold ---------------------------------------------------------------------------------


def chain_of(what: Arrival) -> Any:
    """Return the chain that a message belongs to, None for none."""
    try:
        chain = what.chain if isinstance(what, Call) else loads(encoded(what), None)[0]
        hash(chain)
    except Exception:
        return None
    return chain


def is_run(what: Arrival) -> bool:
    """Return True if a message is for the dispatcher to run, whatever comes of it."""
    if not isinstance(what, (Call, Body)) or not what.sender.may_call:
        return False
    if isinstance(what, Call):
        return True
    return len(encoded(what)) <= LIMIT


def check_answers(world: World) -> dict[int, Any]:
    """Check that there is one answer for each question, and none for anything else; return them."""
    answers = {}
    others = 0
    for what, tag in world.arrived:
        if not tag or isinstance(what, Dead):
            continue
        found = world.answers(tag)
        if not what.sender.believed or (isinstance(what, Cancel) and what.sender.may_call):
            # What is no cancellation is told so.
            is_garbage = what.sender.believed and isinstance(what, Cancel) and isinstance(what.of, bytes)
            assert [msg for msg in found if not (is_garbage and msg.is_dead)] == [], "no answer is due"
            others += len(found)
            continue
        assert len(found) == 1, "one answer is due"
        (msg,) = found
        assert msg.dst_id == what.sender.src
        assert (msg.src_id, msg.auth_id) == (HERE, HERE)
        answers[tag] = msg.unpickle(throw=False)
        if not what.sender.may_call:
            refused = isinstance(answers[tag], CallError) and "policy" in answers[tag].text
            assert refused or not is_run(what)
    (last,) = world.answers(1001)
    assert last.unpickle() == "alive"
    assert len(world.replies) == len(answers) + others + 1, "nobody is told what they did not ask for"
    return answers


UNKNOWN: Any = object()


def check_chains(world: World, answers: dict[int, Any]) -> None:
    """Check each call's answer, and that no call of a chain is run after one failed."""
    failed: dict[Any, Any] = {}
    for i, (what, reply_to) in enumerate(world.arrived):
        if not is_run(what):
            continue
        tag = 2000 + i
        chain = chain_of(what)
        answer = answers.get(reply_to, UNKNOWN)
        if chain is not None and chain in failed:
            assert tag not in world.ran
            first = failed[chain]
            if answer is not UNKNOWN:
                assert isinstance(answer, CallError)
                if first is not UNKNOWN:
                    assert (answer.type_name, answer.text) == (first.type_name, first.text)
                failed[chain] = answer
            continue
        fails = (
            not isinstance(what, Call)
            # What can't be sent does not matter where nobody asks for it.
            or (what.what in ("wrong", *KINDS) and (what.asks or what.what not in RESULTS))
            or (chain is None and what.chain is not None)
        )
        if reply_to in world.cancelled:
            assert isinstance(answer, CallError)
            assert fails or answer.type_name == "mitogen.core.calls.CallInterrupted"
            fails = True
        elif answer is not UNKNOWN:
            if isinstance(what, Call):
                assert isinstance(answer, CallError) == fails
                if not fails:
                    assert answer == (None if what.what == "forget" else tag)
                    assert what.what == "forget" or tag in world.ran
            # A value that is drawn might happen to be a call.
            fails = isinstance(answer, CallError)
        if fails:
            if chain is not None:
                failed[chain] = answer
        elif isinstance(what, Call) and what.what == "forget":
            failed.pop(what.which, None)


MINE = SENDERS[0]


@given(scripts)
@example([[Call(MINE, True, [])]])
@example([[Call(MINE, True, None, "long name")]])
@example([[Call(MINE, True, None, "remote, long")]])
@example([[Call(MINE, True, "chain-1"), Cancel(MINE, False, 0), Call(MINE, True, "chain-1")]])
@example([[Call(MINE, True, None, "echo", 0, [Cancel(MINE, False, 0)])]])
@example([[Call(MINE, False, "chain-1", "unsendable"), Call(MINE, True, "chain-1")]])
@example([[Call(MINE, True, "chain-1", "raise"), Call(MINE, True, None, "forget", "chain-1")]] * 2)
def test_every_call_is_answered_once_and_the_next_one_is_run(script: list[list[Arrival]]) -> None:
    world = run(script)
    check_chains(world, check_answers(world))
    assert world.dispatcher._current is None
    # Cancellations are forgotten with their call.
    callers = {tag: to.sender.src for to, tag in world.arrived}
    kept = {handle for src, handle in world.dispatcher._cancelled if callers.get(handle) == src}
    assert not kept & (world.cancelled - world.late)


@given(st.lists(any_bytes | (hashable | containers).map(dumps), max_size=3), st.sampled_from(SENDERS[:4]))
@example([dumps(([],))], MINE)
@example([dumps(CallError("x" * (LIMIT - 1000)))], MINE)
def test_what_is_no_call_is_answered_with_an_error(bodies: list[Any], sender: Sender) -> None:
    world = run([[Body(sender, True, joined(body), True) for body in bodies]])
    for _, tag in world.arrived:
        if tag:
            (msg,) = world.answers(tag)
            assert msg.is_dead or isinstance(loads(msg.data, None), CallError)
    check_answers(world)
