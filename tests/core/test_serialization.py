"""`mitogen.core.serialization`: what may cross does, and nothing else, whoever asks.

Three picklers are tested: that of this Python, the one for Python 3.6 and 3.7, and the pure Python one
that PyPy has; the latter two run here as well, on a copy of the module that was loaded under that
pretence.
"""

from __future__ import annotations

import datetime
import decimal
import importlib.util
import math
import sys
import threading
import types
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from mitogen.core import explain, serialization
from mitogen.core.context import Context
from mitogen.core.errors import CallError, SerializationError
from mitogen.core.receiver import Sender
from mitogen.core.serialization import JOIN_LIMIT
from mitogen.core.stdtypes import Blob, Secret
from tests.core import pickles
from tests.core.pickles import make, name, number, pickle, text

if TYPE_CHECKING:
    from collections.abc import Iterator


def load_copy(monkeypatch: pytest.MonkeyPatch, pretence: str) -> types.ModuleType:
    """Return `mitogen.core.serialization` as another Python would load it."""
    with monkeypatch.context() as patch:
        if pretence == "pure":
            patch.setitem(sys.modules, "_pickle", None)
            # The module that was loaded with `_pickle` has its classes under the same names.
            patch.delitem(sys.modules, "pickle", raising=False)
        else:
            patch.setattr(sys, "version_info", (3, 7, 0))
            patch.delitem(sys.modules, "mitogen.core.oldpython", raising=False)
        source = serialization.__file__
        assert source is not None
        spec = importlib.util.spec_from_file_location("mitogen.core.serialization_" + pretence, source)
        assert spec is not None
        assert spec.loader is not None
        copy = importlib.util.module_from_spec(spec)
        patch.setitem(sys.modules, copy.__name__, copy)
        spec.loader.exec_module(copy)
    # Picklers save `remake` by its name.
    monkeypatch.setitem(sys.modules, copy.__name__, copy)
    return copy


@pytest.fixture(params=["native", "old", "pure"])
def module(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module, as three Pythons have it."""
    if request.param == "native":
        return serialization
    return load_copy(monkeypatch, request.param)


def joined(body: Any) -> bytes:
    return b"".join(body) if type(body) is list else body


def cross(value: Any, module: Any = serialization) -> Any:
    """Return what arrives when `value` is sent."""
    return module.loads(joined(module.dumps(value)), None)


def explain_error(error: Exception) -> str:
    """Explain an error for which no value is to blame."""
    return explain.explain([1], "value", error, serialization.BASIC, serialization.reduce_value)


# -- What may cross ---------------------------------------------------------------------------------

UTC = datetime.timezone.utc
VALUES: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    2**63,
    -(2**3000),
    1.5,
    math.inf,
    "",
    "text",
    "\0 \ud800 \U0001f600",
    b"",
    b"bytes",
    (),
    (1,),
    (1, (2, (3, (4, 5)))),
    [],
    [1, [2, [3]]],
    {},
    {"a": 1, 2: "b", (3, 4): None, None: {}},
    set(),
    {1, "2"},
    frozenset(),
    frozenset([1, frozenset([2])]),
    1 + 2j,
    datetime.date(2024, 2, 29),
    datetime.datetime(2024, 2, 29, 1, 2, 3, 4),
    datetime.datetime(2024, 2, 29, tzinfo=UTC),
    datetime.datetime(2024, 2, 29, tzinfo=datetime.timezone(datetime.timedelta(hours=-3), "X")),
    datetime.time(1, 2, 3, 4, UTC),
    datetime.timedelta(-1, 2, 3),
    datetime.timezone(datetime.timedelta(minutes=90)),
    decimal.Decimal("-1.50E+7"),
    decimal.Decimal("-0"),
    uuid.UUID("12345678-1234-5678-1234-567812345678"),
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_value_arrives_equal_and_of_the_same_type(module: Any, value: Any) -> None:
    result = cross(value, module)
    assert result == value
    assert type(result) is type(value)
    assert cross([value, {"k": value}, (value, value)], module) == [value, {"k": value}, (value, value)]


def test_nan_arrives(module: Any) -> None:
    assert math.isnan(cross(math.nan, module))
    assert cross(decimal.Decimal("NaN"), module).is_nan()


def test_a_blob_and_a_secret_arrive_as_such(module: Any) -> None:
    assert type(cross(Blob(b"x"), module)) is Blob
    assert cross(Blob(b"x"), module) == b"x"
    assert type(cross(Secret("x"), module)) is Secret
    assert cross(Secret("x"), module) == "x"


def test_a_call_error_arrives_with_its_causes(module: Any) -> None:
    error = cross(CallError("a.B", "text", "tb", CallError("c.D")), module)
    assert (error.type_name, error.text, error.traceback) == ("a.B", "text", "tb")
    assert error.cause.type_name == "c.D"


def test_a_subclass_of_a_library_type_arrives_as_its_base() -> None:
    class Mine(CallError):
        def __reduce__(self) -> Any:
            raise AssertionError("not asked for")

    assert type(cross(Mine("a.B", "text"))) is CallError


def test_a_context_and_a_sender_without_a_router_are_mere_names() -> None:
    context = cross(Context(None, 7, "name"))
    assert (context.context_id, context.name, context.router) == (7, "name", None)


def test_what_is_shared_stays_shared_and_a_circle_stays_a_circle(module: Any) -> None:
    part = [1]
    a, b = cross([part, part], module)
    assert a is b
    circle: list[Any] = []
    circle.append(circle)
    result = cross(circle, module)
    assert result[0] is result


# From Python 3.8 on the C pickler saves bytearrays by itself, which no pretence can change: children on
# Python 3.6 and 3.7 show that they work there.
@pytest.mark.parametrize("module", ["native", "pure"], indirect=True)
def test_bytearrays_arrive(module: Any) -> None:
    values = [bytearray(b"%d" % i) for i in range(300)]
    assert cross(values, module) == values
    assert type(cross(values[0], module)) is bytearray


def test_many_values_of_one_type_arrive(module: Any) -> None:
    values = [complex(i, i) for i in range(300)]
    assert cross(values, module) == values


# -- Bodies -----------------------------------------------------------------------------------------


def test_plain_bytes_are_not_pickled() -> None:
    assert serialization.dumps(b"data") == b"\0data"
    assert cross(b"\x80\x04N.") == b"\x80\x04N."


def test_large_bytes_are_not_copied() -> None:
    data = b"x" * JOIN_LIMIT
    body = serialization.dumps(data)
    assert type(body) is list
    assert body[1] is data


def test_large_bytes_inside_a_value_are_not_copied_either() -> None:
    data = b"x" * (1 << 20)
    body = serialization.dumps({"file": [data]})
    assert type(body) is list
    assert any(part is data for part in body)
    assert cross({"file": [data]}) == {"file": [data]}


def test_a_small_value_is_one_piece(module: Any) -> None:
    assert type(module.dumps({"a": b"x" * 100})) is bytes


def test_a_value_of_many_small_parts_arrives() -> None:
    value = ["%d" % i for i in range(20000)]
    assert cross(value) == value


# -- What may not: the sending side -----------------------------------------------------------------


class Plain:
    pass


class MyInt(int):
    pass


class MyDict(dict):  # type: ignore[type-arg]
    pass


class BadRepr:
    def __repr__(self) -> str:
        raise ZeroDivisionError


class BadMeta(type):
    def __hash__(cls) -> int:
        raise ZeroDivisionError


class Unhashable(metaclass=BadMeta):
    pass


REFUSED: list[Any] = [
    object(),
    Plain(),
    Plain,
    int,
    len,
    Plain.__init__,
    threading.Lock(),
    MyInt(3),
    MyDict(),
    type("Sub", (str,), {})("x"),
    (character for character in ""),
    sys,
    range(3),
    memoryview(b"x"),
    NotImplemented,
    ...,
    ValueError("x"),
    lambda: None,
    Unhashable(),
    BadRepr(),
    iter([]),
    {}.keys(),
    complex,
    Context,
    datetime.datetime,
]


@pytest.mark.parametrize("value", REFUSED, ids=lambda value: type(value).__name__)
def test_anything_else_is_refused_where_it_is_sent(module: Any, value: Any) -> None:
    # A Context in front: that one was sent must not make its class pass.
    for holder in (value, [value], {"k": value}, (1, [1j, {"k": (value,)}]), [1j, value]):
        with pytest.raises(SerializationError, match=type(value).__name__ + "|RuntimeError"):
            module.dumps(holder)


def test_a_class_is_refused_even_after_a_value_of_it_was_sent(module: Any) -> None:
    for value in (1j, datetime.date.today(), decimal.Decimal(1), Blob(b""), CallError("x")):
        with pytest.raises(SerializationError, match=r"value\[1\]: type"):
            module.dumps([value, type(value)])


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (object(), "result: object"),
        ({"locks": [threading.Lock()]}, "result['locks'][0]: _thread.lock"),
        ([1, (2, {3: Plain()})], "result[1][1][3]: %s.Plain" % __name__),
        ({Plain: 1}, "key of result: type"),
        ({(1, Plain): 1}, "key of result[1]: type"),
        ([[], {"a": {object}}], "result[1]['a'][0]: type"),
        ([CallError("a.B", "text", "tb"), MyInt(1)], "result[1]: %s.MyInt" % __name__),
        ({"c": Context(None, MyInt(3), "x")}, "result['c'][0]: %s.MyInt" % __name__),
    ],
)
def test_the_error_names_the_type_and_the_path_to_it(value: Any, path: str) -> None:
    with pytest.raises(SerializationError) as info:
        serialization.dumps(value, "result")
    assert str(info.value).startswith(path)
    assert "mitogen.utils.cast" in str(info.value)


def test_the_first_of_several_is_named() -> None:
    with pytest.raises(SerializationError, match=r"value\[0\]\['a'\]: object"):
        serialization.dumps([{"a": object(), "b": object()}, object()])


def test_a_long_key_is_cut_in_the_path() -> None:
    with pytest.raises(SerializationError) as info:
        serialization.dumps({"k" * 100000: object()})
    assert len(str(info.value)) < 500


def test_a_key_that_cannot_be_shown_does_not_hide_the_error() -> None:
    with pytest.raises(SerializationError, match=r"key of value: .*BadRepr"):
        serialization.dumps({BadRepr(): 1})


def test_a_type_that_cannot_even_be_looked_up_is_named() -> None:
    with pytest.raises(SerializationError, match="Unhashable: ZeroDivisionError"):
        serialization.dumps([Unhashable()])


def test_a_value_nested_too_deeply_is_refused(module: Any) -> None:
    value: Any = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(SerializationError, match="nested too deeply"):
        module.dumps(value)
    while value:  # Taken apart by hand: PyPy and old Pythons would recurse.
        value = value.pop()


def test_a_circle_with_something_refused_in_it_has_an_end() -> None:
    circle: list[Any] = []
    circle.extend([circle, {"c": circle}, object()])
    with pytest.raises(SerializationError, match=r"value\[2\]: object"):
        serialization.dumps(circle)


def test_an_error_of_pickling_that_is_no_value_s_fault_keeps_its_text() -> None:
    assert explain_error(ValueError("the text")) == "value: ValueError: the text"


# -- What may not: the receiving side ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("module_name", "attribute"),
    [
        ("os", "system"),
        ("builtins", "eval"),
        ("builtins", "getattr"),
        ("builtins", "set"),
        ("builtins", "object"),
        ("__main__", "main"),
        ("copyreg", "_reconstructor"),
        ("mitogen.core.serialization", "MAKERS"),
        ("mitogen.core.serialization", "_Unpickler"),
        ("mitogen.core.serialization", "remake.__globals__"),
        ("mitogen.core.errors", "CallError"),
        ("mitogen.core.router", "Router"),
        ("datetime", "datetime"),
        ("datetime", "sys"),
        ("uuid", "getnode"),
    ],
)
def test_names_are_refused_in_every_way_that_a_pickle_can_name_something(
    module_name: str, attribute: str
) -> None:
    for opcodes in (
        name(module_name, attribute),
        text(module_name) + text(attribute) + pickles.STACK_GLOBAL,
        pickles.MARK + b"i%s\n%s\n" % (module_name.encode(), attribute.encode()),
    ):
        with pytest.raises(SerializationError, match="refused to create"):
            serialization.loads(pickle(opcodes), None)


@pytest.mark.parametrize(
    ("module_name", "attribute"),
    [("os", "system"), ("builtins", "set"), ("datetime", "sys"), ("uuid", "getnode"), ("", "")],
)
def test_remake_makes_nothing_but_what_is_listed(module_name: str, attribute: str) -> None:
    with pytest.raises(SerializationError, match="refused to create"):
        serialization.loads(pickle(make(module_name, attribute, text("x"))), None)


@pytest.mark.parametrize(
    "opcodes",
    [
        make("builtins", "bytearray", number(1 << 30)),
        pickles.call(name("builtins", "bytearray"), number(1 << 30)),
        make("mitogen.core.stdtypes", "Blob", number(1 << 30)),
        make("mitogen.core.stdtypes", "Blob"),
        make("datetime", "datetime", text("x")),
        make("decimal", "Decimal", text("x")),
        make("uuid", "UUID", text("x")),
        make("mitogen.core.errors", "CallError"),
        make("mitogen.core.context", "Context"),
        make("mitogen.core.receiver", "Sender", number(1), text("x"), number(1)),  # Needs a router.
        pickles.call(pickles.REMAKE),
        pickles.call(pickles.REMAKE, pickles.EMPTY_LIST, text("x")),
        pickles.call(number(1)),
        pickles.BINPERSID,
        b"\x82\x01",  # EXT1, of copyreg's registry
        pickles.NONE + pickles.BINPERSID,
    ],
)
def test_wrong_arguments_are_the_documented_error(opcodes: bytes) -> None:
    with pytest.raises(SerializationError):
        serialization.loads(pickle(opcodes), None)


def test_the_error_of_a_damaged_message_keeps_its_cause_and_stays_short() -> None:
    with pytest.raises(SerializationError, match="can't be unpickled") as info:
        serialization.loads(b"\x80\x04", None)
    assert info.value.__cause__ is not None
    with pytest.raises(SerializationError) as info:
        serialization.loads(pickle(make("uuid", "UUID", text("x" * 100000))), None)
    assert len(str(info.value)) < 1000


def test_what_a_call_error_holds_is_text_whatever_the_peer_put_there() -> None:
    data = make(
        "mitogen.core.errors", "CallError", number(1), pickles.EMPTY_LIST, pickles.NONE, number(2)
    )
    error = serialization.loads(pickle(data), None)
    assert (error.type_name, error.text, error.traceback, error.cause) == ("1", "[]", "None", None)


# -- Attempts to change what is shared --------------------------------------------------------------


def shared_state() -> dict[str, Any]:
    """Return everything that a pickle must not be able to change, as it looks now."""
    found: dict[str, Any] = {
        "makers": dict(serialization.MAKERS),
        "reducers": dict(serialization.REDUCERS),
        "remake": dict(vars(serialization.remake)),
        "utc": (UTC.utcoffset(None), UTC.tzname(None)),
    }
    for cls in (Context, Sender, CallError, Blob, Secret, serialization._Maker, uuid.UUID, bytearray):
        found[cls.__name__] = dict(vars(cls))
    return found


@pytest.fixture
def nothing_changes() -> Iterator[None]:
    # Types that come with the first value of them are there before.
    for value in VALUES:
        cross(value)
    before = shared_state()
    yield
    assert shared_state() == before


CONTEXT = make("mitogen.core.context", "Context", number(7), text("name"))
BLOB = make("mitogen.core.stdtypes", "Blob", pickles.blob(b"x"))
IDENTITY = make("uuid", "UUID", text("12345678-1234-5678-1234-567812345678"))
ZERO = make("datetime", "timezone", make("datetime", "timedelta", number(0)))

ATTACKS = {
    "attributes of remake": pickles.REMAKE + pickles.state(x=number(1)) + pickles.BUILD,
    "slots of remake": pickles.REMAKE + pickles.slots(x=number(1)) + pickles.BUILD,
    "call of remake": pickles.REMAKE + pickles.slots(__call__=pickles.NONE) + pickles.BUILD,
    "attributes of bytearray": name("builtins", "bytearray") + pickles.state(x=number(1)) + pickles.BUILD,
    "class of bytearray": name("builtins", "bytearray") + pickles.slots(x=number(1)) + pickles.BUILD,
    "item of remake": pickles.REMAKE + number(0) + number(1) + pickles.SETITEM,
    "append to remake": pickles.REMAKE + number(0) + pickles.APPEND,
    "add to remake": pickles.REMAKE + pickles.MARK + number(0) + pickles.ADDITEMS,
    "new of remake": pickles.REMAKE + b")" + pickles.NEWOBJ,
    "new with keywords of remake": pickles.REMAKE + b")" + pickles.EMPTY_DICT + pickles.NEWOBJ_EX,
    "remake called with remake": pickles.REMAKE + pickles.REMAKE + pickles.REDUCE,
    "remake as an object": pickles.MARK + pickles.REMAKE + number(1) + pickles.OBJ,
    "class of a context": CONTEXT + pickles.slots(__class__=pickles.REMAKE) + pickles.BUILD,
    "dictionary of a context": CONTEXT + pickles.slots(__dict__=number(1)) + pickles.BUILD,
    "state of a uuid": IDENTITY + pickles.state(hex=number(1)) + pickles.BUILD,
    "slots of a uuid": IDENTITY + pickles.slots(int=number(1)) + pickles.BUILD,
    "offset of utc": ZERO + pickles.slots(_offset=ZERO) + pickles.BUILD,
    "state of utc": ZERO + pickles.state(_offset=ZERO) + pickles.BUILD,
    "attribute of None": pickles.NONE + pickles.state(x=number(1)) + pickles.BUILD,
    "attribute of a text": text("interned") + pickles.state(x=number(1)) + pickles.BUILD,
}


@pytest.mark.usefixtures("nothing_changes")
@pytest.mark.parametrize("name", ATTACKS)
def test_shared_state_cannot_be_changed(name: str) -> None:
    try:
        value = serialization.loads(pickle(ATTACKS[name]), None)
    except SerializationError:
        return
    # Some are harmless: what they change is the attacker's own copy.
    assert type(value) in (Context, uuid.UUID), value


@pytest.mark.usefixtures("nothing_changes")
@pytest.mark.parametrize("name", ATTACKS)
def test_shared_state_cannot_be_changed_where_pickle_is_python(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pure = load_copy(monkeypatch, "pure")
    data = pickle(ATTACKS[name].replace(b"core.serialization\n", b"core.serialization_pure\n"))
    before = dict(pure.MAKERS)
    with pytest.raises(SerializationError):
        pure.loads(data, None)
    assert pure.MAKERS.keys() >= before.keys()


@pytest.mark.usefixtures("nothing_changes")
def test_attributes_that_a_peer_sets_on_a_value_stay_on_that_value() -> None:
    evil = serialization.loads(
        pickle(CONTEXT + pickles.state(context_id=number(0), send=text("x")) + pickles.BUILD), None
    )
    assert evil.send == "x"
    assert callable(cross(Context(None, 7)).send)
    evil = serialization.loads(pickle(BLOB + pickles.state(x=number(1)) + pickles.BUILD), None)
    assert not hasattr(cross(Blob(b"x")), "x")


def test_every_value_made_is_a_new_one() -> None:
    data = serialization.dumps([Context(None, 3), Blob(b"x"), Secret("x"), CallError("x")])
    one, two = (serialization.loads(joined(data), None) for _ in range(2))
    assert all(a is not b for a, b in zip(one, two, strict=True))


# -- Reprs ------------------------------------------------------------------------------------------


def test_a_blob_shows_its_length_only() -> None:
    assert repr(Blob(b"payload")) == "Blob(7 bytes)"


def test_a_secret_shows_nothing_but_is_its_text() -> None:
    secret = Secret("hunter2")
    assert repr([secret]) == "[Secret(...)]"
    assert secret + "!" == "hunter2!"


def test_remake_itself_does_nothing() -> None:
    assert serialization.remake("os", "system") is None
