"""Distributions of the master, in a child: what `importlib.metadata` finds after those installed here.

One request lists names, versions and entry points of all, so that to look through the entry points costs
one round trip; other files of a distribution are asked for one by one. What was answered is kept, as
modules are, until `importlib.invalidate_caches`.

The class is derived from that of whoever asks: `importlib.metadata`, or the package `importlib_metadata`
where a Python, or a program, needs that.

Any thread but the broker's. On demand: few children ask.
"""

from __future__ import annotations

import re
import sys

from mitogen.core.data import Resource
from mitogen.core.datafile import ask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from mitogen.core.imports import Modules

    #: Name, version, and text of entry_points.txt.
    Listed = tuple[str, str, str]

#: Where a loader keeps what was answered: what was listed, by the name that was asked for; texts, by the
#: names of a distribution and of a file; and the paths that a distribution installed, by its name alone.
_KEPT = "distributions"


def normalized(name: str) -> str:
    """Return a distribution's name as it is compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def find_distributions(loader: Modules, context: Any) -> Iterator[Any]:
    """Return distributions that the master has, and this process has not.

    :param context: what `importlib.metadata` wants: `name`, or all if that is None. If it has a `path` of
        its own there are none, since no folder here has any.
    """
    if context is None:
        import importlib.metadata

        context = importlib.metadata.DistributionFinder.Context()
    if "path" in vars(context):
        return
    wanted = context.name
    own = list(_own(loader, context))
    for distribution in own:
        if distribution[1]:
            yield distribution[0]
    known = {name for _, _, name in own}
    base = _base(context)
    for listed in _list(loader, wanted):
        if normalized(listed[0]) not in known:
            yield _class_for(base)(loader, listed)


def _own(loader: Modules, context: Any) -> Iterator[tuple[Any, bool, str]]:
    """Yield distributions found here, whether they are news, and their names as they are compared."""
    importer = loader.importer
    before = set(sys.path)
    if importer is not None and sys.flags.no_site and "site" not in sys.modules:
        # Nothing made it necessary so far, and other finders have looked in vain. Looking for any module
        # sets it up.
        importer.find_spec("sys")
    news = set(sys.path) - before
    for finder in sys.meta_path:
        find = getattr(finder, "find_distributions", None)
        if find is None or finder is importer:
            continue
        for distribution in find(context):
            path = getattr(distribution, "_path", None)
            stem, _, kind = (path.name if path is not None else "").rpartition(".")
            if kind in ("dist-info", "egg-info"):
                name = stem.partition("-")[0]
            else:
                name = distribution.metadata["Name"] or ""
            yield distribution, str(getattr(path, "parent", "")) in news, normalized(name)


def _base(context: Any) -> Any:
    """Return the class `Distribution` of whoever made `context`."""
    for cls in type(context).__mro__:
        found = getattr(sys.modules.get(cls.__module__), "Distribution", None)
        if found is not None:
            return found
    import importlib.metadata

    return importlib.metadata.Distribution


def _kept(loader: Modules) -> dict[Any, Any]:
    kept: dict[Any, Any] = loader.__dict__.setdefault(_KEPT, {})
    importer: Any = loader.importer
    if importer is not None:
        # `importlib.invalidate_caches` calls it.
        importer.__dict__["invalidate_caches"] = kept.clear
    return kept


def _list(loader: Modules, name: str | None) -> Iterable[Listed]:
    """Return what the master has of that name, or all that it has; nothing if it can't be asked."""
    kept = _kept(loader)
    key = name and normalized(name)
    if key not in kept:
        try:
            kept[key] = ask(loader, "distributions", "distribution", key or "")[0]
        except OSError:
            # A context that lives on without its master still has what is installed here.
            return ()
    listed: Iterable[Listed] = kept[key]
    return listed


class Located(Resource):
    """A file that a distribution names, as `importlib.metadata` locates it.

    :ivar path: where it lies in the folder that the distribution is installed in.
    :ivar listed: returns the paths of all files that the distribution names.
    """

    path: str
    listed: Callable[[], set[str]]

    def exists(self) -> bool:
        """Return True if the distribution's own list has it: nobody asks for each of a thousand files."""
        return self.path in self.listed() or Resource.exists(self)


_classes: dict[Any, Any] = {}


def _class_for(base: Any) -> Any:
    if base not in _classes:
        _classes[base] = _make_class(base)
    return _classes[base]


def _make_class(base: Any) -> Any:
    """Return the class of the master's distributions.

    :param base: `Distribution` of `importlib.metadata` or `importlib_metadata`.
    """

    class MasterDistribution(base):  # type: ignore[misc]
        """A distribution that is installed in the master."""

        def __init__(self, loader: Modules, listed: Listed) -> None:
            self._loader = loader
            self._name, self._version, self._entry_points = listed

        def __repr__(self) -> str:
            return "<%s %s of the master>" % (self._name, self._version)

        @property
        def name(self) -> str:
            """Its name."""
            return self._name

        @property
        def _normalized_name(self) -> str:
            # Compared by `entry_points` with those of distributions that are installed here.
            return normalized(self._name).replace("-", "_")

        @property
        def version(self) -> str:
            """Its version."""
            return self._version

        def read_text(self, filename: Any) -> str | None:
            """Return the text of a file among its metadata; None if there is no such file."""
            filename = str(filename)
            if filename == "entry_points.txt":
                return self._entry_points or None
            kept = _kept(self._loader)
            key = self._name, filename
            if key not in kept:
                names = tuple(filename.split("/")) if filename else ()
                file = Resource(self._loader, "distribution", self._name, names)
                try:
                    kept[key] = file.read_bytes().decode("utf-8")
                except (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError):
                    kept[key] = None
            text: str | None = kept[key]
            return text

        def locate_file(self, path: Any) -> Resource:
            """Return a file that it installed: in one of its packages, or among its metadata."""
            first, *rest = str(path).split("/")
            whose = ("package", first)
            if first.endswith((".dist-info", ".egg-info")):
                whose = ("distribution", self._name)
            located = Located(self._loader, *whose, tuple(rest))
            located.path = str(path)
            located.listed = self._listed
            return located

        def _listed(self) -> set[str]:
            """Return the paths of all files that it says it installed."""
            import csv

            kept = _kept(self._loader)
            if (self._name,) not in kept:
                text = self.read_text("RECORD") or self.read_text("SOURCES.txt") or ""
                kept[self._name,] = {row[0] for row in csv.reader(text.splitlines()) if row}
            names: set[str] = kept[self._name,]
            return names

    return MasterDistribution
