"""The master's distributions, for contexts that ask: `find`, `describe`, `folder_of`.

Owns what of them is told: those that are found by way of `sys.path`, the first of each name, and the
files in the folder of their metadata. Knows no messages. Runs on the broker thread.
"""

from __future__ import annotations

import os
import re
import sys

from mitogen.master.folders import DiskFolder, ZipFolder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from importlib.metadata import PathDistribution
    from typing import Any, Union

    from mitogen.master.folders import Archives

#: Files of which each line begins with the path of a file that was installed.
LISTS = ("RECORD", "SOURCES.txt", "installed-files.txt", "top_level.txt")

#: Characters in which the name and the version of a distribution are looked for.
_HEAD = 4096
_FIELD = re.compile(r"^(Name|Version):[ \t]*(.*?)[ \t\r]*$", re.M)


def normalized(name: str) -> str:
    """Return a distribution's name as it is compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def find(name: str | None) -> Iterator[PathDistribution]:
    """Yield the distributions of that name, or all."""
    from importlib.metadata import DistributionFinder, MetadataPathFinder

    context = DistributionFinder.Context(name=name, path=sys.path)
    return iter(MetadataPathFinder.find_distributions(context))


def describe(distribution: PathDistribution) -> tuple[str, str, str] | None:
    """Return name, version, and the text of entry_points.txt; None if there is no name."""
    # Not by way of `metadata`, which reads and parses descriptions of any length.
    head = next(filter(None, (_head(distribution, file) for file in ("METADATA", "PKG-INFO", ""))), "")
    fields = dict(reversed(_FIELD.findall(head)))
    if not fields.get("Name"):
        return None
    return fields["Name"], fields.get("Version", ""), distribution.read_text("entry_points.txt") or ""


def _head(distribution: PathDistribution, file: str) -> str:
    path: Any = distribution._path
    try:
        with path.joinpath(file).open(encoding="utf-8", errors="replace") as f:
            return str(f.read(_HEAD))
    except (OSError, KeyError):
        return ""


def folder_of(
    distribution: PathDistribution, archives: Archives
) -> tuple[Union[DiskFolder, ZipFolder], tuple[str, ...]]:
    """Return a folder, and what in it is the metadata: its own name, or of one old file."""
    path: Any = distribution._path
    if isinstance(path, os.PathLike):
        full = os.fspath(path)
        if os.path.isdir(full):
            return DiskFolder(full, os.path.join(full, "METADATA")), ()
        return DiskFolder(os.path.dirname(full)), (os.path.basename(full),)
    # In a zip file.
    return ZipFolder(archives, path.root.filename, tuple(path.at.strip("/").split("/"))), ()


def module_of(path: str) -> str:
    """Return the name of the module that a path in a list of files is, or whose data it is."""
    names = path.strip('"').split("/")
    return ".".join(name.partition(".")[0] for name in names if name != "__pycache__")


def is_about_modules(path: str) -> bool:
    """Return True if a path in a list of files is one of a module."""
    first = path.strip('"').partition("/")[0]
    others = (".dist-info", ".egg-info", ".data", ".pth")
    return first not in ("", ".", "..") and not first.endswith(others)


def is_allowed(distribution: PathDistribution, name: str, allowed: Callable[[str], bool]) -> bool:
    """Return True if any of a distribution's modules may be had; or its name, if it has none."""
    text = distribution.read_text("RECORD") or distribution.read_text("SOURCES.txt")
    text = text or distribution.read_text("top_level.txt") or ""
    paths = [line.partition(",")[0] for line in text.splitlines()]
    modules = {module_of(path) for path in paths if is_about_modules(path)}
    return any(map(allowed, modules or {normalized(name).replace("-", "_")}))


def without_denied(text: bytes, allowed: Callable[[str], bool]) -> bytes:
    """Return a list of files without those of modules that may not be had."""
    lines = []
    for line in text.splitlines(True):
        path = line.decode("utf-8", "replace").rstrip().partition(",")[0]
        if not is_about_modules(path) or allowed(module_of(path)):
            lines.append(line)
    return b"".join(lines)
