"""Does one work with one library, and prints figures as JSON: ``driver.py LIBRARY WORK SETTINGS``.

Run as a module by the interpreter of the library's environment, at the top of the workspace. It imports
nothing of this project but the benchmarks, and the library where that is what is measured.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

from tests.benchmarks.works import WORKS


def main(name: str, work_name: str, settings: str) -> None:
    """Print what was measured: nothing if the library has no way to do the work."""
    sys.path.append(str(Path(__file__).with_name("sent")))
    library = importlib.import_module("tests.benchmarks.use_%s" % name).Library()
    work = WORKS[work_name]
    found = {}
    try:
        if all(hasattr(library, need) for need in work.needs):
            found = work.run(library, json.loads(settings))
    finally:
        library.close()
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
