"""Questions that a program asks on its terminal, for the caller's own function to answer: `on_prompt`.

Such a function may ask a person, so it runs in a thread of its own. With `via`, the question comes from
another context: there, options hold the address of a handler here instead of the function.
"""

from __future__ import annotations

import threading

from mitogen.core import logs
from mitogen.core.errors import ChannelError
from mitogen.core.message import Message

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Optional, Union

    from mitogen.core.context import Context
    from mitogen.core.router import Router

    OnPrompt = Callable[[str], Optional[str]]
    #: Where to ask in another context: its id, and a handle.
    Address = tuple[int, int]


def ask(
    router: Router,
    on_prompt: Union[OnPrompt, Address],
    question: str,
    then: Callable[[str | None], object],
) -> None:
    """Have `question` answered, and call ``then(answer)`` later, with None if there is no answer. Broker
    thread, which does not wait; `then` is called there as well.
    """
    if callable(on_prompt):
        _in_thread(on_prompt, question, lambda answer: router.broker.defer(then, answer))
        return
    context_id, handle = on_prompt
    context = router.make_context(context_id)

    def on_reply(msg: Message) -> None:
        then(None if msg.is_dead else msg.unpickle(throw=False))

    reply_to = router.add_handler(on_reply, persist=False, respondent=context)
    context.send(Message.pickled(question, handle=handle, reply_to=reply_to))


def offer(router: Router, via: Context, on_prompt: OnPrompt) -> Address:
    """Let `via` ask `on_prompt`; return the address for that, which ends with `withdraw`."""

    def on_question(msg: Message) -> None:
        if not msg.is_dead:
            _in_thread(on_prompt, str(msg.unpickle()), msg.reply)

    policy: Any = lambda msg, stream: msg.src_id == via.context_id  # noqa: E731
    return router.context_id, router.add_handler(on_question, policy=policy)


def withdraw(router: Router, address: Address) -> None:
    """End what `offer` began. Any thread."""
    try:
        router.broker.defer(router.del_handler, address[1])
    except ChannelError:
        pass  # The broker has ended, and the handler with it.


def _in_thread(on_prompt: OnPrompt, question: str, then: Callable[[Any], object]) -> None:
    def run() -> None:
        answer = None
        try:
            answer = on_prompt(question)
        except BaseException as e:
            logs.log(logs.ERROR, "on_prompt failed for %r: %s: %s", question, type(e).__name__, e)
        logs.attempt("the answer to a prompt", then, None if answer is None else str(answer))

    threading.Thread(target=run, name="mitogen-on-prompt", daemon=True).start()
