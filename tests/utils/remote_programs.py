# ruff: noqa: I002 - Python 3.6 has no `annotations` in `__future__`, and this module runs there as it is.
# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
"""Functions that the tests of programs call in other contexts."""

import os
import subprocess
import time

import mitogen.core
import mitogen.utils


def run(context, args, timeout=None):
    """Run a program in another context, from this one; return its exit status and output."""
    result = mitogen.utils.run(context, args, timeout=timeout)
    return result.returncode, result.stdout


def start_and_wait(context, args):
    """Start a program in another context, and never end by itself."""
    with mitogen.utils.popen(context, args) as program:
        for _ in program:
            pass


def tell_and_wait(sender):
    """Send the id of this process, and sleep."""
    sender.send(os.getpid())
    time.sleep(60)


@mitogen.core.takes_router
def ssh(dest, args, deadline=None, router=None):
    """Run a program here that reaches `dest` by ssh."""
    from mitogen import fakessh

    return fakessh.run(dest, router, args, deadline)


def check(context):
    """Do what the newest Python does with `subprocess` alone, and compare."""
    script = "cat; echo error >&2; exit 3"
    ours = mitogen.utils.run(context, ["sh", "-c", script], input=b"\0\xff" * 100000)
    theirs = subprocess.Popen(["sh", "-c", script], stdin=-1, stdout=-1, stderr=-1)
    assert (ours.stdout, ours.stderr) == theirs.communicate(b"\0\xff" * 100000)
    assert ours.returncode == theirs.returncode
