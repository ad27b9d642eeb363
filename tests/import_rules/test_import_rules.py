from __future__ import annotations

from pathlib import Path

import pytest

from tests.import_rules import rules

PACKAGES = Path(__file__).parents[2] / "packages"

#: (distribution, module, path) of every module of the workspace.
MODULES = [
    (package.name, rules.module_name(path, package / "src"), path)
    for package in sorted(PACKAGES.iterdir())
    for path in sorted((package / "src").rglob("*.py"))
]
NAMES = frozenset(name for _, name, _ in MODULES)


@pytest.mark.parametrize(
    ("distribution", "module", "path"), MODULES, ids=[name for _, name, _ in MODULES]
)
def test_module_imports_downward_only(distribution: str, module: str, path: Path) -> None:
    found = rules.violations(distribution, module, path.read_text("utf-8"), NAMES)
    assert not found, "\n".join(map(str, found))


def test_no_module_is_in_two_distributions() -> None:
    assert len(NAMES) == len(MODULES)


def test_the_source_folders_were_found() -> None:
    assert {package.name for package in PACKAGES.iterdir()} == set(rules.MAY_IMPORT)
    assert {"mitogen", "mitogen.cli"} <= NAMES


@pytest.mark.parametrize(("importer", "imported"), sorted(rules.LATE))
def test_late_import_exists_and_dodges_no_circle(importer: str, imported: str) -> None:
    sources = {module: path.read_text("utf-8") for _, module, path in MODULES}
    found = {name: list(rules.find_imports(source, NAMES)) for name, source in sources.items()}
    assert any(one.name == imported and one.in_function for one in found[importer])
    at_top = {
        name: {one.name for one in imports if not one.in_function and not one.for_types}
        for name, imports in found.items()
    }
    assert importer not in rules.reachable(imported, at_top)


def said(distribution: str, module: str, source: str) -> list[str]:
    modules = frozenset({"mitogen.parent", "mitogen.master", "mitogen.core.broker"})
    return [one.text for one in rules.violations(distribution, module, source, modules)]


@pytest.mark.parametrize(
    ("distribution", "module", "source", "words"),
    [
        ("mitogen-core", "mitogen.core.x", "import mitogen.parent", "must not know"),
        ("mitogen-core", "mitogen.core.x", "from mitogen import parent", "must not know"),
        ("mitogen-core", "mitogen.core.x", "from mitogen.parent import Context", "must not know"),
        ("mitogen-core", "mitogen.core.x", "import msgpack", "not in the standard library"),
        ("mitogen-core", "mitogen.core.x", "from . import y", "relative import"),
        ("mitogen-parent", "mitogen.parent.x", "import mitogen.ssh", "must not know"),
        ("mitogen-parent", "mitogen.parent.x", "import mitogen.utils", "must not know"),
        ("mitogen-parent", "mitogen.parent.x", "import mitogen.master.router", "must not know"),
        ("mitogen-parent", "mitogen.parent.x", "from mitogen import master", "must not know"),
        ("mitogen-parent", "mitogen.core.x", "", "belongs to mitogen-core"),
        ("mitogen-transports", "mitogen.ssh", "import mitogen.fakessh", "must not know"),
        ("mitogen-transports", "mitogen.ssh", "import rich", "not in the standard library"),
        ("mitogen-fakessh", "mitogen.fakessh", "import mitogen.ssh", "must not know"),
        ("mitogen-utils", "mitogen.utils", "import mitogen.cli", "must not know"),
        ("mitogen-core", "mitogen", "import mitogen.master", "must not know"),
        ("mitogen-core", "mitogen", "def main():\n    import mitogen.ssh", "must not know"),
        ("mitogen-core", "mitogen.core.framing", "import os", "pure module"),
        ("mitogen-core", "mitogen.core.framing", "def f():\n    import time", "pure module"),
        ("mitogen-core", "mitogen.core.framing", "import mitogen.core.broker", "only one another"),
        (
            "mitogen-core",
            "mitogen.core.framing",
            "from mitogen.core import broker",
            "only one another",
        ),
        ("mitogen-core", "mitogen.core.framing", "import mitogen.core", "only one another"),
        (
            "mitogen-core",
            "mitogen.core.x",
            "def f():\n    from mitogen.core import broker",
            "in a function",
        ),
        (
            "mitogen-core",
            "mitogen.core.x",
            "class C:\n    async def f(self):\n        with a:\n            import mitogen.x",
            "in a function",
        ),
        (
            "mitogen-core",
            "mitogen.core.x",
            "if TYPE_CHECKING:\n    import mitogen.parent",
            "must not know",
        ),
        (
            "mitogen-core",
            "mitogen.core.framing",
            "if TYPE_CHECKING:\n    pass\nelse:\n    import os",
            "pure module",
        ),
    ],
)
def test_violation_is_reported(distribution: str, module: str, source: str, words: str) -> None:
    assert any(words in text for text in said(distribution, module, source))


@pytest.mark.parametrize(
    ("distribution", "module", "source"),
    [
        ("mitogen-core", "mitogen.core.broker", "import os, threading\nimport mitogen.core.latch"),
        ("mitogen-core", "mitogen.core.broker", "def f():\n    import logging"),
        ("mitogen-core", "mitogen.core.framing", "import struct\nimport mitogen.core.errors"),
        (
            "mitogen-core",
            "mitogen.core.message",
            "if typing.TYPE_CHECKING:\n    from mitogen.core.router import Router",
        ),
        ("mitogen-core", "mitogen", "def main():\n    import mitogen.utils"),
        ("mitogen-parent", "mitogen.master.router", "import mitogen.parent.router"),
        ("mitogen-transports", "mitogen.ssh", "import mitogen.core, mitogen.parent"),
        ("mitogen-utils", "mitogen.utils", "import mitogen.master"),
        ("mitogen", "mitogen.cli", "import click, rich.table\nimport mitogen.ssh, mitogen.utils"),
    ],
)
def test_what_the_layers_allow_is_not_reported(distribution: str, module: str, source: str) -> None:
    assert said(distribution, module, source) == []
