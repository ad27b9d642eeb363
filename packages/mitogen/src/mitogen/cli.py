"""The command line. So far it says one thing: which mitogen distributions are installed.

It owns what ``python -m mitogen`` prints and its exit status. It imports no other mitogen module
and no third-party package, so that it still answers where an installation is incomplete, which is
when one asks. Everything here runs on the calling thread.

Rejected: finding the distributions by scanning for the prefix ``mitogen-``, because third-party
transports have such names too, and their versions do not move with ours.
"""

from __future__ import annotations

import importlib.metadata
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

#: Every distribution that puts modules into the import package, lowest layer first.
DISTRIBUTIONS = (
    "mitogen-core",
    "mitogen-parent",
    "mitogen-transports",
    "mitogen-fakessh",
    "mitogen-utils",
    "mitogen",
)


def installed_versions() -> dict[str, str]:
    """Return the version of each installed distribution by its name, lowest layer first.

    Distributions that are not installed are left out; modules that are merely importable, as in a
    source tree on ``PYTHONPATH``, do not count. Any thread may call it.
    """
    versions = {}
    for name in DISTRIBUTIONS:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def main(argv: Sequence[str] | None = None) -> int:
    """Print a line with name and version for each installed distribution.

    :param argv: The arguments after the program's name; None means those of this process.
    :returns: The exit status: 0, or 2 if there are arguments, since no command exists yet.
    """
    arguments = sys.argv[1:] if argv is None else argv
    if arguments:
        sys.stderr.write(
            "mitogen: there are no commands or options yet, so %r means nothing; run "
            "'python -m mitogen' alone for the installed versions\n" % (arguments[0],)
        )
        return 2
    versions = installed_versions()
    for name, version in versions.items():
        sys.stdout.write("%s %s\n" % (name, version))
    if not versions:
        sys.stdout.write("no mitogen distribution is installed (running from a source tree?)\n")
    return 0
