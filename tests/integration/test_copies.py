"""Copies between contexts: to one, to many, back, interrupted, and with one side in other hands."""

# mypy: allow-untyped-calls
from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from mitogen.core import Error
from mitogen.parent import copying
from mitogen.parent.callchain import CallChain
from mitogen.parent.copying import CopyError
from mitogen.parent.copying.partial import SUFFIX
from tests.integration import remote_services as remote

if TYPE_CHECKING:
    from pathlib import Path

    from mitogen.master import Router
    from mitogen.parent import Context

PATIENCE = 30.0
MB = 1 << 20


def partials(folder: Path) -> list[str]:
    """Return the temporary files in a folder."""
    return [path.name for path in folder.rglob("*" + os.fsdecode(SUFFIX))]


def make_tree(tree: Path, files: int = 200) -> dict[str, bytes]:
    content = {"sub%d/%d" % (n % 5, n): os.urandom(n * 10) for n in range(files)}
    content["large"] = os.urandom(3 * MB)
    for name, data in content.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(data)
    return content


def files_of(tree: Path) -> dict[str, bytes]:
    return {str(p.relative_to(tree)): p.read_bytes() for p in tree.rglob("*") if p.is_file()}


def contexts_in_folders(router: Router, folder: Path, count: int, via: Context | None) -> list[Context]:
    """Return contexts that each have a folder of their own."""
    contexts = [router.local(via=via) for _ in range(count)]
    for context in contexts:
        context.call(remote.change_folder, str(folder / str(context.context_id)))
    return contexts


def test_a_tree_goes_there_and_back_and_tells_how_far_it_is(router: Router, tmp_path: Path) -> None:
    content = make_tree(tmp_path / "tree")
    total = sum(map(len, content.values()))
    for context in (router.local(), router.local(via=router.local())):
        there, back = tmp_path / context.name, tmp_path / (context.name + ".back")
        busy = context.call_async(time.sleep, 1.0)
        copies: list[tuple[Any, tuple[Any, Any]]] = [
            (context.put, (tmp_path / "tree", there)),
            (context.get, (os.fsencode(there), str(back))),
        ]
        for fn, args in copies:
            said: list[tuple[int, int, float]] = []
            fn(*args, lambda *figures, said=said: said.append(figures))
            assert [done for done, _, _ in said] == sorted(done for done, _, _ in said)
            assert said[-1][:2] == (total, total)
            assert 0 < said[-1][2] < 1e12
        assert files_of(there) == files_of(back) == content
        busy.get_data(PATIENCE)


def test_a_context_copies_to_those_that_it_started(local: Context, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(os.urandom(MB * 2))
    local.call(remote.put_below, str(tmp_path / "file"), str(tmp_path / "copy"))
    assert (tmp_path / "copy.back").read_bytes() == (tmp_path / "file").read_bytes()


def test_ten_thousand_small_files_cost_no_round_trip_each(
    router: Router, local: Context, tmp_path: Path
) -> None:
    content = {"%d/%d" % (n % 10, n): b"%d" % n for n in range(1000)}
    for name, data in content.items():
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / name).write_bytes(data)
    local.put(tmp_path / "tree" / "0" / "0", tmp_path / "one")
    before = router.stats()["links"][0]
    local.put(tmp_path / "tree", tmp_path / "copy")
    after = router.stats()["links"][0]
    assert files_of(tmp_path / "copy") == content
    assert after["messages_sent"] - before["messages_sent"] < 30
    assert after["messages_received"] - before["messages_received"] < 30


def test_many_targets_behind_a_relay_cost_the_first_link_one_copy(router: Router, tmp_path: Path) -> None:
    relay = router.local()
    contexts = contexts_in_folders(router, tmp_path, 20, relay)
    contexts.append(router.local())
    contexts[-1].call(remote.change_folder, str(tmp_path / "direct"))
    (tmp_path / "file").write_bytes(os.urandom(8 * MB))
    os.rmdir(tmp_path / str(contexts[3].context_id))
    links = {link["context_id"]: link["bytes_sent"] for link in router.stats()["links"]}
    began = relay.call(remote.peak)
    with pytest.raises(CopyError) as info:
        copying.put(contexts, tmp_path / "file", "copy")
    assert list(info.value.failed) == [contexts[3]]
    assert "No such file or directory" in info.value.failed[contexts[3]]
    assert set(info.value.done) == set(contexts) - {contexts[3]}
    sent = {
        link["context_id"]: link["bytes_sent"] - links[link["context_id"]]
        for link in router.stats()["links"]
    }
    assert len(sent) == 2
    assert max(sent.values()) < 1.1 * 8 * MB
    assert relay.call(remote.peak) - began < 64
    names = [str(context.context_id) for context in contexts[:-1]] + ["direct"]
    copies = [tmp_path / name / "copy" for name in names if (tmp_path / name).exists()]
    assert len(copies) == 20
    assert {copy.read_bytes() for copy in copies} == {(tmp_path / "file").read_bytes()}


def test_targets_that_stop_or_die_are_told_of_and_stop_nobody_else(
    router: Router, tmp_path: Path
) -> None:
    relay = router.local()
    contexts = contexts_in_folders(router, tmp_path, 4, relay)
    stopped, killed, *others = contexts
    pids = {context: context.call(os.getpid) for context in contexts}
    # They have all that it takes.
    (tmp_path / "small").write_bytes(b"x")
    copying.put(contexts, tmp_path / "small", "small")
    (tmp_path / "file").write_bytes(bytes(40 * MB))
    os.kill(pids[stopped], signal.SIGSTOP)
    threading.Timer(0.3, os.kill, (pids[killed], signal.SIGKILL)).start()
    try:
        with pytest.raises(CopyError) as info:
            copying.put(contexts, tmp_path / "file", "file", patience=2.0)
    finally:
        os.kill(pids[stopped], signal.SIGCONT)
    assert set(info.value.failed) == {stopped, killed}
    assert "signal 9" in info.value.failed[killed]
    for context in others:
        assert (tmp_path / str(context.context_id) / "file").stat().st_size == 40 * MB
    # The one that goes on again finds that nobody sends any more.
    folder = tmp_path / str(stopped.context_id)
    stopped.put(tmp_path / "small", "file")
    assert (folder / "file").read_bytes() == b"x"
    assert partials(folder) == []


def test_a_relay_that_dies_takes_only_those_behind_it_along(router: Router, tmp_path: Path) -> None:
    relay = router.local()
    behind = contexts_in_folders(router, tmp_path, 2, relay)
    direct = contexts_in_folders(router, tmp_path, 1, None)
    (tmp_path / "file").write_bytes(bytes(40 * MB))

    def kill(done: int, total: int, rate: float) -> None:
        if done > 10 * MB and not relay.reason:
            os.kill(pid, signal.SIGKILL)

    pid = relay.call(os.getpid)
    with pytest.raises(CopyError) as info:
        copying.put([*behind, *direct], tmp_path / "file", "file", kill)
    assert set(info.value.failed) == set(behind)
    assert info.value.done == direct


KILLER = """
import os, signal, sys, threading, time, mitogen.master
from mitogen.parent.copying import CopyError
how, source, target, whom, after = sys.argv[1:]
with mitogen.master.Router() as router:
    relay = router.local()
    context = router.local(via=relay)
    pids = {"origin": os.getpid(), "relay": relay.call(os.getpid), "target": context.call(os.getpid)}
    if whom in pids:
        threading.Timer(float(after), os.kill, (pids[whom], signal.SIGKILL)).start()
    try:
        getattr(context, how)(source, target)
    except CopyError as e:
        print("told")
os._exit(0)
"""


def test_a_killed_end_leaves_nothing_incomplete_and_the_next_run_tidies_up(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    tree, copy = tmp_path / "tree", tmp_path / "there" / "copy"
    content = make_tree(tree, 100)
    content["other"] = os.urandom(40 * MB)
    (tree / "other").write_bytes(content["other"])
    environ = dict(os.environ, PYTHONPATH=os.pathsep.join(p for p in sys.path if p))

    def run(how: str, whom: str) -> subprocess.CompletedProcess[bytes]:
        after = str(random.uniform(0.02, 0.4))
        command = [sys.executable, "-c", KILLER, how, str(tree), str(copy), whom, after]
        return subprocess.run(
            command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=50, check=False
        )

    for how, whom in (("put", "origin"), ("put", "target"), ("get", "origin"), ("get", "relay")):
        ended = run(how, whom)
        assert b"Traceback" not in ended.stderr
        assert ended.returncode == (-9 if whom == "origin" and ended.returncode else 0)
        for name, data in files_of(copy).items() if copy.exists() else ():
            assert name.endswith(os.fsdecode(SUFFIX)) or content[name] == data
    assert run("put", "nobody").stdout == b""
    assert files_of(copy) == content
    assert partials(tmp_path) == []


def test_an_interrupted_copy_goes_on_where_it_was(
    router: Router, local: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mitogen.parent.copying.origin.PROGRESS_EVERY", 0.0)
    (tmp_path / "file").write_bytes(os.urandom(32 * MB))

    class Stop(Exception):
        pass

    def stop(done: int, total: int, rate: float) -> None:
        if done > 16 * MB:
            raise Stop

    copy = tmp_path / "there" / "copy"
    copy.parent.mkdir()
    for fn, args in (
        (local.put, (tmp_path / "file", copy)),
        (local.get, (tmp_path / "file", copy)),
    ):
        with pytest.raises(Stop):
            fn(*args, stop)
        assert len(partials(tmp_path)) == 1
        assert not copy.exists()
        before = router.stats()["links"][0]
        fn(*args)
        after = router.stats()["links"][0]
        travelled = sum(after[key] - before[key] for key in ("bytes_sent", "bytes_received"))
        assert travelled < 26 * MB
        assert copy.read_bytes() == (tmp_path / "file").read_bytes()
        assert partials(tmp_path) == []
        copy.unlink()


def test_errors_name_the_context_and_what_is_wrong(local: Context, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    wrong: list[tuple[Any, tuple[Any, Any], Any, str]] = [
        (local.put, (tmp_path / "missing", "x"), FileNotFoundError, "missing"),
        (local.put, (tmp_path / "file", tmp_path / "missing" / "x"), CopyError, local.name),
        (local.put, ("/dev/null", tmp_path / "x"), Error, "neither a file nor a folder"),
        (local.put, (tmp_path / "file", tmp_path), CopyError, "Is a directory"),
        (local.get, (tmp_path / "missing", tmp_path / "x"), CopyError, "No such file"),
        (local.get, ("/dev/null", tmp_path / "x"), CopyError, "neither a file nor a folder"),
        (local.get, (tmp_path / "file", tmp_path / "missing" / "x"), FileNotFoundError, "missing"),
    ]
    for fn, args, error, words in wrong:
        with pytest.raises(error, match=words):
            fn(*args)
    assert sorted(os.listdir(tmp_path)) == ["file"]
    assert CallChain(local, timeout=PATIENCE).call(os.getpid)
    local.shutdown(wait=True)
    for fn in (local.put, local.get):
        with pytest.raises(CopyError, match=local.name):
            fn(tmp_path / "file", tmp_path / "x")


def test_a_hostile_context_can_not_have_others_sent_anything(
    router: Router, local: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names receivers of others, or of standard handles, and speaks of others."""
    other = router.local()
    (tmp_path / "file").write_bytes(b"import os" * 1000)
    for name in ("relay", "send_back"):
        for handle, victim in ((101, None), (101, other), (2000, other)):
            hostile = getattr(remote, "hostile_" + name)
            monkeypatch.setattr("mitogen.parent.copying.origin." + name, hostile)
            remote_end = victim or local
            local.call(remote.set_hostile, remote_end, handle)
            args: Any = (tmp_path / "file", tmp_path / "x")
            with pytest.raises(CopyError, match="not its own"):
                (local.put if name == "relay" else local.get)(*args)
    assert other.call(os.getpid)
    assert not (tmp_path / "x").exists()


def test_memory_does_not_depend_on_the_size_of_a_file(router: Router, tmp_path: Path) -> None:
    relay = router.local()
    context = router.local(via=relay)
    small, large = tmp_path / "small", tmp_path / "large"
    small.write_bytes(bytes(8 * MB))
    with open(large, "wb") as f:
        f.truncate(96 * MB)
    peaks = []
    for path in (small, large):
        context.put(path, tmp_path / "copy")
        context.get(path, tmp_path / "back")
        peaks.append([remote.peak(), relay.call(remote.peak), context.call(remote.peak)])
    assert all(after - before < 24 for before, after in zip(*peaks))
    assert peaks[1][1] < 64
