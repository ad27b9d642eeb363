"""What a module imports while it is imported: `imports_of`. Pure: code object in, names out.

The module-level byte code is looked through, by way of `dis`, which is the same for every Python. What
functions import is left out: many of them are never called. So are imports for type checkers only.

Rejected: to parse the source (takes ten times as long as to unmarshal the code that Python keeps beside
it, and to look through that), and patterns in the source text (wrong for strings and comments).
"""

from __future__ import annotations

import dis

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType


def imports_of(code: CodeType, package: str) -> list[str]:
    """Return the full names that a module may mean to import, each after the packages above it.

    Of ``from a import b`` they are ``a`` and ``a.b``, which may be a module or something within `a`.

    :param code: of the whole module.
    :param package: what relative imports start from: the module itself, if it is a package.
    """
    found: dict[str, None] = {}
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
    return list(found)


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
