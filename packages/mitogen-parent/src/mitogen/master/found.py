"""What there is of a module: `FoundModule`, or why there is nothing, `NotServable`.

Values that `mitogen.master.finder` makes, and others read. Source and code are made when they are first
asked for: most contexts need one of them alone.
"""

from __future__ import annotations

from mitogen.core.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType


class NotServable(Error):
    """A module exists in the master, but its source can't be given to a context.

    :ivar fullname: the module's name.
    :ivar reason: why, and what to do, as the end of a sentence.
    """

    def __init__(self, fullname: str, reason: str) -> None:
        self.fullname = fullname
        self.reason = reason
        Error.__init__(self, "module %s can't be sent to a context: %s", fullname, reason)


class FoundModule:
    """What a context needs to import a module. Immutable.

    :ivar fullname: the name that it was asked for.
    :ivar path: file that the source is from; within a zip file ``x.zip/pkg/mod.py``; the folder of
        a namespace package.
    :ivar source: source code as in the file, or as modifiers made it; minified for modules of this
        library; empty for a namespace package.
    :ivar is_package: whether it may have submodules.
    :ivar children: for a package, the sorted names of its direct submodules, without dots.
    :ivar package: value of ``__package__``, where that can't be told from the name: `__main__` of
        ``python -m package`` may import relative to it.
    """

    __slots__ = (
        "_get_code",
        "_is_whole",
        "_source",
        "children",
        "fullname",
        "is_package",
        "package",
        "path",
    )

    def __init__(
        self,
        fullname: str,
        path: str,
        source: bytes,
        children: tuple[str, ...] | None = None,
        package: str | None = None,
        get_code: Callable[[], CodeType | None] | None = None,
    ) -> None:
        self.fullname = fullname
        self.path = path
        self._source = source
        #: Minifying takes long, and children with our Python have no need for the source.
        self._is_whole = fullname.partition(".")[0] == "mitogen"
        self.is_package = children is not None
        self.children = children or ()
        self.package = fullname if self.is_package else fullname.rpartition(".")[0]
        if package is not None:
            self.package = package
        self._get_code = get_code or self._compile

    @property
    def source(self) -> bytes:
        """The source that contexts get."""
        if self._is_whole:
            self._source = _minified(self._source)
            self._is_whole = False
        return self._source

    def code(self) -> CodeType | None:
        """Return the code object, compiled or read from where Python keeps it; None if there is none.

        There is none of source that is not valid, nor of a namespace package.
        """
        try:
            return self._get_code()
        except Exception:
            return None  # The context that imports it will see the error.

    def _compile(self) -> CodeType:
        return compile(self.source, self.path, "exec", 0, True)

    def __repr__(self) -> str:
        return "FoundModule(%r, %r, %d bytes)" % (self.fullname, self.path, len(self._source))


def _minified(source: bytes) -> bytes:
    import importlib.util

    from mitogen.minify import minify

    return minify(importlib.util.decode_source(source), own=True).encode("utf-8")
