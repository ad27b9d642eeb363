"""`mitogen.minify.rename`: short names for what is nobody's business but a function's."""

from __future__ import annotations

import ast
import dis
import importlib
import inspect
import re
import sys
import sysconfig
import textwrap
import warnings
from itertools import groupby, pairwise
from operator import itemgetter
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

from mitogen.minify import minify
from mitogen.minify.private import POSITIONAL, PRIVATE
from mitogen.minify.rename import rename

ROOT = Path(__file__).resolve().parents[2]
STDLIB = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))[::6]


def short(text: str) -> str:
    return rename(textwrap.dedent(text).lstrip("\n")).rstrip("\n")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
    ("def f(first):\n    value = first\n    return value", "def f(first):\n    a = first\n    return a"),
    ("def f(a):\n    b = count = a", "def f(a):\n    b = c = a"),
    ("def f(self, key=1): self.key = key", "def f(s, key=1): s.key = key"),
    ("class A:\n    def f(cls): return cls", "class A:\n    def f(c): return c"),
    ("def f(self, s): self.s = s", "def f(a, s): a.s = s"),
    ("def f(self):\n    def g(): return self.x", "def f(s):\n    def g(): return s.x"),
    ("def f():\n    one = 'é'; one = one", "def f():\n    a = 'é'; a = a"),
    ("def f():\n    count = 1\n    return [count for count in count]",
     "def f():\n    a = 1\n    return [a for a in a]"),
    ("if x:\n    def f():\n        value = 1", "if x:\n    def f():\n        a = 1"),
    ("async def f():\n    async with x as value: pass", "async def f():\n    async with x as a: pass"),
    ("def f():\n    value = a + b", "def f():\n    c = a + b"),
    ("def _f(first, second=1): return first, second", "def _f(a, b=1): return a, b"),
],
)  # fmt: skip
def test_local_variables_get_short_names(source: str, expected: str) -> None:
    assert short(source) == expected


@pytest.mark.parametrize(
    "source",
    [
        # What callers, or other functions, go by.
        "def f(first, *rest, third=1): first = 2",
        "def _f(first): return first\n_f(first=1)",
        "def __f__(first): return first",
        "def _f(first, **rest): return first",
        "def f(self, **kwargs): self.x = kwargs",
        "def f(first):\n    def self(self=1): pass",
        "value = 1",
        "class A:\n    value = 1",
        "def f():\n    global value\n    value = 1",
        "def f():\n    value = 1\n    def g():\n        nonlocal value\n        value = 2",
        "def f():\n    import value\n    value = value",
        "def f():\n    import value.other\n    value = value",
        "def f():\n    def value(): pass\n    value = 1",
        "def f():\n    try: pass\n    except E as error: pass\n    error = 1",
        "def f():\n    lambda value: 0\n    value = 1",
        "def f(self):\n    lambda self: 0",
        # What might mean a global.
        "def f():\n    [value for value in x]\n    return value",
        "def f():\n    def g(): value = 1\n    return value",
        "def f(x, y=value):\n    def g():\n        value = 1",
        # What is looked up by name, or not written as it is called.
        "def f():\n    value = 1\n    return locals()",
        "def f():\n    value = 1\n    class A:\n        value = value",
        "def f():\n    value = 1\n    return f'{value}'",
        "def f():\n    __value = 1",
        "def f():\n    ﬁx = 1",
    ],
)
def test_names_that_others_know_stay(source: str) -> None:
    assert short(source) == source


@pytest.mark.skipif(sys.version_info < (3, 10), reason="new syntax")
def test_names_bound_by_patterns_stay() -> None:
    source = (
        "def f():\n    match x:\n        case {'a': value, **rest} | [value, *rest]: value = rest = 1"
    )
    assert short(source) == source


#: Compilers sort variables by name, and call methods of what looks like an imported module differently.
VARYING = frozenset(["EXTENDED_ARG", "LOAD_CLOSURE", "MAKE_CELL", "PUSH_NULL"])


def instructions(code: CodeType) -> list[tuple[str, Any]]:
    """The instructions of one code object, without what legitimately depends on names."""
    jumps = {*dis.hasjrel, *dis.hasjabs}
    cells = {*code.co_cellvars, *code.co_freevars}
    found = list(dis.get_instructions(code))
    # From 3.13 on closures are loaded like this, in the order of the names; and classes know which
    # attributes are set on what is called `self`.
    skipped = {
        i.offset
        for i in found
        if "LOAD_FAST" in i.opname
        and cells & set(i.argval if isinstance(i.argval, tuple) else [i.argval])
    }
    skipped.update(a.offset for a, b in pairwise(found) if b.argval == "__static_attributes__")
    return [
        (i.opname.replace("LOAD_METHOD", "LOAD_ATTR"), None if i.opcode in jumps else i.argval)
        for i in found
        if i.offset not in skipped and i.opname not in VARYING and not isinstance(i.argval, CodeType)
    ]


def assert_same_code(one: CodeType, other: CodeType, outer: dict[str, str]) -> None:
    """Assert that two code objects do the same, with other names of variables at most."""
    names = {old: outer[old] for old in one.co_freevars if old in outer}
    parameters = one.co_argcount + one.co_kwonlyargcount
    names.update(zip(one.co_varnames[:parameters], other.co_varnames, strict=False))
    if not one.co_name.startswith("_") or one.co_name.startswith("__"):
        assert all(old in ("self", "cls") for old in one.co_varnames[:parameters] if names[old] != old)
    for (op, arg), (other_op, other_arg) in zip(instructions(one), instructions(other), strict=True):
        assert op == other_op
        if "FAST" in op or "DEREF" in op:
            # From 3.13 on an instruction may have two variables.
            pair = [a if isinstance(a, tuple) else (a,) for a in (arg, other_arg)]
            for old, new in zip(*pair, strict=True):
                assert names.setdefault(old, new) == new
        elif not callable(arg):
            assert arg == other_arg
    assert len(set(names.values())) == len(names)
    lines, other_lines = ([key for key, _ in groupby(c.co_lines(), itemgetter(2))] for c in (one, other))
    assert lines == other_lines
    inner = [[c for c in code.co_consts if isinstance(c, CodeType)] for code in (one, other)]
    for nested, other_nested in zip(*inner, strict=True):
        assert nested.co_qualname == other_nested.co_qualname
        assert_same_code(nested, other_nested, {**outer, **names})


@pytest.mark.skipif(sys.version_info < (3, 11), reason="looks at bytecode")
@pytest.mark.parametrize("path", STDLIB, ids=lambda path: path.stem)
def test_code_with_short_names_is_the_same_but_for_the_names(path: Path) -> None:
    source = path.read_bytes().decode("utf-8", "surrogateescape").replace("\r\n", "\n").lstrip("\ufeff")
    try:
        source.encode()
    except UnicodeEncodeError:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        codes = [compile(s, path.name, "exec", dont_inherit=True) for s in (source, rename(source))]
    assert_same_code(codes[0], codes[1], {})


def test_modules_with_short_names_work() -> None:
    for name in ("difflib", "textwrap", "json.scanner", "fractions", "shlex", "heapq", "string"):
        module = importlib.import_module(name)
        namespace: dict[str, Any] = {"__name__": name, "__package__": name.rpartition(".")[0]}
        exec(compile(minify(inspect.getsource(module), own=True), name, "exec"), namespace)
        if name == "difflib":
            assert "+c" in namespace["unified_diff"](["a", "b"], ["b", "c"])
        elif name == "textwrap":
            assert namespace["fill"]("one two three", 5) == "one\ntwo\nthree"
        elif name == "fractions":
            assert str(namespace["Fraction"](1, 3) + namespace["Fraction"](1, 6)) == "1/2"
        elif name == "shlex":
            assert namespace["split"]("a 'b c' d") == ["a", "b c", "d"]


def test_own_sources_gain_from_short_names() -> None:
    path = Path(__file__).parents[2] / "packages/mitogen-core/src/mitogen/core/router.py"
    plain, small = (minify(path.read_text(), own=b) for b in (False, True))
    assert len(small) < len(plain)
    assert small.count("\n") == plain.count("\n")


# -- Attributes -------------------------------------------------------------------------------------


def test_attributes_with_short_names_are_used_in_one_module_and_by_no_string() -> None:
    sources = {
        path: path.read_text("utf-8")
        for path in (ROOT / "packages").glob("*/src/mitogen/**/*.py")
        # They are in masters, or go to children as code, along with that of the others.
        if path.name not in ("private.py", "callloop.py", "leading.py", "receiving.py", "answers.py")
    }
    for name, short in PRIVATE.items():
        users = [path for path, source in sources.items() if re.search(r"\b%s\b" % name, source)]
        # A constant is its module's own, so another module may have one of that name.
        if any(re.search(r"\.%s\b|import .*\b%s\b" % (name, name), sources[path]) for path in users):
            assert len(users) == 1, (name, users)
        assert users
        for path in users:
            assert path.parent.name == "core"
            # Neither in a string nor within an f-string, nor where only the name counts.
            assert not re.search(r"[\"']%s\b|\{self\.%s|global %s" % ((name,) * 3), sources[path]), name
        assert not any(re.search(r"\b%s\b" % short, source) for source in sources.values()), short
    assert len(set(PRIVATE.values())) == len(PRIVATE)


def test_nobody_passes_arguments_by_name_to_functions_whose_parameters_are_renamed() -> None:
    parameters: dict[str, set[str]] = {name: set() for name in POSITIONAL}
    trees = [ast.parse(path.read_bytes()) for path in (ROOT / "packages").glob("*/src/mitogen/**/*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    for node in nodes:
        if isinstance(node, ast.FunctionDef) and node.name in parameters:
            parameters[node.name].update(arg.arg for arg in node.args.args)
        elif isinstance(node, ast.ClassDef) and node.name in parameters:
            for item in node.body:
                if isinstance(item, ast.FunctionDef) and item.name == "__init__":
                    parameters[node.name].update(arg.arg for arg in item.args.args)
    assert all(parameters.values())
    for node in nodes:
        if isinstance(node, ast.Call):
            names = {getattr(node.func, "attr", None), getattr(node.func, "id", None)}
            if names == {"__init__", None}:
                names = {getattr(getattr(node.func, "value", None), key, None) for key in ("id", "attr")}
            for name in names & POSITIONAL:
                passed = {keyword.arg for keyword in node.keywords}
                assert not passed & parameters[name or ""], (name, passed, node.lineno)


def test_an_attribute_is_renamed_wherever_it_is_used() -> None:
    source = (
        "class A:\n    _closed = False\n\n    def f(self, other):\n"
        "        self._closed = other._closed or f'{1}'\n        return self._closed_too\n"
    )
    small = minify(source, own=True)
    short = PRIVATE["_closed"]
    assert "_closed=" not in small
    assert small.count(short) == 3
    assert "_closed_too" in small
    assert small.count("\n") == source.count("\n")
    assert "_closed" in minify(source)
