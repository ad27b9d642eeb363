# ruff: noqa: I002 - Python 3.6 has no `annotations` in `__future__`, and this module runs there as it is.
# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators, allow-any-generics
"""Functions that read data of packages. Imports nothing that any Python from 3.6 on lacks."""

import hashlib
import importlib
import pkgutil

import mitogen.core


def tree(node):
    """Return what is in a folder and below: a dictionary, with bytes for files."""
    if node.is_dir():
        assert not node.is_file()
        return {child.name: tree(child) for child in node.iterdir() if child.name != "__pycache__"}
    assert node.is_file()
    return node.read_bytes()


def folder_of(package):
    """Return the folder of a package."""
    from importlib import resources

    return resources.files(package)


def files(name):
    """Return all files of a package."""
    root = folder_of(importlib.import_module(name))
    assert root.name == name.rpartition(".")[2], root
    return tree(root)


def ways_to_read(name):
    """Read files of a package in every way that `importlib.resources` has from 3.9 on."""
    from importlib import resources

    root = folder_of(name)
    note = root / "folder" / "deep" / "note.txt"
    with note.open("rb") as f:
        first = f.read(3), f.read()
    with note.open(encoding="utf-8") as f:
        text = f.read()
    with note.open("r", encoding="utf-8", newline="") as f:
        lines = list(f)
    joined = root.joinpath("folder").joinpath("deep").joinpath("note.txt").read_text(encoding="utf-8")
    with resources.as_file(note) as path:
        copy, copy_name = path.read_bytes(), path.name[-4:]
    gone = path.exists()
    missing = root.joinpath("missing.txt")
    with note.open("rb") as f:
        f.seek(-2, 2)
        last = f.read(), f.tell()
        f.seek(1)
        end = last + (f.read(2),)
    return {
        "first": first,
        "text": text,
        "lines": lines,
        "joined": joined,
        "copy": (copy, copy_name, gone),
        "missing": (missing.is_dir(), error_of(lambda: missing.open("rb").read())),
        "folder": error_of(lambda: (root / "folder").read_bytes()) is not None,
        "end": end,
        "name": note.name,
    }


def error_of(func):
    """Return the name of what `func` raises, or None."""
    try:
        func()
    except (OSError, ValueError) as e:
        return type(e).__name__
    return None


def copy_of_folder(name):
    """Return what is in a temporary copy of a folder, which is gone afterwards."""
    from importlib import resources

    with resources.as_file(resources.files(name) / "folder") as path:
        found = tree(path)
    return found, path.exists()


def old_ways_to_read(name):
    """Read files of a package as one did before 3.9."""
    from importlib import resources

    with resources.open_binary(name, "hello.txt") as f:
        binary = f.read()
    with resources.open_text(name, "hello.txt", encoding="utf-8") as f:
        text = f.read()
    with resources.path(name, "hello.txt") as path:
        copy = path.read_bytes()
    return {
        "binary": binary,
        "text": text,
        "copy": copy,
        "read": resources.read_binary(name, "hello.txt"),
        "is": [resources.is_resource(name, n) for n in ("hello.txt", "folder", "missing.txt")],
        "contents": sorted(n for n in resources.contents(name) if n != "__pycache__"),
        "missing": error_of(lambda: resources.read_binary(name, "missing.txt")),
    }


def get_data(name, path):
    """Return what `pkgutil.get_data` does, or the name of its error."""
    try:
        return pkgutil.get_data(name, path)
    except OSError as e:
        return type(e).__name__


def submodules(name, prefix):
    """Return what `pkgutil` finds in a package."""
    package = importlib.import_module(name)
    found = pkgutil.iter_modules(package.__path__, prefix)
    walked = pkgutil.walk_packages(package.__path__, prefix)
    return sorted((m[1], m[2]) for m in found), sorted((m[1], m[2]) for m in walked)


def distribution(name):
    """Return what `importlib.metadata` tells of a distribution."""
    from importlib import metadata

    found = metadata.distribution(name)
    paths = metadata.files(name)
    return {
        "version": metadata.version(name),
        "metadata": metadata.metadata(name)["Summary"],
        "name": found.metadata["Name"],
        "requires": metadata.requires(name),
        "files": paths and sorted(str(path) for path in paths),
        "texts": paths and {str(path): path.read_text() for path in paths if path.suffix == ".txt"},
        "entry_points": sorted((e.group, e.name, e.value) for e in found.entry_points),
        "text": found.read_text("top_level.txt"),
        "missing": found.read_text("missing.txt"),
    }


def missing_distribution(name):
    """Return the name of the error that a distribution that is nowhere gives."""
    from importlib import metadata

    try:
        metadata.version(name)
    except metadata.PackageNotFoundError as e:
        return type(e).__name__


def load_entry_point(group, name):
    """Find an entry point among those of all distributions, and load and call it."""
    from importlib import metadata

    found = metadata.entry_points()
    group = found.select(group=group) if hasattr(found, "select") else found[group]
    points = [point for point in group if point.name == name]
    assert len(points) == 1, points
    return points[0].load()()


def names_of_distributions():
    """Return the names of all distributions, as often as they are found."""
    from importlib import metadata

    return sorted(found.metadata["Name"] for found in metadata.distributions())


def peak():
    """Return the largest size that this process had, in MB."""
    with open("/proc/self/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmHWM")) // 1024


def open_resource(name, path):
    """Open a file of a package as `importlib.resources` does, also where there is none of that."""
    loader = vars(importlib.import_module(name))["__loader__"]
    return loader.get_resource_reader(name).open_resource(path)


def read_in_pieces(name, path, size):
    """Read a large file; return its digest and size, and by how many MB this process grew."""
    with open_resource(name, path) as f:
        f.read(1)
        f.seek(0)
        before = peak()
        digest, total = hashlib.sha256(), 0
        while True:
            part = f.read(size)
            if not part:
                break
            digest.update(part)
            total += len(part)
    return digest.hexdigest(), total, peak() - before


@mitogen.core.takes_router
def ask(request, router):
    """Put a question of our own to the master, and return the answer, whatever it is."""
    data = request if isinstance(request, bytes) else mitogen.core.Message.pickled(request).data
    msg = mitogen.core.Message(handle=113, data=data)
    try:
        return router.make_context(0).send_await(msg, 20.0)
    except mitogen.core.Error as e:
        return repr(e)


def load(name):
    """Import a package, and `pkgutil` is there already."""
    importlib.import_module(name)


def import_master():
    """Import what is for masters; return its name."""
    import mitogen.master

    return mitogen.master.__name__


def forget_distributions():
    """Forget what is known of distributions."""
    importlib.invalidate_caches()


def version_of_pip():
    """Return the version that `importlib.metadata` finds."""
    from importlib import metadata

    return metadata.version("pip")


def own_version_of_pip():
    """Return the version that is installed for this interpreter."""
    import pip

    return pip.__version__


opened: list = []


def begin_to_read(name, path):
    """Open a file, and read one byte."""
    opened.append(open_resource(name, path))
    return opened[0].read(1)


def go_on_to_read():
    """Read the rest."""
    with opened.pop() as f:
        return len(f.read())


@mitogen.core.takes_econtext
def read_without_master(name, path, econtext):
    """Detach, and write down what reading a file says then, and what is known of distributions."""
    assert pkgutil.get_data(name, "hello.txt")
    said = []
    econtext.detach()
    try:
        pkgutil.get_data(name, "hello.txt")
    except OSError as e:
        said.append(str(e))
    said += [missing_distribution("never-asked-for"), version_of_pip()]
    with open(path, "w") as f:
        f.write("\n".join(said))
