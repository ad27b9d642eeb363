"""A package brings its files along, and is known to `importlib.metadata`."""

import importlib.metadata
import importlib.resources

import greetings  # type: ignore[import-not-found]
import mitogen.master


def languages() -> list[str]:
    """Return the names of the files of a package, and of those in its folders."""
    found = []
    folders = [importlib.resources.files("greetings")]
    for folder in folders:
        for item in sorted(folder.iterdir(), key=lambda item: item.name):
            if item.is_dir():
                folders.append(item)
            elif item.name.endswith(".txt"):
                found.append(item.name)
    return found


def is_known(name: str) -> bool:
    """Return whether a distribution is installed, here or in the master."""
    try:
        return bool(importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return False


if __name__ == "__main__":
    with mitogen.master.Router() as router:
        context = router.local()
        print(context.call(greetings.greet, "english", "world"))
        print(context.call(greetings.greet, "more/french", "world"))
        print(context.call(languages))
        print("installed:", context.call(is_known, "no-such-distribution"))
