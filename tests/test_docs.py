"""The documentation's examples do what it says they do.

Each program in `docs/examples` that has a NAME.out or NAME.err beside it is run; in those, ``...`` stands
for any text within a line.
"""

from __future__ import annotations

import ast
import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "docs" / "examples"
PROGRAMS = sorted({path.with_suffix("") for path in [*EXAMPLES.glob("*.out"), *EXAMPLES.glob("*.err")]})
#: Not run here: a module that an example imports, and the demo, which has tests of its own.
OTHERS = {"greeting", "inventory"}


def matches(text: str, path: Path) -> bool:
    """Return True if a program wrote what it must: nothing at all where there is no such file."""
    expected = path.read_text("utf-8") if path.exists() else ""
    if path.suffix == ".err":
        # What is printed and what is logged take different ways here, and may overtake one another.
        text, expected = by_line(text), by_line(expected)
    return bool(re.fullmatch(re.escape(expected).replace(re.escape("..."), ".*"), text))


def by_line(text: str) -> str:
    """Return log lines, sorted by what follows the time."""
    return "\n".join(sorted(text.splitlines(), key=lambda line: line.partition(" ")[2]))


@pytest.mark.parametrize("program", PROGRAMS, ids=[path.name for path in PROGRAMS])
def test_example_prints_what_the_guide_says(program: Path) -> None:
    sources = [path for path in sys.path if path.startswith(str(ROOT / "packages"))]
    environ = dict(os.environ, PYTHONPATH=os.pathsep.join(sources))
    for name in ("MITOGEN_LOG_LEVEL", "MITOGEN_LOG_IO"):
        environ.pop(name, None)
    run = subprocess.run(
        [sys.executable, "%s.py" % program],
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        timeout=50,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    for text, suffix in ((run.stdout, ".out"), (run.stderr, ".err")):
        assert matches(text, program.with_suffix(suffix)), "not as in %s%s:\n%s" % (
            program.name,
            suffix,
            text,
        )


def test_every_example_is_run_and_shown_with_what_it_prints() -> None:
    found = {path.stem for path in EXAMPLES.glob("*.py")}
    assert found == {path.name for path in PROGRAMS} | OTHERS
    pages = "".join(path.read_text("utf-8") for path in (ROOT / "docs").glob("*.rst"))
    shown = set(re.findall(r"literalinclude:: examples/(\S+)", pages))
    suffixes = (".py", ".out", ".err")
    files = {
        path.relative_to(EXAMPLES).as_posix() for path in EXAMPLES.rglob("*") if path.suffix in suffixes
    }
    assert files - {"inventory.py"} == shown


def test_readme_shows_the_first_example_as_it_is() -> None:
    block = (ROOT / "README.md").read_text("utf-8").partition("```python\n")[2].partition("```")[0]
    assert block == (EXAMPLES / "first.py").read_text("utf-8")
    assert len(block.splitlines()) == 15


def test_every_documented_name_is_in_the_reference() -> None:
    import mitogen.master
    import mitogen.parent
    from mitogen.core import handles, names

    reference = (ROOT / "docs/api.rst").read_text("utf-8")
    addresses = ["mitogen.core." + name for group in names.HOMES.values() for name in group.split()]
    for package in (mitogen.master, mitogen.parent):
        addresses += ["%s.%s" % (package.__name__, name) for name in package.__all__]
    for address in addresses:
        name = address.rpartition(".")[2]
        # Handles have a table, made from the code; the other is an alias.
        if not hasattr(handles, name) and address != "mitogen.master.Select":
            assert re.search(r":: %s$" % re.escape(address), reference, re.M), address


def test_every_address_of_the_reference_exists() -> None:
    reference = (ROOT / "docs/api.rst").read_text("utf-8")
    addresses = re.findall(r"^\.\. auto(?!module)\w+:: (\S+)$", reference, re.M)
    assert len(addresses) > 40
    for address in addresses:
        assert pkgutil.resolve_name(address) is not None


def test_the_modules_described_for_contributors_are_those_that_exist() -> None:
    text = (ROOT / "docs/architecture.rst").read_text("utf-8")
    described = re.findall(r"^`(mitogen[.\w]*)`\n    \S", text, re.M)
    existing = set()
    for source in (ROOT / "packages").glob("*/src"):
        for path in source.rglob("*.py"):
            parts = path.relative_to(source).with_suffix("").parts
            existing.add(".".join(parts).removesuffix(".__init__"))
    assert sorted(described) == sorted(existing)


def test_messages_under_troubleshooting_are_the_library_s() -> None:
    guide = (ROOT / "docs/guide.rst").read_text("utf-8").partition("\nTroubleshooting\n")[2]
    said = " ".join(
        node.value
        for path in (ROOT / "packages").glob("*/src/mitogen/**/*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
    messages = [text for line in guide.splitlines() if line[:1] == "*" for text in line.split("*")[1::2]]
    assert len(messages) > 15
    # Names in capitals, what Python or the system says, and where messages are put together.
    others = (
        r"\b(?:N seconds for|[A-Z]+|__main__|\w+ context NAME|its process|ModuleNotFoundError|3\.6)\b"
        r"|\.\.\.|No .*|'a'|: "
    )
    for message in messages:
        for part in re.split(others, message):
            assert part.strip(" :;[]0'(),") in said, "%r of %r" % (part, message)
