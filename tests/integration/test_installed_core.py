"""Children whose interpreter has a mitogen-core installed: it is used if it is the same, else not."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING

import pytest

import mitogen
import mitogen.core
from tests.integration import remote

if TYPE_CHECKING:
    from pathlib import Path

    from mitogen.master import Router


class Installation:
    """An interpreter in a folder of its own, with a site-packages that says it has our mitogen-core.

    :ivar python: path of the interpreter.
    :ivar packages: its site-packages, where the dist-info is, and no module yet.
    """

    def __init__(self, folder: Path) -> None:
        folder = folder.resolve()
        self.python = folder / "bin" / "python"
        self.python.parent.mkdir()
        self.python.symlink_to(os.path.realpath(sys.executable))
        self.packages = folder / ("lib/python%d.%d/site-packages" % sys.version_info[:2])
        (self.packages / ("mitogen_core-%s.dist-info" % mitogen.__version__)).mkdir(parents=True)

    def install(self) -> None:
        """Put our own core there."""
        shutil.copytree(mitogen.core.__path__[0], self.packages / "mitogen" / "core")
        assert mitogen.__file__ is not None
        shutil.copy(mitogen.__file__, self.packages / "mitogen")


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    return Installation(tmp_path)


def test_a_core_that_is_the_same_is_used(router: Router, installation: Installation) -> None:
    installation.install()
    child = router.local(python_path=str(installation.python))
    assert child.call(remote.file_of, "mitogen.core.router").startswith(str(installation.packages))


def test_nothing_but_the_core_comes_from_there(router: Router, installation: Installation) -> None:
    installation.install()
    child = router.local(python_path=str(installation.python))
    assert str(installation.packages) not in child.call(remote.search_path)


@pytest.mark.parametrize("content", ["none", "other", "part"])
def test_a_core_that_is_another_is_not(router: Router, installation: Installation, content: str) -> None:
    """As that of an editable installation, which has no files there."""
    if content != "none":
        installation.install()
        module = installation.packages / "mitogen" / "core" / "router.py"
        if content == "part":
            module.unlink()
        else:
            module.write_text(module.read_text() + "# changed\n")
    child = router.local(python_path=str(installation.python))
    assert str(installation.packages) not in child.call(remote.file_of, "mitogen.core.router")
    assert str(installation.packages) not in child.call(remote.search_path)


def test_calls_that_follow_at_once_do_not_get_ahead_of_the_core(
    router: Router, installation: Installation
) -> None:
    for _ in range(3):
        child = router.local(python_path=str(installation.python))
        receivers = [child.call_async(remote.identity, i) for i in range(5)]
        assert [receiver.get_data(20) for receiver in receivers] == list(range(5))
