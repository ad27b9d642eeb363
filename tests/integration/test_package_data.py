# mypy: allow-untyped-calls
"""Data of packages, and metadata of distributions, in real children that have neither.

What a child sees is compared with what the master sees: on every interpreter, in every way that it has to
look at it, with all warnings as errors.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import logging
import os
import pkgutil
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

import mitogen.master
from mitogen.core import CallError, ChannelError
from mitogen.master import folders
from tests import interpreters
from tests.integration import remote, remote_data
from tests.integration.programs import wait_gone
from tests.integration.test_interpreters import Messages

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mitogen.master import Router
    from mitogen.parent import Context

NOTE = "note \u20ac\nline 2\n"
PACKAGE = {
    "__init__.py": "",
    "hello.txt": "hello\n",
    "module.py": "def greet():\n    return 'hello from an entry point'\n",
    "sub/__init__.py": "",
    "sub/inner.txt": "inner\n",
    "sub/module.py": "",
    "folder/deep/note.txt": NOTE,
    "folder/empty.txt": "",
}
METADATA = (
    "Metadata-Version: 2.1\nName: Data.Sample\nVersion: 2.1\nSummary: a sample\n"
    "Requires-Dist: other (>=1)\nRequires-Dist: another ; extra == 'x'\n\nA text.\nVersion: 99\n"
)
ENTRY_POINTS = (
    "[data_sample.points]\ngreet = data_wheel.module:greet\n\n[console_scripts]\nx = data_wheel:x\n"
)
RECORD = "".join("data_wheel/%s,sha256=x,1\n" % path for path in PACKAGE)
INFO = {
    "METADATA": METADATA,
    "entry_points.txt": ENTRY_POINTS,
    "RECORD": RECORD + "data_sample-2.1.dist-info/METADATA,,\ndata_sample-2.1.dist-info/RECORD,,\n",
    "top_level.txt": "data_wheel\n",
}

#: How each package is named, and where it lies: `%s` is the folder of all of them.
PLACES = {
    "data_folder": "%s/site",
    "data_zipped": "%s/archive.zip",
    "data_wheel": "%s/data_sample-2.1-py3-none-any.whl",
}
PORTIONS = {"one/data_portions/first.txt": "1", "two/data_portions/second.txt": "2"}
PORTIONS.update({"two/data_portions/first.txt": "hidden", "two/data_portions/module.py": ""})


def pack(path: Path, files: dict[str, str], compression: int = zipfile.ZIP_DEFLATED) -> None:
    with zipfile.ZipFile(path, "w", compression) as f:
        for name, text in files.items():
            f.writestr(name, text)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of packages that only this process can import."""
    top = tmp_path_factory.mktemp("data")
    files = {"site/data_folder/" + path: text for path, text in PACKAGE.items()}
    files["site/old_style.egg-info/PKG-INFO"] = "Name: old-style\nVersion: 1\nSummary: old\n"
    files["site/old_style.egg-info/SOURCES.txt"] = "data_folder/hello.txt\n"
    for path, text in {**files, **PORTIONS}.items():
        file = top / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
    pack(top / "archive.zip", {"data_zipped/" + path: text for path, text in PACKAGE.items()})
    wheel = {"data_wheel/" + path: text for path, text in PACKAGE.items()}
    wheel.update({"data_sample-2.1.dist-info/" + path: text for path, text in INFO.items()})
    pack(top / "data_sample-2.1-py3-none-any.whl", wheel)
    before = sys.path[:]
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    # Zip files that are open at the end of a test would be taken for a leak.
    idle, folders.IDLE = folders.IDLE, 0.02
    sys.path[:0] = [place % top for place in PLACES.values()] + [str(top / "one"), str(top / "two")]
    try:
        for name in (*PLACES, "data_portions"):
            importlib.import_module(name)
        # Keeps zip files on `sys.path` open.
        assert list(importlib.metadata.distributions())
        yield top
    finally:
        sys.path[:] = before
        sys.dont_write_bytecode = writes
        folders.IDLE = idle
        importlib.invalidate_caches()
        for name in [name for name in sys.modules if name.startswith("data_")]:
            del sys.modules[name]


@pytest.fixture(scope="module")
def shared() -> Iterator[Router]:
    """The router of the tests that run on each version."""
    with mitogen.master.Router() as router:
        yield router


@pytest.fixture(scope="module", params=interpreters.SUPPORTED)
def version(request: pytest.FixtureRequest) -> tuple[int, int]:
    """Each version, one after the other."""
    if request.param == "pypy3":
        return (0, 0)
    major, minor = request.param.split(".")
    return int(major), int(minor)


@pytest.fixture(scope="module")
def child(shared: Router, site: Path, version: tuple[int, int]) -> Iterator[Context]:
    """A context of that version, which must not warn or complain during all tests on it."""
    name = "%d.%d" % version if version[0] else "pypy3"
    messages = Messages()
    root = logging.getLogger()
    root.addHandler(messages)
    try:
        context = shared.local(python_path=[interpreters.find(name), "-W", "error", "-bb"])
        yield context
        context.shutdown(wait=True)
    finally:
        root.removeHandler(messages)
    assert not [text for text in messages.texts if "Warning" in text or "mitogen: " in text]


def of(child: Context) -> tuple[int, ...]:
    assert child.python_version is not None
    return child.python_version[:2]


def module_round_trips(router: Router, child: Context) -> int:
    """Return how often a context had to wait for a module so far."""
    asked: int = next(
        link["modules_asked"]
        for link in router.stats()["links"]
        if link["context_id"] == child.context_id
    )
    return asked


#: What all three packages hold, as `remote_data.tree` shows it.
TREE = {
    "__init__.py": b"",
    "hello.txt": b"hello\n",
    "module.py": PACKAGE["module.py"].encode(),
    "sub": {"__init__.py": b"", "inner.txt": b"inner\n", "module.py": b""},
    "folder": {"deep": {"note.txt": NOTE.encode()}, "empty.txt": b""},
}


def test_the_first_file_costs_at_most_one_round_trip_for_modules(
    shared: Router, child: Context, site: Path
) -> None:
    fresh = shared.local(python_path=child.call(remote.executable))
    fresh.call_no_reply(importlib.import_module, "data_folder")
    fresh.call(abs, 1)
    link: Any = shared.stream_by_id(fresh.context_id)
    for modules in (1, 0):
        before = module_round_trips(shared, fresh), link.messages_received
        assert fresh.call(pkgutil.get_data, "data_folder", "hello.txt") == b"hello\n"
        asked = module_round_trips(shared, fresh) - before[0]
        # None if something that is installed for this interpreter needed them already.
        assert asked <= modules
        assert link.messages_received - before[1] == asked + 2, "the file, and the result of the call"
    fresh.shutdown(wait=True)


def test_the_first_file_costs_none_if_who_reads_it_says_so_at_its_top(
    shared: Router, child: Context, site: Path
) -> None:
    """What imports `pkgutil` or `importlib.resources` is sent what those need along with it."""
    fresh = shared.local(python_path=child.call(remote.executable))
    fresh.call(remote_data.load, "data_folder")
    before = module_round_trips(shared, fresh)
    assert fresh.call(remote_data.get_data, "data_folder", "hello.txt") == b"hello\n"
    assert module_round_trips(shared, fresh) == before
    fresh.shutdown(wait=True)


@pytest.mark.parametrize("name", PLACES)
def test_pkgutil_gets_data(child: Context, name: str) -> None:
    get = remote_data.get_data
    for path in ("hello.txt", "sub/inner.txt", "folder/deep/note.txt", "folder/empty.txt", "module.py"):
        assert child.call(get, name, path) == PACKAGE[path].encode()
    assert child.call(get, name, "folder/../hello.txt") == b"hello\n"
    assert child.call(get, name + ".sub", "../hello.txt") == b"hello\n"
    assert child.call(get, name + ".sub", "inner.txt") == b"inner\n"
    assert child.call(get, name, "missing.txt") == "FileNotFoundError"
    assert child.call(get, name, "../../etc/passwd") == "FileNotFoundError"
    assert child.call(get, name, "hello.txt/below") in ("NotADirectoryError", "FileNotFoundError")


@pytest.mark.parametrize("name", [*PLACES, "data_portions"])
def test_pkgutil_finds_submodules(child: Context, name: str) -> None:
    assert child.call(remote_data.submodules, name, name + ".") == remote_data.submodules(
        name, name + "."
    )


@pytest.mark.parametrize("name", PLACES)
def test_files_and_folders_are_seen_as_they_are(child: Context, name: str) -> None:
    if of(child) >= (3, 9):
        assert child.call(remote_data.files, name) == TREE
        assert child.call(remote_data.files, name + ".sub") == TREE["sub"]


@pytest.mark.parametrize("name", PLACES)
def test_a_file_is_read_in_every_way(child: Context, name: str) -> None:
    if of(child) < (3, 9):
        return
    found = child.call(remote_data.ways_to_read, name)
    data = NOTE.encode()
    assert found == {
        "first": (data[:3], data[3:]),
        "text": NOTE,
        "lines": NOTE.splitlines(True),
        "joined": NOTE,
        "copy": (data, ".txt", False),
        "missing": (False, "FileNotFoundError"),
        "folder": True,
        "end": (data[-2:], len(data), data[1:3]),
        "name": "note.txt",
    }


@pytest.mark.parametrize("name", PLACES)
def test_a_folder_is_copied_for_those_who_need_files(child: Context, name: str) -> None:
    # The others have it from Python 3.12 on; 3.9 knows no folders but its own.
    if of(child) >= (3, 10):
        assert child.call(remote_data.copy_of_folder, name) == (TREE["folder"], False)


@pytest.mark.parametrize("name", PLACES)
def test_a_file_is_read_as_before_3_9(child: Context, name: str) -> None:
    # Newer ones have it too, but warn of it.
    if not (3, 7) <= of(child) <= (3, 10):
        return
    assert child.call(remote_data.old_ways_to_read, name) == {
        "binary": b"hello\n",
        "text": "hello\n",
        "copy": b"hello\n",
        "read": b"hello\n",
        "is": [True, False, False],
        "contents": sorted(TREE),
        "missing": "FileNotFoundError",
    }


def test_the_portions_of_a_namespace_package_are_one(child: Context) -> None:
    if of(child) >= (3, 10):
        found = child.call(remote_data.files, "data_portions")
        assert found == {"first.txt": b"1", "second.txt": b"2", "module.py": b""}


def test_distributions_are_known(child: Context) -> None:
    if of(child) < (3, 8):
        return
    found = child.call(remote_data.distribution, "data-sample")
    assert found == {
        "version": "2.1",
        "metadata": "a sample",
        "name": "Data.Sample",
        "requires": ["other (>=1)", "another ; extra == 'x'"],
        "files": sorted(line.partition(",")[0] for line in INFO["RECORD"].splitlines()),
        "texts": {"data_wheel/" + p: t for p, t in PACKAGE.items() if p.endswith(".txt")},
        "entry_points": [
            ("console_scripts", "x", "data_wheel:x"),
            ("data_sample.points", "greet", "data_wheel.module:greet"),
        ],
        "text": "data_wheel\n",
        "missing": None,
    }
    assert child.call(remote_data.missing_distribution, "no-such-distribution") == "PackageNotFoundError"
    old = child.call(remote_data.distribution, "old-style")
    assert (old["name"], old["version"], old["files"]) == ("old-style", "1", ["data_folder/hello.txt"])


def test_all_entry_points_cost_one_round_trip(shared: Router, child: Context) -> None:
    if of(child) < (3, 8):
        return
    point = "data_sample.points", "greet"
    assert child.call(remote_data.load_entry_point, *point) == "hello from an entry point"
    child.call(remote_data.forget_distributions)
    link: Any = shared.stream_by_id(child.context_id)
    before = link.messages_received
    assert child.call(remote_data.load_entry_point, *point) == "hello from an entry point"
    assert link.messages_received - before == 2, "the question, and the result"
    assert child.call(remote_data.load_entry_point, *point) == "hello from an entry point"
    assert link.messages_received - before == 3, "the result alone"


def test_the_master_s_own_modules_can_be_imported_all_the_same(child: Context) -> None:
    """As a program does that imports them at its top: it runs in children, too."""
    assert child.call(remote_data.import_master) == "mitogen.master"


def test_every_distribution_of_the_master_is_found_once(child: Context) -> None:
    if of(child) < (3, 8):
        return
    names = [name.lower() for name in child.call(remote_data.names_of_distributions)]
    here = {d.metadata["Name"].lower() for d in importlib.metadata.distributions()}
    assert here <= set(names)
    # Those that are installed for the child's interpreter go before the master's.
    assert names.count("pip") == 1
    assert child.call(remote_data.version_of_pip) == child.call(remote_data.own_version_of_pip)


PROGRAM = """
import importlib.metadata

def version():
    return importlib.metadata.version("pip")

if __name__ == "__main__":
    import sys
    sys.path[:0] = %r
    import mitogen.master
    with mitogen.master.Router() as router:
        print(router.local(python_path=sys.argv[1]).call(version))
"""


def test_a_context_that_imported_nothing_yet_finds_its_own_first(tmp_path: Path) -> None:
    """Its site-packages are not even set up by then."""
    python = interpreters.find("3.13")
    (tmp_path / "program.py").write_text(PROGRAM % [p for p in sys.path if "packages" in p])
    commands = [
        [python, "-c", "import pip; print(pip.__version__)"],
        [sys.executable, str(tmp_path / "program.py"), python],
    ]
    own, found = (subprocess.check_output(command, text=True, timeout=50) for command in commands)
    assert found == own


#: Bytes of a file that is too large to be kept twice by anybody.
LARGE = 64 << 20


@pytest.mark.parametrize("kind", ["folder", "zip"])
@pytest.mark.parametrize("python", ["3.13", "3.7"], indirect=True)
def test_a_large_file_costs_nobody_its_size(
    router: Router, site: Path, python: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "data_large_" + kind
    block = os.urandom(1 << 16)
    content = block * (LARGE // len(block))
    if kind == "zip":
        pack(site / "large.zip", {name + "/__init__.py": ""})
        with zipfile.ZipFile(site / "large.zip", "a", zipfile.ZIP_DEFLATED, compresslevel=1) as f:
            f.writestr(name + "/large.bin", content)
    else:
        (site / "large" / name).mkdir(parents=True, exist_ok=True)
        (site / "large" / name / "__init__.py").write_text("")
        (site / "large" / name / "large.bin").write_bytes(content)
    monkeypatch.syspath_prepend(str(site / ("large.zip" if kind == "zip" else "large")))
    digest = hashlib.sha256(content).hexdigest()
    del content
    middle = router.local()
    below = router.local(via=middle, python_path=python)
    with open("/proc/self/clear_refs", "w") as f:
        f.write("5")  # Begin anew to measure the peak.
    before = remote_data.peak()
    found, size, growth = below.call(remote_data.read_in_pieces, name, "large.bin", 100_000)
    assert (found, size) == (digest, LARGE)
    assert growth < 16
    assert remote_data.peak() - before < 32
    for context in (below, middle):
        context.shutdown(wait=True)


def test_a_file_that_changes_while_it_is_read_is_an_error(
    router: Router, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = site / "changing" / "data_changing"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "file.bin").write_bytes(b"x" * (3 << 20))
    monkeypatch.syspath_prepend(str(site / "changing"))
    context = router.local()
    assert context.call(remote_data.begin_to_read, "data_changing", "file.bin") == b"x"
    (folder / "file.bin").write_bytes(b"y" * (3 << 20))
    with pytest.raises(CallError, match="changed while it was read"):
        context.call(remote_data.go_on_to_read)
    context.shutdown(wait=True)


def test_a_context_without_its_master_says_so_and_has_its_own(
    router: Router, site: Path, tmp_path: Path
) -> None:
    context = router.local()
    pid = context.call(os.getpid)
    with pytest.raises(ChannelError):
        context.call(remote_data.read_without_master, "data_folder", str(tmp_path / "said"))
    wait_gone(pid, 20.0)
    error, missing, pip = (tmp_path / "said").read_text().splitlines()
    assert "the master can't be asked" in error
    assert missing == "PackageNotFoundError"
    assert pip == importlib.metadata.version("pip")
