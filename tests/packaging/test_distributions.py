"""The distributions as users get them: built by flit, installed side by side, one package."""

from __future__ import annotations

import email
import email.message
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

import mitogen
from tests.packaging import build

ROOT = Path(__file__).parents[2]
NAMES = sorted(package.name for package in (ROOT / "packages").iterdir())

#: Which siblings each distribution needs, apart from extras.
SIBLINGS = {
    "mitogen-core": set(),
    "mitogen-parent": {"mitogen-core"},
    "mitogen-transports": {"mitogen-core", "mitogen-parent"},
    "mitogen-fakessh": {"mitogen-core", "mitogen-parent"},
    "mitogen-utils": {"mitogen-core", "mitogen-parent"},
    "mitogen": {"mitogen-core", "mitogen-parent"},
}


class Built(NamedTuple):
    """What flit made of one distribution."""

    wheel: Path
    sdist: Path
    metadata: email.message.Message


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Built]:
    """Every distribution, built once."""
    target = tmp_path_factory.mktemp("dist")
    result = {}
    for name in NAMES:
        wheel, sdist = build.build(name, target)
        with zipfile.ZipFile(wheel) as archive:
            (entry,) = [one for one in archive.namelist() if one.endswith("/METADATA")]
            metadata = email.message_from_bytes(archive.read(entry))
        result[name] = Built(wheel, sdist, metadata)
    return result


def test_all_distributions_have_one_version(built: dict[str, Built]) -> None:
    assert len({one.metadata["Version"] for one in built.values()}) == 1


@pytest.mark.parametrize("name", NAMES)
def test_siblings_are_pinned_to_the_same_version(built: dict[str, Built], name: str) -> None:
    requirements = built[name].metadata.get_all("Requires-Dist") or []
    always = {one for one in requirements if "extra ==" not in one}
    version = built[name].metadata["Version"]
    assert always == {"%s==%s" % (sibling, version) for sibling in SIBLINGS[name]}


@pytest.mark.parametrize("name", [name for name in NAMES if name != "mitogen"])
def test_only_the_umbrella_has_extras(built: dict[str, Built], name: str) -> None:
    assert built[name].metadata.get_all("Provides-Extra") is None


def test_umbrella_extras_pin_siblings_and_only_cli_has_third_parties(
    built: dict[str, Built],
) -> None:
    version = built["mitogen"].metadata["Version"]
    extras: dict[str, set[str]] = {}
    for one in built["mitogen"].metadata.get_all("Requires-Dist") or []:
        requirement, _, marker = one.partition(" ; extra == ")
        if marker:
            extras.setdefault(marker.strip("\"'"), set()).add(requirement.replace(" ", ""))
    third_parties = {one.split(">=")[0] for one in extras.pop("cli")}
    assert third_parties == {"click", "rich"}
    assert extras.pop("all") == {"mitogen[transports,fakessh,utils,cli]==%s" % version}
    assert extras == {
        extra: {"mitogen-%s==%s" % (extra, version)} for extra in ("transports", "fakessh", "utils")
    }


@pytest.mark.parametrize("name", NAMES)
def test_wheel_and_sdist_carry_the_licence(built: dict[str, Built], name: str) -> None:
    licence = (ROOT / "LICENSE").read_bytes()
    assert built[name].metadata["License-Expression"] == "BSD-3-Clause"
    with zipfile.ZipFile(built[name].wheel) as wheel:
        (entry,) = [one for one in wheel.namelist() if one.endswith("/licenses/LICENSE")]
        assert wheel.read(entry) == licence
    with tarfile.open(built[name].sdist) as sdist:
        (member,) = [one for one in sdist.getnames() if one.endswith("/LICENSE")]
        extracted = sdist.extractfile(member)
        assert extracted is not None
        with extracted:
            assert extracted.read() == licence


@pytest.mark.parametrize("name", NAMES)
def test_sdist_holds_every_module_of_the_wheel(built: dict[str, Built], name: str) -> None:
    with tarfile.open(built[name].sdist) as sdist:
        members = {one.partition("/src/")[2] for one in sdist.getnames()}
    with zipfile.ZipFile(built[name].wheel) as wheel:
        modules = {one for one in wheel.namelist() if one.startswith("mitogen/")}
    # An empty folder is in neither git nor an sdist, and flit builds nothing without it.
    assert modules
    assert modules == members - {""}


def test_no_file_is_in_two_wheels(built: dict[str, Built]) -> None:
    owners: dict[str, str] = {}
    for name, one in built.items():
        with zipfile.ZipFile(one.wheel) as wheel:
            for entry in wheel.namelist():
                assert entry not in owners, "%s and %s: %s" % (owners[entry], name, entry)
                owners[entry] = name
    assert owners["mitogen/__init__.py"] == "mitogen-core"
    assert owners["mitogen/py.typed"] == "mitogen-core"


@pytest.mark.parametrize("apart", [False, True], ids=["one folder", "a folder each"])
def test_installed_wheels_merge_into_one_package(
    built: dict[str, Built], tmp_path: Path, apart: bool
) -> None:
    folders = []
    for name, one in built.items():
        folder = tmp_path / (name if apart else "site")
        with zipfile.ZipFile(one.wheel) as wheel:
            wheel.extractall(folder)
        folders.append(str(folder))
    # -S: not the packages of this environment, which has the sources on its path.
    ran = subprocess.run(
        [sys.executable, "-S", "-W", "error", "-m", "mitogen"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(folders))},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    version = built["mitogen"].metadata["Version"]
    assert set(ran.stdout.splitlines()) == {"%s %s" % (name, version) for name in NAMES}


def test_the_version_in_the_code_is_the_distributions(built: dict[str, Built]) -> None:
    assert mitogen.__version__ == built["mitogen-core"].metadata["Version"]
