"""`mitogen.core.stdio`: what a child prints becomes log lines, bounded, and never holds anything up."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from mitogen.core import logs
from mitogen.core.broker import Broker
from mitogen.core.latch import Latch, wait_readable
from mitogen.core.signals import listen
from mitogen.core.stdio import LineLogger
from tests.core.tools import PATIENCE, collect_logs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str, str]]:
    return collect_logs(monkeypatch)


Lines = list[tuple[int, str, str]]


@pytest.fixture
def broker() -> Iterator[Broker]:
    broker = Broker()
    yield broker
    broker.shutdown()
    broker.join()


class Link:
    """What a line logger knows of the link to the parent. Nothing is sent on it."""

    def __init__(self) -> None:
        self.router = self
        self.high_water_mark = 1000
        self.queued = 0
        self.closed = False
        self.held_back: list[Callable[[], object]] = []


class Printed:
    """A line logger and its other end, a descriptor in place of 1."""

    def __init__(self, broker: Broker, name: str = "stdout") -> None:
        self.broker = broker
        self.fd = os.open(os.devnull, os.O_WRONLY)
        self.link = Link()
        link: Any = self.link
        self.logger = LineLogger(name, self.fd, link)
        self.gone = Latch()
        listen(self.logger, "disconnect", self.gone.put)

    def start(self) -> Printed:
        self.broker.start_receive(self.logger)
        return self

    def write(self, data: bytes) -> None:
        os.write(self.fd, data)

    def close(self) -> None:
        """Close the descriptor, as the end of the process would."""
        os.close(self.fd)

    def end(self) -> None:
        """Close the descriptor, and wait until that was noticed."""
        self.close()
        self.gone.get(PATIENCE)


def texts(lines: Lines) -> list[str]:
    return [text for _, _, text in lines]


def test_each_line_is_a_record_under_the_name_of_its_stream(broker: Broker, lines: Lines) -> None:
    printed = Printed(broker, "stderr").start()
    printed.write(b"one\ntwo\n")
    printed.end()
    assert lines == [(logs.INFO, "stderr", "one"), (logs.INFO, "stderr", "two")]


def test_a_line_may_come_in_pieces_and_the_last_without_a_newline(broker: Broker, lines: Lines) -> None:
    printed = Printed(broker).start()
    for piece in (b"a", b"b\nc", b"", b"d\n\ne"):
        printed.write(piece)
        broker.defer_sync(lambda: None)
    printed.end()
    assert texts(lines) == ["ab", "cd", "", "e"]


def test_bytes_that_are_no_text_are_shown_as_far_as_they_go(broker: Broker, lines: Lines) -> None:
    printed = Printed(broker).start()
    printed.write(b"a\xffb\n")
    printed.end()
    assert texts(lines) == ["a\ufffdb"]


def take(broker: Broker, data: bytes) -> None:
    """Have everything read that a program prints, however much it is."""
    printed = Printed(broker).start()
    with open(printed.fd, "wb", closefd=False) as stream:
        stream.write(data)
    printed.end()


def test_output_without_a_newline_is_cut_into_pieces_and_nothing_of_it_is_lost(
    broker: Broker, lines: Lines
) -> None:
    data = (b"0123456789" * 100_000)[: 5 * logs.LINE_LIMIT + 17]
    take(broker, data)
    assert "".join(texts(lines)).encode() == data
    assert max(map(len, texts(lines))) <= logs.LINE_LIMIT
    assert len(lines) == 6


@pytest.mark.parametrize("first", [1, 30_000, logs.LINE_LIMIT])
def test_a_long_line_with_a_newline_is_cut_into_pieces_too(
    broker: Broker, lines: Lines, first: int
) -> None:
    printed = Printed(broker)
    data = b"x" * (logs.LINE_LIMIT + 40_000)
    for piece in (b"before\n" + data[:first], data[first:] + b"\nafter\n"):
        printed.logger._take(piece)
    printed.start().end()
    assert "".join(texts(lines)).encode() == b"before" + data + b"after"
    assert max(map(len, texts(lines))) <= logs.LINE_LIMIT


def test_the_memory_it_takes_is_bounded(broker: Broker, lines: Lines) -> None:
    printed = Printed(broker)
    for _ in range(100):
        printed.logger._take(b"x" * 100_000)
        assert len(printed.logger._rest) <= logs.LINE_LIMIT
    printed.start()
    printed.end()


def test_a_shutdown_has_an_end_though_somebody_goes_on_writing(broker: Broker, lines: Lines) -> None:
    printed = Printed(broker)
    with subprocess.Popen(["yes"], stdout=printed.fd) as process:
        try:
            assert printed.logger.receive_side is not None
            assert wait_readable(printed.logger.receive_side.fd, PATIENCE)
            broker.defer_sync(lambda: printed.logger.on_shutdown(broker), PATIENCE)
        finally:
            process.kill()
            printed.start().end()


def test_a_shutdown_logs_the_rest_and_does_not_wait_for_the_other_end(lines: Lines) -> None:
    broker = Broker()
    broker.shutdown_timeout = PATIENCE
    printed = Printed(broker)
    printed.write(b"one\nrest")
    printed.start()
    assert printed.logger.keep_alive is False
    broker.shutdown()
    broker.join(PATIENCE / 2)
    printed.close()
    assert broker.dead_reason
    assert texts(lines) == ["one", "rest"]


def test_a_logger_shows_its_name(broker: Broker) -> None:
    printed = Printed(broker, "stderr")
    assert repr(printed.logger) == "LineLogger(stderr)"
    printed.start()
    printed.end()


@pytest.mark.parametrize("is_closed", [False, True])
def test_who_writes_waits_while_the_link_is_full(broker: Broker, lines: Lines, is_closed: bool) -> None:
    printed = Printed(broker).start()
    printed.link.queued = printed.link.high_water_mark + 1
    # Until nobody reads any more.
    while not printed.link.held_back:
        printed.write(b"x\n")
    os.set_blocking(printed.fd, False)
    written = 0
    with pytest.raises(BlockingIOError):
        while True:
            written += os.write(printed.fd, b"y\n" * 2048)
    assert "y" not in texts(lines)
    if is_closed:
        printed.link.closed = True
    else:
        printed.link.queued = 0
    broker.defer(printed.link.held_back[0])
    printed.end()
    assert texts(lines).count("y") == written / 2


# -- The streams of a process -----------------------------------------------------------------------

PROGRAM = """if 1:
    import os, sys
    from mitogen.core import logs
    from mitogen.core.broker import Broker
    from mitogen.core.stdio import StandardStreams

    report = os.fdopen(os.dup(1), "w")
    lines = []
    logs.sink = lambda level, name, text: lines.append((name, text))
    broker = Broker()
    class Link:
        queued = high_water_mark = 0
        router = property(lambda self: self)
    streams = StandardStreams(broker, Link())
    print("printed")
    print("an error \\N{SNOWMAN} \\udc80", file=sys.stderr)
    os.write(1, b"written\\n")
    os.system("echo from a program; echo and its errors >&2")
    blocking = [os.get_blocking(fd) for fd in (0, 1, 2)]
    read = os.read(0, 1)
    print("the rest", end="")
    same = sys.stdout is sys.__stdout__ and sys.stderr is sys.__stderr__
    streams.close()
    print("into nothing", flush=True)
    os.write(2, b"into nothing\\n")
    broker.shutdown()
    broker.join()
    print(repr((sorted(lines), blocking, read, same)), file=report, flush=True)
"""


def test_standard_streams_become_lines_and_stay_ordinary_for_programs() -> None:
    environ = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM],
        env=environ,
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    assert run.stderr == ""
    lines, blocking, read, same = eval(run.stdout)
    assert lines == sorted(
        [
            ("stdout", "printed"),
            ("stderr", "an error \N{SNOWMAN} \\udc80"),
            ("stdout", "written"),
            ("stdout", "from a program"),
            ("stderr", "and its errors"),
            ("stdout", "the rest"),
        ]
    )
    assert blocking == [True, True, True]
    assert read == b""
    assert same
