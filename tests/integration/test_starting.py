"""What starting a context costs, as far as it can be counted."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from mitogen.master import Router
    from mitogen.parent import Context

#: Runs the first stage in its own process, and notes what is compiled from then on.
WRAPPER = """\
import sys
code = compile(sys.argv[sys.argv.index("-c") + 1], "first stage", "exec")
path = sys.argv[1]
def hook(event, args):
    if event == "compile":
        # Opened anew, since a child closes what it inherited.
        with open(path, "a") as log:
            log.write("%r\\n" % (args[1],))
sys.addaudithook(hook)
exec(code)
"""


def start_watched(router: Router, tmp_path: Path) -> tuple[Context, Path]:
    wrapper, log = tmp_path / "wrapper.py", tmp_path / "compiled"
    wrapper.write_text(WRAPPER)
    context = router.local(python_path=[sys.executable, str(wrapper), str(log)])
    assert context.call(os.getppid) == os.getpid()
    log.touch()
    return context, log


def test_a_child_of_the_same_python_compiles_nothing_on_the_way_to_its_first_call(
    router: Router, tmp_path: Path
) -> None:
    _, log = start_watched(router, tmp_path)
    # Lines that decompress, or look at an installed core; a child on the program's own interpreter is
    # not even sent those.
    assert set(log.read_text().splitlines()) <= {"'<string>'"}


def test_what_is_compiled_would_be_noted(router: Router, tmp_path: Path) -> None:
    context, log = start_watched(router, tmp_path)
    context.call(exec, "compile('1', 'noted', 'eval')")
    assert "'noted'" in log.read_text()


def test_a_child_imports_nothing_that_only_annotations_need(router: Router) -> None:
    loaded = set(router.local().call(eval, "sorted(__import__('sys').modules)"))
    assert "mitogen.core.broker" in loaded
    assert not loaded & {"typing", "re", "enum", "contextlib", "logging", "threading", "socket", "pickle"}
