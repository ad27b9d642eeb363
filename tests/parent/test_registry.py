"""`mitogen.parent.registry`: transports by name, from here and from other distributions."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import mitogen.core
import mitogen.parent
from mitogen.parent import registry, signatures
from mitogen.parent.local import LocalConnection
from mitogen.parent.options import Options

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]

#: A distribution with one good transport and all kinds of bad ones: what is wrong, and the words for it.
MODULE = """
from mitogen.parent.connection import Connection as Base
from mitogen.parent.transport import Connection, Options

class Good(Connection):
    transport = "good"
    @property
    def target(self): return "there"
    def wrap(self, argv): return argv

class OtherName(Good):
    transport = "another"

class NoOptions(Good):
    transport = "no-options"
    options_class = dict

class NoWrap(Connection):
    transport = "no-wrap"
    target = "there"

class NoTarget(Connection):
    transport = "no-target"
    def wrap(self, argv): return argv

class Local(Base):
    transport = "local-base"

def make():
    class Hidden(Good):
        transport = "hidden"
    return Hidden

Hidden = make()
function = make
"""

BROKEN = {
    "no-module": (
        "no_such_module:Good",
        "can't load no_such_module:Good of the distribution broken-mt: Mod",
    ),
    "no-class": ("broken_mt:Nothing", "can't load broken_mt:Nothing .* AttributeError: .*'Nothing'"),
    "fails": ("broken_mt_fails:Good", "can't load broken_mt_fails:Good .* ZeroDivisionError"),
    "function": (
        "broken_mt:function",
        "is <function .*must be a class derived from mitogen.parent.transport",
    ),
    "other-name": ("broken_mt:OtherName", "must have transport = 'other-name', not 'another'"),
    "no-options": ("broken_mt:NoOptions", "has <class 'dict'> as options_class, which is not derived"),
    "hidden": ("broken_mt:Hidden", "is defined within a function, so a context .* can't import it"),
    "local-base": ("broken_mt:Local", "is derived from a class that starts local interpreters"),
    "no-wrap": ("broken_mt:NoWrap", "does not define wrap"),
    "no-target": ("broken_mt:NoTarget", "does not define target"),
}


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have that distribution where Python looks for such."""
    info = tmp_path / "broken_mt-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-mt\nVersion: 1.0\n")
    lines = ["[%s]" % registry.GROUP, "good = broken_mt:Good", "docker = broken_mt:Good"]
    lines += ["%s = %s" % (name, value) for name, (value, _) in BROKEN.items()]
    (info / "entry_points.txt").write_text("\n".join(lines))
    (tmp_path / "broken_mt.py").write_text(MODULE)
    (tmp_path / "broken_mt_fails.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("broken_mt", None)


def test_found_by_its_entry_point(installed: None) -> None:
    assert registry.find("good").__module__ == "broken_mt"
    assert {"good", "no-wrap", "fork", "local", "ssh"} <= set(registry.names())
    assert registry.names() == sorted(registry.names())


def test_those_of_the_library_go_first(installed: None) -> None:
    assert registry.find("docker").__module__ == "mitogen.docker"


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_transport_is_an_error_that_says_why(installed: None, name: str) -> None:
    value, words = BROKEN[name]
    with pytest.raises(mitogen.core.StreamError, match="^transport %s: .*%s" % (name, words)) as info:
        registry.find(name)
    assert not isinstance(info.value, AttributeError)
    assert "%s of the distribution broken-mt" % value in str(info.value)


def test_an_unknown_name_is_an_attribute_error_that_lists_the_known() -> None:
    with pytest.raises(
        AttributeError, match="is called 'shh'; transports are buildah, .*, ssh, su, sudo"
    ):
        registry.find("shh")
    with pytest.raises(mitogen.core.StreamError):
        registry.find("shh")


def test_a_transport_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.BUILT_IN, "ssh", "mitogen.not_here:Connection")
    with pytest.raises(AttributeError, match="ssh is not installed here: pip install mitogen-transports"):
        registry.find("ssh")


def test_options_that_do_not_fit() -> None:
    def refusal(cls: Any, *args: object, **given: object) -> str:
        with pytest.raises(TypeError) as info:
            registry.make_options(cls, args, given)
        return str(info.value)

    ssh = registry.find("ssh")
    assert refusal(ssh).startswith("ssh: missing 1 required positional argument: 'hostname'; its options")
    text = refusal(ssh, "host", usrename="x")
    assert "unexpected keyword argument 'usrename'" in text
    assert "hostname, username=None" in text
    assert text.endswith("via=None")
    assert "remote_name=None, python_path=None, debug=False, connect_timeout=None" in text
    # Those of other distributions take what they do not know as **common.
    assert "common" not in text
    options = registry.make_options(LocalConnection, (), {"name": "a"})
    assert options.name == "a"


# -- Tables that must agree --------------------------------------------------------------------


def test_the_table_is_that_of_the_distribution() -> None:
    path = ROOT / "packages/mitogen-transports/pyproject.toml"
    table = path.read_text().partition('[project.entry-points."%s"]' % registry.GROUP)[2]
    entries = dict(re.findall(r'^(\w+) = "(\S+)"$', table.partition("\n[")[0], re.MULTILINE))
    # `local` is in another distribution.
    expected = {name: value for name, value in registry.BUILT_IN.items() if name != "local"}
    assert entries == expected
    modules = {
        "mitogen." + file.stem for file in (ROOT / "packages/mitogen-transports/src/mitogen").iterdir()
    }
    assert {value.partition(":")[0] for value in expected.values()} == modules - {"mitogen.__pycache__"}


@pytest.mark.parametrize("name", registry.BUILT_IN)
def test_built_in_transports_are_what_they_ask_of_others(name: str) -> None:
    cls = registry.find(name)
    assert cls.transport == name
    if name != "local":
        assert registry.check(name, "here", cls) is cls


def parameters(fn: Any) -> list[tuple[str, object]]:
    """Return the parameters of a function with their defaults, but for `self` and **common."""
    return [
        (one.name, one.default)
        for one in inspect.signature(fn).parameters.values()
        if one.kind is one.POSITIONAL_OR_KEYWORD and one.name != "self"
    ]


def flattened(cls: type[Options]) -> list[tuple[str, object]]:
    """Return the parameters of a class of options, and of those that it passes the rest on to."""
    found: list[tuple[str, object]] = []
    for one in cls.__mro__:
        if one is Options:
            break
        if "__init__" in vars(one):
            found += [pair for pair in parameters(one) if pair[0] not in dict(found)]
    return found


@pytest.mark.parametrize("name", [name for name in registry.BUILT_IN if name != "local"])
def test_signatures_are_those_of_the_options(name: str) -> None:
    shown = parameters(getattr(signatures.Transports, name))
    cls = registry.find(name).options_class
    own = parameters(cls)
    assert shown[: len(own)] == own
    # What is left goes to classes above, which may take more than the transport shows.
    for pair in shown[len(own) :]:
        assert pair in flattened(cls)


def test_what_all_have_in_common() -> None:
    common = set(dict(parameters(Options)))
    source = ast_fields(signatures, "Common")
    assert source == common | {"via"}
    assert set(dict(parameters(mitogen.parent.Router.local))) == common | {"via"}


def ast_fields(module: Any, name: str) -> set[str]:
    """Return the annotated names of a class that only type checkers see."""
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.ClassDef) and node.name == name:
            return {ast.unparse(one.target) for one in node.body if isinstance(one, ast.AnnAssign)}
    raise LookupError(name)


def test_entry_points_are_only_looked_at_for_names_of_others() -> None:
    """It takes long where much is installed."""
    code = (
        "import sys, mitogen.parent.registry as r; r.find('ssh'); r.find('local');"
        "print('importlib.metadata' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": ":".join(path for path in sys.path if "packages" in path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert done.stdout == "False\n"


def test_a_name_that_begins_with_an_underscore_is_no_transport(router: Any) -> None:
    with pytest.raises(AttributeError, match="^_nothing$"):
        getattr(router, "_nothing")  # noqa: B009
