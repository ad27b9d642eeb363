"""Functions of the program that are in no file, made into modules: `PromptModules`.

Functions that were typed at a prompt, or in a notebook, are in no module that could be sent. Where the
source of such a function is known, which IPython keeps, and the prompt of Python 3.13, a module is made
up of it and of what it needs of the program's globals, and the call goes there.

Owns what goes into such a module, and its name, which holds a digest of its text: so equal text is sent
once, and a function that was defined anew is another module. The digest is keyed, so that no context can
ask for a name beforehand, to have it remembered as missing on the way to others.

Knows no messages. Any thread makes modules; the broker thread reads them.

Rejected: to send all that was typed (it would run again, and start contexts); to send code objects
(they fit one version of Python); `inspect.getsource` for the text (it needs a file for classes, and
guesses where a function ends).
"""

from __future__ import annotations

import sys
from _thread import allocate_lock

from mitogen.master.bindings import address, is_module, literal
from mitogen.master.program import main_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ast
    from collections.abc import Iterator
    from types import CodeType
    from typing import Any, NoReturn

#: What names of made-up modules begin with.
PREFIX = "mitogen_prompt_"
#: Modules, and definitions, that are kept. Calls make those anew that they need.
LIMIT = 1000

NO_SOURCE = (
    "can't call %s in another context: it is in no file, and its source is not known (IPython and the"
    " prompt of Python 3.13 keep it); put it into a module, or into a script with an"
    " `if __name__ == '__main__':` guard"
)
BAD_GLOBAL = (
    "can't call %s in another context: the global %r (%s), which %s uses, can't be sent along, since %s;"
    " pass it as an argument, or put it into a module"
)


class PromptModules:
    """Modules that are made up for functions of the program that are in no file."""

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._key = b""
        self._sources: dict[str, bytes] = {}
        self._definitions: dict[CodeType, _Definition] = {}

    def source_of(self, name: str) -> bytes | None:
        """Return the source of a module that was made up; None if there is none of that name."""
        return self._sources.get(name)

    def module_for(self, fn: Any, path: str) -> str | None:
        """Return the name of a module that has a function of `__main__`, or None if `__main__` itself
        can be sent. Any thread.

        :param path: the function's name, after those of classes that it is in.
        :raises TypeError: its source is not known, or it needs what can't be sent along.
        """
        function = _function_of(fn)
        if main_file() is not None:
            # After a script that was run with `-i`, more may have been typed.
            typed = function is not None and function.__code__.co_filename[:1] == "<"
            if not typed or not hasattr(sys, "ps1"):
                return None
        top = path.partition(".")[0]
        target = fn
        if top != path or function is None:
            scope = vars(sys.modules["__main__"]) if function is None else function.__globals__
            target = scope.get(top)
        with self._lock:
            source = _Text(path, self._definitions).of(target)
            return self._keep(source.encode())

    def _keep(self, source: bytes) -> str:
        import hashlib
        import os

        self._key = self._key or os.urandom(16)
        name = PREFIX + hashlib.sha256(self._key + source).hexdigest()[:12]
        # The newest last.
        self._sources.pop(name, None)
        if len(self._sources) >= LIMIT:
            del self._sources[next(iter(self._sources))]
        self._sources[name] = source
        return name


class _Definition:
    """The source of one function or class at the top level, and the names that it uses.

    :ivar early: global names that it uses when it is defined.
    :ivar late: global names that it uses when it runs.
    :ivar dotted: attributes of names, as tuples: those of modules may be modules.
    """

    def __init__(self, name: str, text: str, flags: int) -> None:
        import ast

        self.name = name
        self.text = text
        self.has_annotations = bool(flags)
        self.early: set[str] = set()
        self.late: set[str] = set()
        self.dotted = sorted(set(_dotted(ast.parse(text))))
        self._add(compile(text, name, "exec", flags, True), self.early)

    def _add(self, code: CodeType, names: set[str]) -> None:
        import dis

        for instruction in dis.get_instructions(code):
            if instruction.opname in ("LOAD_NAME", "LOAD_GLOBAL", "LOAD_FROM_DICT_OR_GLOBALS"):
                names.add(instruction.argval)
        for const in code.co_consts:
            if isinstance(const, type(code)):
                # Bodies of classes, comprehensions and the like run where they stand.
                at_once = not const.co_flags & 1 or (
                    const.co_name[:1] == "<" and const.co_name != "<lambda>"
                )
                self._add(const, names if at_once else self.late)


class _Text:
    """What goes into one module.

    :param label: what the error messages are about.
    :param definitions: those that were read before, by their code; others are added.
    """

    def __init__(self, label: str, definitions: dict[CodeType, _Definition]) -> None:
        self._label = label
        self._definitions = definitions
        #: Which object each name of the module stands for.
        self._bound: dict[str, Any] = {}
        self._imports: set[str] = set()
        self._values: list[str] = []
        self._blocks: list[str] = []
        self._has_annotations = False

    def of(self, target: Any) -> str:
        """Return the source of a module that defines `target`.

        :raises TypeError: there is no way.
        """
        definition = self._read(target) if _is_definable(target) else None
        if definition is None:
            raise TypeError(NO_SOURCE % self._label)
        self._define(target, definition)
        head = ["from __future__ import annotations"] if self._has_annotations else []
        return "\n".join([*head, *sorted(self._imports), *sorted(self._values), *self._blocks, ""])

    def _define(self, obj: Any, definition: _Definition) -> None:
        """Add a definition behind all that it uses at once, and in front of what it uses later."""
        self._bound[definition.name] = obj
        scope = _scope_of(obj)
        # What decorators call must be there as well; so all that the early names need comes first.
        self._bind_all(definition, definition.early, scope)
        self._blocks.append(definition.text)
        if definition.early and _function_of(obj) is obj:
            # They are those of then, whatever became of the globals since.
            for attribute in ("__defaults__", "__kwdefaults__"):
                value = literal(getattr(obj, attribute))
                if value not in (None, "None"):
                    self._blocks.append("%s.%s = %s\n" % (definition.name, attribute, value))
        self._has_annotations |= definition.has_annotations
        self._bind_all(definition, definition.late, scope)
        for dotted in definition.dotted:
            self._import_below(scope.get(dotted[0]), dotted[1:])

    def _bind_all(self, definition: _Definition, names: set[str], scope: dict[str, Any]) -> None:
        import builtins

        missing = object()
        for name in sorted(names):
            obj = scope.get(name, missing)
            if obj is missing or (name[:2] == name[-2:] == "__" and name != "__main__"):
                continue  # A built-in; or a module's own, such as `__name__`.
            if name in self._bound:
                if self._bound[name] is not obj:
                    self._refuse(name, obj, definition, "%s was defined anew since" % name)
            elif obj is not getattr(builtins, name, missing):
                self._bind(name, obj, definition)

    def _bind(self, name: str, obj: Any, user: _Definition) -> None:
        """Have a name stand for what it does here, if that can be."""
        value = literal(obj)
        place = None if value is not None else address(obj, name)
        if value is not None:
            self._values.append("%s = %s" % (name, value))
        elif is_module(obj):
            self._imports.add("import %s as %s" % (obj.__name__, name))
        elif _is_definable(obj):
            self._bind_defined(name, obj, user)
        elif place is not None:
            module, first, rest = place
            self._imports.add("from %s import %s as %s" % (module, first, name))
            if rest:
                self._values.append("%s = %s.%s" % (name, name, rest))
        else:
            self._refuse(name, obj, user, _why_not(obj))
        self._bound[name] = obj

    def _bind_defined(self, name: str, obj: Any, user: _Definition) -> None:
        definition = self._read(obj)
        if definition is None:
            self._refuse(name, obj, user, _why_not(obj))
        others = self._bound.get(definition.name, obj), _scope_of(obj).get(definition.name, obj)
        if any(other is not obj for other in others):
            self._refuse(name, obj, user, "%s was defined anew since" % definition.name)
        if definition.name not in self._bound:
            self._define(obj, definition)
        if name != definition.name:
            self._blocks.append("%s = %s\n" % (name, definition.name))

    def _refuse(self, name: str, obj: Any, user: _Definition, why: str) -> NoReturn:
        kind = type(obj)
        label = (
            kind.__name__ if kind.__module__ == "builtins" else "%s.%s" % (kind.__module__, kind.__name__)
        )
        raise TypeError(BAD_GLOBAL % (self._label, name, label, user.name, why))

    def _import_below(self, module: Any, names: tuple[str, ...]) -> None:
        """Have the submodules imported that a module's user gets at as attributes."""
        for name in names:
            if not isinstance(module, type(sys)):
                break
            full = "%s.%s" % (module.__name__, name)
            module = vars(module).get(name)
            if module is not None and sys.modules.get(full) is module:
                self._imports.add("__import__(%r)" % full)

    def _read(self, obj: Any) -> _Definition | None:
        """Return the definition of a function or class; None if its source is not known."""
        if isinstance(obj, type):
            return _read_class(obj)
        code = _function_of(obj).__code__
        definition = self._definitions.get(code)
        if definition is None:
            definition = _read_function(code)
            if definition is not None:
                if len(self._definitions) >= LIMIT:
                    self._definitions.clear()
                self._definitions[code] = definition
        return definition


# From objects to source code.


def _function_of(obj: Any) -> Any:
    """Return the function that a callable is, or is made of by decorators; None if there is none."""
    import inspect

    try:
        obj = inspect.unwrap(getattr(obj, "__func__", obj))
    except ValueError:
        return None
    return obj if inspect.isfunction(obj) else None


def _is_definable(obj: Any) -> bool:
    """Return True for functions and classes of `__main__` that were defined at its top level."""
    if isinstance(obj, type):
        return obj.__module__ == "__main__" and "." not in obj.__qualname__
    if not callable(obj) or hasattr(obj, "dispatch"):
        return False  # `functools.singledispatch`: there are more functions than the one.
    function = _function_of(obj)
    if function is None or function.__module__ != "__main__":
        return False
    names = {function.__qualname__, function.__name__, function.__code__.co_name}
    return len(names) == 1


def _why_not(obj: Any) -> str:
    """Return what is in the way of something that a function uses."""
    if isinstance(obj, (str, bytes, list, tuple, dict, set, int)):
        return "it is too long, or not all of it is plain"
    if callable(obj):
        return "its source is not known, or does not define it alone ('def' and 'class' do)"
    return "it is neither a plain value nor from a module"


def _scope_of(obj: Any) -> dict[str, Any]:
    function = next(_methods(obj), None) if isinstance(obj, type) else _function_of(obj)
    return vars(sys.modules["__main__"]) if function is None else function.__globals__


def _methods(cls: type) -> Iterator[Any]:
    """Yield functions that are in the source of a class."""
    for value in vars(cls).values():
        function = _function_of(getattr(value, "fget", value))
        if function is None or function.__module__ != "__main__":
            continue
        if function.__qualname__.rpartition(".")[0] == cls.__qualname__:
            yield function


def _read_function(code: CodeType) -> _Definition | None:
    import ast

    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    for lines in _lines_around(code):
        for node in _nodes(lines, kinds, code.co_name):
            if _first_line(node) == code.co_firstlineno:
                return _definition(lines, node, code.co_flags)
    return None


def _read_class(cls: type) -> _Definition | None:
    import ast

    for function in _methods(cls):
        code = function.__code__
        for lines in _lines_around(code):
            for node in _nodes(lines, (ast.ClassDef,), cls.__name__):
                if node.lineno <= code.co_firstlineno <= (node.end_lineno or 0):
                    return _definition(lines, node, code.co_flags)
    # One without methods. The latest of this name is it: it would not be found by its name otherwise.
    for lines in _typed():
        for node in _nodes(lines, (ast.ClassDef,), cls.__name__):
            return _definition(lines, node, 0)
    return None


def _lines_around(code: CodeType) -> Iterator[list[str]]:
    """Yield the lines that code is in."""
    import inspect

    try:
        yield inspect.findsource(code)[0]
    except (OSError, TypeError, IndexError):
        pass  # They are not known.


def _typed() -> Iterator[list[str]]:
    """Yield what was typed, as far as it is known, the latest first."""
    import linecache

    caches = [getattr(linecache, "_interactive_cache", {}), linecache.cache]
    for entry in [entry for cache in caches for entry in reversed(list(cache.values()))]:
        # Files have a time.
        if len(entry) == 4 and entry[1] is None:
            yield entry[2]


def _nodes(lines: list[str], kinds: tuple[type, ...], name: str) -> list[Any]:
    """Return the definitions of a name in source code."""
    import ast

    source = "".join(lines)
    if name not in source:
        return []
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return []
    return [node for node in ast.walk(tree) if isinstance(node, kinds) and node.name == name]  # type: ignore[attr-defined]


def _first_line(node: Any) -> int:
    lines: list[int] = [node.lineno, *(decorator.lineno for decorator in node.decorator_list)]
    return min(lines)


def _definition(lines: list[str], node: Any, flags: int) -> _Definition:
    import __future__

    text = "".join(lines[_first_line(node) - 1 : node.end_lineno])
    if text[:1].isspace():
        # Within an `if`, for example. To take the indentation away might change strings.
        text = "if True:\n" + text
    if not text.endswith("\n"):
        text += "\n"
    return _Definition(node.name, text, flags & __future__.annotations.compiler_flag)


def _dotted(tree: ast.AST) -> Iterator[tuple[str, ...]]:
    """Yield names with the attributes that follow them."""
    import ast

    for node in ast.walk(tree):
        names: list[str] = []
        while isinstance(node, ast.Attribute):
            names.append(node.attr)
            node = node.value
        if names and isinstance(node, ast.Name):
            yield (node.id, *reversed(names))
