"""What a module imports while it is imported: `imports_of`. Pure: code object in, names out.

The module-level byte code is looked through. What functions import is left out: many of them are never
called. So are imports for type checkers only; where there are any, that takes `dis`, which knows where
the jumps of each Python lead to, and takes ten times as long.

Rejected: to parse the source (takes ten times as long as to unmarshal the code that Python keeps beside
it, and to look through that), and patterns in the source text (wrong for strings and comments).
"""

from __future__ import annotations

from opcode import EXTENDED_ARG, opmap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType


_IMPORT_NAME = opmap["IMPORT_NAME"]
_LOAD_CONST = opmap["LOAD_CONST"]
#: Of Python 3.14 and later.
_LOAD_SMALL_INT = opmap.get("LOAD_SMALL_INT", -1)


def imports_of(code: CodeType, package: str) -> list[str]:
    """Return the full names that a module may mean to import, each after the packages above it.

    Of ``from a import b`` they are ``a`` and ``a.b``, which may be a module or something within `a`.

    :param code: of the whole module.
    :param package: what relative imports start from: the module itself, if it is a package.
    """
    found: dict[str, None] = {}
    if "TYPE_CHECKING" in code.co_names:
        _look_around(code, package, found)
        return list(found)
    raw, constants = code.co_code, code.co_consts
    extended = 0
    first: object = None
    second: object = None
    for i in range(0, len(raw), 2):
        operation = raw[i]
        argument = raw[i + 1] | extended
        extended = 0
        if operation == EXTENDED_ARG:
            extended = argument << 8
        elif operation == _LOAD_CONST:
            first, second = second, constants[argument]
        elif operation == _LOAD_SMALL_INT:
            first, second = second, argument
        elif operation == _IMPORT_NAME:
            _note(found, code.co_names[argument], first, second, package)
    return list(found)


def _look_around(code: CodeType, package: str, found: dict[str, None]) -> None:
    """Do so where something may be for type checkers only."""
    import dis

    values: list[object] = [None, None]
    resume_at = 0
    guarded = False
    for instruction in dis.get_instructions(code):
        if instruction.offset < resume_at:
            continue
        name = instruction.opname
        if name == "IMPORT_NAME":
            _note(found, str(instruction.argval), values[-2], values[-1], package)
        elif name.startswith("POP_JUMP") and name.endswith("IF_FALSE") and guarded:
            resume_at = instruction.argval
        if name.startswith("LOAD_"):
            values = [values[-1], instruction.argval]
            guarded = instruction.argval == "TYPE_CHECKING"
        elif name not in ("TO_BOOL", "EXTENDED_ARG"):
            # Neither of these stands for more than a part of the jump.
            guarded = False


def _note(found: dict[str, None], name: str, level: object, names: object, package: str) -> None:
    if not isinstance(level, int) or isinstance(level, bool):
        return  # Nothing that a compiler makes.
    if level:
        parts = package.split(".")
        if level > len(parts) or not package:
            return
        name = ".".join(parts[: len(parts) - level + 1] + ([name] if name else []))
    above = name.split(".")
    for i in range(len(above)):
        found.setdefault(".".join(above[: i + 1]))
    if isinstance(names, tuple):
        for other in names:
            if other != "*":
                found.setdefault("%s.%s" % (name, other))
