# ruff: noqa: I002 - Python 3.6 has no `annotations` in `__future__`, and this module runs there as it is.
# mypy: allow-untyped-defs, allow-untyped-calls, disable-error-code="union-attr"
"""What the tests of imports do in a child. Imports nothing that any Python from 3.6 on lacks."""

import importlib
import importlib.util
import inspect
import os
import sys
import threading
import traceback

import mitogen.core


def run(module, function, *args):
    """Import a module, and call what is in it."""
    return getattr(importlib.import_module(module), function)(*args)


def get(module, name):
    """Import a module, and return a value that is in it."""
    return getattr(importlib.import_module(module), name)


def attempt(module):
    """Import a module; return None, or the error: type, text, `name`."""
    try:
        importlib.import_module(module)
    except Exception as e:
        return type(e).__name__, str(e), getattr(e, "name", None)
    return None


def attempt_from(module, name):
    """Return the text of the error of ``from module import name``."""
    try:
        exec("from %s import %s" % (module, name), {})
    except ImportError as e:
        return str(e)
    return None


def find(name):
    """Return the name of the spec that is found, None, or the type and text of the error."""
    try:
        spec = importlib.util.find_spec(name)
    except Exception as e:
        return type(e).__name__, str(e)
    return None if spec is None else spec.name


def is_loaded(name):
    """Return whether a module is in `sys.modules`."""
    return name in sys.modules


def facts(name):
    """Import a module and return what Python promises of each."""
    module = importlib.import_module(name)
    spec = module.__spec__
    locations = spec.submodule_search_locations
    return {
        "name": module.__name__,
        "spec": spec.name,
        "package": module.__package__,
        "parent": spec.parent,
        "path": list(module.__path__) if hasattr(module, "__path__") else None,
        "locations": None if locations is None else list(locations),
        "file": getattr(module, "__file__", None),
        "origin": spec.origin,
        "has_location": spec.has_location,
        "same loader": module.__loader__ is spec.loader,
        "loader knows it": [
            getattr(spec.loader, "is_package", bool)(name),
            bool(getattr(spec.loader, "get_code", bool)(name)),
        ],
        "is listed": sys.modules[name] is module,
    }


def came_as_code(name):
    """Return whether a module was sent as a code object."""
    module = importlib.import_module(name)
    return module.__spec__.loader.modules[name][2][:1] == b"\0"


def add_path(folder):
    """Have something installed here."""
    sys.path.append(folder)
    importlib.invalidate_caches()


def sources(module, names):
    """Return what `inspect` knows of things in a module, and of the module itself under ''."""
    found = {"": inspect.getsource(importlib.import_module(module))}
    for name in names:
        thing = importlib.import_module(module)
        for part in name.split("."):
            thing = getattr(thing, part)
        lines, number = inspect.getsourcelines(thing)
        assert "".join(lines) == inspect.getsource(thing)
        found[name] = "%d: %s" % (number, lines[0])
    return found


def traceback_of(module, function, *args):
    """Return the traceback of a call that raises."""
    try:
        run(module, function, *args)
    except Exception:
        return traceback.format_exc()
    return None


def reload(name):
    """Return whether a reloaded module is the same one, and its spec's name."""
    module = importlib.import_module(name)
    again = importlib.reload(module)
    return again is module and sys.modules[name] is module, again.__spec__.name


def in_threads(names):
    """Import modules in as many threads at once; return how many objects they are, and errors."""
    ready = threading.Barrier(len(names))
    found = []
    errors = []

    def work(name):
        ready.wait(30)
        try:
            found.append((name, id(importlib.import_module(name))))
        except BaseException:
            errors.append(traceback.format_exc())

    threads = [threading.Thread(target=work, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return len(found), len(set(found)), errors


def where():
    """Return what is in the current folder, what is installed, and the flags."""
    return os.listdir("."), sys.flags.isolated, sys.flags.no_site, sys.warnoptions


def set_value(module, name, value):
    """Set something in a module."""
    setattr(importlib.import_module(module), name, value)


def version():
    """Return what runs this."""
    return sys.version_info[:2], sys.implementation.name


@mitogen.core.takes_router
def take_source(context_id, router):
    """Have a child of this Python sent source, as if it were of another."""
    router.stream_by_id(context_id).takes_code = False


def waits_for():
    """Return the names of what an import would wait for, without asking."""
    from mitogen.core.importer import Importer

    (importer,) = [finder for finder in sys.meta_path if isinstance(finder, Importer)]
    return sorted(importer._waiting)
