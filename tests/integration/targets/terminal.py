"""A person at a terminal: runs a command on one of its own and answers its prompts."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time

from tests.integration.targets import place


def talk(
    command: list[str], answers: list[tuple[str, str]], environ: dict[str, str] | None = None
) -> tuple[int, str]:
    """Run a command; each prompt in turn gets its answer. Returns the exit status and all that it wrote.

    With no prompt left, the end of the command is waited for. One that asks for something else waits for
    ever, so after `PATIENCE` seconds it is killed, and the error says what it wrote.
    """
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        ["setsid", "--ctty", "--wait", *command],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, **(environ or {})},
    )
    os.close(theirs)
    deadline = time.monotonic() + place.PATIENCE
    text, seen, left = "", 0, list(answers)
    try:
        while True:
            if not select.select([ours], [], [], max(0, deadline - time.monotonic()))[0]:
                raise RuntimeError("%s: waits, after it wrote %r" % (command, text))
            try:
                data = os.read(ours, 65536)
            except OSError:  # EIO: nobody has the terminal open any more.
                break
            text += data.decode("utf-8", "replace")
            if left and left[0][0] in text[seen:]:
                seen = len(text)
                os.write(ours, left.pop(0)[1].encode() + b"\n")
        return process.wait(place.PATIENCE), text
    finally:
        process.kill()
        process.wait()
        os.close(ours)
