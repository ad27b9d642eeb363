"""Show that each pure module is covered by its own tests: ``python -m tests.core.coverage_of_pure``.

Each pair runs by itself, so that no module is covered only by what uses it. Ends with status 1 if a branch
of one is missing. `tests/core/test_pure_coverage.py` asserts the same.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

MODULES = ("errors", "framing", "handles", "message", "routing", "serialization", "timers")

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "packages/mitogen-core/src/mitogen/core"

CONFIG = """
[run]
branch = true
include = %(source)s/%(module)s.py
data_file = %(folder)s/data
[report]
show_missing = true
skip_covered = true
exclude_also =
    if TYPE_CHECKING:
    @overload
"""


def measure(module: str) -> str:
    """Return nothing if the tests of `module` alone cover it, else what is missing, or failed."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "coveragerc")
        config.write_text(CONFIG % {"source": SOURCE, "module": module, "folder": folder})
        coverage = [sys.executable, "-m", "coverage"]
        options = ["--rcfile=%s" % config]
        # Pure tests need no fixture, so they need not wait for the one that looks for what they leave.
        pytest = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--noconftest"]
        tests = [*pytest, "tests/core/test_%s.py" % module]
        for command in (
            [*coverage, "run", *options, *tests],
            [*coverage, "report", *options, "--fail-under=100"],
        ):
            # Not what the tests themselves may be measured with.
            environ = {k: v for k, v in os.environ.items() if not k.startswith(("COV_", "COVERAGE_"))}
            environ.pop("MITOGEN_TEST_RUN", None)
            run = subprocess.run(
                command,
                cwd=ROOT,
                env=environ,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                check=False,
            )
            if run.returncode:
                return run.stdout.decode()
    return ""


def main() -> int:
    """Print a line for each module; return the exit status."""
    missing = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for module, found in zip(MODULES, pool.map(measure, MODULES), strict=True):
            print("%-15s %s" % (module, found or "100 % of branches by its own tests"))
            missing += bool(found)
    return min(missing, 1)


if __name__ == "__main__":
    sys.exit(main())
