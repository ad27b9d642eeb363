"""`mitogen.bundle`: what children are started with, and the file that holds it compressed."""

from __future__ import annotations

import marshal
import subprocess
import sys
import types
import zlib
from typing import Any

import pytest

from mitogen import bundle


def unpack(payload: bytes) -> list[Any]:
    """Return what the first stage executes and leaves to it, with the core not started."""
    length = int(payload[:8], 16)
    data = payload[8:]
    assert len(data) == length
    namespace: dict[str, Any] = {"marshal": marshal, "t": marshal.loads(data)}
    program = namespace["t"][0].replace("exec(t[0])", "")
    exec(program, namespace)
    return list(namespace["t"])


def by_name(texts: list[str]) -> dict[str, str]:
    """The order of the modules is free."""
    return dict(zip(texts[::2], texts[1::2], strict=True))


def test_the_file_was_made_from_these_sources() -> None:
    """If this fails: `make bundle`. Masters would compress, less well, whenever they start."""
    data = bundle._read_file()
    assert data is not None
    boot, *texts, config = unpack(bundle.payload(False, {"a": 1}, True))
    expected_boot, *expected = bundle.text().split("\0")
    assert boot == expected_boot
    assert by_name(texts) == by_name(expected)
    assert config == {"a": 1}


def test_without_the_file_the_same_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    with_file = unpack(bundle.payload(False, {}, True))
    monkeypatch.setattr(bundle, "_text", [])
    monkeypatch.setattr(bundle, "FILE", "missing")
    boot, *texts, config = unpack(bundle.payload(False, {}, True))
    assert (boot, config) == (with_file[0], with_file[-1])
    assert by_name(texts) == by_name(with_file[1:-1])


def test_a_file_of_other_sources_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "digest", lambda: "another")
    assert bundle._read_file() is None


def test_a_parent_that_was_sent_over_the_wire_has_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "__spec__", types.SimpleNamespace(loader=object()))
    assert bundle._read_file() is None


@pytest.mark.parametrize("compress", [False, True])
def test_code_objects_are_those_of_the_import_system(compress: bool) -> None:
    payload = bundle.payload(True, {"a": 1}, compress)
    _, packed, config = marshal.loads(payload[8:])
    boot, modules = marshal.loads(zlib.decompress(packed) if compress else packed)
    assert isinstance(boot, types.CodeType)
    assert config == {"a": 1}
    assert set(modules) == set(bundle.names())
    children, path, code = modules["mitogen.core.latch"]
    assert (children, path) == (None, sys.modules["mitogen.core.latch"].__file__)
    assert isinstance(code, types.CodeType)
    assert modules["mitogen.core"][0] == ()


@pytest.mark.parametrize(
    ("version", "platform", "config", "expected"),
    [
        ((3, 11), "linux", {}, []),
        ((3, 8), "linux", {"debug": True, "extras": []}, []),
        ((3, 7), "linux", {}, ["oldpython"]),
        ((3, 11), "freebsd14", {}, ["pollers"]),
        ((3, 11), "linux", {"extras": ["mitogen.core.profiling"]}, ["profiling"]),
        ((3, 6), "darwin", {"extras": ["mitogen.core.profiling"]}, ["oldpython", "pollers", "profiling"]),
    ],
)
def test_some_children_need_more(
    version: tuple[int, ...], platform: str, config: dict[str, Any], expected: list[str]
) -> None:
    extras = bundle.extras(version, platform, config)
    assert [name.rpartition(".")[2] for name in extras] == expected
    *_, config_sent = parts = unpack(bundle.payload(False, config, True, extras))
    assert config_sent == config
    assert all(name in parts for name in extras)


def test_equal_sources_give_equal_bundles() -> None:
    code = (
        "from mitogen import bundle; import sys; sys.stdout.buffer.write(bundle.payload(False, {}, True))"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE, check=True,
        ).stdout
        for seed in ("1", "2")
    ]  # fmt: skip
    assert runs[0] == runs[1] == bundle.payload(False, {}, True)
