"""`mitogen.parent.streams`: what belongs to others is written to without waiting for ever."""

from __future__ import annotations

import os
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from mitogen.parent import streams

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def lifeline() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of what ends the waits."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@pytest.fixture(params=["opened anew", "as it is", "socket"])
def output(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    lifeline: tuple[socket.socket, socket.socket],
) -> Iterator[tuple[streams._Output, int]]:
    """An output, and the other end of its descriptor."""
    if request.param == "socket":
        one, other = socket.socketpair()
        read_fd, write_fd = one.detach(), other.detach()
    else:
        read_fd, write_fd = os.pipe()
    with monkeypatch.context() as patch:
        if request.param == "as it is":
            # As where there is no /proc, or the descriptor belongs to another user.
            def refuse(path: str, flags: int) -> int:
                raise PermissionError(path)

            patch.setattr(os, "open", refuse)
        output = streams._Output(write_fd, lifeline[0])
    yield output, read_fd
    output.close()
    os.close(read_fd)


def test_all_is_written_however_slowly_it_is_read(output: tuple[streams._Output, int]) -> None:
    data = os.urandom(400000)
    found: list[bytes] = []

    def read() -> None:
        while sum(map(len, found)) < len(data):
            found.append(os.read(output[1], 50000))
            time.sleep(0.001)

    thread = threading.Thread(target=read)
    thread.start()
    assert output[0].put(data)
    thread.join()
    assert b"".join(found) == data


def test_a_wait_ends_with_the_lifeline(
    output: tuple[streams._Output, int], lifeline: tuple[socket.socket, socket.socket]
) -> None:
    timer = threading.Timer(0.1, lifeline[1].shutdown, (socket.SHUT_RDWR,))
    timer.start()
    assert not output[0].put(bytes(1 << 22))
    timer.join()


def test_who_writes_is_told_that_nobody_reads(lifeline: tuple[socket.socket, socket.socket]) -> None:
    read_fd, write_fd = os.pipe()
    output = streams._Output(write_fd, lifeline[0])
    os.close(read_fd)
    assert not output.put(b"x")
    assert not output.put(b"x")
