"""Joining a running tree: who is admitted, what a client can do, and what is left when anything ends."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import resource
import signal
import socket
import stat
import struct
import tempfile
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

import mitogen
import mitogen.core
import mitogen.core.router
import mitogen.master
import mitogen.unix
from mitogen.core import handles
from mitogen.core.errors import CallError, ChannelError, StreamError, TimeoutError
from mitogen.core.framing import FrameDecoder, encode_header
from mitogen.core.message import Message, make
from mitogen.parent import CallChain
from mitogen.unix import ClientRouter, Listener, connect, listener, place, wire
from tests import interpreters
from tests.core.tools import Inbox
from tests.integration import joining
from tests.integration.programs import Program, wait_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mitogen.master import Router
    from mitogen.parent import Context

#: Seconds that nothing that works comes near to.
PATIENCE = 20.0
NOBODY = 65534


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture
def host(router: Router) -> Listener:
    """A listener of the tests' own master."""
    return Listener.build_stream(router)


@pytest.fixture
def joined(host: Listener) -> Iterator[ClientRouter]:
    """The router of a client, in this process."""
    with connect(host.path)[0] as joined:
        yield joined


class RawClient:
    """A client that sends whatever it likes."""

    def __init__(self, path: str) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(path)
        self._decoder = FrameDecoder(1 << 20)
        self._messages: list[Message] = []

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *exc: object) -> None:
        self.sock.close()

    def line(self) -> bytes:
        data = b""
        while not data.endswith(b"\n"):
            more = self.sock.recv(1)
            if not more:
                break
            data += more
        return data

    def hello(self) -> int:
        """Be admitted; return the id."""
        self.sock.sendall(wire.line("1"))
        answer = wire.understand(self.line().rstrip(b"\n"))
        assert not isinstance(answer, str)
        return answer[0]

    def send(self, *messages: Message) -> None:
        for msg in messages:
            self.sock.sendall(encode_header(msg) + msg.data)

    def receive(self) -> Message:
        while not self._messages:
            data = self.sock.recv(4096)
            assert data
            self._messages = self._decoder.receive_data(data)
        return self._messages.pop(0)

    def is_closed(self) -> bool:
        """Wait for the end of the connection."""
        try:
            while self.sock.recv(4096):
                pass
        except ConnectionResetError:
            pass
        return True


# -- Joining -----------------------------------------------------------------------------------


def test_another_process_joins_and_calls_a_child_of_the_host(
    tmp_path: Path, router: Router, local: Context, host: Listener
) -> None:
    source = """
import mitogen.unix
router, host = mitogen.unix.connect(sys.argv[1])
with router:
    child = router.context_by_id(int(sys.argv[2]))
    tell(child.call(os.getpid), router.context_id, *router.parent_ids)
    tell(mitogen.context_id, mitogen.is_master)
    while not os.path.exists(sys.argv[3]): time.sleep(0.01)
"""
    seen = tmp_path / "seen"
    with Program(tmp_path, source, host.path, str(local.context_id), str(seen)) as program:
        pid, client_id, host_id = map(int, program.line().split())
        assert pid == local.call(os.getpid)
        assert host_id == 0
        assert router.routes.names == {
            local.context_id: local.name,
            client_id: "unix.%d" % program.process.pid,
        }
        assert program.line() == "0 True"
        seen.touch()
        assert program.process.wait(PATIENCE) == 0
    wait_until(lambda: list(router.routes.names) == [local.context_id])


@pytest.mark.parametrize("version", ["3.6", "3.13", "pypy3"])
def test_a_child_on_any_python_can_be_the_host(tmp_path: Path, router: Router, version: str) -> None:
    child = router.local(python_path=interpreters.find(version))
    path = child.call(joining.listen, str(tmp_path / "socket"))
    with connect(path)[0] as joined:
        assert joined.parent_ids == [child.context_id, 0]
        # The host itself, which is below a master and has a child, and that child.
        below = child.call(joining.start)
        assert joined.host.call(os.getpid) == child.call(os.getpid)
        again = joined.context_by_id(below.context_id)
        assert again.call(os.getpid) == router.make_context(below.context_id).call(os.getpid)
        # And back: all of the tree can answer, wherever the client is.
        sender = mitogen.core.Receiver(joined).to_sender()
        assert sender.context.context_id == joined.context_id
        receiver = mitogen.core.Receiver(joined)
        again.call(joining.send, receiver.to_sender(), "from below")
        assert receiver.get_data(PATIENCE) == "from below"
        assert joined.context_id in router.routes.names
    wait_until(lambda: joined.context_id not in router.routes.names)
    child.shutdown(wait=True)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("version", ["3.6", "3.13", "pypy3"])
def test_a_child_of_another_tree_can_be_a_client(
    host: Listener, joined: ClientRouter, local: Context, version: str
) -> None:
    with mitogen.master.Router() as other:
        child = other.local(python_path=interpreters.find(version))
        other.local()
        found, own_id, client_id = child.call(joining.join_and_call, host.path, local.context_id)
        assert found == local.call(os.getpid)
        assert own_id == child.context_id
        assert client_id > joined.context_id


def test_a_master_knows_the_client_and_whose_authority_it_has(
    tmp_path: Path, router: Router, local: Context
) -> None:
    inbox = Inbox()
    router.add_handler(inbox, 2000)
    path = local.call(joining.listen, str(tmp_path / "socket"))
    with connect(path)[0] as joined:
        receiver = joined.make_context(0).send_async(Message.pickled("hello", handle=2000))
        msg = inbox.get()
        assert (msg.src_id, msg.auth_id) == (joined.context_id, local.context_id)
        msg.reply("welcome")
        assert receiver.get_data(PATIENCE) == "welcome"


def test_a_client_has_a_shared_broker_and_several_hosts(host: Listener, local: Context) -> None:
    broker = mitogen.core.Broker()
    with mitogen.master.Router() as other:
        child = other.local()
        first = connect(host.path, broker)[0]
        second = connect(Listener.build_stream(other).path, broker)[0]
        assert first.context_by_id(local.context_id).call(os.getpid) == local.call(os.getpid)
        assert second.context_by_id(child.context_id).call(os.getpid) == child.call(os.getpid)
        waiting = mitogen.core.Receiver(first, respondent=first.host)
        first.close()
        first.close()
        with pytest.raises(ChannelError, match="left the tree"):
            waiting.get(PATIENCE)
        assert second.context_by_id(child.context_id).call(os.getpid)
        second.close()
    assert not broker.streams
    listeners: Any = broker.__dict__["_mitogen_listeners"]
    assert listeners["exit"] == []
    broker.shutdown()
    broker.join()


def test_a_client_starts_contexts_via_others_only(joined: ClientRouter, local: Context) -> None:
    with pytest.raises(StreamError, match="can't have children: pass via="):
        joined.local()
    started = joined.local(via=joined.context_by_id(local.context_id))
    assert started.call(os.getppid) == local.call(os.getpid)
    started.shutdown(wait=True)


def test_a_client_can_end_a_context_and_a_call(joined: ClientRouter, local: Context) -> None:
    context = joined.context_by_id(local.context_id)
    with pytest.raises(TimeoutError):
        CallChain(context, timeout=0.05).call(time.sleep, 60)
    assert context.call(joining.identity, 1)[0] == 1
    context.shutdown(wait=True)
    with pytest.raises(ChannelError):
        local.call(os.getpid)


def test_the_host_can_have_a_client_leave(router: Router, joined: ClientRouter) -> None:
    waiting = mitogen.core.Receiver(joined, respondent=joined.host)
    router.context_by_id(joined.context_id).shutdown(wait=True)
    with pytest.raises(ChannelError, match="had this program leave"):
        waiting.get(PATIENCE)


def test_the_socket_is_for_its_owner_in_a_folder_of_its_own(router: Router, tmp_path: Path) -> None:
    host = Listener.build_stream(router)
    folder = os.path.dirname(host.path)
    assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(host.path).st_mode) == 0o600
    host.close()
    assert not os.path.exists(folder)
    given = Listener.build_stream(router, tmp_path / "given")
    assert stat.S_IMODE(os.stat(given.path).st_mode) == 0o600


def test_a_client_is_no_host(joined: ClientRouter) -> None:
    with pytest.raises(StreamError, match="a client can't admit others"):
        Listener.build_stream(joined)


# -- Who is admitted ---------------------------------------------------------------------------

AS_NOBODY = """
import mitogen.unix
os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    mitogen.unix.connect(sys.argv[1])
except mitogen.core.StreamError as e:
    tell(e)
"""


def test_a_process_of_another_user_is_refused_by_its_credentials(
    tmp_path: Path, router: Router, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() == 0:
        other = NOBODY
        source = AS_NOBODY
    else:
        # Only root can be somebody else: let the host think that it is.
        other = os.geteuid()
        source = AS_NOBODY.replace("os.set", "# os.set")
        monkeypatch.setattr(os, "geteuid", lambda: other + 1)
    # Nothing but the credentials is in the way.
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        host = Listener.build_stream(router, os.path.join(folder, "socket"))
        os.chmod(host.path, 0o666)
        with Program(tmp_path, source, host.path) as program:
            text = program.line()
        host.close()
    assert "of user %d; those of user %d and of root are admitted" % (other, os.geteuid()) in text
    assert host.path in text
    wait_until(lambda: "refused a client on" in caplog.text)
    assert router.routes.names == {}


def test_refusals_are_logged_once_a_second(
    host: Listener, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "peer_uid", lambda sock: None)
    monkeypatch.setattr(mitogen.core.router, "monotonic", lambda: 1000.0)
    for _ in range(20):
        with RawClient(host.path) as raw:
            assert b"whose user the system does not tell" in raw.line()
            assert raw.is_closed()
    assert caplog.text.count("refused a client") == 1


def test_a_client_refuses_the_program_of_another_user(
    host: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = wire.peer_uid
    # Both ends are in this process: the host still sees who is there.
    main = threading.get_ident()
    monkeypatch.setattr(
        wire, "peer_uid", lambda sock: 12345 if threading.get_ident() == main else real(sock)
    )
    monkeypatch.setattr(os, "geteuid", lambda: NOBODY if threading.get_ident() == main else 0)
    with pytest.raises(StreamError, match=r"it is one of user 12345; user 65534 joins those of its own"):
        connect(host.path)


class FakeSocket:
    def __init__(self, answer: bytes | OSError) -> None:
        self.answer = answer

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        if isinstance(self.answer, OSError):
            raise self.answer
        return self.answer[:size]


@pytest.mark.parametrize(
    ("platform", "answer", "uid"),
    [
        ("linux", struct.pack("iII", 1, 1000, 1000), 1000),
        ("linux", struct.pack("iII", 1, 0xFFFFFFFE, 1), 0xFFFFFFFE),
        ("linux", OSError(errno.ENOPROTOOPT, "no"), None),
        ("linux", b"", None),
        ("darwin", struct.pack("II18I", 0, 501, *range(18)), 501),
        ("freebsd14", struct.pack("II18I", 0, 1001, *range(18)), 1001),
        ("darwin", struct.pack("II18I", 1, 501, *range(18)), None),
        ("darwin", OSError(errno.ENOTCONN, "no"), None),
        ("sunos5", b"\0" * 76, None),
    ],
)
def test_who_is_at_the_other_end_is_known_or_not(
    platform: str, answer: bytes | OSError, uid: int | None
) -> None:
    sock: Any = FakeSocket(answer)
    assert wire.peer_uid(sock, platform) == uid


# -- What a client that lies gets --------------------------------------------------------------


def test_forged_ids_are_refused(
    tmp_path: Path, router: Router, local: Context, host: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    inbox = Inbox()
    router.add_handler(inbox, 2000)
    other = router.local()
    mark = tmp_path / "called"
    call = mitogen.core.serialization.dumps(
        (None, "tests.integration.joining", None, "touch", (str(mark),), {})
    )
    with RawClient(host.path) as victim, RawClient(host.path) as raw:
        victim_id, own = victim.hello(), raw.hello()
        for src in (own, 0, local.context_id, other.context_id, victim_id, 77777):
            for auth in (own, 0, local.context_id, other.context_id, victim_id, 77777):
                if not src == auth == own:
                    raw.send(
                        make(0, src, auth, 2000, 0, b"forged"),
                        make(local.context_id, src, auth, handles.CALL_FUNCTION, 0, call),
                    )
        raw.send(make(0, own, own, 2000, 0, b"true"))
        msg = inbox.get()
        assert (msg.data, msg.src_id, msg.auth_id) == (b"true", own, 0)
    assert inbox.empty()
    assert local.call(joining.identity, 1)[0] == 1
    assert not mark.exists()
    assert "came over the wrong link" in caplog.text


def test_a_client_is_no_neighbour(router: Router, local: Context, host: Listener) -> None:
    with RawClient(host.path) as raw:
        own = raw.hello()
        # By the thread that welcomes it, and may not have noted its link yet.
        before = router.broker.defer_sync(lambda: dict(router.table.links))
        raw.send(
            make(0, own, own, handles.ADD_ROUTE, 0, b"%d:mine" % (own + 1)),
            make(0, own, own, handles.DEL_ROUTE, 0, b"%d:gone" % local.context_id),
            make(0, own, own, handles.DETACHING, 0, b""),
            make(0, own, own, handles.ALLOCATE_ID, 1234, b""),
        )
        answer = raw.receive()
        assert (answer.handle, answer.src_id) == (1234, 0)
        with pytest.raises(CallError, match="refused .* by its policy"):
            answer.unpickle()
        assert router.table.links == before
    assert local.call(joining.identity, 1)[0] == 1


def test_a_client_that_reads_no_answers_is_not_read_itself(router: Router, host: Listener) -> None:
    router.high_water_mark = 1 << 16
    with RawClient(host.path) as raw:
        own = raw.hello()
        raw.sock.settimeout(1.0)
        question = make(0, own, own, 4242, 1234, b"")
        block = encode_header(question) * 1000
        with pytest.raises(OSError, match="timed out"):
            for _ in range(500):
                raw.sock.sendall(block)
        (link,) = [link for link in router.stats()["links"] if link["context_id"] == own]
        assert link["queued"] < 4 << 20
        assert raw.receive().is_dead


def test_a_message_without_a_way_is_answered(joined: ClientRouter) -> None:
    with pytest.raises(ChannelError, match="no route to context 77777 from context 0"):
        joined.context_by_id(77777).call(os.getpid)
    with pytest.raises(ChannelError, match="context 0 has no handle 101"):
        joined.host.call(os.getpid)


def test_closed_ways_are_closed_to_clients_too(
    router: Router, joined: ClientRouter, local: Context
) -> None:
    context = joined.context_by_id(local.context_id)
    router.unidirectional = True
    with pytest.raises(ChannelError, match="context 0 is unidirectional"):
        context.call(os.getpid)
    router.unidirectional = False
    router.routing_policy = lambda src_id, dst_id: False
    with pytest.raises(ChannelError, match="the routing policy of context 0"):
        context.call(os.getpid)
    router.routing_policy = None
    assert context.call(joining.identity, 1)[0] == 1


def test_a_client_of_a_child_is_ruled_by_a_policy_above(tmp_path: Path, router: Router) -> None:
    refused: set[tuple[int, int]] = set()
    router.routing_policy = lambda src_id, dst_id: (src_id, dst_id) not in refused
    child = router.local()
    path = child.call(joining.listen, str(tmp_path / "socket"))
    below = child.call(joining.start)
    with connect(path)[0] as joined:
        # It goes up for the decision, and comes down again, with the authority of the host.
        context = joined.context_by_id(below.context_id)
        assert context.call(joining.identity, 1)[0] == 1
        refused.add((joined.context_id, below.context_id))
        with pytest.raises(ChannelError, match="the routing policy of context 0"):
            context.call(joining.identity, 1)
        assert joined.host.call(joining.identity, 1)[0] == 1


GARBAGE = {
    "another protocol": b"GET / HTTP/1.1\r\n\r\n",
    "no line": b"MITOGEN-UNIX " + b"x" * 300,
    "something else": bytes(range(255, 0, -1)),
    "an empty line": b"\n",
    "an odd process id": b"MITOGEN-UNIX %s -1\n" % mitogen.__version__.encode(),
    "no process id": b"MITOGEN-UNIX %s\n" % mitogen.__version__.encode(),
    "a line of spaces": b"   \n",
    "frames too early": wire.line("1") + b"x" * 26,
}


@pytest.mark.parametrize("what", GARBAGE)
def test_garbage_instead_of_a_hello_ends_the_connection(
    what: str, router: Router, host: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    with RawClient(host.path) as raw:
        raw.sock.sendall(GARBAGE[what])
        assert b"refused: it does not speak as a client does" in raw.line()
        assert raw.is_closed()
    assert "refused a client on %s" % host.path in caplog.text
    assert router.routes.names == {}


def test_garbage_after_the_hello_ends_the_connection_and_no_other(
    router: Router, host: Listener, joined: ClientRouter, local: Context, caplog: pytest.LogCaptureFixture
) -> None:
    for garbage in (b"x" * 100, struct.pack(">HLLLLLL", 0x4D49, 0, 0, 0, 0, 0, 1 << 31)):
        with RawClient(host.path) as raw:
            raw.hello()
            raw.sock.sendall(garbage)
            assert raw.is_closed()
            wait_until(lambda: len(router.routes.names) == 2)
    assert "disconnected: unix.1 sent what is not a frame" in caplog.text
    assert joined.context_by_id(local.context_id).call(joining.identity, 1)[0] == 1


def test_a_hello_may_come_in_pieces(host: Listener) -> None:
    with RawClient(host.path) as raw:
        for byte in wire.line("1"):
            raw.sock.sendall(bytes([byte]))
        assert raw.line().startswith(b"MITOGEN-UNIX ")


def test_clients_that_say_nothing_stop_nobody_and_go(
    router: Router, host: Listener, local: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "HELLO_TIMEOUT", 1.0)
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(RawClient(host.path)) for _ in range(50)]
        for raw in silent[:25]:
            raw.sock.sendall(b"MITOGEN-U")
        wait_until(lambda: len(host._pending) == 50)
        monkeypatch.setattr(listener, "HELLO_TIMEOUT", PATIENCE)
        with connect(host.path)[0] as joined:
            assert joined.context_by_id(local.context_id).call(joining.identity, 1)[0] == 1
        assert all(b"not admitted within" in raw.line() and raw.is_closed() for raw in silent)
    wait_until(lambda: not host._pending)
    assert list(router.routes.names) == [local.context_id]


def test_another_version_is_refused_by_the_host(host: Listener) -> None:
    with RawClient(host.path) as raw:
        raw.sock.sendall(b"MITOGEN-UNIX 9.9 something new\n")
        line = raw.line().decode()
        assert "its mitogen is version 9.9, and the one here is %s" % mitogen.__version__ in line
        assert "use the same in both programs" in line


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"MITOGEN-UNIX 9.9 something new\n", "its mitogen is version 9.9, and the one here is"),
        (b"+OK POP3 ready\n", "is not mitogen.unix"),
        (b"", "ended before it answered"),
        (wire.line("what?"), "its answer makes no sense: 'what?'"),
        (wire.line("1 2 3 x"), "its answer makes no sense"),
        (wire.refusal("because"), "refused: because"),
        (b"x" * 100000, "is not mitogen.unix"),
    ],
)
def test_a_client_says_what_is_wrong_with_what_listens(tmp_path: Path, answer: bytes, text: str) -> None:
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()

        def serve() -> None:
            with server.accept()[0] as sock, contextlib.suppress(OSError):
                sock.recv(1000)
                sock.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(StreamError) as caught:
            connect(path)
        thread.join()
    assert str(caught.value).startswith("can't join the program on %s: " % path)
    assert text in str(caught.value)


@pytest.mark.parametrize("backlog", [5, 0])
def test_a_program_that_does_not_answer_costs_the_time_out(tmp_path: Path, backlog: int) -> None:
    path = str(tmp_path / "socket")
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.socket(socket.AF_UNIX))
        server.bind(path)
        server.listen(backlog)
        if not backlog:  # Its queue is full.
            stack.enter_context(RawClient(path))
        with pytest.raises(StreamError, match="did not answer within 0.2|accepts nobody; is it stopped"):
            connect(path, connect_timeout=0.2)


def test_a_broker_that_has_ended_joins_nothing(host: Listener) -> None:
    broker = mitogen.core.Broker()
    broker.shutdown()
    broker.join()
    with pytest.raises(StreamError, match="the broker has shut down"):
        connect(host.path, broker)
    assert host.router.broker.defer_sync(lambda: None) is None


def test_a_client_that_floods_a_stopped_context_is_held_back(
    router: Router, host: Listener, joined: ClientRouter, local: Context
) -> None:
    pid = local.call(os.getpid)
    context = joined.context_by_id(local.context_id)
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(TimeoutError):
            for _ in range(100):
                msg = Message(dst_id=context.context_id, handle=5000, data=b"x" * (1 << 20))
                joined.route(msg, timeout=0.5)
        link = router.stream_by_id(local.context_id)
        assert link is not None
        assert link.queued < 3 * router.high_water_mark
    finally:
        os.kill(pid, signal.SIGCONT)
    assert context.call(joining.identity, 1)[0] == 1


# -- The path ----------------------------------------------------------------------------------


def test_a_stale_socket_is_replaced(tmp_path: Path, router: Router, local: Context) -> None:
    path = tmp_path / "socket"
    source = """
import mitogen.unix
router = mitogen.master.Router()
mitogen.unix.Listener.build_stream(router, sys.argv[1])
tell("listening")
time.sleep(60)
"""
    with Program(tmp_path, source, str(path)) as program:
        program.line()
        program.process.kill()
        program.process.wait()
    assert path.is_socket()
    with pytest.raises(StreamError, match="%s: Connection refused; the program that listened" % path):
        connect(path)
    host = Listener.build_stream(router, path)
    with connect(path)[0] as joined:
        assert joined.context_by_id(local.context_id).call(joining.identity, 1)[0] == 1
    host.close()
    assert not path.exists()


def test_a_live_socket_is_left_to_its_listener(
    tmp_path: Path, router: Router, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "socket"
    with mitogen.master.Router() as first:
        Listener.build_stream(first, path)
        with pytest.raises(StreamError, match="%s: a program listens there already" % path):
            Listener.build_stream(router, path)
        connect(path)[0].close()
    # A look at whether it is alive is nothing to complain about.
    assert "refused" not in caplog.text
    assert not path.exists()


def test_of_many_that_replace_a_stale_socket_one_listens(tmp_path: Path, router: Router) -> None:
    path = tmp_path / "socket"
    for _ in range(20):
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(str(path))
        made: list[Listener] = []
        errors: list[StreamError] = []
        start = threading.Barrier(8)

        def listen(
            made: list[Listener] = made,
            errors: list[StreamError] = errors,
            start: threading.Barrier = start,
        ) -> None:
            start.wait()
            try:
                made.append(Listener.build_stream(router, path))
            except StreamError as e:
                errors.append(e)

        threads = [threading.Thread(target=listen) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(made), len(errors)) == (1, 7)
        connect(path)[0].close()
        made[0].close()
        assert not path.exists()


def test_what_is_not_a_socket_is_left_alone(tmp_path: Path, router: Router) -> None:
    file = tmp_path / "file"
    file.write_text("precious")
    folder = tmp_path / "folder"
    folder.mkdir()
    dangling = tmp_path / "dangling"
    dangling.symlink_to(tmp_path / "nowhere")
    target = tmp_path / "target"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(target))
    link = tmp_path / "link"
    link.symlink_to(target)
    for path in (file, folder, dangling, link):
        with pytest.raises(StreamError, match="can't listen on %s: what is there is not a socket" % path):
            Listener.build_stream(router, path)
    assert file.read_text() == "precious"
    assert {path.name for path in tmp_path.iterdir()} == {"file", "folder", "dangling", "target", "link"}


def test_a_path_that_can_t_be_one_is_refused(tmp_path: Path, router: Router) -> None:
    for long in ("/tmp/" + "x" * 103, "/tmp/" + "\xfc" * 60):
        with pytest.raises(StreamError, match="has at most 107 bytes, .* choose a shorter one"):
            Listener.build_stream(router, long)
        with pytest.raises(StreamError, match="has at most 107 bytes"):
            connect(long)
    with pytest.raises(StreamError, match="NUL"):
        Listener.build_stream(router, "/tmp/a\0b")
    missing = tmp_path / "missing" / "socket"
    with pytest.raises(StreamError, match="%s: No such file or directory; choose a path" % missing):
        Listener.build_stream(router, missing)
    with pytest.raises(StreamError, match="%s: No such file or directory; pass the path" % missing):
        connect(missing)
    longest = "/tmp/mitogen." + "x" * (107 - 13)
    host = Listener.build_stream(router, longest)
    connect(longest)[0].close()
    host.close()


def test_a_folder_that_somebody_keeps_locked_is_an_error(
    tmp_path: Path, router: Router, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, "LOCK_TIMEOUT", 0.05)
    held = place._lock_folder(str(tmp_path / "socket"))
    assert held is not None
    try:
        with pytest.raises(StreamError, match="keeps its folder locked"):
            Listener.build_stream(router, tmp_path / "socket")
    finally:
        os.close(held)
    assert list(tmp_path.iterdir()) == []


def test_a_listener_removes_no_socket_but_its_own(tmp_path: Path, router: Router) -> None:
    path = tmp_path / "socket"
    host = Listener.build_stream(router, path)
    path.unlink()
    other = Listener.build_stream(router, path)
    host.close()
    connect(path)[0].close()
    other.close()
    assert not path.exists()


# -- Endings -----------------------------------------------------------------------------------


def test_a_closed_listener_keeps_its_clients(
    host: Listener, joined: ClientRouter, local: Context
) -> None:
    host.close()
    host.close()
    assert not os.path.exists(os.path.dirname(host.path))
    with pytest.raises(StreamError, match="No such file"):
        connect(host.path)
    assert joined.context_by_id(local.context_id).call(joining.identity, 1)[0] == 1


def test_the_end_of_the_host_s_router_removes_all_and_ends_waits() -> None:
    with mitogen.master.Router() as router:
        host = Listener.build_stream(router)
        joined = connect(host.path)[0]
        receiver = mitogen.core.Receiver(joined, respondent=joined.host)
    assert not os.path.exists(os.path.dirname(host.path))
    with pytest.raises(ChannelError, match="closed by it"):
        receiver.get(PATIENCE)
    host.close()
    with pytest.raises(ChannelError, match="the broker has shut down"):
        Listener.build_stream(router)
    joined.close()


HOST = """
import mitogen.unix
router = mitogen.master.Router()
context = router.local()
mitogen.unix.Listener.build_stream(router, sys.argv[1])
tell(context.context_id)
time.sleep(60)
"""


def test_a_killed_host_ends_the_waits_of_its_clients(tmp_path: Path) -> None:
    path, began = tmp_path / "socket", tmp_path / "began"
    with Program(tmp_path, HOST, str(path)) as program:
        child_id = program.pid()
        with connect(path)[0] as joined:
            receiver = joined.context_by_id(child_id).call_async(joining.touch_and_sleep, str(began))
            wait_file(began)
            program.process.kill()
            with pytest.raises(ChannelError, match="the connection to context unix.* was closed by it"):
                receiver.get(PATIENCE)
            with pytest.raises(ChannelError):
                joined.host.call(os.getpid)


JOIN = """
import mitogen.unix
router, host = mitogen.unix.connect(sys.argv[1])
tell(router.context_id)
time.sleep(60)
"""


def test_all_that_wait_for_a_killed_client_are_told(
    tmp_path: Path, router: Router, local: Context
) -> None:
    path = local.call(joining.listen, str(tmp_path / "socket"))
    sibling = router.make_context(local.call(joining.start).context_id)
    far = router.local()
    with Program(tmp_path, JOIN, path) as program:
        client_id = program.pid()
        # It is answered before it is announced.
        wait_until(lambda: client_id in router.routes.names)
        here = mitogen.core.Receiver(router, respondent=router.context_by_id(client_id))
        waits = []
        for context in (sibling, far):
            mark = tmp_path / ("waiting-%d" % context.context_id)
            waits.append(context.call_async(joining.wait_for, client_id, str(mark)))
            wait_file(mark)
        program.process.kill()
        with pytest.raises(ChannelError, match="was closed by it"):
            here.get(PATIENCE)
        for receiver in waits:
            assert "was closed by it" in receiver.get(PATIENCE).unpickle()
    assert client_id not in router.routes.names


def test_a_child_that_is_the_host_and_killed_ends_waits_both_ways(
    tmp_path: Path, router: Router, local: Context
) -> None:
    path = local.call(joining.listen, str(tmp_path / "socket"))
    with connect(path)[0] as joined:
        above = mitogen.core.Receiver(router, respondent=router.context_by_id(joined.context_id))
        below = mitogen.core.Receiver(joined, respondent=joined.make_context(0))
        os.kill(local.call(os.getpid), signal.SIGKILL)
        for receiver in (above, below):
            with pytest.raises(ChannelError):
                receiver.get(PATIENCE)


def test_a_host_that_gets_no_ids_admits_nobody(tmp_path: Path, router: Router, local: Context) -> None:
    router.id_allocator._next_id = (1 << 32) - 10
    path = local.call(joining.listen, str(tmp_path / "socket"))
    with pytest.raises(StreamError, match="the master gives no more ids for contexts, or is gone"):
        connect(path)


# -- Many --------------------------------------------------------------------------------------

CROWD = """
import mitogen.unix
errors = []

def join():
    try:
        router, host = mitogen.unix.connect(sys.argv[1])
        with router:
            assert router.context_by_id(int(sys.argv[2])).call(os.getppid) == int(sys.argv[3])
    except BaseException as e:
        errors.append(e)

threads = [threading.Thread(target=join) for _ in range(50)]
for thread in threads: thread.start()
for thread in threads: thread.join()
tell(len(errors), *errors[:3])
"""


def test_200_clients_join_at_once(tmp_path: Path, router: Router, local: Context, host: Listener) -> None:
    folders = [tmp_path / str(number) for number in range(4)]
    with contextlib.ExitStack() as stack:
        programs = []
        for folder in folders:
            folder.mkdir()
            args = host.path, str(local.context_id), str(os.getpid())
            programs.append(stack.enter_context(Program(folder, CROWD, *args)))
        assert [program.line() for program in programs] == ["0"] * 4
    wait_until(lambda: list(router.routes.names) == [local.context_id])


def test_thousands_of_clients_one_after_the_other_leave_nothing(
    router: Router, local: Context, host: Listener
) -> None:
    def sizes() -> list[int]:
        gc.collect()
        broker: Any = router.broker
        table: Any = router.table
        return [
            len(os.listdir("/proc/self/fd")),
            *(len(what) for what in (table.links, table._branches, table._talkers, router.routes.names)),
            *(len(what) for what in (router._contexts, router._handlers, broker.streams)),
            *(len(what) for what in (host._pending, host._waiting)),
        ]

    def join(number: int) -> None:
        for _ in range(number):
            with RawClient(host.path) as raw:
                own = raw.hello()
                # Something that the host notes: who talked to whom.
                raw.send(make(local.context_id, own, own, handles.NOTICE, 0, b""))

    before = sizes()
    join(100)
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    join(1900)
    # The last ones are still being let go. What `local` was started with may be gone meanwhile.
    wait_until(lambda: all(now <= then for now, then in zip(sizes(), before)))
    assert len(router.broker.timers._heap) < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - kilobytes < 20000


def test_clients_wait_while_the_host_has_no_descriptors(
    router: Router, local: Context, host: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    class Exhausted:
        def __init__(self, sock: socket.socket) -> None:
            self.sock = sock
            self.failures = 3

        def accept(self) -> object:
            self.failures -= 1
            if self.failures >= 0:
                raise OSError(errno.EMFILE, "Too many open files")
            return self.sock.accept()

        def detach(self) -> int:
            return self.sock.detach()

    exhausted: Any = Exhausted(host._sock)
    host._sock = exhausted
    with connect(host.path)[0] as joined:
        assert joined.context_by_id(local.context_id).call(joining.identity, 1)[0] == 1
    assert exhausted.failures < 0
    assert "can't accept clients on %s: Too many open files" % host.path in caplog.text


def test_a_forked_copy_of_the_host_leaves_the_socket_alone(tmp_path: Path) -> None:
    source = """
import mitogen.unix
with mitogen.master.Router() as router:
    host = mitogen.unix.Listener.build_stream(router)
    pid = os.fork()
    if not pid:
        host.close()
        os._exit(0)
    os.waitpid(pid, 0)
    tell(os.path.exists(host.path))
    mitogen.unix.connect(host.path)[0].close()
    tell("joined")
tell(os.path.exists(host.path))
"""
    with Program(tmp_path, source) as program:
        assert [program.line() for _ in range(3)] == ["True", "joined", "False"]
