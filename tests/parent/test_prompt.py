"""`mitogen.master.prompt`: modules that are made up for functions that are in no file.

What is typed here is put where the prompt of Python 3.13 and IPython put it, in `linecache`. The module
is then run like a context would, with nothing but its text.
"""

from __future__ import annotations

import linecache
import sys
import types
from typing import TYPE_CHECKING

import pytest

from mitogen.master.bindings import MAX_VALUE
from mitogen.master.prompt import LIMIT, PREFIX, PromptModules

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


class Prompt:
    """A program that is typed, piece by piece."""

    def __init__(self) -> None:
        self.main = types.ModuleType("__main__")
        self.modules = PromptModules()
        self.names: list[str] = []

    def type(self, source: str, name: str = "<python-input-%d>") -> None:
        """Run one input, and keep its source, as a prompt does."""
        name %= len(self.names)
        self.names.append(name)
        linecache.cache[name] = len(source), None, source.splitlines(True), name
        exec(compile(source, name, "exec", dont_inherit=True), vars(self.main))

    def source(self, path: str) -> str:
        """Return the module that is made up for something that was defined."""
        name = self.modules.module_for(self.get(path), path)
        assert name is not None
        source = self.modules.source_of(name)
        assert source is not None
        return source.decode()

    def get(self, path: str) -> Any:
        obj: Any = self.main
        for part in path.split("."):
            obj = getattr(obj, part)
        return obj

    def call(self, path: str, *args: object) -> Any:
        """Call a function as a context would."""
        scope: dict[str, Any] = {"__name__": "made_up"}
        exec(compile(self.source(path), "made_up", "exec", dont_inherit=True), scope)
        first, *rest = path.split(".")
        fn = scope[first]
        for part in rest:
            fn = getattr(fn, part)
        return fn(*args)

    def refusal(self, path: str) -> str:
        """Return why there is none."""
        with pytest.raises(TypeError) as info:
            self.source(path)
        assert "can't call %s in another context: " % path in str(info.value)
        return str(info.value)


@pytest.fixture
def prompt(monkeypatch: pytest.MonkeyPatch) -> Iterator[Prompt]:
    prompt = Prompt()
    monkeypatch.setitem(sys.modules, "__main__", prompt.main)
    yield prompt
    for name in prompt.names:
        linecache.cache.pop(name, None)


def test_a_function_alone(prompt: Prompt) -> None:
    prompt.type("def f(x):\n    return x + 1\n")
    assert prompt.call("f", 1) == 2
    assert prompt.source("f") == "def f(x):\n    return x + 1\n\n"


def test_cells_of_notebooks_have_names_like_files(prompt: Prompt) -> None:
    prompt.type("class Base: pass\n", "/tmp/ipykernel_77/%d.py")
    prompt.type("class Sub(Base):\n    def one(self): return 1\n", "/tmp/ipykernel_77/%d.py")
    prompt.type("def f(): return Sub().one()\n", "/tmp/ipykernel_77/%d.py")
    assert prompt.call("f") == 1


def test_only_what_it_needs_goes_along(prompt: Prompt) -> None:
    prompt.type("import json\nUSED = 1\nUNUSED = 2\ndef other(): pass\n")
    prompt.type("def f(x):\n    return USED, x.UNUSED\n")
    source = prompt.source("f")
    assert "USED = 1" in source
    assert "UNUSED = 2" not in source
    assert "json" not in source
    assert "other" not in source


def test_functions_that_it_calls_each_once(prompt: Prompt) -> None:
    prompt.type("def even(n): return n == 0 or odd(n - 1)\n")
    prompt.type("def odd(n): return n != 0 and even(n - 1)\n")
    prompt.type("def both(n): return even(n), odd(n), even(n)\n")
    assert prompt.call("both", 4) == (True, False, True)
    assert prompt.source("both").count("def even") == 1


def test_values_are_those_of_the_time_of_the_call(prompt: Prompt) -> None:
    prompt.type("N = 1\nTABLE = {'a': [1, -2.5, None, (True, b'x', 2j)], 'b': {3}}\n")
    prompt.type("def f(): return N, TABLE\n")
    first = prompt.source("f")
    assert prompt.call("f") == (1, prompt.main.TABLE)
    prompt.type("N = 2\n")
    assert prompt.call("f") == (2, prompt.main.TABLE)
    assert prompt.source("f") != first


def test_defaults_are_those_of_the_definition(prompt: Prompt) -> None:
    prompt.type("N = 1\ndef f(a, b=N, *, c=N): return a, b, c\n")
    prompt.type("N = 2\n")
    assert prompt.call("f", 0) == (0, 1, 1)


def test_modules_under_the_names_they_have_here(prompt: Prompt) -> None:
    prompt.type("import os, os.path as where, json as j\nfrom xml.dom import minidom\n")
    prompt.type("def f(): return where.join('a', 'b'), j.dumps([1]), os.sep, minidom.__name__\n")
    assert prompt.call("f") == ("a/b", "[1]", "/", "xml.dom.minidom")


def test_submodules_that_it_gets_at_through_a_package(prompt: Prompt) -> None:
    prompt.type("import xml.dom.minidom\n")
    prompt.type("def f(): return xml.dom.minidom.parseString('<a/>').documentElement.tagName\n")
    source = prompt.source("f")
    assert "__import__('xml.dom.minidom')" in source
    assert "import xml as xml" in source
    assert prompt.call("f") == "a"


IMPORTED = [
    ("from math import sqrt as root", "root(4)", 2.0),
    ("from collections import OrderedDict", "len(OrderedDict())", 0),
    ("from collections.abc import Mapping", "isinstance({}, Mapping)", True),
    ("from os import environ", "'NO_SUCH_VARIABLE' in environ", False),
    ("from os.path import join", "join('a', 'b')", "a/b"),
    ("from random import randint", "randint(3, 3)", 3),
    ("from datetime import datetime; parse = datetime.fromisoformat", "parse('2020-01-01').year", 2020),
    ("from signal import SIGTERM", "int(SIGTERM)", 15),
    ("from typing import Optional", "str(Optional)", "typing.Optional"),
    ("size = len", "size('abc')", 3),
]


@pytest.mark.parametrize(("typed", "expression", "result"), IMPORTED, ids=[t for t, _, _ in IMPORTED])
def test_what_comes_from_modules_is_imported_from_there(
    prompt: Prompt, typed: str, expression: str, result: object
) -> None:
    prompt.type(typed)
    prompt.type("def f(): return " + expression)
    assert prompt.call("f") == result


def test_classes_with_all_kinds_of_methods(prompt: Prompt) -> None:
    prompt.type("class Base:\n    tag = 'base'\n")
    prompt.type(
        "class Sub(Base):\n"
        "    @staticmethod\n"
        "    def static(x): return x, Sub.tag, Sub().name\n"
        "    @classmethod\n"
        "    def of_class(cls): return cls.tag, helper()\n"
        "    @property\n"
        "    def name(self): return type(self).__name__\n"
        "    class Inner:\n"
        "        @staticmethod\n"
        "        def deep(): return helper()\n"
    )
    prompt.type("def helper(): return 'help'\n")
    assert prompt.call("Sub.static", 1) == (1, "base", "Sub")
    assert prompt.call("Sub.of_class") == ("base", "help")
    assert prompt.call("Sub.Inner.deep") == "help"


def test_a_class_that_needs_another_one_which_needs_it(prompt: Prompt) -> None:
    prompt.type("class A:\n    def other(self): return B()\n    def name(self): return 'A'\n")
    prompt.type("class B(A):\n    def name(self): return 'B'\n")
    prompt.type("def from_a(): return A().other().name()\ndef from_b(): return B().other().name()\n")
    assert prompt.call("from_a") == prompt.call("from_b") == "B"


def test_classes_without_methods_of_their_own(prompt: Prompt) -> None:
    prompt.type("import dataclasses, enum\n@dataclasses.dataclass\nclass Point:\n    x: int = 1\n")
    prompt.type("class Color(enum.Enum):\n    RED = 1\n")
    prompt.type("def f(): return Point(2).x, Color.RED.value\n")
    assert prompt.call("f") == (2, 1)


def test_decorators_go_along_with_what_they_need(prompt: Prompt) -> None:
    prompt.type("import functools\nCALLS = 'calls'\ndef note(): return CALLS\n")
    prompt.type(
        "def noted(fn):\n"
        "    label = note()\n"
        "    @functools.wraps(fn)\n"
        "    def wrapper(*args):\n"
        "        return label, fn(*args)\n"
        "    return wrapper\n"
    )
    prompt.type("@noted\n@functools.lru_cache()\ndef f(x):\n    return x\n")
    assert prompt.call("f", 1) == ("calls", 1)


def test_another_name_for_a_function(prompt: Prompt) -> None:
    prompt.type("def f(): return 1\ng = f\ndef h(): return g() + f()\n")
    assert prompt.call("h") == 2


def test_a_definition_inside_a_block_with_its_strings_as_they_are(prompt: Prompt) -> None:
    prompt.type("if True:\n    def f(x='''a\nb'''):\n        return x\n")
    assert prompt.call("f") == "a\nb"


def test_annotations_that_were_not_evaluated_here_are_not_there(prompt: Prompt) -> None:
    prompt.type("from __future__ import annotations\ndef f(x: Missing) -> Missing: return x\n")
    assert prompt.call("f", 1) == 1


def test_names_of_modules_and_built_in_names_are_left_alone(prompt: Prompt) -> None:
    prompt.type("def f(): return len(__name__), __file__ if False else None, nothing if False else 1\n")
    assert prompt.call("f") == (7, None, 1)


def test_a_name_in_a_class_or_comprehension_counts(prompt: Prompt) -> None:
    prompt.type(
        "N = 2\nM = 3\ndef f():\n    class C:\n        n = N\n    return [C.n * M for _ in range(2)]\n"
    )
    assert prompt.call("f") == [6, 6]


# What can't be sent along.

BAD = [
    ("it = object()", "object", "neither a plain value nor from a module"),
    ("it = open('/dev/null'); it.close()", "_io.TextIOWrapper", "neither a plain value nor from"),
    ("it = 'x' * %d" % (MAX_VALUE + 1), "str", "too long"),
    ("it = [0] * %d" % (MAX_VALUE + 1), "list", "too long"),
    ("it = [object()]", "list", "not all of it is plain"),
    ("it = []; it.append(it)", "list", "not all of it is plain"),
    ("it = float('nan')", "float", "neither"),
    ("it = lambda: 1", "function", "its source is not known"),
    ("import collections; it = collections.namedtuple('it', 'a')", "type", "its source is not known"),
    ("import __main__ as it", "module", "neither"),
    ("import types; it = types.ModuleType('no_such_module')", "module", "neither"),
    ("exec('def it(): pass')", "function", "its source is not known"),
    ("import functools\n@functools.singledispatch\ndef it(x): pass", "function", "its source"),
]


@pytest.mark.parametrize(("typed", "kind", "why"), BAD, ids=[typed[:40] for typed, _, _ in BAD])
def test_a_global_that_cannot_be_sent_along_is_named(
    prompt: Prompt, typed: str, kind: str, why: str
) -> None:
    prompt.type(typed)
    prompt.type("def helper(): return it\ndef f(): return helper()\n")
    text = prompt.refusal("f")
    assert "the global 'it' (%s), which helper uses, can't be sent along" % kind in text
    assert why in text
    assert "pass it as an argument, or put it into a module" in text


def test_a_function_that_was_defined_anew_is_not_mistaken_for_the_new_one(prompt: Prompt) -> None:
    prompt.type("def f(): return 1\nold = f\n")
    prompt.type("def f(): return 2\ndef both(): return old(), f()\ndef new(): return f()\n")
    assert prompt.call("new") == 2
    assert "f was defined anew since" in prompt.refusal("both")


def test_a_function_without_a_source_is_refused(prompt: Prompt) -> None:
    exec("def f(): return 1\nclass C:\n    @staticmethod\n    def g(): pass", vars(prompt.main))
    for path in "f", "C.g":
        text = prompt.refusal(path)
        assert "its source is not known" in text
        assert "put it into a module, or into a script" in text


# Names.


def test_equal_text_is_one_module_and_other_text_another(prompt: Prompt) -> None:
    prompt.type("def f(): return 1\n")
    first = prompt.modules.module_for(prompt.main.f, "f")
    assert first is not None
    assert first.startswith(PREFIX)
    assert first.isidentifier()
    assert prompt.modules.module_for(prompt.main.f, "f") == first
    prompt.type("def f(): return 2\n")
    second = prompt.modules.module_for(prompt.main.f, "f")
    assert second != first
    assert prompt.modules.source_of(first) is not None
    prompt.type("def f(): return 1\n")
    assert prompt.modules.module_for(prompt.main.f, "f") == first


def test_no_context_can_tell_a_name_beforehand(prompt: Prompt) -> None:
    prompt.type("def f(): return 1\n")
    others = PromptModules()
    assert others.module_for(prompt.main.f, "f") != prompt.modules.module_for(prompt.main.f, "f")


def test_the_oldest_are_forgotten(prompt: Prompt) -> None:
    prompt.type("N = 0\ndef f(): return N\n")
    names = []
    for prompt.main.N in range(LIMIT + 1):  # type: ignore[attr-defined]
        names.append(prompt.modules.module_for(prompt.main.f, "f"))
    assert len(set(names)) == LIMIT + 1
    assert [prompt.modules.source_of(str(name)) is None for name in names[:2]] == [True, False]


# When there is no need.


def test_functions_of_a_program_in_a_file_are_found_there(prompt: Prompt, tmp_path: Any) -> None:
    path = tmp_path / "program.py"
    path.write_text("def f(): return 1\n")
    prompt.main.__file__ = str(path)
    exec(compile(path.read_text(), str(path), "exec"), vars(prompt.main))
    assert prompt.modules.module_for(prompt.main.f, "f") is None


def test_what_was_typed_after_a_script_has_run_is_not_in_its_file(
    prompt: Prompt, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt.main.__file__ = str(tmp_path / "program.py")
    prompt.type("def f(): return 1\n")
    # Some programs make functions of text, and run in contexts as well.
    assert prompt.modules.module_for(prompt.main.f, "f") is None
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    assert prompt.call("f") == 1
