"""Transports of other distributions: built, installed, found by their entry points, and conforming.

Two are in `tests/plugins`. The first is the one that the documentation shows.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from flit_core.wheel import make_wheel_in

import mitogen.core
from mitogen.parent.testing import check_transport
from tests.integration.remote_containers import describe
from tests.integration.targets import place, roots

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mitogen.master import Router

ROOT = Path(__file__).parents[2]
PLUGINS = ROOT / "tests/plugins"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Build and install both, in a folder that this process imports from; the folder."""
    wheels, folder = tmp_path_factory.mktemp("wheels"), str(tmp_path_factory.mktemp("installed"))
    files = [
        str(make_wheel_in(path / "pyproject.toml", wheels).file)
        for path in PLUGINS.iterdir()
        if path.name != "__pycache__"
    ]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    # Ours need not be installed for tests.
    subprocess.run(
        [*command, "--no-index", "--no-deps", "--target", folder, *files], check=True, timeout=50
    )
    sys.path.insert(0, folder)
    importlib.invalidate_caches()
    yield folder
    sys.path.remove(folder)
    for name in ("mitogen_chroot", "mitogen_slurm"):
        sys.modules.pop(name, None)


@pytest.fixture
def root(targets: None) -> Iterator[str]:
    """A root file system to change to."""
    with place.folder("chroot") as path, place.overlay(roots.find(), path) as root:
        yield root


def test_they_are_methods_like_others(installed: str, router: Router) -> None:
    assert {"chroot", "srun", "local", "docker"} <= set(dir(router))
    with pytest.raises(AttributeError, match=r"is called 'no_such'; transports are .*chroot, .* srun,"):
        print(router.no_such)
    with pytest.raises(TypeError, match=r"chroot: .*'root'; its options are root, username=None, .*via="):
        router.chroot()
    with pytest.raises(TypeError, match="'rooot'; its options are root, username=None, remote_name"):
        router.chroot("/", rooot=1)


def test_chroot_conforms(installed: str, root: str) -> None:
    """In a program of its own, with the test that the documentation shows."""
    sources = [path for path in sys.path if path.startswith(str(ROOT / "packages"))]
    done = subprocess.run(
        [sys.executable, str(PLUGINS / "chroot/check_chroot.py"), root],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([installed, *sources])},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_chroot_via(installed: str, root: str, router: Router) -> None:
    """Its module travels; no entry points are needed there."""
    via = router.local()
    context = router.chroot(root, username="tester", via=via)
    assert context.name == "%s.chroot.%s" % (via.name, root)
    assert context.call(os.getuid) == 1000
    with pytest.raises(mitogen.core.StreamError, match="must be an absolute path, not 'x'"):
        router.chroot("x", via=via)
    # A child that starts others asks for the module, too.
    future = router.connect_async("chroot", root=root, via=router.local(via=via))
    assert future.result(50).call(os.getuid) == 0


def test_srun_conforms(installed: str, router: Router, slurm_job: str) -> None:
    check_transport(router, "srun", jobid=slurm_job)


def test_srun_starts_a_step_of_the_allocation(installed: str, router: Router, slurm_job: str) -> None:
    node = place.run("squeue", "--noheader", "--format=%N", "--jobs", slurm_job).strip()
    context = router.srun(slurm_job, node=node)
    assert context.name == "srun.%s.%s" % (slurm_job, node)
    environ = context.call(describe)["environ"]
    assert (environ["SLURM_JOB_ID"], environ["SLURMD_NODENAME"]) == (slurm_job, node)
    for job, words in (("999999", "Invalid job id"), ("x", "nvalid")):
        with pytest.raises(
            mitogen.core.StreamError, match=r"^srun context srun\.%s: .*%s" % (job, words)
        ):
            router.srun(job)


def test_the_documentation_shows_some_40_lines_of_code() -> None:
    lines = (PLUGINS / "chroot/mitogen_chroot.py").read_text().splitlines()
    assert len(lines) < 50
    assert len([line for line in lines if line.strip()]) <= 40
