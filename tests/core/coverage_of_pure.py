"""Show that each pure module is covered by its own tests: ``python -m tests.core.coverage_of_pure``.

Each pair runs by itself, so that no module is covered only by what uses it. Ends with status 1 if a
branch of one is missing. `tests/core/test_pure_coverage.py` asserts the same.

A pair costs a fork of this process, which has imported pytest and coverage but nothing of the library:
importing those anew takes longer than most pairs.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from pathlib import Path

import coverage
import pytest

MODULES = ("errors", "forwarding", "framing", "handles", "message", "routing", "serialization", "timers")

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "packages/mitogen-core/src/mitogen/core"

# Pure tests need no fixture, so they need not wait for the one that looks for what they leave.
OPTIONS = ["-q", "--noconftest"]
UNUSED_PLUGINS = ("cacheprovider", "hypothesispytest", "pytest_cov")


def measure(module: str, report: Path) -> None:
    """Write to `report` what the tests of `module` alone leave uncovered, or how they failed.

    For a process in which nothing of the library was imported. Nothing is written if all is well.
    """
    output = report.with_suffix(".output")
    with open(output, "w") as f:
        os.dup2(f.fileno(), 1)
        os.dup2(f.fileno(), 2)
    # Neither what is configured for the tests as a whole, nor a file: the data stays in memory.
    measured = coverage.Coverage(
        data_file=None, config_file=False, branch=True, include=[str(SOURCE / module) + ".py"]
    )
    for pattern in "if TYPE_CHECKING:", "@overload":
        measured.exclude(pattern)
    measured.start()
    plugins = ["-pno:%s" % name for name in UNUSED_PLUGINS]
    status = pytest.main([*OPTIONS, *plugins, str(ROOT / "tests/core/test_") + module + ".py"])
    measured.stop()
    covered = 0.0
    if status == 0:
        covered = measured.report(show_missing=True)
    sys.stdout.flush()
    if covered < 100:
        output.rename(report)


def main(folder: Path) -> int:
    """Print a line for each module, leave reports in `folder`; return the exit status."""
    os.chdir(ROOT)
    fork = multiprocessing.get_context("fork")
    processes = {}
    for module in MODULES:
        processes[module] = fork.Process(target=measure, args=(module, folder / (module + ".txt")))
        processes[module].start()
    missing = 0
    for module, process in processes.items():
        process.join()
        report = folder / (module + ".txt")
        if process.exitcode and not report.exists():
            report.write_text("the process of its tests ended with %s" % process.exitcode)
        found = report.read_text() if report.exists() else ""
        print("%-15s %s" % (module, found or "100 % of branches by its own tests"))
        missing += bool(found)
    return min(missing, 1)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit(main(Path(sys.argv[1])))
    with tempfile.TemporaryDirectory() as name:
        sys.exit(main(Path(name)))
