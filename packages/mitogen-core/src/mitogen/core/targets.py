"""For functions that other contexts call: `takes_econtext`, `takes_router`, and two such functions.

Outside the bundle: the dispatcher only looks for the marks.
"""

from __future__ import annotations

from mitogen.core import handles

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from mitogen.core.child import ExternalContext
    from mitogen.core.message import Message

    T = TypeVar("T")


def takes_econtext(func: Callable[..., T]) -> Callable[..., T]:
    """Mark `func` to be given the `ExternalContext` it runs in, as the keyword argument `econtext`.

    Only where it is called from another context; in a direct call pass `econtext` yourself.
    """
    func.mitogen_takes_econtext = True  # type: ignore[attr-defined]
    return func


def takes_router(func: Callable[..., T]) -> Callable[..., T]:
    """Mark `func` to be given the `Router` of the context it runs in, as the keyword argument `router`.

    Only where it is called from another context; in a direct call pass `router` yourself.
    """
    func.mitogen_takes_router = True  # type: ignore[attr-defined]
    return func


@takes_econtext
def forget_chain(chain_id: str, econtext: ExternalContext) -> None:
    """Let calls of `chain_id` run again after one failed."""
    econtext.dispatcher.failed_chains.pop(chain_id, None)


@takes_econtext
def allow_calls(context_id: int, econtext: ExternalContext) -> None:
    """Run calls that act with the authority of another context, too, from now on."""
    router = econtext.router
    if not hasattr(econtext, "callers"):
        callers: set[int] = set()
        econtext.callers = callers
        for handle in (handles.CALL_FUNCTION, handles.CALL_ASIDE, handles.CANCEL_CALL):
            fn, persist, respondent, policy = router._handlers[handle]

            def is_allowed(msg: Message, stream: Any, policy: Any = policy) -> bool:
                return policy(msg, stream) or msg.auth_id in callers

            router._handlers[handle] = fn, persist, respondent, is_allowed
    econtext.callers.add(context_id)
