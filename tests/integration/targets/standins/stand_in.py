#!/usr/bin/env python3
"""The one program behind all names of this folder: it goes by the name that it was called by."""

from __future__ import annotations

import getopt
import json
import os
import sys


def after_dashes(words: list[str]) -> list[str]:
    """Return the command of `exec NAME -- COMMAND`, with options anywhere before the dashes."""
    if "exec" not in words or "--" not in words[words.index("exec") :]:
        sys.exit(64)
    return words[words.index("--", words.index("exec")) + 1 :]


def after_jail(words: list[str]) -> list[str]:
    """Return the command of FreeBSD's `jexec [OPTIONS] JAIL COMMAND`."""
    return getopt.getopt(words, "lnd:e:s:u:U:")[1][1:]


def machinectl(words: list[str]) -> None:
    """Show the leader of a machine in either of the two ways."""
    options, (verb, *names) = getopt.gnu_getopt(words, "p:", ["property=", "value", "no-pager"])
    leaders = json.loads(os.environ["MITOGEN_TEST_STAND_IN_LEADERS"])
    for name in names:
        if name not in leaders:
            sys.exit("Could not get path to machine: No machine '%s' known" % name)
        if verb == "status":
            print(
                "%s(0123456789)\n\t   Since: Thu 2026-01-01\n\t  Leader: %d (init)"
                % (name, leaders[name])
            )
        else:
            print("%s%d" % ("" if ("--value", "") in options else "Leader=", leaders[name]))


def main() -> None:
    """Write down the command line, then do as told."""
    with open(os.environ["MITOGEN_TEST_STAND_IN_LOG"], "a") as f:
        f.write(json.dumps(sys.argv) + "\n")
    program = os.path.basename(sys.argv[0])
    if program == "machinectl":
        machinectl(sys.argv[1:])
        return
    command = after_jail(sys.argv[1:]) if program == "jexec" else after_dashes(sys.argv[1:])
    if not command:
        sys.exit(64)
    try:
        os.execvp(command[0], command)
    except FileNotFoundError:
        sys.exit("%s: %s: not found" % (program, command[0]))


if __name__ == "__main__":
    main()
