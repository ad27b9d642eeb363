"""For functions that other contexts call: `takes_econtext`, `takes_router`; and `forget_chain`.

Outside the bundle: the dispatcher only looks for the marks.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from mitogen.core.child import ExternalContext

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
