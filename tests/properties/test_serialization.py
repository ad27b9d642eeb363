"""Serialization: what may cross arrives as it was; whatever else arrives is refused and changes nothing.

Inputs that were found to fail are kept as `@example`s.
"""

from __future__ import annotations

import datetime
import decimal
import pickle
import pickletools
import uuid
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from mitogen.core import Blob, Secret, serialization
from mitogen.core.context import Context
from mitogen.core.errors import CallError, SerializationError
from mitogen.core.receiver import Sender
from mitogen.core.serialization import dumps, loads
from tests.core import pickles
from tests.properties.strategies import ROUTER, Router, any_text, containers, hashable, joined, values

# -- Values -----------------------------------------------------------------------------------------

errors = st.recursive(
    st.builds(CallError, any_text, any_text, any_text),
    lambda cause: st.builds(CallError, any_text, any_text, any_text, cause),
    max_leaves=3,
)

#: Types that don't pickle by themselves, as `remake` is given them.
MADE: tuple[type, ...] = (
    *(bytearray, complex, Blob, Secret, CallError, Context, Sender, decimal.Decimal, uuid.UUID),
    *(datetime.date, datetime.datetime, datetime.time, datetime.timedelta, datetime.timezone),
)
KEYS = sorted((cls.__module__, cls.__qualname__) for cls in MADE)
TYPES = {*serialization.BASIC, *MADE}


def same(a: Any, b: Any) -> bool:
    """Return True if two values are equal and of the same types throughout."""
    if type(a) is not type(b):
        return False
    if type(a) in (list, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if type(a) is dict:
        return same(list(a), list(b)) and all(same(a[key], b[key]) for key in a)
    if type(a) in (set, frozenset):
        # Equal members may be of different types; a canonical order tells them apart.
        return a == b and sorted(map(show, a)) == sorted(map(show, b))
    if type(a) is Context:
        return (a.context_id, a.name, a.router) == (b.context_id, b.name, b.router)
    return bool(a == b)


def show(value: Any) -> str:
    """Describe a member of a set, types and all; the order within an inner set may differ."""
    if type(value) is frozenset:
        return "frozenset%s" % sorted(map(show, value))
    if type(value) is tuple:
        return "tuple%s" % list(map(show, value))
    return "%s %r" % (type(value).__name__, value)


@given(values)
@example(bytearray())
@example(bytearray(b"x"))
@example(Context(ROUTER, 0))
@example([bytearray(b"x"), bytearray(b"x")])
@example({"a": [1j, 1j], frozenset([1]): datetime.timezone.utc})
def test_what_is_sent_arrives_equal_and_of_the_same_types(value: Any) -> None:
    body = dumps(value)
    assert all(type(part) is bytes for part in (body if type(body) is list else [body]))
    assert same(loads(joined(body), ROUTER), value)


@given(errors)
def test_an_error_arrives_with_all_its_causes(error: CallError) -> None:
    result = loads(joined(dumps(error)), None)
    sent: CallError | None = error
    while sent is not None:
        assert str(result) == str(sent)
        assert (result.type_name, result.text, result.traceback) == (
            sent.type_name,
            sent.text,
            sent.traceback,
        )
        sent, result = sent.cause, result.cause
    assert result is None


@given(
    st.lists(containers, min_size=3, max_size=3), st.lists(st.integers(0, 2), max_size=6), st.booleans()
)
@example([bytearray(), [], {}], [0, 1, 2, 0, 1, 2], False)
def test_sharing_survives(parts: list[Any], picks: list[int], nested: bool) -> None:
    sent = [parts[i] for i in picks]
    result = loads(joined(dumps({"key": (sent,)} if nested else sent)), ROUTER)
    if nested:
        (result,) = result["key"]
    for one, i in zip(result, picks, strict=True):
        assert same(one, parts[i])
        for two, j in zip(result, picks, strict=True):
            assert (one is two) == (i == j)


# -- What can't be sent -----------------------------------------------------------------------------


class Stranger:
    """Of a type that no receiver knows."""


class Text(str):
    """A subclass, of which a receiver knows nothing either."""


class Mapping(dict):  # type: ignore[type-arg]
    pass


strangers = st.sampled_from(
    [
        Stranger(),
        Stranger,
        Text("x"),
        Mapping(),
        print,
        lambda: 0,
        Context,
        complex,
        int,
        datetime.date,
        ...,
    ]
)


@st.composite
def hidden(draw: st.DrawFn) -> tuple[Any, str, Any]:
    """Draw a stranger, the path to it, and a value that holds it there."""
    stranger = value = draw(strangers)
    path = ""
    for _ in range(draw(st.integers(0, 4))):
        before = draw(st.lists(st.integers() | any_text, max_size=2))
        shape = draw(st.sampled_from(["list", "tuple", "dict"]))
        if shape == "dict":
            key = draw(st.integers() | st.text("abc", max_size=5))
            assume(key not in before)
            value = {**dict.fromkeys(before), key: value}
            path = "[%r]%s" % (key, path)
        else:
            items = [*before, value, *draw(st.sampled_from([[], [1]]))]
            value = tuple(items) if shape == "tuple" else items
            path = "[%d]%s" % (len(before), path)
    return stranger, path, value


@given(hidden())
def test_what_cannot_be_sent_is_refused_with_the_path_to_it(case: tuple[Any, str, Any]) -> None:
    stranger, path, value = case
    with pytest.raises(SerializationError) as info:
        dumps(value, "args")
    name = type(stranger).__name__
    assert str(info.value).startswith("args%s: " % path)
    assert name in str(info.value)


# -- What a hostile peer may send -------------------------------------------------------------------


def walk(value: Any) -> None:
    """Check that `value` is made of allowed types only."""
    pending, seen = [value], set()
    while pending:
        one = pending.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, serialization._Maker):
            # What `remake` stands for, left uncalled: a tuple, and of no use to anybody.
            assert one[0] is ROUTER
            continue
        assert type(one) in TYPES, type(one)
        if type(one) is dict:
            pending += [*one, *one.values()]
        elif type(one) in (list, tuple, set, frozenset):
            pending += one


def shared_state() -> Any:
    classes = (Context, Sender, CallError, Blob, Secret, uuid.UUID, serialization._Maker, Router)
    return (
        dict(serialization.MAKERS),
        dict(serialization.REDUCERS),
        vars(serialization.remake).copy(),
        vars(ROUTER).copy(),
        [dict(vars(cls)) for cls in classes],
        datetime.timezone.utc.utcoffset(None),
    )


def know_all_types() -> None:
    """Have the makers of all types registered, which is done when the first of their values arrives."""
    for module, name in KEYS:
        try:
            loads(pickles.pickle(pickles.make(module, name)), None)
        except SerializationError:
            pass


know_all_types()


def check_hostile(data: bytes) -> None:
    """Have `data` loaded: it gives allowed types or the documented error, and changes nothing."""
    before = shared_state()
    try:
        walk(loads(data, ROUTER))
    except SerializationError as e:
        assert len(str(e)) < 3000
    assert shared_state() == before


# Opcodes that can make a C unpickler allocate what four bytes of the message say are left out: that it
# does is CPython's, and known.
HUGE = {
    "LONG_BINPUT",
    "LONG_BINGET",
    "BINBYTES8",
    "BINUNICODE8",
    "BYTEARRAY8",
    "BINBYTES",
    "LONG4",
    "FRAME",
}
OPCODES = [op.code.encode("latin-1") for op in pickletools.opcodes if op.name not in HUGE | {"PUT"}]

small = st.integers(0, 5)
arguments = st.one_of(
    st.sampled_from([b"", b"\n", b"0\n", b"1\n", b"I1\n", b"\x00", b"\x01", b"\x00\x00"]),
    small.map(pickles.number),
    any_text.filter(lambda t: max(t, default="a") < "\ud800").map(pickles.text),
    st.sampled_from(sorted({module for module, _ in KEYS} | {"os", "builtins"})).map(pickles.text),
    st.sampled_from(sorted({name for _, name in KEYS} | {"system", "eval"})).map(pickles.text),
    st.just(pickles.REMAKE),
    st.just(pickles.name("builtins", "bytearray")),
    st.builds(
        lambda key, *args: pickles.make(*key, *args),
        st.sampled_from(KEYS),
        *[st.sampled_from([b"", pickles.number(1), pickles.text("x"), pickles.blob(b"x"), b"N", b"]"])]
        * 3,
    ),
    st.builds(
        lambda key: pickles.state(**{key: pickles.number(1)}), st.sampled_from(["x", "router", "fn"])
    ),
    st.builds(lambda key: pickles.slots(**{key: b"N"}), st.sampled_from(["__class__", "__dict__", "x"])),
)
programs = st.lists(st.sampled_from(OPCODES) | arguments, max_size=25).map(b"".join)


@given(programs)
@example(pickles.REMAKE + pickles.state(x=b"N") + pickles.BUILD)
@example(
    pickles.make("mitogen.core.context", "Context", b"N", b"N") + pickles.slots(x=b"N") + pickles.BUILD
)
@example(pickles.REMAKE + pickles.REMAKE + pickles.REDUCE)
def test_programs_of_opcodes_give_allowed_types_or_the_documented_error(program: bytes) -> None:
    check_hostile(pickles.pickle(program))
    check_hostile(program)


@given(st.binary(max_size=60))
@example(b"")
@example(b"\x00")
@example(b"\x80\x04")
@example(b"\x80\x05\x96\x00\x00\x00\x00\x00\x00\x00\x00.")
@example(b"P1\n.")
def test_arbitrary_bytes_give_allowed_types_or_the_documented_error(data: bytes) -> None:
    assume(not (set(b"rpjBTVXL\x8a\x8b\x8d\x8e\x95\x96") & set(data)))
    check_hostile(data)
    check_hostile(b"\x80\x04" + data)


#: Where, in parts of 1,000; how; a bit to flip; and what to insert.
damages = st.tuples(
    st.integers(0, 1000),
    st.sampled_from(["flip", "cut", "insert", "drop"]),
    st.integers(0, 7),
    st.sampled_from(OPCODES) | arguments,
)


@given(hashable | containers, st.lists(damages, min_size=1, max_size=3))
def test_damaged_pickles_give_allowed_types_or_the_documented_error(
    value: Any, changes: list[tuple[int, str, int, bytes]]
) -> None:
    damaged = bytearray(joined(dumps(value)))
    assume(0 < len(damaged) < 5000)
    for part, change, bit, inserted in changes:
        at = part * len(damaged) // 1000
        if change == "cut":
            del damaged[at:]
        elif change == "insert":
            damaged[at:at] = inserted
        elif at < len(damaged):
            if change == "drop":
                del damaged[at]
            else:
                damaged[at] ^= 1 << bit
    try:
        huge = any(
            (op.name in HUGE and op.name not in ("FRAME", "BINBYTES"))
            or (isinstance(arg, int) and arg > 1 << 24)
            for op, arg, _ in pickletools.genops(bytes(damaged))
            if op.name in HUGE | {"PUT"}
        )
    except Exception:
        huge = any(code in damaged for code in b"rp")
    assume(not huge)
    check_hostile(bytes(damaged))


@given(hashable | containers)
def test_pickles_of_others_give_allowed_types_or_the_documented_error(value: Any) -> None:
    """Of an ordinary pickler, that is, in every protocol: they name types, which are refused."""
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        try:
            data = pickle.dumps(value, protocol)
        except Exception:
            continue  # Contexts hold a router here.
        check_hostile(data)
