"""The program's modules in a child: `spec_of`, and `Modules`, the loader of what the parent sent.

Outside the bundle: it comes along with the first module that is not the library's own.

What was sent is served from the last place of `sys.meta_path` only, and nothing is added to a package
that is installed here, so that versions of one package are never mixed; but for namespace packages, which
are made for that. The standard library of another version is not taken at all.

Files and folders of modules are named ``master:/path``, so that they are never taken for files here.
A path hook knows those names, for `pkgutil.iter_modules`. Data files are the business of
`mitogen.core.data`.
"""

from __future__ import annotations

import sys
from _frozen_importlib import ModuleSpec
from _thread import get_ident

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType
    from typing import Any

    from mitogen.core.boot import Finder
    from mitogen.core.importer import Importer


class Modules:
    """Load what the parent sent.

    :param finder: what has it. Its class is not derived from, since a child has no module of that name.
    :ivar folders: full names of packages, by their folders.
    """

    def __init__(self, finder: Finder) -> None:
        self.finder = finder
        self.modules: dict[str, Any] = finder.modules
        self.folders: dict[str, str] = {}
        self.get_filename = finder.get_filename
        self.is_package = finder.is_package
        self._get_code = finder.get_code

    @property
    def importer(self) -> Importer | None:
        """What asks the parent; another one in a fork of the process that first imported."""
        for finder in sys.meta_path:
            # Not by its class: that module imports this one.
            if hasattr(finder, "_fetch"):
                return finder  # type: ignore[return-value]
        return None

    def get_source(self, fullname: str) -> str | None:
        """Return the source, asking for it if code was sent; None if it can't be had.

        Any thread. The broker thread, which can't wait, gets None instead of asking.
        """
        content = self.modules[fullname][2]
        importer = self.importer
        if not isinstance(content, bytes):
            return None
        if content[:1] == b"\0":
            if importer is None or get_ident() == importer._router.broker._thread_id:
                return None
            importer._fetch(fullname + ":source")
            content = self.modules.get(fullname + ":source", (None, None, None))[2]
            if not isinstance(content, bytes):
                return None
        from importlib.util import decode_source

        return decode_source(content)

    def get_code(self, fullname: str) -> Any:
        """Return the code object of a module."""
        if sys.flags.optimize:
            # The code that was sent still has its asserts.
            source = self.get_source(fullname)
            if source is not None:
                return compile(source, self.get_filename(fullname), "exec", 0, True)
        return self._get_code(fullname)

    def create_module(self, spec: Any) -> None:
        """Let the import system make the module as usual."""

    def exec_module(self, module: ModuleType) -> None:
        """Run the code of a module."""
        exec(self.get_code(module.__name__), module.__dict__)

    def get_data(self, path: str) -> bytes:
        """Return the content of a file of a package, for `pkgutil.get_data`.

        :raises OSError: there is none.
        """
        from mitogen.core.data import get_data

        return get_data(self, path)

    def get_resource_reader(self, fullname: str) -> Any:
        """Return what `importlib.resources` reads the files of a package with."""
        from mitogen.core.data import get_resource_reader

        return get_resource_reader(self, fullname)

    def find_distributions(self, context: Any = None) -> Iterable[Any]:
        """Return what `importlib.metadata` is to know of the master's distributions."""
        try:
            from mitogen.core.metadata import find_distributions
        except ImportError:
            # Nobody can be asked any more, not even for that. What is installed here is found still.
            return iter(())
        return find_distributions(self, context)

    def path_hook(self, path: str) -> Any:
        """Return the finder of a package's folder, for `pkgutil`.

        :raises ImportError: it is no such folder.
        """
        known, names = path, [""]
        while known.startswith("master") and known not in self.folders:
            # It may be the folder of a package that nobody has imported yet.
            known, _, name = known.rpartition("/")
            names.insert(1, name)
        if known not in self.folders:
            raise ImportError("not a folder of a package that was sent: %s" % path)
        return Folder(self, self.folders[known] + ".".join(names))


class PackageModules(Modules):
    """The loader of one package, where `importlib.resources` asks the loader without saying which.

    :param fullname: the package.
    """

    def __init__(self, whole: Modules, fullname: str) -> None:
        Modules.__init__(self, whole.finder)
        self.folders = whole.folders
        self._fullname = fullname

    @property
    def archive(self) -> Any:
        """What Python 3.9 takes for the zip file that the package is in."""
        from mitogen.core.data import archive

        return archive(self, self._fullname)


class Refusal:
    """The loader of a module that the parent has but can't send: it is found, and importing it fails.

    :param reason: why.
    """

    def __init__(self, reason: str | None) -> None:
        self._reason = reason

    def create_module(self, spec: Any) -> None:
        """Say why there is none.

        :raises ImportError: always.
        """
        raise ImportError(self._reason, name=spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Loaders have one."""


class Folder:
    """The entry of a package in `sys.path_importer_cache`."""

    def __init__(self, loader: Modules, fullname: str) -> None:
        self._loader = loader
        self._fullname = fullname

    def find_spec(self, fullname: str, target: Any = None) -> Any:
        """Leave it to the importer, which comes last."""

    def iter_modules(self, prefix: str = "") -> Iterable[tuple[str, bool]]:
        """Yield names of submodules and whether they are packages."""
        from mitogen.core.data import iter_modules

        return iter_modules(self._loader, self._fullname, prefix)


def spec_of(importer: Importer, fullname: str) -> Any:
    """Return the spec of a module that was sent, or was refused; None if it must not be used here."""
    known: Any = importer.__dict__
    loader = known.get("loader")
    if loader is None:
        loader = known["loader"] = Modules(importer._finder)
        known["find_distributions"] = loader.find_distributions
        sys.path_hooks.append(loader.path_hook)
    parent: Any = sys.modules.get(fullname.rpartition(".")[0])
    spec = getattr(parent, "__spec__", None)
    if spec is not None and spec.has_location and not isinstance(spec.loader, Modules):
        # A regular package that is installed here.
        return None
    if fullname not in loader.modules:
        refusal: Any = Refusal(importer._missing.get(fullname))
        return ModuleSpec(fullname, refusal)
    children, path, content = loader.modules[fullname]
    path = path or loader.get_filename(fullname)
    if path.startswith("master-") and not path.startswith("master-%d.%d:" % sys.version_info[:2]):
        return None
    spec = ModuleSpec(fullname, loader, origin=path, is_package=children is not None)
    spec.has_location = True
    if children is not None:
        folder = path
        if content or path.endswith(".py"):
            folder = path.rpartition("/")[0] or path
        else:
            # A namespace package has no file.
            spec.origin = None
            spec.has_location = False
        spec.submodule_search_locations = [folder]
        loader.folders[folder] = fullname
        if sys.version_info[:2] == (3, 9) and spec.origin:
            spec.loader = PackageModules(loader, fullname)
    return spec
