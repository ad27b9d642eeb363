"""Real children on every interpreter that is supported, each started with all warnings as errors.

What a child writes to stderr arrives as log records, so "no warning" is looked at when it has ended.
"""

from __future__ import annotations

import datetime
import decimal
import logging
import math
import os
import sys
import uuid
from typing import TYPE_CHECKING

import pytest

import mitogen.core
import mitogen.master
import mitogen.parent
from mitogen.core import CallError
from tests import interpreters
from tests.integration import flows, remote
from tests.integration.programs import wait_until
from tests.integration.test_calls import time_out

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mitogen.master import Router
    from mitogen.parent import Context

    Caplog = pytest.LogCaptureFixture


class Messages(logging.Handler):
    """The texts of all records."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


@pytest.fixture(scope="module", params=interpreters.SUPPORTED)
def python(request: pytest.FixtureRequest) -> str:
    """The path of each interpreter, one after the other: all tests on one, then all on the next."""
    return interpreters.find(request.param)


@pytest.fixture(scope="module")
def router() -> Iterator[Router]:
    """The router of all tests of this file."""
    with mitogen.master.Router() as router:
        yield router


@pytest.fixture(scope="module")
def child(router: Router, python: str) -> Iterator[Context]:
    """A context on each interpreter, for all tests on it, during which it must not warn or complain."""
    expected = {"stderr: said by the test"}
    messages = Messages()
    root = logging.getLogger()
    level = root.level
    root.addHandler(messages)
    root.setLevel(logging.INFO)
    try:
        context = router.local(python_path=[python, "-W", "error", "-bb"])
        yield context
        context.shutdown(wait=True)
    finally:
        root.setLevel(level)
        root.removeHandler(messages)
    for text in messages.texts:
        assert "stderr" not in text or text in expected, text
        assert "Warning" not in text
        assert "mitogen: " not in text, text


VALUES = [
    None,
    True,
    False,
    0,
    -1,
    2**31,
    -(2**63) - 1,
    2**2000,
    0.1,
    -0.0,
    float("inf"),
    1e300,
    "",
    "text",
    "\u20ac \U0001f600 \0",
    "x" * 70_000,
    b"",
    b"\x00\xff",
    b"\x80\x04.",
    b"y" * 70_000,
    bytearray(b"array"),
    (),
    (1,),
    (1, "a", None, (2,)),
    [],
    [1, [2, [3, []]]],
    {},
    {"a": 1, 2: "b", (3, 4): [5], None: {}},
    set(),
    {1, "a"},
    frozenset(),
    frozenset([(1, 2)]),
    1 + 2j,
    datetime.date(2020, 2, 29),
    datetime.time(1, 2, 3, 4),
    datetime.datetime(2020, 1, 2, 3, 4, 5, 6),
    datetime.datetime(2020, 1, 2, tzinfo=datetime.timezone.utc),
    datetime.datetime(2020, 1, 2, tzinfo=datetime.timezone(datetime.timedelta(hours=2), "X")),
    datetime.timedelta(-1, 5, 7),
    decimal.Decimal("1.10"),
    decimal.Decimal("-Infinity"),
    uuid.UUID(int=2**127 + 5),
    mitogen.core.Blob(b"blob"),
    mitogen.core.Secret("secret"),
]


def test_it_is_the_interpreter_that_was_asked_for(child: Context, python: str) -> None:
    version, implementation, warn_options = child.call(remote.version)
    name = interpreters.name_of(python)
    assert name in ("%d.%d" % version, implementation + "3")
    assert "error" in warn_options
    assert child.python_version is not None
    assert child.python_version[:2] == version


def test_every_value_that_may_be_sent_round_trips(child: Context) -> None:
    for value in VALUES:
        name, text, back = child.call(remote.kind_of, value)
        assert type(back) is type(value)
        assert back == value
        assert name == type(value).__name__
        # Sets have no order: not here either, where hashes of texts that collide leave it to chance.
        if not isinstance(value, (set, frozenset)):
            assert str(back) == str(value)
            # Python 3.6 writes time differences in another way.
            if "timedelta" not in repr(value):
                assert text == repr(value)
    # All of them at once, nested, and as keyword arguments.
    args, kwargs = child.call(remote.echo, VALUES, key=tuple(VALUES))
    assert args == (VALUES,)
    assert kwargs == {"key": tuple(VALUES)}
    assert math.isnan(child.call(remote.identity, float("nan")))


def test_contexts_and_senders_arrive_usable(child: Context, router: Router) -> None:
    back = child.call(remote.identity, child)
    assert back == child
    assert back.call(remote.identity, 1) == 1
    receiver = mitogen.core.Receiver(router)
    child.call(remote.send_many, receiver.to_sender(), 3)
    assert [msg.unpickle() for msg in receiver] == [0, 1, 2]
    receiver.close()


def test_the_same_object_twice_and_a_cycle(child: Context) -> None:
    shared = [1]
    first, second = child.call(remote.identity, [shared, shared])
    assert first is second
    cycle: list[object] = []
    cycle.append(cycle)
    back = child.call(remote.identity, cycle)
    assert back[0] is back


def test_what_cannot_be_sent_is_refused_with_its_path(child: Context) -> None:
    for kind in "lock", "nested", "function", "builtin class", "subclass", "deep":
        with pytest.raises(CallError, match="result") as info:
            child.call(remote.bad_result, kind)
        assert info.value.type_name == "mitogen.core.errors.SerializationError", kind
        if kind == "nested":
            assert "result['locks'][0]: _thread.lock" in info.value.text
        assert child.call(remote.identity, kind) == kind


def test_a_mebibyte_both_ways(child: Context) -> None:
    data = os.urandom(1 << 20)
    assert child.call(remote.identity, data) == data
    text = "\u20ac" * (1 << 18)
    assert child.call(remote.identity, {"t": text, "d": [data]}) == {"t": text, "d": [data]}


TREE = {
    "__init__.py": "from . import first\nNAME = __name__\n",
    "first.py": (
        "from .sub.deep import value as deep_value\n\ndef value():\n    return 'first', deep_value()\n"
    ),
    "sub/__init__.py": "WHERE = __name__, __package__, __spec__.name\n",
    "sub/deep.py": (
        "# -*- coding: latin-1 -*-\n"
        "from . import WHERE\nfrom .. import sub\nfrom ..sub import sibling\n"
        "import sys\n\n"
        "def value():\n    return sibling.NAME, WHERE, sub is sys.modules[WHERE[0]], '\xe9'\n\n\n"
        "def fail():\n    raise ValueError('in the tree')  # the line\n"
    ),
    "sub/sibling.py": "NAME = 'sibling'\n",
    "broken.py": "def (:\n",
    "raises.py": "raise RuntimeError('at import')\n",
}


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a package that only this process has."""
    name = "tree_%s" % uuid.uuid4().hex[:8]
    for path, source in TREE.items():
        file = tmp_path / name / path
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(source.encode("latin-1"))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield name
    for loaded in [m for m in sys.modules if m.partition(".")[0] == name]:
        del sys.modules[loaded]


def test_a_module_tree_is_imported_from_the_master(child: Context, tree: str) -> None:
    first = __import__(tree + ".first", fromlist=["value"])
    where = (tree + ".sub",) * 3
    assert child.call(first.value) == ("first", ("sibling", where, True, "\xe9"))
    deep = sys.modules[tree + ".sub.deep"]
    with pytest.raises(CallError) as info:
        child.call(deep.fail)
    assert "line 12, in fail" in info.value.traceback
    assert "raise ValueError('in the tree')  # the line" in info.value.traceback
    assert "deep.py" in info.value.traceback


def test_modules_that_fail_to_import_are_that_calls_error(child: Context, tree: str) -> None:
    __import__(tree)
    for module, error in (
        ("broken", "SyntaxError"),
        ("raises", "RuntimeError"),
        ("missing", "ModuleNotFoundError"),
    ):
        for _ in range(2):
            with pytest.raises(CallError) as info:
                child.call(__import__, "%s.%s" % (tree, module))
            assert info.value.type_name == error
    assert child.call(remote.identity, 1) == 1


def test_find_spec_of_a_missing_module_is_none(child: Context, tree: str) -> None:
    assert child.call(remote.find_spec, "no_such_module_anywhere") is None
    assert child.call(remote.find_spec, "mitogen.no_such_module") is None
    assert child.call(remote.find_spec, "mitogen.core.no_such_module") is None
    assert child.call(remote.find_spec, "tests.no_such_module") is None
    assert child.call(remote.find_spec, "json.no_such_module") is None
    assert child.call(remote.find_spec, tree + ".no_such_module") is None
    assert child.call(remote.find_spec, tree + ".sub.deep") == tree + ".sub.deep"
    assert child.call(remote.find_spec, "json") == "json"


def test_errors_name_the_real_line(child: Context) -> None:
    with pytest.raises(CallError) as info:
        child.call(remote.raise_here)
    with open(remote.__file__) as f:
        line = next(i for i, text in enumerate(f, 1) if text.endswith("# the line\n"))
    assert info.value.type_name == "tests.integration.remote.UserError"
    assert "line %d, in raise_here" % line in info.value.traceback
    assert "# the line" in info.value.traceback


def test_errors_inside_the_core_name_its_real_lines(child: Context) -> None:
    """It is sent without comments and docstrings, yet lines keep their numbers."""
    with pytest.raises(CallError) as info:
        child.call(remote.raise_here)
    path = sys.modules["mitogen.core.calls"].__file__
    assert path is not None
    with open(path) as f:
        lines = f.readlines()
    found = [line for line in info.value.traceback.splitlines() if "calls.py" in line]
    assert found
    number = int(found[-1].partition("line ")[2].partition(",")[0])
    assert "func(*args, **kwargs)" in lines[number - 1]


def test_what_a_function_raises_is_its_calls_error(child: Context) -> None:
    for name in "SystemExit", "KeyboardInterrupt", "Unprintable", "HostileExit":
        with pytest.raises(CallError) as info:
            child.call(remote.raise_named, name)
        assert info.value.type_name.endswith(name)
        assert child.call(remote.identity, name) == name


def test_recursion_and_causes(child: Context) -> None:
    with pytest.raises(CallError, match="RecursionError"):
        child.call(remote.recurse)
    with pytest.raises(CallError) as info:
        child.call(remote.raise_chain)
    assert info.value.cause is not None
    assert info.value.cause.type_name == "tests.integration.remote.UserError"


def test_a_time_out_and_the_recovery_from_it(child: Context) -> None:
    for fn in remote.sleep, remote.read_pipe, remote.busy, remote.wait_latch:
        [(names, _)] = time_out(child, fn, *((60,) if fn is remote.sleep else ()))
        assert "KeyboardInterrupt" in names[1:]


def test_logs_and_output(child: Context, caplog: Caplog) -> None:
    child.call(remote.say, "hello \u20ac")
    child.call(remote.say_error, "said by the test\n")
    child.call(remote.run_echo, "a program")
    child.call(remote.log, "name", logging.WARNING, "value %d", 3)
    expected = {
        "stdout: hello \u20ac": logging.INFO,
        "stderr: said by the test": logging.INFO,
        "stdout: a program": logging.INFO,
        "name: value 3": logging.WARNING,
    }

    def found() -> dict[str, int]:
        return {
            r.getMessage(): r.levelno
            for r in caplog.records
            if r.name == "mitogen.ctx." + child.name and r.getMessage() in expected
        }

    wait_until(lambda: found() == expected)


def test_a_child_knows_its_interpreter(child: Context, python: str) -> None:
    executable = child.call(remote.executable)
    assert os.path.realpath(executable) == os.path.realpath(python)


def test_its_site_packages_are_there_when_they_are_needed(router: Router, python: str) -> None:
    context = router.local(python_path=python)
    assert context.call(remote.find_spec, "pip") == "pip"
    context.shutdown(wait=True)


def test_a_mixed_population(router: Router) -> None:
    contexts = [router.local(python_path=interpreters.find(v)) for v in interpreters.SUPPORTED]
    receivers = [c.call_async(remote.version) for c in contexts]
    versions = {receiver.get_data(20)[0] for receiver in receivers}
    assert len(versions) >= 8
    for context in contexts:
        context.shutdown(wait=True)


def test_documented_names_are_found_in_a_child_and_below_it(
    child: Context, python: str, router: Router
) -> None:
    below = router.local(via=child, python_path=python)
    for context in (child, below):
        assert context.call(flows.documented_names) == ("CallChain", "Receiver")
    below.shutdown(wait=True)
