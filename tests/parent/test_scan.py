"""`mitogen.master.scan`: what a module imports, by its byte code, which is another on each Python."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mitogen.master.scan import imports_of
from tests import interpreters

SOURCES = [str(path) for path in (Path(__file__).parents[2] / "packages").glob("*/src")]

#: Versions that masters run on.
MASTERS = [name for name in interpreters.SUPPORTED if name[:2] == "3." and int(name[2:]) >= 10]

#: Source of a module `top.package.module`, or with a colon in front that of a package `top.package`; and
#: the names that are found, without `top` and `top.package`, which come in front of others in those.
FORMS: list[tuple[str, str]] = [
    # Absolute.
    ("import a", "a"),
    ("import a as b", "a"),
    ("import a, b", "a b"),
    ("import a.b.c", "a a.b a.b.c"),
    ("import a.b as c", "a a.b"),
    ("import a.b.c as d", "a a.b a.b.c"),
    ("from a import b", "a a.b"),
    ("from a import b as c, d", "a a.b a.d"),
    ("from a.b import c", "a a.b a.b.c"),
    ("from a import (\n    b,\n    c,\n)", "a a.b a.c"),
    ("from a import *", "a"),
    ("import a; import a; from a import a", "a a.a"),
    ("from __future__ import annotations", "__future__ __future__.annotations"),
    # Relative.
    ("from . import a", "top.package.a"),
    ("from .a import b", "top.package.a top.package.a.b"),
    ("from .a.b import c", "top.package.a top.package.a.b top.package.a.b.c"),
    ("from .. import a", "top.a"),
    ("from ..a import b", "top.a top.a.b"),
    ("from . import *", ""),
    ("from .a import *", "top.package.a"),
    ("from ... import a", ""),
    ("from .... import a", ""),
    (":from . import a", "top.package.a"),
    (":from .a import b", "top.package.a top.package.a.b"),
    (":from .. import a", "top.a"),
    # Within other statements that run while the module is imported.
    (
        "try:\n    import a\nexcept E:\n    import b\nelse:\n    import c\nfinally:\n    import d",
        "a b c d",
    ),
    ("if x:\n    import a\nelif y:\n    import b\nelse:\n    import c", "a b c"),
    ("import sys\nif sys.version_info < (3,):\n    import a\nelse:\n    import b", "sys a b"),
    ("with x:\n    import a", "a"),
    ("with x as y, z:\n    from a import b", "a a.b"),
    ("for x in y:\n    import a\nelse:\n    import b", "a b"),
    ("while x:\n    import a\n    break", "a"),
    ("while True:\n    import a\n    if x:\n        break\nimport b", "a b"),
    ("match x:\n    case 1:\n        import a\n    case [y, *_]:\n        import b\nimport c", "a b c"),
    ("x = [y for y in z]\nimport a", "a"),
    ("x = 1 if y else 2\nimport a", "a"),
    ("x and y or z\nimport a", "a"),
    ("del x\nimport a\nraise x", "a"),
    # Not while it is imported, or never.
    ("def f():\n    import a", ""),
    ("async def f():\n    import a", ""),
    ("class C:\n    def f(self):\n        from . import a", ""),
    ("x = lambda: __import__('a')", ""),
    ("__import__('a')", ""),
    ("if False:\n    import a\nimport b", "b"),
    ("if 0:\n    import a\nelse:\n    import b", "b"),
    ("'import a'\n# import b\nx = '''\nimport c\n'''", ""),
    # For type checkers.
    ("if TYPE_CHECKING:\n    import a\nimport b", "b"),
    ("if typing.TYPE_CHECKING:\n    import a\nimport b", "b"),
    ("import typing as t\nif t.TYPE_CHECKING:\n    import a\nimport b", "typing b"),
    ("if x.typing.TYPE_CHECKING:\n    from . import a\nfrom . import b", "top.package.b"),
    ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import a", "typing typing.TYPE_CHECKING"),
    ("TYPE_CHECKING = False\nif TYPE_CHECKING:\n    import a\nimport b", "b"),
    ("if TYPE_CHECKING:\n    import a\nelse:\n    import b\nimport c", "b c"),
    ("if not TYPE_CHECKING:\n    import a\nimport b", "a b"),
    ("if x:\n    import a\nelif TYPE_CHECKING:\n    import b\nelse:\n    import c\nimport d", "a c d"),
    ("if TYPE_CHECKING and x:\n    import a\nimport b", "b"),
    ("if x and TYPE_CHECKING:\n    import a\nimport b", "b"),
    ("if TYPE_CHECKING or x:\n    import a\nimport b", "a b"),
    ("if TYPE_CHECKING:\n    if x:\n        import a\n    else:\n        import b\nimport c", "c"),
    ("if x:\n    if TYPE_CHECKING:\n        import a\n    import b\nimport c", "b c"),
    ("try:\n    if TYPE_CHECKING:\n        import a\n    import b\nexcept E:\n    import c", "b c"),
    ("x = TYPE_CHECKING\nif x:\n    import a\nimport b", "a b"),
    ("x = TYPE_CHECKING\nimport a\nif y:\n    import b", "a b"),
    ("print(TYPE_CHECKING)\nif x:\n    import a", "a"),
    # Longer than what fits into an instruction.
    ("if TYPE_CHECKING:\n%s\nimport b" % "\n".join("    import a%d" % i for i in range(300)), "b"),
    (
        "%s\nif TYPE_CHECKING:\n    import x\nfrom . import b"
        % "\n".join("v%d = 1.%d" % (i, i) for i in range(300)),
        "top.package.b",
    ),
    ("%s\nfrom a import b" % "\n".join("x = y" for i in range(300)), "a a.b"),
]


def above(names: list[str]) -> list[str]:
    """Return names without the packages around the module, which come before what is in them."""
    for i, name in enumerate(names):
        if name.startswith("top."):
            assert "top" in names[:i]
        if name.startswith("top.package."):
            assert "top.package" in names[:i]
    return [name for name in names if name not in ("top", "top.package")]


@pytest.mark.parametrize(("source", "expected"), FORMS, ids=[source[:60] for source, _ in FORMS])
def test_imports_are_found(source: str, expected: str) -> None:
    code = compile(source.lstrip(":"), "module.py", "exec", 0, True)
    assert sorted(above(imports_of(code, "top.package"))) == sorted(expected.split())


RUN = """
import json, sys
sys.path[:0] = json.loads(sys.stdin.readline())
from mitogen.master.scan import imports_of
for source in json.loads(sys.stdin.readline()):
    code = compile(source.lstrip(":"), "module.py", "exec", 0, True)
    print(json.dumps(imports_of(code, "top.package")))
"""


@pytest.mark.parametrize("name", [n for n in MASTERS if n != "%d.%d" % sys.version_info[:2]])
def test_other_versions_of_python_find_the_same(name: str) -> None:
    done = subprocess.run(
        [interpreters.find(name), "-I", "-c", RUN],
        input="%s\n%s\n" % (json.dumps(SOURCES), json.dumps([source for source, _ in FORMS])),
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    lines = done.stdout.splitlines()
    assert len(lines) == len(FORMS)
    for (source, expected), line in zip(FORMS, lines):
        assert sorted(above(json.loads(line))) == sorted(expected.split()), source


def test_imports_are_named_in_their_order() -> None:
    code = compile("import c\nif x:\n    import b\nfrom a import d\nimport b", "module.py", "exec")
    assert imports_of(code, "") == ["c", "b", "a", "a.d"]


def test_a_module_without_a_package_imports_nothing_relative() -> None:
    code = compile("from . import a\nfrom .b import c\nimport d", "module.py", "exec")
    assert imports_of(code, "") == ["d"]


def test_a_relative_import_names_the_packages_it_goes_through_first() -> None:
    code = compile("from .a.b import c", "module.py", "exec")
    assert imports_of(code, "top.package") == [
        "top",
        "top.package",
        "top.package.a",
        "top.package.a.b",
        "top.package.a.b.c",
    ]
