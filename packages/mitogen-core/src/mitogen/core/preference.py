"""The master's copy of named packages goes before one that is installed here: `install`.

Outside the bundle: sent along where a router has an `import_preference`. Its finder stands behind the
one of the library's own modules, in front of all others.
"""

from __future__ import annotations

import sys
from _thread import get_ident

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


class Preferred:
    """A meta-path finder for packages that the parent is asked for first.

    :param names: of packages, and of modules that are in none.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(names)

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        """Return the spec of the master's copy; None where an installed one will do, or must."""
        if fullname.partition(".")[0] not in self._names:
            return None
        for finder in sys.meta_path:
            importer: Any = finder
            # Another one in a fork; none in a broker thread, which can't wait.
            if hasattr(importer, "_fetch") and get_ident() != importer._router.broker._thread_id:
                importer._fetch(fullname)
                if fullname in importer._finder.modules:
                    from mitogen.core.imports import spec_of

                    return spec_of(importer, fullname)
        return None


def install(config: dict[str, Any]) -> None:
    """Prefer the master's copy of packages in this process, a child that starts."""
    sys.meta_path.insert(1, Preferred(config["prefer"]))
