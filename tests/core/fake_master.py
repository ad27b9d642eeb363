"""A child whose parent and master is the test: it has some files, and notes what it is asked."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from mitogen.core.boot import Finder
from mitogen.core.datafile import GET_DATA
from mitogen.core.importer import Importer
from mitogen.core.imports import Modules
from tests.core.tools import Tree

if TYPE_CHECKING:
    import pytest

    from mitogen.core.message import Message


class Master:
    """Context 0, which answers questions for data of its child, context 1.

    :ivar files: contents by owner and path.
    :ivar asked: the questions so far.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
        self.tree = Tree({0: None, 1: 0}, **options)
        self.files: dict[tuple[str, str], bytes] = {}
        self.asked: list[tuple[Any, ...]] = []
        self.version = 1
        self.distributions: list[tuple[str, str, str]] = []
        self.tree[0].router.add_handler(self._on_get_data, GET_DATA)
        modules: Any = {
            "package": (("module",), "master:/site/package/__init__.py", b""),
            "package.module": (None, "master:/site/package/module.py", b"x = 1"),
            "alone": (None, "master:/site/alone.py", b"x = 2"),
            "as_code": (None, "master:/site/as_code.py", b"\0code"),
        }
        importer = Importer(self.tree[1].router, self.tree[1].context(0), Finder(modules))
        self.importer: Any = importer
        monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, importer])
        self.loader = Modules(Finder(modules))
        self.loader.folders["master:/site/package"] = "package"

    def _on_get_data(self, msg: Message) -> None:
        if not msg.is_dead:
            question = msg.unpickle()
            self.asked.append(question)
            msg.reply(self.answer(*question))

    def answer(self, what: str, kind: str, owner: str, *args: Any) -> Any:
        """Return the answer to a question."""
        if what == "distributions":
            return None, [d for d in self.distributions if owner in ("", d[0].lower())]
        if what == "modules":
            return None, [("module", False), ("sub", True)]
        path, below = args[0], (args[0] and args[0] + "/")
        files = {p: content for (o, p), content in self.files.items() if o == owner}
        if any(p.startswith(below) for p in files):
            if what == "list":
                names = {p[len(below) :].partition("/")[::2] for p in files if p.startswith(below)}
                return None, sorted({name: bool(rest) for name, rest in names}.items())
            return (None, True) if what == "stat" else ("EISDIR", "it is a folder")
        if path not in files:
            return "ENOENT", "there is no such file"
        if what == "list":
            return "ENOTDIR", "it is no folder"
        if what == "stat":
            return None, False
        offset, size = args[1:]
        return None, self.version, len(files[path]), files[path][offset : offset + size]

    def offsets(self) -> list[int]:
        """Return where the parts began that were asked for, and forget it."""
        found = [question[4] for question in self.asked if question[0] == "read"]
        self.asked.clear()
        return found
