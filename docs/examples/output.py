"""What contexts print and log."""

import logging
import os
import sys

import mitogen.master
import mitogen.utils


def work() -> None:
    """Say something in every way."""
    print("printed")
    print("printed to stderr", file=sys.stderr)
    logging.getLogger("app").warning("logged")
    os.system("echo written by a program")


if __name__ == "__main__":
    mitogen.utils.log_to_file()
    with mitogen.master.Router() as router:
        router.local(name="worker").call(work)
