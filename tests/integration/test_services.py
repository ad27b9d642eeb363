"""Services in children and parents: who may call what, how calls run, and files."""

# mypy: allow-untyped-calls
from __future__ import annotations

import logging
import os
import socket
import time
from typing import TYPE_CHECKING

import pytest

from mitogen.core import CallError, ChannelError, Error, Message, TimeoutError
from mitogen.parent.callchain import CallChain
from mitogen.service import FileService, Pool, PushFileService, get_or_create_pool
from mitogen.service import files as files_module
from mitogen.service import pool as pool_module
from tests.integration import remote_services as remote

if TYPE_CHECKING:
    from pathlib import Path

    from mitogen.master import Router
    from mitogen.parent import Context

#: Seconds that anything here may take.
PATIENCE = 30.0


def wait_for(condition: object) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.005)


# -- Calls from above -------------------------------------------------------------------------------


def test_a_parent_calls_a_service_that_is_made_with_the_first_call(router: Router) -> None:
    inner = router.local(via=router.local())
    assert inner.call_service(remote.Numbers, "add", n=3) == 4
    assert inner.call_service(remote.Numbers.name(), "add", n=3, m=0.5) == 3.5
    assert inner.call_service(remote.Numbers, "who") == (0, inner.context_id)
    assert inner.call_service_async(remote.Numbers, "add", n=1).get_data(PATIENCE) == 2


def test_a_call_that_fails_hurts_nobody_else(local: Context) -> None:
    others = [local.call_service_async(remote.Numbers, "meet", seconds=0.2) for _ in range(3)]
    with pytest.raises(CallError) as info:
        local.call_service(remote.Numbers, "fail")
    assert (info.value.type_name, info.value.text) == ("ValueError", "no")
    assert "raise ValueError" in info.value.traceback
    with pytest.raises(CallError, match=r"result\[0\]"):
        local.call_service(remote.Numbers, "unsendable")
    assert max(call.get_data(PATIENCE) for call in others) == 3


def test_a_wrong_call_is_refused_with_the_reason(local: Context) -> None:
    numbers = remote.Numbers.name()
    for service, method, kwargs, words in [
        (numbers, "add", {"n": "3"}, "takes no str as its argument 'n'"),
        (numbers, "add", {}, "needs an argument 'n'"),
        (numbers, "add", {"n": 1, "x": 1}, "has no argument 'x'"),
        (numbers, "who", {"msg": 1}, "no caller can pass it"),
        (numbers, "hidden", {}, "exposes no method 'hidden'"),
        (numbers, "__init__", {"router": None}, "exposes no method"),
        (numbers, "missing", {}, "exposes no method"),
        ("tests.integration.remote_services.NotAService", "x", {}, "is not a service"),
        ("no_such_module.Service", "x", {}, "no_such_module"),
        ("plain", "x", {}, "its name is that of its module"),
    ]:
        with pytest.raises(CallError, match=words):
            local.call_service(service, method, **kwargs)  # type: ignore[arg-type]


def test_calls_of_a_serialized_service_run_one_at_a_time_and_in_order(local: Context) -> None:
    calls = [local.call_service_async(remote.InOrder, "add", n=n) for n in range(100)]
    meetings = [local.call_service_async(remote.InOrder, "meet", seconds=0.01) for _ in range(5)]
    assert [call.get_data(PATIENCE) for call in calls] == list(range(1, 101))
    # Nobody else was there, but for the numbers that were added.
    assert {call.get_data(PATIENCE) for call in meetings} == {101}


def test_equal_calls_of_a_deduplicating_service_run_once(local: Context) -> None:
    calls = [local.call_service_async(remote.Once, "count", n=n % 2) for n in range(20)]
    assert {call.get_data(PATIENCE) for call in calls} == {1, 2}
    assert local.call_service(remote.Once, "count", n=0) in (1, 2)
    failing = [local.call_service_async(remote.Once, "count", n=5, fails=True) for _ in range(5)]
    texts = set()
    for call in failing:
        with pytest.raises(CallError) as info:
            call.get_data(PATIENCE)
        texts.add(info.value.text)
    assert texts == {"3"}
    # What failed is tried again.
    with pytest.raises(CallError, match="4"):
        local.call_service(remote.Once, "count", n=5, fails=True)


def test_a_method_may_answer_later(local: Context) -> None:
    kept = [local.call_service_async(remote.Numbers, "keep") for _ in range(3)]
    wait_for(lambda: local.call_service(remote.Numbers, "answer", value="late") >= 3)
    assert [call.get_data(PATIENCE) for call in kept] == ["late"] * 3


def test_every_wait_on_a_service_ends_with_its_context(router: Router) -> None:
    context = router.local(via=router.local())
    kept = context.call_service_async(remote.Numbers, "keep")
    context.call_service(remote.Numbers, "who")
    context.shutdown(wait=True)
    with pytest.raises(ChannelError):
        kept.get_data(PATIENCE)
    with pytest.raises(ChannelError):
        context.call_service(remote.Numbers, "who")


def test_services_work_on_every_interpreter(router: Router, python: str, tmp_path: Path) -> None:
    """And so do copies, since they need what the oldest of them has."""
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "link").symlink_to("nowhere")
    (tree / "large").write_bytes(os.urandom(3 << 20))
    (tree / "small").write_bytes(b"content")
    context = router.local(python_path=python)
    pool = Pool(router, [remote.Numbers(router), FileService(router)])
    pool.get_service(FileService).register(str(tree / "small"))
    assert context.call_service(remote.InOrder, "add", n=1) == 2
    assert context.call(remote.call_parent, remote.Numbers.name(), "who", {}) == (context.context_id, 0)
    assert context.call(remote.get_file, str(tree / "small"))[1] == b"content"
    context.put(tree, tmp_path / "there")
    context.get(tmp_path / "there", tmp_path / "back")
    for name in ("large", "small"):
        assert (tmp_path / "back" / name).read_bytes() == (tree / name).read_bytes()
        assert (tmp_path / "back" / name).stat().st_mtime_ns == (tree / name).stat().st_mtime_ns
    assert os.readlink(tmp_path / "back" / "link") == "nowhere"


# -- Calls from below -------------------------------------------------------------------------------


def test_a_child_calls_only_what_is_registered_and_allowed(
    router: Router, caplog: pytest.LogCaptureFixture
) -> None:
    context = router.local(via=router.local())
    pool = Pool(router, [remote.Numbers(router)])
    parent = router.local()
    name = remote.Numbers.name()
    asked = parent.call(remote.call_parent, name, "who", {})
    assert asked == (parent.context_id, 0)
    with caplog.at_level(logging.WARNING):
        why = parent.call(remote.call_parent, name, "add", {"n": 1})
        assert "context %d may not call" % parent.context_id in why
        assert "refused" in caplog.text
    why = parent.call(remote.call_parent, remote.Once.name(), "who", {})
    assert "may not start service" in why
    assert "os" not in repr(pool)
    assert "may not start" in parent.call(remote.call_parent, "os.path", "join", {})
    # The relay above the other context has no services.
    assert "has no handle 110" in context.call(remote.call_parent, name, "who", {})
    evens = {
        i.context_id % 2: i.call(remote.call_parent, name, "even", {}) for i in (parent, router.local())
    }
    assert evens[0] is None
    assert "refused it" in evens[1]


def test_a_flood_of_calls_takes_its_share_only(router: Router, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "MAX_WAITING", 20)
    Pool(router, [remote.Numbers(router)], size=4)
    hostile, honest = router.local(), router.local()
    name = remote.Numbers.name()
    flood = hostile.call_async(remote.flood_parent, name, "meet", {"seconds": 0.3}, 60)
    began = time.monotonic()
    assert honest.call(remote.call_parent, name, "who", {}) == (honest.context_id, 0)
    assert time.monotonic() - began < 2.0
    assert 30 <= flood.get_data(PATIENCE) <= 40


def test_large_answers_wait_for_the_reader_and_a_lost_caller_is_no_error(
    router: Router, caplog: pytest.LogCaptureFixture
) -> None:
    Pool(router, [remote.Numbers(router)])
    context, other = router.local(), router.local()
    name = remote.Numbers.name()
    assert context.call(remote.flood_parent, name, "large", {"size": 8 << 20}, 10) == 0
    with caplog.at_level(logging.WARNING), pytest.raises(ChannelError):
        context.call(remote.ask_and_die, name, "meet", {"seconds": 0.3})
    assert other.call(remote.call_parent, name, "meet", {"seconds": 0.4}) >= 1
    assert "meet" not in caplog.text


def test_an_answer_larger_than_a_message_is_an_error_of_that_call(router: Router) -> None:
    context = router.local()
    with pytest.raises(CallError, match="larger than the limit"):
        context.call_service(remote.Numbers, "large", size=router.max_message_size)
    assert context.call_service(remote.Numbers, "add", n=1) == 2


def test_a_pool_that_stops_finishes_what_runs_and_refuses_the_rest(router: Router) -> None:
    service = remote.Numbers(router)
    pool = Pool(router, [service], size=1)
    here = router.make_context(router.context_id)
    running = here.call_service_async(service.name(), "meet", seconds=0.3)
    wait_for(lambda: service.seen)
    waiting = here.call_service_async(service.name(), "who")
    with pytest.raises(TimeoutError):
        pool.join(0.01)
    wait_for(lambda: pool._jobs._queue)
    pool.stop()
    assert running.get_data(PATIENCE) == 1
    with pytest.raises(ChannelError, match="have been stopped"):
        waiting.get_data(PATIENCE)
    again = get_or_create_pool(router)
    assert again is not pool
    assert again.get_service(remote.Numbers) is not service
    with pytest.raises(Error, match="in use"):
        Pool(router)
    with pytest.raises(Error, match="registered already"):
        again.add(service)


def test_a_message_that_is_no_call_is_refused(router: Router, local: Context) -> None:
    local.call_service(remote.Numbers, "who")
    values: list[object] = [None, (1, 2), (1, 2, 3), ("a", "b", 5), b"x" * 100, ("a.B", 1, {})]
    for value in values:
        with pytest.raises(CallError, match="no call of a service"):
            local.send_await(Message.pickled(value, handle=110), PATIENCE)


# -- FileService ------------------------------------------------------------------------------------


@pytest.fixture
def service(router: Router) -> FileService:
    return get_or_create_pool(router).get_service(FileService)  # type: ignore[no-any-return]


def test_a_registered_file_comes_with_all_that_is_known_of_it(
    router: Router, service: FileService, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    content = os.urandom(5 << 20)
    path.write_bytes(content)
    path.chmod(0o640)
    os.utime(path, (1000.5, 2000.25))
    service.register(str(path))
    (tmp_path / "prefix" / "sub").mkdir(parents=True)
    (tmp_path / "prefix" / "sub" / "empty").touch()
    (tmp_path / "prefix" / "inner").symlink_to("sub/../sub/empty")
    service.register_prefix(str(tmp_path / "prefix"))
    for context in (router.local(), router.local(via=router.local())):
        if context.call(os.getppid) != os.getpid():
            # Those further down ask for what their own parent has.
            assert "no handle 110" in context.call(remote.get_file, str(path))[0]
            continue
        found, data = context.call(remote.get_file, str(path))
        assert data == content
        assert found.pop("owner")
        assert found.pop("group")
        assert found == {"size": 5 << 20, "mode": 0o640, "mtime": 2000.25, "atime": 1000.5}
        for name in ("sub/empty", "inner"):
            assert context.call(remote.get_file, str(tmp_path / "prefix" / name))[1] == b""
    assert service._transfers == {}


def test_a_hostile_child_gets_nothing_but_what_is_registered(
    router: Router, service: FileService, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    allowed = tmp_path / "allowed"
    (allowed / "folder").mkdir(parents=True)
    (tmp_path / "secret").write_text("secret")
    (allowed / "file").write_text("public")
    (allowed / "link").symlink_to("../secret")
    (allowed / "absolute").symlink_to(tmp_path / "secret")
    (allowed / "out").symlink_to("..")
    (allowed / "loop").symlink_to("loop")
    (allowed / "device").symlink_to("/dev/zero")
    os.mkfifo(allowed / "fifo")
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(allowed / "socket"))
    service.register_prefix(str(allowed))
    context = router.local()
    requests = ["/etc/shadow", "etc/shadow", "", "/", "/etc/../etc/shadow", str(allowed), "/dev/zero"]
    requests += [
        "%s/%s" % (allowed, name)
        for name in (
            "../secret",
            "folder/../../secret",
            "./file",
            "/file",
            "file/",
            "link",
            "absolute",
            "out/secret",
            "loop",
            "device",
            "fifo",
            "socket",
            "folder",
            "file/x",
            "file\0",
            "missing",
        )
    ]
    for path in requests:
        caplog.clear()
        found, data = context.call(remote.get_file, path)
        assert "context %d does not get" % context.context_id in found, path
        assert data == b""
        assert "refused file" in caplog.text
    # Nor anybody else's handles.
    for victim, handle in ((None, 2000), (None, 101), (router.local(), 2000), (context, 101)):
        assert "not one of the context" in context.call(
            remote.ask_for_another, str(allowed / "file"), victim, handle
        )
    assert context.call(remote.get_file, str(allowed / "file"))[1] == b"public"


def test_no_more_than_a_window_is_sent_to_one_who_does_not_acknowledge(
    router: Router, service: FileService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files_module, "MAX_OPEN", 2)
    path = tmp_path / "file"
    path.write_bytes(bytes(10 << 20))
    service.register(str(path))
    context = router.local()
    for _ in range(2):
        assert context.call(remote.get_file_slowly, str(path)) == (files_module.WINDOW, 10 << 20)
    assert "2 files are on their way" in context.call(remote.get_file, str(path))[0]
    assert router.local().call(remote.get_file, str(path))[0]["size"] == 10 << 20
    context.shutdown(wait=True)
    wait_for(lambda: not service._transfers)


# -- PushFileService --------------------------------------------------------------------------------


def test_a_pushed_file_crosses_each_link_once_and_who_waits_gets_it(
    router: Router, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(1 << 20))
    relay = router.local()
    contexts = [router.local(via=relay) for _ in range(4)]
    waiting = [
        CallChain(c, timeout=PATIENCE).call_async(remote.pushed, str(path), PATIENCE) for c in contexts
    ]
    push = get_or_create_pool(router).get_service(PushFileService)
    before = router.stats()["links"][0]["bytes_sent"]
    for context in [*contexts, relay]:
        push.propagate_to(context, str(path))
    assert {call.get_data(PATIENCE) for call in waiting} == {path.read_bytes()}
    assert relay.call(remote.pushed, str(path), PATIENCE) == path.read_bytes()
    assert router.stats()["links"][0]["bytes_sent"] - before < 1.5 * (1 << 20)
    path.write_bytes(b"changed")
    push.propagate_to(contexts[0], str(path))
    wait_for(lambda: contexts[0].call(remote.pushed, str(path), PATIENCE) == b"changed")
    with pytest.raises(CallError, match="nobody sent"):
        relay.call(remote.pushed, "/other", 0.1)
