"""Each pure module is covered, branch by branch, by its own tests alone."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.core.coverage_of_pure import MODULES, ROOT

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with a report for each module that is not covered. In a process that has not begun to
    import the library."""
    folder = tmp_path_factory.mktemp("coverage")
    # Not what the tests themselves may be measured with.
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("COV_", "COVERAGE_"))}
    command = [sys.executable, "-m", "tests.core.coverage_of_pure", str(folder)]
    run = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    lines = run.stdout.splitlines()
    for module in MODULES:
        assert any(line.startswith(module) for line in lines), run.stdout + run.stderr
    return folder


@pytest.mark.parametrize("module", MODULES)
def test_every_branch_is_covered_by_the_module_s_own_tests(module: str, reports: Path) -> None:
    report = reports / (module + ".txt")
    assert not report.exists(), report.read_text()
