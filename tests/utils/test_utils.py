"""`mitogen.utils`: plain copies, log files, routers for functions."""

from __future__ import annotations

import collections
import datetime
import decimal
import enum
import logging
import os
import re
import subprocess
import sys
import threading
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mitogen.core
import mitogen.master
from mitogen import utils
from mitogen.core import serialization

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCES = Path(__file__).parents[2] / "packages"


# cast


class Text(str):
    def __str__(self) -> str:
        return "wrong"


class Data(bytes):
    def __bytes__(self) -> bytes:
        return b"wrong"


class Number(int):
    def __int__(self) -> int:
        return -1


class Fraction(float):
    def __float__(self) -> float:
        return -1.0


class Items(list):  # type: ignore[type-arg]
    pass


class Group(frozenset):  # type: ignore[type-arg]
    pass


class Buffer(bytearray):
    pass


class Point(NamedTuple):
    x: int
    y: Any


class Colour(enum.IntEnum):
    RED = 1


class Mode(str, enum.Enum):
    FAST = "fast"


def same(a: object, b: object) -> bool:
    """Compare values and their types, at all depths."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        assert isinstance(b, dict)
        return same(list(a.items()), list(b.items()))
    if isinstance(a, (list, tuple)):
        assert isinstance(b, (list, tuple))
        return len(a) == len(b) and all(map(same, a, b))
    return a == b or a != a


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Text("a"), "a"),
        (Data(b"a"), b"a"),
        (Number(5), 5),
        (Fraction(1.5), 1.5),
        (Buffer(b"a"), bytearray(b"a")),
        (Items([Text("a")]), ["a"]),
        (Group([1]), frozenset([1])),
        ({Text("a")}, {"a"}),
        (Point(1, Text("a")), (1, "a")),
        (Colour.RED, 1),
        (Mode.FAST, "fast"),
        (collections.OrderedDict([(Text("b"), 1), ("a", Number(2))]), {"b": 1, "a": 2}),
        (collections.defaultdict(Items, a=Items()), {"a": []}),
        (collections.Counter("aa"), {"a": 2}),
        ({Point(1, 2): 3}, {(1, 2): 3}),
        (None, None),
        (True, True),
        (2j, 2j),
    ],
)
def test_subclasses_become_plain(value: object, expected: object) -> None:
    assert same(utils.cast(value), expected)


def test_order_is_that_of_the_subclass() -> None:
    ordered = collections.OrderedDict(a=1, b=2)
    ordered.move_to_end("a")
    assert list(utils.cast(ordered)) == ["b", "a"]


PLAIN: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=10,
)


@given(PLAIN)
def test_plain_values_stay_equal_and_can_be_sent(value: object) -> None:
    copy = utils.cast(value)
    assert same(copy, value)
    assert same(serialization.loads(b"".join([serialization.dumps(copy)]), None), value)  # type: ignore[list-item]


def test_copy_is_independent() -> None:
    original = {"a": [1, {2}], "b": bytearray(b"x")}
    copy = utils.cast(original)
    copy["a"].append(2)
    copy["a"][1].add(3)
    copy["b"].extend(b"y")
    assert original == {"a": [1, {2}], "b": bytearray(b"x")}


def test_what_occurs_twice_occurs_twice_in_the_copy() -> None:
    shared = Items([1])
    copy = utils.cast([shared, shared, (shared,)])
    assert copy[0] is copy[1] is copy[2][0]


def test_cycles_through_lists_and_dictionaries() -> None:
    items: Items = Items([1])
    items.append({"self": items})
    copy = utils.cast(items)
    assert type(copy) is list
    assert copy[1]["self"] is copy


def test_cycle_of_a_tuple_is_an_error_that_says_where() -> None:
    items: list[Any] = []
    items.append((items, {"a": items}))
    # The list within the tuple is complete enough to be referred to.
    copy = utils.cast(items)
    assert copy is copy[0][0] is copy[0][1]["a"] is not items
    pair: tuple[list[Any]] = ([],)
    pair[0].append(pair)
    with pytest.raises(ValueError, match=re.escape("obj[0][0]: a tuple that contains itself")):
        utils.cast(pair)


def test_too_deep_is_an_error() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ValueError, match="too deeply"):
        utils.cast(deep)
    # Freed level by level, since freeing it at once would go as deep.
    while deep:
        deep = deep[0]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (threading.Lock(), "obj: _thread.lock can't be cast"),
        ({"locks": [threading.Lock()]}, "obj['locks'][0]: _thread.lock"),
        ({"a": ({"b": object()},)}, "obj['a'][0]['b']: object"),
        ({frozenset([object]): 1}, "key of obj[0]: type"),
        ([lambda: 0], "obj[0]: function"),
        ([Point], "obj[0]: type"),
        ({"k" * 1000: object()}, "characters cut"),
    ],
)
def test_other_types_are_refused_with_their_path(value: object, text: str) -> None:
    with pytest.raises(TypeError, match=re.escape(text)):
        utils.cast(value)


def test_what_the_library_can_send_stays() -> None:
    values: list[object] = [
        mitogen.core.CallError("ValueError", "text"),
        mitogen.core.Blob(b"a"),
        mitogen.core.Secret("a"),
        datetime.datetime(2020, 1, 2),
        datetime.timedelta(1),
        decimal.Decimal("1.5"),
        uuid.UUID(int=5),
    ]
    for value, copy in zip(values, utils.cast(values)):
        assert copy is value


# disable_site_packages


def test_disable_site_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = ["", "/usr/lib/python3", "/home/me/lib"]
    path = [kept[0], "/a/site-packages", kept[1], "/a/site-packages/b", "/Extras/lib", kept[2]]
    path.append("/a/site-packages")
    monkeypatch.setattr(sys, "path", path)
    utils.disable_site_packages()
    assert sys.path is path
    assert path == kept


# log_to_file


@pytest.fixture(autouse=True)
def clean_logging(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give every test the logging it started with, and no variables."""
    monkeypatch.delenv("MITOGEN_LOG_LEVEL", raising=False)
    monkeypatch.delenv("MITOGEN_LOG_IO", raising=False)
    loggers = [logging.getLogger(name) for name in (None, "mitogen", "mitogen.io")]
    before = [(logger, logger.level, logger.handlers[:]) for logger in loggers]
    yield
    for logger, level, handlers in before:
        logger.setLevel(level)
        for handler in logger.handlers:
            if handler not in handlers:
                handler.close()
        logger.handlers[:] = handlers


LINE = re.compile(r"\d\d:\d\d:\d\d (.*)")


def lines(path: Path) -> list[str]:
    """Return the lines of a log without their time, which must be there."""
    found = [LINE.fullmatch(line) for line in path.read_text("utf-8").splitlines()]
    return [match.group(1) if match else "no time" for match in found]


def log_all(name: str) -> None:
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
        logging.getLogger(name).log(level, "text")


def test_format_of_a_line(tmp_path: Path) -> None:
    utils.log_to_file(str(tmp_path / "log"))
    logging.getLogger("mitogen.ctx.local.32466").info("%s: %s", "stdout", "text ä")
    assert lines(tmp_path / "log") == ["I mitogen.ctx.local.32466: stdout: text ä"]


@pytest.mark.parametrize(
    ("level", "letters"), [("DEBUG", "DIWE"), ("INFO", "IWE"), ("warning", "WE"), ("ERROR", "E")]
)
def test_level(tmp_path: Path, level: str, letters: str) -> None:
    utils.log_to_file(str(tmp_path / "log"), level=level)
    for name in ("mitogen", "program"):
        log_all(name)
    expected = ["%s %s: text" % (c, name) for name in ("mitogen", "program") for c in letters]
    assert lines(tmp_path / "log") == expected


@pytest.mark.parametrize(
    ("io", "level", "letters"),
    [(False, "INFO", "IWE"), (False, "DEBUG", "IWE"), (False, "ERROR", "E"), (True, "ERROR", "DIWE")],
)
def test_io_lines_only_where_asked_for(tmp_path: Path, io: bool, level: str, letters: str) -> None:
    utils.log_to_file(str(tmp_path / "log"), io=io, level=level)
    log_all("mitogen.io")
    assert lines(tmp_path / "log") == ["%s mitogen.io: text" % c for c in letters]


def test_variables_take_precedence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MITOGEN_LOG_LEVEL", "error")
    monkeypatch.setenv("MITOGEN_LOG_IO", "1")
    utils.log_to_file(str(tmp_path / "log"), level="DEBUG")
    log_all("mitogen")
    logging.getLogger("mitogen.io").debug("text")
    assert lines(tmp_path / "log") == ["E mitogen: text", "D mitogen.io: text"]
    for value in ("", "0", "no", "False"):
        monkeypatch.setenv("MITOGEN_LOG_IO", value)
        utils.log_to_file(str(tmp_path / "log"), io=True)
        assert not logging.getLogger("mitogen.io").isEnabledFor(logging.DEBUG)
    monkeypatch.setenv("MITOGEN_LOG_LEVEL", "")
    utils.log_to_file(str(tmp_path / "log"), level="DEBUG")
    assert logging.getLogger("mitogen").isEnabledFor(logging.DEBUG)


def test_calling_twice_does_not_double_lines(tmp_path: Path) -> None:
    path = tmp_path / "log"
    for name in (str(path), os.path.relpath(path), str(path)):
        utils.log_to_file(name)
    utils.log_to_file(str(path), level="WARNING")
    log_all("mitogen")
    assert lines(path) == ["W mitogen: text", "E mitogen: text"]


def test_two_files_both_get_every_line(tmp_path: Path) -> None:
    utils.log_to_file(str(tmp_path / "a"))
    utils.log_to_file(str(tmp_path / "b"))
    logging.getLogger("mitogen").info("text")
    assert lines(tmp_path / "a") == lines(tmp_path / "b") == ["I mitogen: text"]


def test_standard_error_is_the_one_of_the_last_call(capsys: pytest.CaptureFixture[str]) -> None:
    utils.log_to_file()
    utils.log_to_file()
    logging.getLogger("mitogen").info("text")
    assert LINE.fullmatch(capsys.readouterr().err.rstrip("\n"))


def test_file_is_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("00:00:00 before\n")
    utils.log_to_file(str(path))
    logging.getLogger("mitogen").info("a lone \udc80 surrogate")
    assert lines(path) == ["before", "I mitogen: a lone \\udc80 surrogate"]


def test_handlers_of_the_program_are_left_alone(tmp_path: Path) -> None:
    own = logging.FileHandler(tmp_path / "own")
    logging.getLogger().addHandler(own)
    utils.log_to_file(str(tmp_path / "own"))
    assert own in logging.getLogger().handlers


def test_mistakes_change_nothing(tmp_path: Path) -> None:
    utils.log_to_file(str(tmp_path / "log"))
    before = logging.getLogger().handlers[:]
    with pytest.raises(ValueError, match="LOUD"):
        utils.log_to_file(str(tmp_path / "log"), level="LOUD")
    with pytest.raises(OSError):
        utils.log_to_file(str(tmp_path / "missing" / "log"))
    with pytest.raises(TypeError, match="name of a file"):
        utils.log_to_file(test_mistakes_change_nothing)  # type: ignore[arg-type]
    assert logging.getLogger().handlers == before


# Routers for functions.


@pytest.fixture
def brokers(monkeypatch: pytest.MonkeyPatch) -> list[mitogen.core.Broker]:
    """The brokers that were made. Without watchers, which live as long as pytest's main thread."""
    made: list[mitogen.core.Broker] = []
    original = mitogen.master.Broker

    def make() -> mitogen.master.Broker:
        made.append(original(install_watcher=False))
        return made[-1]  # type: ignore[return-value]

    monkeypatch.setattr(mitogen.master, "Broker", make)
    return made


def test_run_with_router(brokers: list[mitogen.core.Broker]) -> None:
    def func(router: mitogen.master.Router, a: int, *, b: int) -> tuple[int, int, int]:
        assert isinstance(router, mitogen.master.Router)
        assert router.broker.dead_reason is None
        return router.local().call(os.getpid), a, b

    pid, a, b = utils.run_with_router(func, 1, b=2)
    assert (a, b) == (1, 2)
    assert pid != os.getpid()
    assert [broker.dead_reason is not None for broker in brokers] == [True]


def test_broker_ends_with_an_exception(brokers: list[mitogen.core.Broker]) -> None:
    def func(router: mitogen.master.Router) -> None:
        router.local()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        utils.run_with_router(func)
    assert brokers[0].dead_reason


def test_with_router(brokers: list[mitogen.core.Broker]) -> None:
    @utils.with_router
    def do_stuff(router: mitogen.master.Router, arg: str, times: int = 1) -> str:
        """Repeat."""
        return arg * times

    assert do_stuff("a", times=3) == "aaa"
    assert (do_stuff.__name__, do_stuff.__doc__) == ("do_stuff", "Repeat.")
    assert brokers[0].dead_reason


def test_import_in_a_child_needs_neither_logging_nor_the_master() -> None:
    code = (
        "import sys, mitogen.utils\n"
        "print(sorted(m for m in sys.modules if m in ('logging', 'typing', 'mitogen.master',"
        " 'mitogen.parent')))"
    )
    env = dict(os.environ, PYTHONPATH=os.pathsep.join(map(str, SOURCES.glob("*/src"))))
    done = subprocess.run([sys.executable, "-S", "-c", code], env=env, check=True, stdout=subprocess.PIPE)
    # The annotations' imports are there in the master only; children get minified sources.
    assert done.stdout in (b"[]\n", b"['typing']\n")


def test_source_runs_on_the_oldest_child() -> None:
    python = Path("~/.pyenv/versions/3.6.15/bin/python").expanduser()
    if not python.exists():
        pytest.skip("no Python 3.6 on this machine")
    from mitogen.minify import minify

    source = minify(Path(utils.__file__).read_text("utf-8"))
    subprocess.run([str(python), "-c", "compile(%r, 'utils', 'exec')" % source], check=True)
