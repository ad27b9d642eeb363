"""The runnable examples of the documentation do what they say."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

INVENTORY = Path(__file__).resolve().parents[2] / "docs/examples/inventory.py"


def inventory(*targets: str) -> tuple[int, str, str]:
    """Run the demo; return its exit status, output and errors."""
    run = subprocess.run(
        [sys.executable, str(INVENTORY), *targets],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        timeout=30,
        check=False,
    )
    return run.returncode, run.stdout, run.stderr


def rows(out: str) -> list[str]:
    """Return the rows of the table: what is between its header and the first empty line."""
    lines = out.partition("\n\n")[0].splitlines()
    assert lines[0].startswith("TARGET")
    return lines[1:]


def test_inventory_without_targets_asks_four_local_contexts() -> None:
    status, out, err = inventory()
    assert (status, err) == (0, "")
    assert sorted(row.split("  ")[0] for row in rows(out)) == [
        "1 local",
        "2 local",
        "3 local",
        "4 local",
    ]
    for row in rows(out):
        assert "%s %d.%d.%d" % (sys.implementation.name, *sys.version_info[:3]) in row
        assert os.uname().release in row
    assert re.search(r"^4 of 4 targets answered, \d+ bytes; contexts started after \d+ ms;", out, re.M)


def test_inventory_counts_debian_packages_by_section() -> None:
    _, out, _ = inventory("local")
    sections = dict(re.findall(r"^  (\S+) +(\d+)  [#.]+$", out, re.M))
    if os.path.exists("/var/lib/dpkg/status"):
        listed = subprocess.run(
            ["dpkg-query", "-W", "-f", "${db:Status-Status} ${Section}\n"],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout.splitlines()
        installed = [line for line in listed if line.startswith("installed ")]
        assert sum(map(int, sections.values())) == len(installed)
        assert int(sections["libs"]) == installed.count("installed libs")
    else:
        assert "there is no dpkg" in out


def test_inventory_asks_each_target_named() -> None:
    status, out, err = inventory("local", "local:" + sys.executable)
    assert (status, err) == (0, "")
    assert len(rows(out)) == 2
    assert "2 of 2 targets answered" in out


def test_inventory_runs_on_other_interpreters(python: str) -> None:
    status, out, err = inventory("local:" + python)
    assert (status, err) == (0, "")
    assert "1 of 1 targets answered" in out


def test_target_that_fails_leaves_the_others_alone_and_shows_in_the_status() -> None:
    status, out, err = inventory("local:/no/such/python", "local")
    assert (status, err) == (1, "")
    failed, answered = rows(out)
    assert re.match(r"1 local:/no/such/python +FAILED: .*/no/such/python: No such file", failed)
    assert answered.startswith("2 local ")
    assert "1 of 2 targets answered" in out


def test_unknown_kind_of_target_is_a_usage_error() -> None:
    status, out, err = inventory("local", "carrier-pigeon:home")
    assert (status, out) == (2, "")
    assert "unknown kind of target in 'carrier-pigeon:home'; there is: local" in err


def test_inventory_draws_its_table_on_a_terminal() -> None:
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, str(INVENTORY), "local", "local:/no/such/python"],
            env=dict(os.environ, TERM="xterm", COLUMNS="160"),
            stdin=subprocess.DEVNULL,
            stdout=theirs,
        )
        os.close(theirs)
        out = b""
        while True:
            try:
                data = os.read(ours, 65536)
            except OSError:
                break  # How Linux says that nobody has the other end any more.
            if not data:
                break
            out += data
        assert process.wait(30) == 1
    finally:
        os.close(ours)
    text = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", out.decode())
    assert "1 of 2 targets answered" in text
    assert "No such file" in text
