"""Pickles written by hand, as a hostile peer would: opcodes by name, and a few ways to nest them."""

from __future__ import annotations

PROTO = b"\x80\x04"
STOP = b"."
MARK = b"("
NONE = b"N"
REDUCE = b"R"
BUILD = b"b"
APPEND = b"a"
EMPTY_DICT = b"}"
EMPTY_LIST = b"]"
SETITEM = b"s"
ADDITEMS = b"\x90"
EMPTY_SET = b"\x8f"
NEWOBJ = b"\x81"
NEWOBJ_EX = b"\x92"
TUPLE = b"t"
TUPLE1 = b"\x85"
TUPLE2 = b"\x86"
MEMOIZE = b"\x94"
OBJ = b"o"
STACK_GLOBAL = b"\x93"
BINPERSID = b"Q"
DUP = b"2"


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + len(data).to_bytes(4, "little") + data


def blob(value: bytes) -> bytes:
    return b"B" + len(value).to_bytes(4, "little") + value


def number(value: int) -> bytes:
    return b"J" + value.to_bytes(4, "little", signed=True)


def name(module: str, attribute: str) -> bytes:
    """Push what a global name stands for."""
    return b"c%s\n%s\n" % (module.encode(), attribute.encode())


def get(index: int) -> bytes:
    """Push what MEMOIZE noted as the `index`th."""
    return b"h" + bytes([index])


REMAKE = name("mitogen.core.serialization", "remake")


def call(function: bytes, *args: bytes) -> bytes:
    return function + MARK + b"".join(args) + TUPLE + REDUCE


def make(module: str, qualname: str, *args: bytes) -> bytes:
    """Push a value of an allowed type, as `dumps` writes it."""
    return call(REMAKE, text(module), text(qualname), *args)


def state(**attributes: bytes) -> bytes:
    """Push a dictionary for BUILD, which updates the object's `__dict__`."""
    items = b"".join(text(key) + value + SETITEM for key, value in attributes.items())
    return EMPTY_DICT + items


def slots(**attributes: bytes) -> bytes:
    """Push a pair for BUILD, which then uses `setattr`."""
    return NONE + state(**attributes) + TUPLE2


def pickle(*opcodes: bytes) -> bytes:
    return PROTO + b"".join(opcodes) + STOP
