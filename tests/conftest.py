"""Fixtures for all tests: nothing is ever left behind; and a router, a context, the interpreters."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

import mitogen.master
from tests import interpreters, leaks

if TYPE_CHECKING:
    from collections.abc import Iterator

    import mitogen.parent

leaks.mark_this_run()

# A run in the background of a shell script is started with these ignored, and all programs that the tests
# start would inherit that.
for _number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Fail a test after which a process, thread, descriptor or temporary file is left.

    Being automatic it is set up first, and looks when all other fixtures of the test are torn down.
    """
    before = leaks.Resources()
    yield
    left = leaks.wait_for_none(before)
    if left:
        pytest.fail("left behind:\n  " + "\n  ".join(left), pytrace=False)


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left_at_the_end() -> Iterator[None]:
    """The same for all tests together, whose longer-lived fixtures the one above can't judge."""
    before = leaks.Resources()
    yield
    left = [line for line in leaks.wait_for_none(before) if line.startswith(("process", "/tmp"))]
    if left:
        pytest.fail("left behind by the whole run:\n  " + "\n  ".join(left), pytrace=False)


@pytest.fixture
def router() -> Iterator[mitogen.master.Router]:
    """A master's router, which ends with the test."""
    with mitogen.master.Router() as router:
        yield router


@pytest.fixture
def local(router: mitogen.master.Router) -> mitogen.parent.Context:
    """A context on this machine, with the interpreter of the tests."""
    return router.local()


@pytest.fixture(params=interpreters.SUPPORTED)
def python(request: pytest.FixtureRequest) -> str:
    """The path of each interpreter that children may run on, one after the other."""
    return interpreters.find(request.param)
