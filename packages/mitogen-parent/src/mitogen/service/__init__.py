"""Services: objects with methods that other contexts call, each in a thread of a pool.

Where calls run one after another in the main thread, and for parents only, a service keeps state between
calls, serves many callers at once, and says itself who may call what. Re-exports the documented names,
each imported when it is first used: who only calls services needs none of them.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mitogen.service.base import Service as Service
    from mitogen.service.base import arg_spec as arg_spec
    from mitogen.service.base import expose as expose
    from mitogen.service.base import no_reply as no_reply
    from mitogen.service.files import FileService as FileService
    from mitogen.service.invokers import DeduplicatingInvoker as DeduplicatingInvoker
    from mitogen.service.invokers import Invoker as Invoker
    from mitogen.service.invokers import SerializedInvoker as SerializedInvoker
    from mitogen.service.policies import AllowAny as AllowAny
    from mitogen.service.policies import AllowParents as AllowParents
    from mitogen.service.policies import Policy as Policy
    from mitogen.service.pool import Pool as Pool
    from mitogen.service.pool import get_or_create_pool as get_or_create_pool
    from mitogen.service.push import PushFileService as PushFileService

_HOMES = {
    "base": "Service arg_spec expose no_reply",
    "files": "FileService",
    "invokers": "DeduplicatingInvoker Invoker SerializedInvoker",
    "policies": "AllowAny AllowParents Policy",
    "pool": "Pool get_or_create_pool",
    "push": "PushFileService",
}
__all__ = sorted(" ".join(_HOMES.values()).split())  # noqa: PLE0605


def __getattr__(name: str) -> object:
    for home, names in _HOMES.items():
        if name in names.split():
            module = __import__("mitogen.service." + home, None, None, [name])
            value = globals()[name] = getattr(module, name)
            return value
    raise AttributeError("mitogen.service has no attribute %r" % name)
