"""What contexts that start other contexts have on top of the core.

Re-exports the documented names. Imports the core only; the master's half (where ids, modules and logs end
up) is `mitogen.master`.
"""

from __future__ import annotations

from mitogen.parent.callchain import CallChain
from mitogen.parent.connection import Connection
from mitogen.parent.context import Context
from mitogen.parent.options import Options
from mitogen.parent.process import Process
from mitogen.parent.router import Router, is_immediate_child

__all__ = [
    "CallChain",
    "Connection",
    "Context",
    "Options",
    "Process",
    "Router",
    "is_immediate_child",
]
