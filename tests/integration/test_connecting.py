"""Router.connect and Router.connect_async: transports by name, and many at a time."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from concurrent.futures import CancelledError, Future, wait
from typing import TYPE_CHECKING, Any

import pytest

import mitogen.master
from mitogen.core import StreamError, takes_router
from tests.integration.targets import sshd

if TYPE_CHECKING:
    from mitogen.master import Router
    from mitogen.parent import Context

#: Seconds for what is expected to happen, on the slowest machine.
PATIENCE = 60.0


def test_transports_have_names(router: Router) -> None:
    assert router.connect("local").call(os.getppid) == os.getpid()
    assert router.connect("fork").call(os.getppid) == os.getpid()
    assert router.connect("local", "a-name", via=router.local()).via is not None
    assert {"local", "fork", "ssh", "setns"} <= set(dir(router))
    with pytest.raises(StreamError, match=r"called 'telnet'; transports are buildah, .*sudo"):
        router.connect("telnet")
    with pytest.raises(AttributeError, match="telnet"):
        router.telnet  # noqa: B018
    assert not hasattr(router, "_telnet")
    with pytest.raises(TypeError, match="local: .*'pyhton_path'.*python_path=None"):
        router.connect("local", pyhton_path="python3")
    with pytest.raises(TypeError, match="ssh: missing .*'hostname'; its options are hostname, user"):
        router.connect("ssh")


@takes_router
def start_another(router: Any) -> int:
    """Run in a child: it knows the transports of the library as well."""
    context: Context = router.connect("local")
    return context.call(os.getppid)


def test_children_connect_by_name(router: Router) -> None:
    context = router.local()
    assert context.call(start_another) == context.call(os.getpid)


def test_many_at_a_time(router: Router) -> None:
    """Some hosts answer, some refuse, some never say a word: each has its own outcome, in time."""
    timeout = 5.0
    router.max_connecting = 100
    threads = threading.active_count()
    with sshd.black_hole() as lost, sshd.refusing() as closed:
        began = time.monotonic()
        hanging = [
            router.connect_async("ssh", lost[0], port=lost[1], connect_timeout=timeout) for _ in range(5)
        ]
        refused = [router.connect_async("ssh", closed[0], port=closed[1]) for _ in range(5)]
        good = [router.connect_async("local") for _ in range(40)]
        most = threading.active_count()
        contexts = [future.result(PATIENCE) for future in good]
        for future in refused:
            assert "Connection refused" in str(future.exception(PATIENCE))
        for future in hanging:
            assert isinstance(future.exception(PATIENCE), StreamError)
        # The bound is the time-out and a fifth of it; the rest is for machines that stand still at times.
        assert time.monotonic() - began < timeout * 1.2 + PATIENCE / 2
    assert most <= threads + 1
    assert len({context.call(os.getpid) for context in contexts}) == 40


def test_no_more_are_under_way_than_allowed(router: Router) -> None:
    router.max_connecting = 2
    up: list[int] = []
    futures: list[Future[Context]] = []
    for _ in range(10):
        future = router.connect_async("local")
        future.add_done_callback(lambda future: up.append(len(router.connections)))
        futures.append(future)
    wait(futures, PATIENCE)
    # Those that are up count among the connections, and with them one that has begun since.
    assert [number <= index + 3 for index, number in enumerate(up)] == [True] * 10


def test_what_waits_for_its_turn_can_be_cancelled(router: Router) -> None:
    router.max_connecting = 1
    with sshd.silent() as (host, port):
        first = router.connect_async("ssh", host, port=port, connect_timeout=2)
        second = router.connect_async("local")
        assert second.cancel()
        with pytest.raises(CancelledError):
            second.result(PATIENCE)
        assert first.exception(PATIENCE) is not None
    assert router.connect_async("local").result(PATIENCE).call(os.getppid) == os.getpid()


def test_via_another_context(router: Router) -> None:
    via = router.local()
    futures = [router.connect_async("local", via=via) for _ in range(5)]
    assert {future.result(PATIENCE).call(os.getppid) for future in futures} == {via.call(os.getpid)}
    error = router.connect_async("local", python_path="/none", via=via).exception(PATIENCE)
    assert isinstance(error, StreamError)
    assert "/none" in str(error)
    assert "started via local." in str(error)


def test_the_end_of_the_router_ends_starts_that_are_under_way() -> None:
    with sshd.silent() as (host, port), mitogen.master.Router() as router:
        router.max_connecting = 1
        via = router.local()
        futures = [
            router.connect_async("ssh", host, port=port),
            router.connect_async("ssh", host, port=port, via=via),
            router.connect_async("local"),
        ]
    for future in futures:
        assert isinstance(future.exception(PATIENCE), StreamError)


def test_wrong_options_are_told_at_once(router: Router) -> None:
    with pytest.raises(TypeError, match="hostname"):
        router.connect_async("ssh")
    with pytest.raises(StreamError, match="telnet"):
        router.connect_async("telnet")
    with pytest.raises(StreamError, match=r"call router\.fork"):
        router.connect_async("fork")
    future = router.connect_async("local", python_path="/none")
    assert "can't start /none" in str(future.exception(PATIENCE))


def test_with_asyncio(router: Router) -> None:
    async def main() -> int:
        starts = [asyncio.wrap_future(router.connect_async("local")) for _ in range(3)]
        contexts = await asyncio.gather(*starts)
        return len({context.context_id for context in contexts})

    assert asyncio.run(main()) == 3
    assert sys.version_info >= (3, 10)
