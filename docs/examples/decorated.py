"""The same without a guard: the decorator is one."""

import os

import mitogen
import mitogen.master


def pid() -> int:
    """Run in the context."""
    return os.getpid()


@mitogen.main(log_level="WARNING")
def main(router: mitogen.master.Router) -> None:
    """Run here, with a router that is shut down at the end."""
    print("another process:", router.local().call(pid) != os.getpid())
