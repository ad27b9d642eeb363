"""Builds the wheel and the sdist of every distribution: ``python tests/packaging/build.py FOLDER``.

Wheels are flit's own. For sdists flit insists on ``mitogen/__init__.py``, although all
distributions but the core leave that file to the core; this drops that one check. What comes out is
an ordinary sdist: plain flit builds the wheel from it. (So ``flit build --format wheel`` works in
each package's folder, and ``flit build`` only in the core's.)

Rejected: an ``__init__.py`` in each distribution (uninstalling one would break the others), and a
build backend of our own in each (five copies of this, run on users' machines).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from flit_core.sdist import SdistBuilder
from flit_core.wheel import make_wheel_in

PACKAGES = Path(__file__).parents[2] / "packages"


def build(name: str, target: Path) -> tuple[Path, Path]:
    """Build the distribution `name` into the folder `target`; return its wheel and its sdist."""
    configuration = PACKAGES / name / "pyproject.toml"
    wheel = Path(make_wheel_in(configuration, target).file)
    builder = SdistBuilder.from_ini_path(configuration)
    # flit's name for "has no __init__.py"; nothing else in building an sdist asks for it.
    builder.module.is_stub_pkg = not builder.module.file.exists()
    return wheel, Path(builder.build(target))


def main() -> None:
    """Build all distributions into the folder that the command line names."""
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    for package in sorted(PACKAGES.iterdir()):
        for path in build(package.name, target):
            sys.stdout.write(os.path.relpath(path) + "\n")


if __name__ == "__main__":
    main()
