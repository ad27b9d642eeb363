"""Log records of children, logged here: `LogForwarder`, which answers FORWARD_LOG in the master.

A record of the context NAME is logged under ``mitogen.ctx.NAME``, its text preceded by the name of its
logger there. One logger handles them all: thousands of contexts must not leave thousands of loggers.
"""

from __future__ import annotations

from mitogen.core import handles, logs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mitogen.core.message import Message
    from mitogen.parent import Router


#: Levels as they are written.
_LEVELS = frozenset(map(str, range(1000)))


class LogForwarder:
    """Log what children send. Broker thread."""

    def __init__(self, router: Router) -> None:
        self._names = router.routes.names
        router.add_handler(self._on_forward_log, handles.FORWARD_LOG)

    def _on_forward_log(self, msg: Message) -> None:
        if msg.is_dead:
            return
        # As much as a child sends in one; it may be in other hands.
        data = msg.data[: 4 * logs.LINE_LIMIT].decode("utf-8", "replace")
        name, _, rest = data.partition("\0")
        level_text, _, text = rest.partition("\0")
        level = int(level_text) if level_text in _LEVELS else logs.INFO
        # Imported with the first line that a child sends.
        import logging

        logger = logging.getLogger("mitogen.ctx")
        if not logger.isEnabledFor(level):
            return
        name_here = "mitogen.ctx.%s" % self._names.get(msg.src_id, msg.src_id)
        record = logging.LogRecord(name_here, level, "", 0, "%s: %s", (name, text), None)
        try:
            logger.handle(record)
        except Exception:
            # A handler or filter of the program's own: logging it would only fail again.
            logging.Handler().handleError(record)
