"""What contexts that start other contexts have on top of the core.

Knows the documented names, each of which is imported when it is first used: a child that starts others
for somebody else calls none of them itself. Imports the core only; the master's half (where ids, modules
and logs end up) is `mitogen.master`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mitogen.parent.callchain import CallChain as CallChain
    from mitogen.parent.connection import Connection as Connection
    from mitogen.parent.context import Context as Context
    from mitogen.parent.options import Options as Options
    from mitogen.parent.process import Process as Process
    from mitogen.parent.router import Router as Router
    from mitogen.parent.routes import is_immediate_child as is_immediate_child
    from mitogen.parent.starter import Starter as Starter

_NAMES = "CallChain Connection Context Options Process Router Starter is_immediate_child"
__all__ = _NAMES.split()  # noqa: PLE0605


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(name)
    # Classes are in modules of the same name.
    home = "routes" if name[0] == "i" else name.lower()
    value = globals()[name] = getattr(__import__("mitogen.parent." + home, None, None, [name]), name)
    return value
