"""`mitogen.minify`: the remaining code means the same, and stays on its lines."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import sysconfig
import textwrap
import time
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mitogen.minify import minify

PYTHON36 = Path("~/.pyenv/versions/3.6.15/bin/python").expanduser()
STDLIB = Path(sysconfig.get_path("stdlib"))


def strip(text: str) -> str:
    """Minify a text that is indented like the test around it; drop its first line break."""
    return minify(textwrap.dedent(text).lstrip("\n")).rstrip("\n")


def cases(*pairs: tuple[str, str]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("source", "expected"), pairs)


def run(source: str) -> dict[str, Any]:
    namespace: dict[str, Any] = {"__name__": __name__}
    exec(compile(source, "sample", "exec", dont_inherit=True), namespace)
    return namespace


# The reference: the same removal, done on the tree.


class Reference(ast.NodeTransformer):
    """Removes from a tree what `minify` cuts from a text. Covers what the sampled modules use."""

    def __init__(self) -> None:
        self._functions: list[set[str]] = []

    def generic_visit(self, node: ast.AST) -> ast.AST:
        for name in ("body", "orelse", "finalbody"):
            body = getattr(node, name, None)
            if isinstance(body, list) and body:
                line = body[0].lineno
                for decorator in getattr(body[0], "decorator_list", []):
                    line = min(line, decorator.lineno)
                new = [n for child in body for n in self._listed(self.visit(child))]
                if not new and not isinstance(node, ast.Module) and not self._was_elif(node, name):
                    new = [ast.Pass(lineno=line, col_offset=0)]
                setattr(node, name, new)
        for name, value in ast.iter_fields(node):
            if name in ("body", "orelse", "finalbody") and isinstance(value, list):
                continue
            if isinstance(value, list):
                setattr(node, name, [self.visit(v) if isinstance(v, ast.AST) else v for v in value])
            elif isinstance(value, ast.AST):
                setattr(node, name, self.visit(value))
        return node

    @staticmethod
    def _was_elif(node: ast.AST, name: str) -> bool:
        return isinstance(node, ast.If) and name == "orelse"

    @staticmethod
    def _listed(value: Any) -> list[Any]:
        return [] if value is None else [value]

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if ast.unparse(node.func) == "cast" and len(node.args) == 2:
            return self.visit(node.args[1])  # type: ignore[no-any-return]
        return self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            return None
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: Any) -> ast.AST | None:
        if any(ast.unparse(d) in ("overload", "typing.overload") for d in node.decorator_list):
            return None
        node.returns = None
        stored = {
            n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
        }
        bare = {
            n.target.id
            for n in ast.walk(node)
            if isinstance(n, ast.AnnAssign) and not n.value and isinstance(n.target, ast.Name)
        }
        assert not (bare - stored), "extend the reference"
        return self.generic_visit(node)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        makers = {ast.unparse(n).split("(")[0].split(".")[-1] for n in node.decorator_list + node.bases}
        if makers & {"dataclass", "NamedTuple", "TypedDict"}:
            for statement in node.body:
                if isinstance(statement, ast.AnnAssign):
                    if "ClassVar" not in ast.unparse(statement.annotation):
                        old = statement.annotation
                        statement.annotation = ast.copy_location(ast.Constant(None), old)
                    statement.is_field = True  # type: ignore[attr-defined]
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        if hasattr(node, "is_field"):
            return node
        if node.value is None:
            return None
        new = ast.Assign([node.target], node.value, lineno=node.lineno, col_offset=0)
        return self.generic_visit(new)

    def visit_If(self, node: ast.If) -> ast.AST | None:
        if ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            if not node.orelse:
                return None
            node.test = ast.copy_location(ast.Constant(0), node.test)
            node.body = [ast.Pass(lineno=node.body[0].lineno, col_offset=0)]
        return self.generic_visit(node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | None:
        if node.module == "__future__":
            node.names = [n for n in node.names if n.name != "annotations"]
        return node if node.names else None


class Imports(ast.NodeTransformer):
    """Removes from a stripped tree the typing imports that nothing uses any longer."""

    def __init__(self, tree: ast.Module) -> None:
        self.used: set[object] = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
        self.used |= {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant)}
        self.used |= {
            n.name for n in ast.walk(tree) if hasattr(n, "name") and not isinstance(n, ast.alias)
        }
        self.used |= {n.arg for n in ast.walk(tree) if isinstance(n, ast.arg)}

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | None:
        if node.module in ("typing", "collections.abc") and node.names[0].name != "*":
            node.names = [n for n in node.names if (n.asname or n.name) in self.used]
        return node if node.names else None

    def visit_Import(self, node: ast.Import) -> ast.AST | None:
        return None if node.names[0].name == "typing" and "typing" not in self.used else node


def dump(tree: ast.Module) -> list[str]:
    """Return the nodes of a tree with their lines, one a line, for a readable difference."""
    result = []
    for node in ast.walk(tree):
        fields = {k: v for k, v in ast.iter_fields(node) if not isinstance(v, (ast.AST, list))}
        fields.pop("kind", None)  # u"" or not
        line = getattr(node, "lineno", 0)
        if isinstance(node, (ast.JoinedStr, ast.FormattedValue, ast.alias)):
            line = 0
        result.append("%s %s %s" % (type(node).__name__, line, fields))
    return result


def samples() -> list[Path]:
    """A few dozen modules of the standard library, the same ones each time."""
    files = sorted(p for p in STDLIB.glob("*.py"))[::6]
    names = ["dataclasses", "typing", "functools", "argparse", "asyncio/base_events", "enum"]
    names += ["importlib/_abc", "importlib/resources/_common", "concurrent/futures/_base"]
    named = [STDLIB / (name + ".py") for name in names]
    return sorted({*files, *(p for p in named if p.exists())})


@pytest.mark.parametrize("path", samples(), ids=lambda path: path.stem)
def test_tree_equals_the_stripped_tree_of_the_input(path: Path) -> None:
    source = path.read_bytes().decode("utf-8", "surrogateescape")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = Reference().visit(ast.parse(source))
        expected = Imports(expected).visit(expected)
        small = minify(source)
        found = ast.parse(small)
    assert dump(found) == dump(expected)
    assert len(small) <= len(source)


def test_own_sources_are_stripped_to_3_6(tmp_path: Path) -> None:
    if not PYTHON36.exists():
        pytest.skip("no Python 3.6 on this machine")
    root = Path(__file__).parents[2] / "packages"
    found = sorted(root.glob("*/src/mitogen/core/*.py"))
    found += [root / "mitogen-core/src/mitogen/__init__.py"]
    for i, path in enumerate(found):
        (tmp_path / ("%d.py" % i)).write_text(minify(path.read_text()), "utf-8")
    code = "import sys\nfor p in sys.argv[1:]: compile(open(p, encoding='utf-8').read(), p, 'exec')"
    names = [str(p) for p in sorted(tmp_path.glob("*.py"))]
    subprocess.run([str(PYTHON36), "-W", "error", "-c", code, *names], check=True)


SAMPLE_36 = '''
"""Doc."""
from __future__ import annotations
import os
from typing import TYPE_CHECKING, Any, overload, cast

if TYPE_CHECKING:
    from collections.abc import Callable
    type Alias[T] = list[T]

X: int | None = 1
@overload
def f(a: int, /) -> int: ...
@overload
def f(a: str, /) -> str: ...
def f(a: Any, b: dict[
    str, int] | None = None, *args: *tuple[int], **kw: (yes := int)) -> dict[
    str, int
]:
    """Doc."""
    local: list[
        int
    ] = [
        1,
    ]
    if a \\
            is b:
        """only"""
    return cast(dict[str, int], {"a": a, "b": (a if b else"c"), "local": local, "kw": kw})
'''


def test_new_syntax_in_annotations_runs_on_3_6() -> None:
    if not PYTHON36.exists():
        pytest.skip("no Python 3.6 on this machine")
    if sys.version_info < (3, 12):
        source = SAMPLE_36.replace("type Alias[T] = list[T]", "pass")
    else:
        source = SAMPLE_36
    if sys.version_info < (3, 11):
        source = source.replace("*args: *tuple[int]", "*args: int")
    # A positional-only parameter is no annotation; its overloads are cut.
    code = minify(source) + "\nprint(sorted(f(1, z=2).items()))"
    done = subprocess.run([str(PYTHON36), "-W", "error", "-c", code], check=True, stdout=subprocess.PIPE)
    assert done.stdout == b"[('a', 1), ('b', 'c'), ('kw', {'z': 2}), ('local', [1])]\n"


@cases(
    ('"""doc"""', ""),
    ('"""doc"""; x = 1', "x=1"),
    ('x = 1; """doc"""', "x=1;"),
    ('x = 1; "a"; y = 2', "x=1;y=2"),
    ('def f(): "doc"', "def f():pass"),
    ('def f():\n    """doc\n    """\n    return 1', "def f():\n\n\n return 1"),
    ('def f():\n    """doc"""\n    """second"""\n', "def f():\n pass"),
    ('class A:\n    """doc"""\n    """x"""\n    y = 1', "class A:\n\n\n y=1"),
    ('class A:\n    r"""doc"""', "class A:\n pass"),
    ("def f():\n    f'{1}'", "def f():\n f'{1}'"),
    ("def f(): ...", "def f():..."),
    ("b'doc'", "b'doc'"),
)
def test_docstrings(source: str, expected: str) -> None:
    assert strip(source) == expected


@cases(
    ("# a\nx = 1  # b\n\n# c\ny = 2", "\nx=1\n\n\ny=2"),
    ("x = (1,  # one\n     2)", "x=(1,\n2)"),
    ("x = '# no comment'", "x='# no comment'"),
    ("#!/bin/python\n# -*- coding: latin-1 -*-\nx = 'ä'", "\n\nx='ä'"),
)
def test_comments(source: str, expected: str) -> None:
    assert strip(source) == expected


@cases(
    ("def f(a: int, *b: str, c: int = 1, **d: 'x') -> int: return a",
     "def f(a,*b,c=1,**d):return a"),
    ("def f(a: (int), b: lambda: 0 = 1) -> (lambda: 0): pass", "def f(a,b=1):pass"),
    ("async def f(a: int) -> None: pass", "async def f(a):pass"),
    ("x: int = 1", "x=1"),
    ("x: dict[\n  str, int\n] = {}", "x\\\n\\\n={}"),
    ("x: int\ny = 1", "\ny=1"),
    ("(x): int = 1", "(x)=1"),
    ("a.b: int = 1", "a.b=1"),
    ("a.b: int", ""),
    ("a[f()]: int", "a[f()]:0"),
    ("class A:\n    x: int\n    y: str", "class A:\n pass"),
    ("class A:\n    x: int; y: str; z = 1", "class A:\n z=1"),
    ("if x:\n    y: int\nelse:\n    z: int", "if x:\n pass\nelse:\n pass"),
    ("def f():\n    x: int\n    x = 1", "def f():\n\n x=1"),
    ("def f(x):\n    x: int", "def f(x):\n pass"),
    ("def ä(é: 'ü', ö: 'ü' = 'ü') -> 'ü': pass", "def ä(é,ö='ü'):pass"),
    ("'ü'; x: 'ü' = 'ü'; y: int = 1", "x='ü';y=1"),
)  # fmt: skip
def test_annotations(source: str, expected: str) -> None:
    assert strip(source) == expected


def test_declared_local_variable_stays_local() -> None:
    source = strip(
        """
        def f():
            x: int
            def g():
                nonlocal x
                x = 3
            g()
            return x
        """
    )
    assert run(source)["f"]() == 3


@pytest.mark.parametrize(
    "source",
    [
        "import dataclasses\n@dataclasses.dataclass(frozen=True)\nclass A:\n  a: int\n  b: 'X' = 2",
        "from dataclasses import dataclass\n@dataclass\nclass A:\n  a: list[int]\n  b: str = 2",
        "from typing import NamedTuple\nclass A(NamedTuple):\n  a: int\n  b: int = 2",
    ],
)
def test_classes_that_read_their_annotations_keep_their_fields(source: str) -> None:
    for text in (source, minify(source)):
        made = run(text)["A"](1)
        assert (made.a, made.b) == (1, 2)


def test_class_variables_of_dataclasses_are_no_fields() -> None:
    source = minify(
        "from dataclasses import dataclass\nfrom typing import ClassVar, List\n"
        "@dataclass\nclass A:\n  n: ClassVar[int] = 5\n  a: List[int] = 1"
    )
    assert "List" not in source
    assert repr(run(source)["A"](2)) == "A(a=2)"


@cases(
    ("from __future__ import annotations\nx = 1", "\nx=1"),
    ("from __future__ import annotations, division", "from __future__ import division"),
    ("from __future__ import division, annotations", "from __future__ import division"),
    ("from typing import Any\nx: Any = 1", "\nx=1"),
    ("from typing import Any, cast\nx = cast", "from typing import cast\nx=cast"),
    ("from typing import cast, Any\nx = cast", "from typing import cast\nx=cast"),
    ("from typing import (\n  Any,\n  TypeVar,\n  Union,\n)\nT = TypeVar('T')",
     "from typing import(\n\nTypeVar\n,\n)\nT=TypeVar('T')"),
    ("from typing import Any as A, List as L\nx = L", "from typing import List as L\nx=L"),
    ("import typing", ""),
    ("import typing as t\nx: t.Any = t.T", "import typing as t\nx=t.T"),
    ("import typing, os", "import typing,os"),
    ("from typing import *", "from typing import*"),
    ("from .typing import Any", "from.typing import Any"),
    ("from typing import Any\n__all__ = ['Any']", "from typing import Any\n__all__=['Any']"),
    ("try:\n    from typing import Any\nexcept ImportError:\n    pass",
     "try:\n pass\nexcept ImportError:\n pass"),
    ("try:\n    from typing import Any\nexcept ImportError:\n    Any = None",
     "try:\n from typing import Any\nexcept ImportError:\n Any=None"),
    ("from typing import Any\nx = f'{Any}'", "from typing import Any\nx=f'{Any}'"),
    ("from collections.abc import Callable, Mapping\nx: Callable = Mapping",
     "from collections.abc import Mapping\nx=Mapping"),
)  # fmt: skip
def test_imports(source: str, expected: str) -> None:
    assert strip(source) == expected


@cases(
    ("if TYPE_CHECKING:\n    import a\nx = 1", "\n\nx=1"),
    ("import typing\nif typing.TYPE_CHECKING: import a", ""),
    ("TYPE_CHECKING = False\nif TYPE_CHECKING:\n    import a\nx = 1", "TYPE_CHECKING=False\n\n\nx=1"),
    ("import typing as t\nif t.TYPE_CHECKING:\n    import a", ""),
    ("if TYPE_CHECKING:\n    A = 1\n    B = 1\nelse:\n    A = 2",
     "if 0:\n pass\n\nelse:\n A=2"),
    ("if (TYPE_CHECKING):\n    A = 1\nelif x:\n    A = 2\nelse:\n    A = 3",
     "if(0):\n pass\nelif x:\n A=2\nelse:\n A=3"),
    ("if x:\n    y\nelif TYPE_CHECKING:\n    z", "if x:\n y"),
    ("if x:\n    y\nelif TYPE_CHECKING:\n    z\nelse:\n    w",
     "if x:\n y\nelif 0:\n pass\nelse:\n w"),
    ("if not TYPE_CHECKING:\n    A = 1\nelse:\n    A = 2", "if 1:\n A=1\nelse:\n pass"),
    ("if not TYPE_CHECKING:\n    A = 1\nelif B:\n    A = 2\nC = 3", "if 1:\n A=1\n\n\nC=3"),
    ("if x:\n    if TYPE_CHECKING:\n        import y", "if x:\n pass"),
    ("if TYPE_CHECKING:\n    @a\n    def f(): pass\nelse:\n    @b\n    def f(): pass",
     "if 0:\n pass\n\nelse:\n @b\n def f():pass"),
    ("class A:\n    if TYPE_CHECKING:\n        x: int\n    def f(self): pass",
     "class A:\n\n\n def f(self):pass"),
)  # fmt: skip
def test_blocks_for_type_checkers(source: str, expected: str) -> None:
    assert strip(source) == expected


@cases(
    ("from typing import overload\n@overload\ndef f(a: int) -> int: ...\ndef f(a): return a",
     "\n\n\ndef f(a):return a"),
    ("import typing as t\nclass A:\n  @t.overload\n  @x(\n    1)\n  def f(self): ...\n  y = 1",
     "\nclass A:\n\n\n\n\n y=1"),
    ("@overload\ndef f(): ...", "@overload\ndef f():..."),
)  # fmt: skip
def test_overload_stubs(source: str, expected: str) -> None:
    assert strip(source) == expected


@cases(
    ("from typing import cast\nx = cast(int, y)", "\nx=(y)"),
    ("from typing import cast\nx = cast('List[int]', (y, z))[0]", "\nx=((y,z))[0]"),
    ("from typing import cast\nx = cast(int, cast(str, y))", "\nx=((y))"),
    ("import typing\nx = typing.cast(typing.List, y)", "\nx=(y)"),
    # What can't be cut safely stays, with its import.
    ("from typing import cast\nx = cast(int, y,)", "from typing import cast\nx=cast(int,y,)"),
    ("from typing import cast\ndef f(cast): return cast(int, 1)",
     "from typing import cast\ndef f(cast):return cast(int,1)"),
    ("def cast(a, b): return b\nx = cast(int, 1)", "def cast(a,b):return b\nx=cast(int,1)"),
)  # fmt: skip
def test_casts(source: str, expected: str) -> None:
    assert strip(source) == expected


@cases(
    ("if a:\n        if b:\n                c", "if a:\n if b:\n  c"),
    ("if a:\n\tb\n\tc", "if a:\n b\n c"),
    ("x = '''a\n    b\n'''", "x='''a\n    b\n'''"),
    ("def f():\n    return (a +\n            b)", "def f():\n return(a+\nb)"),
    ("x = a + \\\n    b", "x=a+\\\nb"),
    ("x = 1 if y else 2", "x=1 if y else 2"),
    ("אִ = 1", "אִ=1"),
    ("x = 1 .real", "x=1 .real"),
    ("x = '' 'a'", "x='' 'a'"),
    ("x = y if 'a' else rb'b'", "x=y if'a'else rb'b'"),
    ("x = a - -b ** -c", "x=a- -b** -c".replace("- -", "--").replace("** -", "**-")),
    ("x = lambda *a: ~a", "x=lambda*a:~a"),
    ("x[a : :b]", "x[a::b]"),
    ("from . import a\nfrom .. import b", "from.import a\nfrom..import b"),
    ("x = ... if a else ...", "x=...if a else..."),
    ("x = f'{ a !r}' f\"{{}}{b:>{c}}\"", "x=f'{ a !r}' f\"{{}}{b:>{c}}\""),
    ("x = f'''{\na}\n {{''' + 'b'\ny", "x=f'''{\na}\n {{'''+'b'\ny"),
    ("\ufeffx = 1\r\ny = 2\r", "x=1\ny=2"),
    ("for x in y: pass\nelse:\n    '''a'''", "for x in y:pass\nelse:\n pass"),
)
def test_white_space(source: str, expected: str) -> None:
    assert strip(source) == expected


def test_traceback_points_at_the_line_of_the_original() -> None:
    source = strip(
        '''
        """Doc
        of two lines."""
        def f(a: dict[
                  str, int]) -> list[
                  int]:
            """Doc."""
            # comment
            return 1 / 0
        '''
    )
    with pytest.raises(ZeroDivisionError) as info:
        run(source)["f"]({})
    assert info.traceback[-1].lineno + 1 == 8


def test_syntax_errors_are_those_of_python() -> None:
    with pytest.raises(SyntaxError):
        minify("def f(:\n")


# Properties.

NAMES = st.sampled_from(["a", "b", "é", "self", "x1"])
TYPES = st.sampled_from(
    ["int", "'x'", "list[int]", "(a)", "dict[\n  str, 'é']", "lambda: 0", "a | b", "t['=:->']"]
)
VALUES = st.sampled_from(
    ["1", "'é'", "(1,\n 2)", "[]", "a", "f'{a:>{b}}'", "'''\n x\n'''", "-1.", "a if b else c"]
)
SIMPLE = st.one_of(
    st.builds("{}: {} = {}".format, NAMES, TYPES, VALUES),
    st.builds("{}: {}".format, NAMES, TYPES),
    st.builds("{} = {} # é".format, NAMES, VALUES),
    st.builds("{} = {}; {}: {}".format, NAMES, VALUES, NAMES, TYPES),
    st.builds("'''doc é'''; {} = {}".format, NAMES, VALUES),
    st.sampled_from(["'doc'", "'''doc\n '''", "pass", "x \\\n = 1", "", "# comment"]),
)


def block(suite: list[str]) -> str:
    return textwrap.indent("\n".join([*suite, "'''end'''"]), "    ")


def compound(suites: st.SearchStrategy[list[str]]) -> st.SearchStrategy[str]:
    functions = st.builds(
        "def {}({}: {} = {}, *, z: {}) -> {}:\n{}".format,
        NAMES, NAMES, TYPES, VALUES, TYPES, TYPES, suites.map(block),
    )  # fmt: skip
    return st.one_of(
        functions,
        st.builds("class {}:\n{}".format, NAMES, suites.map(block)),
        st.builds("if TYPE_CHECKING:\n{}".format, suites.map(block)),
        st.builds(
            "if {}:\n{}\nelif TYPE_CHECKING:\n{}\nelse:\n{}".format,
            VALUES, suites.map(block), suites.map(block), suites.map(block),
        ),
        st.builds("try:\n{}\nfinally:\n{}".format, suites.map(block), suites.map(block)),
    )  # fmt: skip


STATEMENTS = st.recursive(
    SIMPLE, lambda inner: compound(st.lists(inner, min_size=1, max_size=3)), max_leaves=8
)


@settings(deadline=None, max_examples=int(os.environ.get("MINIFY_EXAMPLES", "150")))
@given(st.lists(STATEMENTS, max_size=4).map("\n".join))
def test_any_module_compiles_and_keeps_its_lines(source: str) -> None:
    try:
        original = ast.parse(source)
    except SyntaxError:
        return
    small = minify(source)
    found = [n for n in ast.walk(ast.parse(small)) if isinstance(n, (ast.stmt, ast.arg, ast.Name))]
    lines = {
        (type(n).__name__, n.lineno)
        for n in ast.walk(original)
        if isinstance(n, ast.AST) and hasattr(n, "lineno")
    }
    for node in found:
        kind = type(node).__name__
        if kind == "Assign" and (kind, node.lineno) not in lines:
            kind = "AnnAssign"
        if not isinstance(node, ast.Pass):
            assert (kind, node.lineno) in lines
    # All that could be cut is gone: a second run finds nothing.
    assert minify(small) == small


def test_time_is_proportional_to_the_length() -> None:
    unit = "def f(a: int, b: str = 'x') -> None:\n    '''Doc.'''\n    x: int = a + len(b)  # why\n"

    def cost(times: int) -> float:
        best = 1e9
        for _ in range(3):
            begin = time.process_time()
            minify(unit * times)
            best = min(best, time.process_time() - begin)
        return best

    # Ten times as much, or a hundred if it went with the square; a busy machine may double either.
    assert cost(800) < 30 * cost(80)


def test_modules_of_the_library_lose_the_flag_that_only_type_checkers_read() -> None:
    source = "TYPE_CHECKING = False\nif TYPE_CHECKING:\n    import a\nx = 1\nTYPE_CHECKING = True\n"
    assert minify(source, own=True) == "\n\n\nx=1\nTYPE_CHECKING=True\n"
