"""What a child is told when it starts: `child_config`.

Pure: facts that the router, its starter and the options of one connection already have.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from mitogen.parent.connection import Connection

#: Modules that the standard library tries to import wherever it runs, and those of one machine's Python.
_MISSING = (
    *("nt", "_winapi", "msvcrt", "winreg", "_scproxy", "vms_lib", "sitecustomize", "usercustomize"),
)


def child_config(connection: Connection) -> dict[str, Any]:
    """Return what the `ExternalContext` of a child is made with."""
    options, starter, router = connection.options, connection.starter, connection.router
    profiling = options.profiling or starter.profiling
    unidirectional = options.unidirectional
    extras = []
    if profiling:
        extras.append("mitogen.core.profiling")
    if starter.import_preference:
        extras.append("mitogen.core.preference")
    return {
        "context_id": connection.context_id,
        "parent_ids": [router.context_id] + router.parent_ids,
        "max_message_size": router.max_message_size,
        "unidirectional": router.unidirectional if unidirectional is None else unidirectional,
        "debug": options.debug or starter.debug,
        "profiling": profiling,
        "extras": extras,
        "missing": _MISSING,
        "log_level": starter.child_log_level(),
        "keepalive": starter.keepalive_interval,
        "prefer": starter.import_preference,
        "is_ruled": router.table.is_ruled or router.table.policy is not None,
        "python": None,
        "close_fds": False,
        "stdio": True,
    }
