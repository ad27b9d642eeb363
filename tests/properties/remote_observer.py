# ruff: noqa: I002 - Python 3.6 has no `annotations` in `__future__`, and this module runs there as it is.
# mypy: allow-untyped-defs, allow-untyped-calls, disable-error-code="union-attr, var-annotated"
"""What a program sees of a package tree: `observe`. Runs in children, and as a plain program: `main`."""

import importlib
import importlib.util
import json
import pkgutil
import sys
import types


def observe(root, actions, folder):
    """Do one thing after the other; return what came of each, and which modules are there then.

    :param root: the top-level package, which is forgotten in the end.
    :param folder: where it is; paths in texts are shown relative to it.
    """

    def clean(text):
        return str(text).replace("master:" + folder, "").replace(folder, "")

    results = [clean(_result(action)) for action in actions]
    modules = {}
    ours = [name for name in sys.modules if name.partition(".")[0] == root]
    for name in ours:
        modules[name] = {key: clean(value) for key, value in _look(sys.modules[name]).items()}
    for name in ours:
        del sys.modules[name]
    return [results, modules]


def _result(action):
    kind, name, other = action
    try:
        if kind == "import":
            return _show(importlib.import_module(name))
        if kind == "from":
            scope = {}
            exec("from %s import %s" % (name, other), scope)
            del scope["__builtins__"]
            return sorted((key, _show(value)) for key, value in scope.items())
        if kind == "find":
            spec = importlib.util.find_spec(name)
            return spec and _look_at_spec(spec)
        if name not in sys.modules:
            return None
        if kind == "data":
            return _show(pkgutil.get_data(name, other + (".txt" if other in "xy_z" else ".py")))
        if kind == "walk":
            found = pkgutil.walk_packages(sys.modules[name].__path__, name + ".")
            return sorted((module.name, module.ispkg) for module in found)
        if kind == "reload":
            return _show(importlib.reload(sys.modules[name]))
        if kind == "call":
            return _show(sys.modules[name].lazy())
        if kind == "source":
            return getattr(sys.modules[name].__loader__, "get_source", _none)(name)
        raise AssertionError(kind)
    except Exception as e:
        return type(e).__name__, str(e), getattr(e, "name", None), _chain(e)


def _none(name):
    return ""


def _chain(e):
    texts = []
    while e is not None and len(texts) < 5:
        texts.append("%s: %s" % (type(e).__name__, e))
        e = e.__cause__ or e.__context__
    return texts


def _show(value):
    if isinstance(value, types.ModuleType):
        return "module " + value.__name__
    if isinstance(value, types.FunctionType):
        return "function %s.%s" % (value.__module__, value.__qualname__)
    return repr(value)


def _look_at_spec(spec):
    # In Python 3.6 a namespace package has an origin that is no file.
    return spec.name, spec.parent, spec.has_location and spec.origin


def _look(module):
    if module is None:
        return {}
    found = {
        key: _show(value)
        for key, value in vars(module).items()
        if key[:2] != "__" or key in ("__name__", "__package__", "__all__")
    }
    spec = module.__spec__
    found["__spec__"] = _look_at_spec(spec)
    found["__file__"] = getattr(module, "__file__", None)
    # Those of a namespace package are worked out each time, and not if the one above it is gone.
    found["__path__"] = hasattr(module, "__path__") and (not spec.has_location or module.__path__)
    found["__initializing__"] = getattr(spec, "_initializing", False)
    return found


def main():
    """Answer lines of JSON: arguments of `observe`, whose folder is on `sys.path` meanwhile."""
    for line in sys.stdin:
        root, actions, folder = json.loads(line)
        sys.path.insert(0, folder)
        importlib.invalidate_caches()
        print(json.dumps(observe(root, actions, folder)), flush=True)
        sys.path.remove(folder)
        for entry in [entry for entry in sys.path_importer_cache if entry.startswith(folder)]:
            del sys.path_importer_cache[entry]


if __name__ == "__main__":
    main()
