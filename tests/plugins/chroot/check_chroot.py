"""Test the transport, as root: ``python check_chroot.py ROOT``, where ROOT is one that has a Python."""

from __future__ import annotations

import sys

import mitogen.master
from mitogen.parent.testing import check_transport

if __name__ == "__main__":
    with mitogen.master.Router() as router:
        check_transport(router, "chroot", root=sys.argv[1])
