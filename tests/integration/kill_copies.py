"""SIGKILL of either end, or of what is between them, at random points of many copies.

    python -m tests.integration.kill_copies 200 [seed]

Run by hand. `test_copies` does some of these each time. After each copy: what is under a final name is
complete, who waits was told, all processes have ended; after the next one, no temporary file is left.
"""

from __future__ import annotations

import collections
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mitogen.parent.copying.partial import SUFFIX

#: Seconds for all to be told and gone.
PATIENCE = 40.0
VICTIMS = ["origin", "relay", "target"]

COPY = """
import os, sys, mitogen.master
from mitogen.parent.copying import CopyError
how, source, copy = sys.argv[1:]
with mitogen.master.Router() as router:
    relay = router.local()
    target = router.local(via=relay)
    print(os.getpid(), relay.call(os.getpid), target.call(os.getpid), flush=True)
    sys.stdin.readline()
    try:
        getattr(target, how)(source, copy)
        print("done", flush=True)
    except CopyError:
        print("told", flush=True)
"""


def start(how: str, source: Path, copy: Path) -> tuple[subprocess.Popen[str], list[int]]:
    """Start a program that copies once it is told to; return its process and those of all ends."""
    command = [sys.executable, "-c", COPY, how, str(source), str(copy)]
    environ = dict(os.environ, PYTHONPATH=os.pathsep.join(path for path in sys.path if path))
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, env=environ, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    assert process.stdout is not None
    return process, [int(word) for word in process.stdout.readline().split()]


def is_running(pid: int) -> bool:
    """Return True if there is such a process, and it has not ended."""
    try:
        return ") Z " not in Path("/proc/%d/stat" % pid).read_text()
    except FileNotFoundError:
        return False


def check(source: Path, copy: Path, complete: bool) -> None:
    """Check all files under their final names."""
    for path in [source] if source.is_file() else [p for p in source.rglob("*") if p.is_file()]:
        found = copy / path.relative_to(source)
        assert found.exists() or not complete, "%s is missing" % found
        assert not found.exists() or found.read_bytes() == path.read_bytes(), "%s is partial" % found


def partials(folder: Path) -> list[Path]:
    """Return the temporary files."""
    return list(folder.rglob("*" + os.fsdecode(SUFFIX)))


def kill_one(base: Path, rng: random.Random, longest: float) -> str:
    """Make a copy, kill somebody meanwhile, copy again; return who was killed, and what was said."""
    how, source = rng.choice(["put", "get"]), base / rng.choice(["tree", "file"])
    copy = base / "there" / "copy"
    copy.parent.mkdir()
    process, pids = start(how, source, copy)
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    victim = rng.randrange(len(pids))
    time.sleep(rng.uniform(0, longest))
    if is_running(pids[victim]):
        os.kill(pids[victim], 9)
    said, errors = process.communicate(timeout=PATIENCE)
    deadline = time.monotonic() + PATIENCE
    while any(map(is_running, pids)):
        assert time.monotonic() < deadline, "a process is left"
        time.sleep(0.01)
    assert said or not victim, "the origin was not told: %s" % errors
    assert "Traceback" not in errors, errors
    check(source, copy, complete="done" in said)
    left = ", left a temporary file" if partials(base) else ""
    process, _ = start(how, source, copy)
    said_next, errors = process.communicate("\n", timeout=PATIENCE)
    assert said_next == "done\n", errors
    check(source, copy, complete=True)
    assert not partials(base), partials(base)
    shutil.rmtree(copy.parent)
    return "%s of %s: %s%s" % (VICTIMS[victim], how, said.strip() or "killed", left)


def main(count: int, seed: int = 1) -> None:
    """Make `count` copies, and print what happened how often."""
    rng = random.Random(seed)
    outcomes: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        (base / "file").write_bytes(rng.randbytes(48 << 20))
        (base / "tree/sub").mkdir(parents=True)
        (base / "tree/large").write_bytes(rng.randbytes(24 << 20))
        for n in range(300):
            (base / "tree/sub" / str(n)).write_bytes(rng.randbytes(n * 20))
        # So that most are killed before they are done.
        (base / "there").mkdir()
        process, _ = start("put", base / "tree", base / "there/copy")
        began = time.monotonic()
        process.communicate("\n", timeout=PATIENCE)
        longest = time.monotonic() - began
        shutil.rmtree(base / "there")
        for _ in range(count):
            outcomes[kill_one(base, rng, longest)] += 1
    print("%d copies, killed within %.2f s of the start" % (count, longest))
    for outcome, times in sorted(outcomes.items()):
        print("%5d  %s" % (times, outcome))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
