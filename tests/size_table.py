"""The table of shipped sizes against their budgets: ``python tests/size_table.py``.

Owns the budgets. What is measured is made by the code that ships it (`mitogen.bundle`, the module finder
of the master, `mitogen.parent.bootstrap`), never by a copy of its logic. Ends with status 1 if a budget
is exceeded; `tests/core/test_sizes.py` asserts the same rows.

The parent half travels as one piece; other modules one by one, each compressed by itself.
"""

from __future__ import annotations

import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mitogen import bundle
from mitogen.master.finder import ModuleFinder
from mitogen.master.responder import parent_half
from mitogen.parent import bootstrap

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

CORE = 12288
PARENT = 9216
TRANSPORT = 2048
FAKESSH = 2560
FIRST_STAGE = 700

PACKAGES = Path(__file__).resolve().parents[1] / "packages"


class Row(NamedTuple):
    """One line of the table; without a budget it only informs."""

    what: str
    size: int
    budget: int | None = None

    @property
    def over(self) -> bool:
        """True if the budget is exceeded."""
        return self.budget is not None and self.size > self.budget

    def __str__(self) -> str:
        if self.budget is None:
            return "%-58s %8s" % (self.what, format(self.size, ","))
        verdict = "OVER by %d" % (self.size - self.budget) if self.over else ""
        return "%-58s %8s  of %6s %4d %%  %s" % (
            self.what,
            format(self.size, ","),
            format(self.budget, ","),
            round(100 * self.size / self.budget),
            verdict,
        )


def measure() -> list[Row]:
    """Return all rows, in the order of the table."""
    return [*_core(), *_parent(), *_first_stage(), *_transports(), *_fakessh()]


def _core() -> Iterator[Row]:
    yield Row("core: minified source, zlib 9", len(bundle.payload(False, {}, True)), CORE)
    yield Row("      marshalled code, compressed", len(bundle.payload(True, {}, True)))
    yield Row("      marshalled code, as a local context gets it", len(bundle.payload(True, {}, False)))


def _parent() -> Iterator[Row]:
    """What a context is sent, as one module, that is asked to start others."""
    layer = [name for name in bundle.PARENT_NAMES if name.startswith("mitogen.parent")]
    yield Row("parent: the modules of mitogen.parent, zlib 9", _shipped_as_one(layer), PARENT)
    yield Row("      with all that goes along", _shipped_as_one(bundle.PARENT_NAMES))
    for path in sorted((PACKAGES / "mitogen-parent/src/mitogen/parent").glob("*.py")):
        name = _module_name(path.relative_to(PACKAGES / "mitogen-parent/src"))
        if name not in layer:
            yield Row("      %s (for calls to other contexts, and masters)" % name, _shipped_size(name))


def _shipped_as_one(names: Iterable[str]) -> int:
    return len(zlib.compress(parent_half(ModuleFinder(), names), 9))


def _first_stage() -> Iterator[Row]:
    for find_core, note in ((False, "own interpreter"), (True, "looks for an installed core")):
        argv = bootstrap.first_stage(find_core)
        yield Row("first stage, %s" % note, len(argv.encode()), FIRST_STAGE)


def _transports() -> Iterator[Row]:
    for path in sorted((PACKAGES / "mitogen-transports/src/mitogen").glob("*.py")):
        yield Row("transport %s" % path.stem, _shipped_size("mitogen." + path.stem), TRANSPORT)


def _fakessh() -> Iterator[Row]:
    root = PACKAGES / "mitogen-fakessh/src"
    names = [_module_name(path.relative_to(root)) for path in sorted(root.glob("mitogen/**/*.py"))]
    if names:
        yield Row("fakessh", sum(map(_shipped_size, names)), FAKESSH)


def _module_name(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _shipped_size(name: str) -> int:
    """Return the bytes of one module as the master's responder sends it."""
    found = ModuleFinder().find(name)
    assert found is not None, name
    return len(zlib.compress(found.source))


def main(rows: Iterable[Row]) -> int:
    """Print `rows`; return the exit status."""
    print("Bytes shipped to contexts, and their budgets\n")
    exceeded = 0
    for row in rows:
        print(row)
        exceeded += row.over
    print("\n%s" % ("%d over budget" % exceeded if exceeded else "all within budget"))
    return min(exceeded, 1)


if __name__ == "__main__":
    sys.exit(main(measure()))
