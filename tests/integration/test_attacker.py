# mypy: allow-untyped-calls
"""Contexts in other hands: what a child can do to the tree by writing what it likes to its link. Nothing.

The attackers are real processes: started like any other, then a function in them takes over the link's
descriptor and writes frames that no context would. Everybody else is looked at afterwards: nothing was
executed, nobody saw anything, everybody answers, the memory and the logs stayed small.
"""

from __future__ import annotations

import json
import logging
import os
import pickle
import re
import signal
import struct
import time
import zipfile
from typing import TYPE_CHECKING

import pytest

import mitogen.core
import mitogen.core.stats
import mitogen.master
import mitogen.parent
from mitogen.core import CallError, ChannelError, Message, SerializationError, handles
from tests.integration import remote, remote_attacker, remote_trees
from tests.integration.programs import Program, wait_gone, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any

    from mitogen.master import Router
    from mitogen.parent import Context

    Caplog = pytest.LogCaptureFixture

#: Seconds after which a test gives up.
LIMIT = 20.0


class Scene:
    """Attackers and those around them::

    master -- victim
           -- attacker
           -- middle -- inner (an attacker, too)
                     -- below
    """

    def __init__(self, router: Router) -> None:
        self.router = router
        self.victim, self.attacker = router.local(name="victim"), router.local(name="attacker")
        self.middle = router.local(name="middle")
        self.inner = router.local(via=self.middle, name="inner")
        self.below = router.local(via=self.middle, name="below")
        self.others = [self.victim, self.middle, self.below]
        for context in self.others:
            context.call(remote_attacker.look_on)
        self.everybody = [*self.others, self.attacker, self.inner]
        self.ids = [0] + [context.context_id for context in self.everybody]
        self.pids = [context.call(os.getpid) for context in self.everybody]
        self.links = self._links()

    def _links(self) -> list[object]:
        return [self.router.stream_by_id(context_id) for context_id in self.ids]

    def check(self) -> None:
        """Everybody is there and reached as before, and did nothing."""
        assert [context.call(os.getpid) for context in self.everybody] == self.pids
        assert self._links() == self.links
        for context in self.others:
            assert context.call(remote.noted) == []
            assert context.call_aside(remote.noted) == []
        # And they reach one another.
        for source, target in (
            (self.victim, self.below),
            (self.below, self.victim),
            (self.middle, self.victim),
            (self.middle, self.below),
        ):
            handle = target.call(remote_trees.serve)
            assert source.call(remote_trees.ask, target, handle, 21, LIMIT) == 42
        receiver = mitogen.core.Receiver(self.router)
        for context in self.others:
            context.call(remote_trees.send, receiver.to_sender(), context.context_id)
            msg = receiver.get(LIMIT)
            assert (msg.unpickle(), msg.src_id) == (context.context_id, context.context_id)

    def looked(self) -> list[tuple[int, int, int]]:
        """Return the sources, authorities and handles of marked messages that the others got to see."""
        return [item for context in self.others for item in context.call(remote_attacker.looked)]


@pytest.fixture(scope="module")
def shared() -> Iterator[Scene]:
    with mitogen.master.Router() as router:
        yield Scene(router)


@pytest.fixture
def scene(shared: Scene, caplog: Caplog) -> Iterator[Scene]:
    """A scene that looks afterwards as it did before, with no more than a few complaints about it."""
    started = time.monotonic()
    with caplog.at_level(logging.WARNING):
        yield shared
        shared.check()
    complaints: dict[str, int] = {}
    for record in caplog.records:
        assert record.levelno < logging.ERROR, record.getMessage()
        complaints[record.name] = complaints.get(record.name, 0) + 1
    for name, count in complaints.items():
        assert count <= time.monotonic() - started + 2, (name, count)


ATTACKERS = ["attacker", "inner"]


def attacker_of(scene: Scene, name: str) -> Context:
    context: Context = getattr(scene, name)
    return context


# -- In the name of others ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ATTACKERS)
def test_calls_and_commands_in_the_name_of_others_reach_nobody(scene: Scene, name: str) -> None:
    attacker = attacker_of(scene, name)
    ids = [*scene.ids, 999_999]
    count = attacker.call(remote_attacker.send_calls, scene.ids, ids, ids)
    assert count > 1000
    # What it says in its own name arrives, if anywhere, and is refused there.
    own = attacker.context_id
    below_it = scene.ids if name == "attacker" else []
    scene.check()
    assert {(src, auth) for src, auth, _ in scene.looked()} <= {(own, own)}
    assert own in below_it or name == "inner"


@pytest.mark.parametrize("name", ATTACKERS)
def test_a_call_to_a_parent_or_sibling_is_refused_and_says_so(scene: Scene, name: str) -> None:
    attacker = attacker_of(scene, name)
    parent_id = attacker.call(remote.identity_of_context)[2]
    for target in (*scene.others, scene.router.make_context(0)):
        for handle in handles.CALL_FUNCTION, handles.CALL_ASIDE:
            text = attacker.call(ask_raw, target, handle)
            if target.context_id == 0:
                assert "no handle %d" % handle in text
            else:
                assert "refused" in text
                assert "by its policy" in text
    assert parent_id in scene.ids
    scene.looked()


def ask_raw(context: mitogen.core.Context, handle: int) -> str:
    """Call a function that would be noticed, in our own name; return the error."""
    msg = Message(data=remote_attacker.call_of("forged call"), handle=handle)
    try:
        return repr(context.send_await(msg, 20.0))
    except mitogen.core.Error as e:
        return str(e)


# -- Routes and ids ----------------------------------------------------------------------------------


@pytest.mark.parametrize("handle", [handles.ADD_ROUTE, handles.DEL_ROUTE])
@pytest.mark.parametrize("name", ATTACKERS)
def test_news_of_contexts_that_are_not_its_own_is_not_believed(
    scene: Scene, name: str, handle: int
) -> None:
    attacker = attacker_of(scene, name)
    waiting = scene.below.call_async(remote_trees.received, 1, LIMIT)
    sender = scene.below.call_aside(remote_trees.receive)
    scene.below.default_call_chain.cancel(waiting)
    texts = [b"%d:forged" % context_id for context_id in [*scene.ids, 500, 1001, 2**31, 2**32, 2**40]]
    texts += [b",".join(b"%d" % i for i in scene.ids) + b":forged"]
    texts += [b"", b":", b"x:forged", b"-1:x", b"\xc2\xb2:x", b"9" * 5000 + b":x", b"\xff\xfe:\xff"]
    attacker.call(remote_attacker.announce, texts, handle)
    attacker.call(remote_attacker.announce, texts, handle)
    scene.victim.call(remote_trees.send, sender, "still there")
    assert scene.below.call(remote_trees.received, 1, LIMIT) == ["still there"]


def test_an_attacker_can_not_grant_itself_ids(scene: Scene) -> None:
    """It asks its parent for ids, which asks the master, and answers that question itself."""
    scene.middle.call(remote_trees.start, 1)[0][0].shutdown(wait=True)
    scene.inner.call(remote_attacker.grant_itself, 0, 500, scene.ids)


def test_contexts_that_an_attacker_did_not_start_are_at_most_its_own(scene: Scene) -> None:
    """With ids that it was given it may announce what it likes: nobody else is reached through it."""
    router = scene.router
    before = set(router.routes.names)
    scene.attacker.call(announce_granted, 3)
    wait_until(lambda: len(router.routes.names) == len(before) + 3, LIMIT)
    for context_id in set(router.routes.names) - before:
        assert router.stream_by_id(context_id) is router.stream_by_id(scene.attacker.context_id)
        with pytest.raises(ChannelError):
            router.make_context(context_id).call(abs, -1)


@mitogen.core.takes_econtext
def announce_granted(count: int, econtext: Any) -> None:
    """Ask for ids as a parent does, and announce contexts that are not there."""
    first, _ = econtext.parent.send_await(Message(handle=handles.ALLOCATE_ID), 20.0)
    texts = [b"%d:victim" % (first + i) for i in range(count)]
    remote_attacker.announce(texts, handles.ADD_ROUTE, econtext=econtext)


# -- Answers in the place of others ------------------------------------------------------------------

#: Bodies of answers, and what they say in the place of a reply handle.
ANSWERS = [(b"\0forged", 0), (b"forged", handles.IS_DEAD)]


def test_the_answer_to_a_call_is_taken_from_the_callee_alone(scene: Scene) -> None:
    receivers = [context.call_async(remote_trees.answer_after, 1.0) for context in scene.others]
    last = max(receiver.handle for receiver in receivers)
    assert last < 100_000
    scene.attacker.call(
        remote_attacker.send_answers, 0, scene.ids, max(1000, last - 500), last + 1, ANSWERS
    )
    assert [receiver.get_data(LIMIT) for receiver in receivers] == ["the truth"] * len(receivers)


def test_the_answer_to_a_question_is_taken_from_whom_it_was_put_to(scene: Scene) -> None:
    handle = scene.victim.call(remote_trees.serve_slowly, 1.0)
    asking = scene.middle.call_async(remote_trees.ask, scene.victim, handle, 21, LIMIT)
    last = max(scene.middle.call_aside(remote_attacker.pending_handles))
    for attacker in (scene.attacker, scene.inner):
        attacker.call(
            remote_attacker.send_answers, scene.middle.context_id, scene.ids, 1000, last + 3, ANSWERS[:1]
        )
    assert asking.get_data(LIMIT) == 42


# -- Bodies ------------------------------------------------------------------------------------------


class Evil:
    """What a pickle could do, if it were loaded with the standard library's own unpickler."""

    def __init__(self, fn: Any, *args: Any) -> None:
        self._reduced = fn, args

    def __reduce__(self) -> tuple[Any, Any]:
        return self._reduced


def evil_bodies(path: str) -> list[bytes]:
    command = "touch %s" % path
    bodies = []
    for protocol in (2, 3, 4, 5):
        for evil in (
            Evil(os.system, command),
            Evil(eval, "open(%r, 'w')" % path),
            Evil(exec, "open(%r, 'w')" % path),
            Evil(getattr, os, "system"),
            Evil(__import__, "os"),
            Evil(open, path, "w"),
        ):
            try:
                bodies.append(pickle.dumps(evil, protocol))
                bodies.append(pickle.dumps([1, {"a": (evil,)}], protocol))
            except Exception:
                continue  # Modules can't be pickled.
    by_name = [
        b"os\nsystem\n",
        b"builtins\neval\n",
        b"mitogen.core.errors\nCallError\n",
        b"posix\nsystem\n",
    ]
    by_name += [b"mitogen.core.serialization\nloads\n", b"mitogen.core.serialization\nREDUCERS\n"]
    by_name += [
        b"mitogen.core.serialization\nremake.__globals__\n",
        b"mitogen.core\nRouter\n",
        b"__main__\nx\n",
    ]
    for name in by_name:
        bodies.append(b"\x80\x04c" + name + b".")
        bodies.append(b"\x80\x04c" + name + b"(V" + command.encode() + b"\ntR.")
        bodies.append(b"\x80\x04c" + name + b"}Vx\nVy\nsb.")
    remake = b"cmitogen.core.serialization\nremake\n"
    for module, attribute in (("os", "system"), ("builtins", "eval"), ("subprocess", "call")):
        bodies.append(
            b"\x80\x04" + remake + ("(V%s\nV%s\nV%s\ntR." % (module, attribute, command)).encode()
        )
    bodies += [
        b"\x80\x04" + remake + b"}V__call__\nVx\nsb.",
        b"\x80\x04" + remake + b"(Vbuiltins\nVbytearray\nI1099511627776\ntR.",
        b"\x80\x04cbuiltins\nbytearray\n(I1099511627776\ntR.",
        b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b"x.",
        b"\x80\x04\x8b" + struct.pack("<i", 1 << 30) + b"x.",
        b"\x80\x04" + b"(" * 100_000 + b".",
        b"\x80\x04" + b"]" * 100_000 + b"a" * 99_999 + b".",
        b"\x80\x04I" + b"9" * 100_000 + b"\n.",
        b"\x80\x04Pid\n.",
        b"\x80\x04NQ.",
        b"\x80\x04r" + struct.pack("<I", (1 << 32) - 1) + b".",
        b"\x80\x04Nr" + struct.pack("<I", (1 << 32) - 1) + b".",
        b"\x80\x09.",
        b"\x80",
        b".",
        b"",
        b"\x01",
        b"garbage",
    ]
    return bodies


def test_values_that_name_what_is_not_allowed_are_refused(scene: Scene, tmp_path: Path) -> None:
    path = tmp_path / "executed"
    for body in evil_bodies(str(path)):
        before = set(os.listdir("."))
        try:
            value = scene.attacker.call(remote_attacker.answer_with, body)
        except SerializationError:
            pass
        except CallError as e:
            assert type(e) is CallError
        else:
            assert type(value) in (list, tuple, dict, int, str, bytes, type(None)), (body[:100], value)
        assert not path.exists(), body[:100]
        assert set(os.listdir(".")) == before


# -- What is no frame --------------------------------------------------------------------------------

HEADERS = {
    "4 GiB": ({"length": 0xFFFFFFFF}, "over the limit"),
    "one byte too many": ({"length": (1 << 27) + 1}, "over the limit"),
    "another magic": ({"magic": 0x4D4A}, "not a frame"),
}


@pytest.mark.parametrize("kind", HEADERS)
@pytest.mark.parametrize("depth", [0, 1])
def test_who_breaks_the_protocol_is_cut_off(router: Router, kind: str, depth: int) -> None:
    via = router.local(name="via") if depth else None
    attacker, victim = router.local(via=via, name="attacker"), router.local(via=via)
    pid = attacker.call(os.getpid)
    fields, text = HEADERS[kind]
    data = remote_attacker.frame(0, 1, 1, 101, 0, b"x" * 1000, **fields)
    with pytest.raises(ChannelError, match="attacker") as info:
        attacker.call(remote_attacker.write_and_stay, data)
    assert text in str(info.value)
    wait_gone(pid, LIMIT)
    assert victim.call(abs, -1) == 1


@pytest.mark.parametrize("cut", [1, 2, 25, 26, 30, 20_000])
def test_a_frame_that_ends_with_the_link_is_dropped(router: Router, cut: int) -> None:
    attacker, victim = router.local(name="attacker"), router.local()
    received = mitogen.core.Receiver(router)
    data = remote_attacker.frame(0, 1, 1, received.handle, 0, b"\0" + b"x" * 50_000)
    with pytest.raises(ChannelError, match="attacker"):
        attacker.call(remote_attacker.write_and_go, data[:cut])
    assert received.empty()
    assert victim.call(abs, -1) == 1


def test_a_context_whose_memory_is_asked_for_in_advance_gives_none(router: Router) -> None:
    attacker = router.local(name="attacker")
    pid = attacker.call(os.getpid)
    before = memory(os.getpid())
    data = remote_attacker.frame(0, 1, 1, 101, 0, b"x" * 40_000, length=1 << 27)
    attacker.call_no_reply(remote_attacker.write_and_stay, data)
    link: Any = router.stream_by_id(attacker.context_id)
    wait_until(lambda: link._decoder._body is not None, LIMIT)
    assert memory(os.getpid()) - before < 50
    # What it says from now on belongs to that body: it could not even ask for what it needs to end.
    os.kill(pid, signal.SIGKILL)


def memory(pid: int) -> int:
    """Return the resident memory of a process in MB."""
    with open("/proc/%d/status" % pid) as f:
        found = re.search(r"VmRSS:\s+(\d+) kB", f.read())
    assert found
    return int(found.group(1)) // 1024


@pytest.mark.parametrize("name", ["shout_upward", "take_no_data"])
def test_who_reads_nothing_does_not_silence_those_that_share_its_link(
    router: Router, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it is sent comes to the middle over the one link that the others' messages take as well."""
    make_packages(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    middle = router.local(name="middle")
    attacker, below = (router.local(via=middle, name=name) for name in ("attacker", "below"))
    middle.call(remote_attacker.be_impatient, 0.5)
    pid = attacker.call(os.getpid)
    call = attacker.call_async(getattr(remote_attacker, name), LIMIT * 3, 10_000_000)
    with pytest.raises(
        ChannelError, match="attacker took nothing of what was sent to it for 0.45 seconds"
    ):
        call.get(LIMIT * 2)
    assert mitogen.parent.CallChain(below, timeout=LIMIT).call(abs, -1) == 1
    wait_gone(pid, LIMIT)


def test_who_asks_all_and_reads_nothing_makes_nobody_wait(router: Router) -> None:
    """Not even for the time after which it is given up, which is longer than this test waits."""
    router.high_water_mark = 1 << 20
    victim, middle = router.local(name="victim"), router.local(name="middle")
    middle.call(remote_attacker.be_impatient, 30.0, 1 << 20)
    below, attacker = (router.local(via=middle, name=name) for name in ("below", "attacker"))
    chains = [mitogen.parent.CallChain(context, timeout=LIMIT) for context in (victim, middle, below)]
    pid = attacker.call(os.getpid)
    attacker.call_no_reply(remote_attacker.flood_siblings_deaf, LIMIT * 3, 10_000_000)

    def said() -> int:
        links = chains[1].call(mitogen.core.stats.stats)["links"]
        received: int = next(link["bytes_received"] for link in links if link["name"] == "attacker")
        return received

    before = 0
    while before < 20_000 or said() - before > 10_000:
        # Until it is read no more, but for a little now and then.
        before = said()
        for i in range(50):
            assert [chain.call(remote.identity, i) for chain in chains] == [i] * 3
    os.kill(pid, signal.SIGKILL)
    wait_gone(pid, LIMIT)


def test_who_reads_no_data_costs_no_memory(
    router: Router, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_packages(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    attacker, victim = router.local(name="attacker"), router.local()
    pid = attacker.call(os.getpid)
    link: Any = router.stream_by_id(attacker.context_id)
    attacker.call_no_reply(remote_attacker.take_no_data, LIMIT * 3, 10_000_000)
    wait_until(lambda: link.queued > 1 << 20, LIMIT)
    for _ in range(100):
        assert victim.call(abs, -1) == 1
        assert link.queued < 1 << 22
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not router._data_server._questions._waiting, LIMIT)
    assert not router._data_server._questions._behind


# -- Floods ------------------------------------------------------------------------------------------

#: Seconds that each lasts, and messages at most. MITOGEN_FLOOD sets the seconds of the random one.
SECONDS = 0.25
FLOODS = {name: (SECONDS, 10_000_000) for name in vars(remote_attacker) if name.startswith("flood_")}
FLOODS["flood_modules"] = SECONDS, 100_000
FLOODS["flood_random"] = float(os.environ.get("MITOGEN_FLOOD", "1")), 10_000_000

#: In a process of its own, so that the memory of the tests and of their captured logs is not measured.
FLOOD_MASTER = """
import json, logging
from tests.integration import remote_attacker
from tests.integration.test_attacker import memory

class Complaints(logging.Handler):
    names = []
    def emit(self, record):
        if not record.name.startswith("mitogen.ctx.attacker"):
            self.names.append(record.name)
            self.last = record.getMessage()

logging.getLogger().addHandler(Complaints())
folder, *names = sys.argv[1:]
sys.path[:0] = [folder, os.path.join(folder, "flooded.zip")]
with mitogen.master.Router() as router:
    middle = router.local(name="middle")
    victims = [router.local(name="victim"), router.local(name="below", via=middle)]
    chains = [mitogen.parent.CallChain(victim, timeout=20.0) for victim in victims]
    pids = [os.getpid(), middle.call(os.getpid), victims[0].call(os.getpid)]
    for item in names:
        name, seconds, limit = item.split(":")
        attackers = [router.local(name="attacker 1"), router.local(name="attacker 2", via=middle)]
        attacker_pids = [attacker.call(os.getpid) for attacker in attackers]
        for chain in chains:
            chain.call(remote.identity, 0)
        before = [memory(pid) for pid in pids]
        del Complaints.names[:]
        next_id = router.id_allocator._next_id
        paths = [os.path.join(folder, "%s.%d" % (name, i)) for i in range(2)]
        started = time.monotonic()
        for attacker, path in zip(attackers, paths):
            attacker.call_no_reply(remote_attacker.run_flood, name, path, float(seconds), int(limit))
        peak = before[:]
        worst = answered = 0
        while time.monotonic() - started < float(seconds) + 1.0:
            for chain in chains:
                asked = time.monotonic()
                assert chain.call(remote.identity, answered) == answered
                worst = max(worst, time.monotonic() - asked)
                answered += 1
            peak = [max(old, memory(pid)) for old, pid in zip(peak, pids)]
            if all(os.path.exists(path) for path in paths):
                break
            time.sleep(0.005)
        for pid in attacker_pids:
            os.kill(pid, signal.SIGKILL)
        for chain in chains:
            chain.call(remote.identity, 0)
        tell(json.dumps({
            "name": name,
            "said": [int(open(path).read()) if os.path.exists(path) else None for path in paths],
            "seconds": time.monotonic() - started,
            "answered": answered,
            "worst": worst,
            "growth": [new - old for new, old in zip(peak, before)],
            "complaints": Complaints.names,
            "ids": router.id_allocator._next_id - next_id,
        }))
"""


def make_packages(folder: Path) -> None:
    """Make packages with large files: 10 GiB of holes, and 256 MiB that a zip file has little of."""
    (folder / "flooded").mkdir()
    (folder / "flooded/__init__.py").touch()
    with open(folder / "flooded/large.bin", "wb") as f:
        f.truncate(10 << 30)
    with zipfile.ZipFile(folder / "flooded.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("flooded_zip/__init__.py", "")
        archive.writestr("flooded_zip/large.bin", bytes(1 << 28))


@pytest.fixture(scope="module")
def floods(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What came of each flood, by its name. One master for all: what one leaves, the next one finds."""
    folder = tmp_path_factory.mktemp("floods")
    make_packages(folder)
    words = ["%s:%s:%d" % (name, *FLOODS[name]) for name in FLOODS]
    results = {}
    with Program(folder, FLOOD_MASTER, str(folder), *words) as program:
        for _ in FLOODS:
            result = json.loads(program.line())
            print(result)
            results[result["name"]] = result
        assert program.process.wait(LIMIT) == 0, program.errors()
    return results


@pytest.mark.timeout(240 + FLOODS["flood_random"][0])
@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_leaves_everybody_answering_with_memory_and_logs_bounded(
    floods: dict[str, dict[str, Any]], name: str
) -> None:
    result = floods[name]
    # Two attackers at a time, one below the master, one below another child of it.
    assert result["answered"] > 0
    # It takes milliseconds, however much the attackers say, and whether or not they read the answers.
    assert result["worst"] < 10.0, result
    # The master, the context in between, and a sibling, in MB.
    assert max(result["growth"]) < 100, result
    # One context complains once a second at most.
    for who in set(result["complaints"]):
        assert result["complaints"].count(who) <= result["seconds"] + 2, result
    # Ids are not to be had for ever: a link gets one in 64 of all there are, before it used them.
    assert result["ids"] <= 2 << 26
