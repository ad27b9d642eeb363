"""The documented names are at their addresses, with their parameters and defaults; all is documented."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from typing import TYPE_CHECKING

import pytest

import mitogen
import mitogen.core
import mitogen.master
from tests import api_reference

if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from mitogen.parent import Context


def resolve(address: str) -> Any:
    """Import what an address names, as a user would: the longest module of it, then attributes."""
    words = address.split(".")
    for end in range(len(words), 0, -1):
        name = ".".join(words[:end])
        try:
            obj: Any = importlib.import_module(name)
        except ModuleNotFoundError as e:
            if e.name is None or not name.startswith(e.name):
                raise
            continue
        for word in words[end:]:
            obj = getattr(obj, word)
        return obj
    raise AssertionError("nothing of %s can be imported" % address)


def parameters(text: str) -> list[inspect.Parameter]:
    """Return the parameters of a signature written as in the table."""
    namespace: dict[str, Any] = {}
    exec("def function%s: pass" % text, namespace)
    return list(inspect.signature(namespace["function"]).parameters.values())


@pytest.mark.parametrize("address", api_reference.SIGNATURES)
def test_parameters_and_defaults(address: str) -> None:
    obj = resolve(address)
    actual = list(inspect.signature(obj).parameters.values())
    expected = parameters(api_reference.SIGNATURES[address])
    named = [p for p in expected if p.kind is p.POSITIONAL_OR_KEYWORD]
    for have, want in zip(actual, named):
        assert have.name == want.name
        assert have.kind is have.POSITIONAL_OR_KEYWORD
        if want.default is not want.empty:
            assert have.default == want.default, have.name
        elif have.name not in ("fmt", "self"):
            assert have.default is have.empty, have.name
    assert len(actual) >= len(named)
    variable = {p.kind for p in expected} - {inspect.Parameter.POSITIONAL_OR_KEYWORD}
    for parameter in actual[len(named) :]:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            variable.discard(parameter.kind)
        else:
            assert parameter.default is not parameter.empty, "%s is not documented" % parameter.name
    assert not variable


@pytest.mark.parametrize("address", api_reference.KEYWORDS)
def test_further_keywords(address: str) -> None:
    found = inspect.signature(resolve(address)).parameters
    assert set(api_reference.KEYWORDS[address]) <= set(found)


@pytest.mark.parametrize("address", api_reference.VALUES)
def test_values(address: str) -> None:
    assert resolve(address) == api_reference.VALUES[address]


@pytest.mark.parametrize("address", api_reference.ERRORS)
def test_errors(address: str) -> None:
    assert issubclass(resolve(address), resolve(api_reference.ERRORS[address]))
    assert issubclass(resolve(address), Exception)


def test_bases_and_aliases() -> None:
    for address, bases in api_reference.BASES.items():
        for base in bases:
            assert issubclass(resolve(address), resolve(base)), (address, base)
    for address, other in api_reference.SAME.items():
        assert resolve(address) is resolve(other)


def test_the_version_is_that_of_the_distributions() -> None:
    assert isinstance(mitogen.__version__, str)
    assert mitogen.__version__[0].isdigit()


def test_pickled_dead_and_all_are_called_on_the_class() -> None:
    for address in (
        "mitogen.core.Message.pickled",
        "mitogen.core.Message.dead",
        "mitogen.select.Select.all",
    ):
        assert inspect.ismethod(resolve(address)), address


def test_attributes_of_instances(local: Context) -> None:
    router = local.router
    assert isinstance(router, mitogen.master.Router)
    receiver = mitogen.core.Receiver(router)
    instances: dict[str, object] = {
        "Message": mitogen.core.Message(),
        "core.Context": mitogen.core.Context(router, 5, "name"),
        "Router": router,
        "Context": local,
        "Receiver": receiver,
        "Sender": receiver.to_sender(),
        "CallError": mitogen.core.CallError("a.b"),
    }
    receiver.close()
    assert instances.keys() == api_reference.ATTRIBUTES.keys()
    for name, attributes in api_reference.ATTRIBUTES.items():
        for attribute in attributes:
            assert hasattr(instances[name], attribute), (name, attribute)


def test_documented_defaults_of_a_message() -> None:
    msg = mitogen.core.Message(data=b"x")
    assert (msg.router, msg.receiver, msg.is_dead) == (None, None, False)
    assert (msg.src_id, msg.auth_id) == (mitogen.context_id, mitogen.context_id)
    assert mitogen.core.Message.dead("why").is_dead


# -- Docstrings --------------------------------------------------------------------------------


def all_modules() -> list[str]:
    """Return the name of every module of every distribution."""
    found = ["mitogen"]
    for info in pkgutil.walk_packages(mitogen.__path__, "mitogen."):
        found.append(info.name)
    return found


def undocumented(module: ModuleType) -> list[str]:
    """Return what of a module's own public names has no docstring, its own or an inherited one."""
    missing = [] if inspect.getdoc(module) else [module.__name__]
    for name, obj in vars(module).items():
        if name.startswith("_") or getattr(obj, "__module__", None) != module.__name__:
            continue
        if inspect.isfunction(obj) and obj.__name__ == name and not inspect.getdoc(obj):
            missing.append("%s.%s" % (module.__name__, name))
        elif inspect.isclass(obj):
            if not obj.__dict__.get("__doc__"):
                missing.append("%s.%s" % (module.__name__, name))
            missing += [
                "%s.%s.%s" % (module.__name__, name, member)
                for member, value in vars(obj).items()
                if not member.startswith("_")
                and (inspect.isroutine(value) or isinstance(value, (property, classmethod, staticmethod)))
                and not inspect.getdoc(getattr(obj, member))
            ]
    return missing


def test_all_modules_are_found() -> None:
    found = all_modules()
    for name in "mitogen.core.broker", "mitogen.parent.connection", "mitogen.select", "mitogen.utils":
        assert name in found


@pytest.mark.parametrize("name", [name for name in all_modules() if not name.endswith("__main__")])
def test_every_public_name_has_a_docstring(name: str) -> None:
    assert undocumented(importlib.import_module(name)) == []


@pytest.mark.parametrize("package", ["mitogen.core", "mitogen.parent", "mitogen.master"])
def test_a_package_offers_what_its_first_page_names(package: str) -> None:
    """However it does so: with imports, or as the names are first used."""
    module = importlib.import_module(package)
    names = 0
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        # Inside a function it is a matter of that function.
        if isinstance(node, ast.ImportFrom) and node.module and node.col_offset in (0, 4):
            for alias in node.names:
                if alias.asname in (None, alias.name) and node.module.startswith("mitogen"):
                    source = importlib.import_module(node.module)
                    if hasattr(source, alias.name) and alias.name != "find":
                        assert getattr(module, alias.name) is getattr(source, alias.name)
                        names += 1
    assert names >= 6
    assert not hasattr(module, "NoSuchName")
    assert not hasattr(module, "no_such_name")
