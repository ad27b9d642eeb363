"""Calls whose result nobody waits for, and where their failures show."""

import logging
import os

import mitogen.master


class FirstLine(logging.Handler):
    """A log handler like any other: records of contexts come to the root logger, too."""

    def emit(self, record: logging.LogRecord) -> None:
        """Runs on the broker thread, so it must not wait for contexts."""
        print(record.levelname, record.name, record.getMessage().splitlines()[0], flush=True)


if __name__ == "__main__":
    logging.getLogger().addHandler(FirstLine())
    with mitogen.master.Router() as router:
        context = router.local(name="worker")
        context.call_no_reply(os.unlink, "/no/such/file")
        # Calls of a context run in order, so this one also waits for the one before it.
        print("alive:", context.call(os.getpid) > 0)
