"""`multiprocessing` in contexts: processes started there can run what the context can."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from mitogen.core import CallError
from mitogen.parent import CallChain
from tests.integration import remote_modules
from tests.integration.programs import Program

if TYPE_CHECKING:
    from pathlib import Path

    import mitogen.master
    import mitogen.parent

METHODS = "spawn", "forkserver", "fork"


def test_processes_run_what_a_context_can(router: mitogen.master.Router, python: str) -> None:
    chain = CallChain(router.local(python_path=python), timeout=50)
    for method in METHODS:
        assert chain.call(remote_modules.factorials, method) == [1, 1, 2, 6, 24]
        assert chain.call(remote_modules.doubles, method) == [0, 2, 4]
        assert chain.call(remote_modules.points, method)
        assert chain.call(remote_modules.from_process, method) == (3, 0)


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_the_library_can_be_imported_there(local: mitogen.parent.Context, method: str) -> None:
    assert local.call(remote_modules.cores, method) == ["mitogen.core"]


def test_what_the_context_did_not_import_is_told_by_name(local: mitogen.parent.Context) -> None:
    with pytest.raises(CallError) as info:
        local.call(remote_modules.late, "spawn", "tests.integration.remote_trees")
    assert "tests.integration.remote_trees is not here: a process that multiprocessing" in str(info.value)
    assert "use Router.fork() or a context of its own" in str(info.value)
    # Once it is imported, processes that are started then have it.
    local.call(remote_modules.load, "tests.integration.remote_trees")
    result = local.call(remote_modules.late, "spawn", "tests.integration.remote_trees")
    assert result == ["tests.integration.remote_trees"]


def test_an_empty_module_stands_for_the_program(local: mitogen.parent.Context) -> None:
    assert local.call(remote_modules.main_module) == ("Main", True, False, False)


def test_records_are_sent_whichever_is_imported_first(
    router: mitogen.master.Router, caplog: pytest.LogCaptureFixture
) -> None:
    for names in ("multiprocessing", "logging"), ("logging", "multiprocessing"):
        context = router.local()
        for name in names:
            # To look for a module is not to import it.
            assert context.call(remote_modules.look_for, name)
            context.call(remote_modules.load, name)
        assert context.call(remote_modules.doubles, "spawn") == [0, 2, 4]
        caplog.clear()
        context.call(logging.warning, "from %s", names)
        context.shutdown(wait=True)
        texts = [record.getMessage() for record in caplog.records]
        assert texts.count("root: from %s" % (names,)) == 1


MAIN = """
def triple(x):
    return 3 * x, __name__

def in_pool(method):
    import multiprocessing
    with multiprocessing.get_context(method).Pool(1) as pool:
        results = pool.map(triple, [1])
    pool.join()
    return results

if __name__ == "__main__":
    from tests.integration import remote_modules
    with mitogen.master.Router() as router:
        context = router.local()
        # The module stands for the program until a function of that is called.
        context.call(remote_modules.main_module)
        for method in ("spawn", "forkserver", "fork"):
            tell(context.call(in_pool, method))
        fork = router.fork()
        for method in ("spawn", "fork"):
            tell(fork.call(in_pool, method))
"""


def test_functions_of_the_program_itself_can_be_run(tmp_path: Path) -> None:
    with Program(tmp_path, MAIN) as program:
        assert program.line() == "[(3, '__mp_main__')]"
        assert program.line() == "[(3, '__mp_main__')]"
        assert program.line() == "[(3, '__main__')]"
        # A copy of the program has its file.
        assert program.line() == "[(3, '__mp_main__')]"
        assert program.line() == "[(3, '__main__')]"


UNGUARDED = """
from tests.integration import remote_modules
def one():
    return 1
with mitogen.master.Router() as router:
    context = router.local()
    tell(context.call(remote_modules.main_module))
    try:
        context.call(one)
    except mitogen.core.CallError as e:
        tell(e.text)
    tell(context.call(remote_modules.doubles, "spawn"))
"""


def test_a_program_that_cannot_be_sent_leaves_the_empty_module(tmp_path: Path) -> None:
    with Program(tmp_path, UNGUARDED) as program:
        assert program.line() == "('Main', True, False, False)"
        assert "since it has no guard" in program.line()
        assert program.line() == "[0, 2, 4]"
