"""The master's broker: `Broker`, which also ends when the program forgets to end it."""

from __future__ import annotations

import atexit
import threading

import mitogen.core


def profiling_wanted() -> bool:
    """Return `Router.profiling`; the router's module, which is above this one, puts it here."""
    return False


#: Seconds that contexts get to end when the program ends without `shutdown`: somebody may wait for it.
FORGOTTEN_TIMEOUT = 0.8

#: Brokers to end when the main thread has ended.
_watched: list[Broker] = []


def _end_watched() -> None:
    """Runs when the main thread has ended, before the other threads are joined: they may be waiting on
    contexts, and would for ever."""
    for broker in _watched[:]:
        broker._end_forgotten()


# What `concurrent.futures` uses for the same purpose. Without it (PyPy, or a future version), the exit
# functions still end the broker, once no other thread is left.
getattr(threading, "_register_atexit", lambda func: None)(_end_watched)


class Broker(mitogen.core.Broker):
    """Multiplex all I/O of a program on one thread, which starts at once.

    :param install_watcher: end the broker, and with it all contexts, when the main thread has ended
        without `shutdown` having been called. A safety net, not a way to end a program: call
        `shutdown`, or use a `Router` in a ``with`` statement. No thread is needed for it.
    """

    shutdown_timeout = 5.0

    def __init__(self, install_watcher: bool = True) -> None:
        mitogen.core.Broker.__init__(self)
        if install_watcher:
            _watched.append(self)
            # The program may leave without waiting for the end; exit functions wait.
            atexit.register(self._at_exit)

    def _start_thread(self) -> None:
        # A thread that debuggers know by name; children do without `threading`.
        threading.Thread(target=self._broker_main, name="mitogen.broker", daemon=True).start()

    def _run(self) -> None:
        if profiling_wanted():
            # Imported where it is asked for: it loads the standard library's profilers.
            from mitogen.core.profiling import profile

            profile(lambda: mitogen.core.Broker._run(self), "broker")
        else:
            mitogen.core.Broker._run(self)

    def _end_forgotten(self) -> None:
        self.shutdown_timeout = min(self.shutdown_timeout, FORGOTTEN_TIMEOUT)
        self.shutdown()

    def _at_exit(self) -> None:
        self._end_forgotten()
        self.join()

    def join(self, timeout: float | None = None) -> None:
        mitogen.core.Broker.join(self, timeout)
        if self.dead_reason:
            atexit.unregister(self._at_exit)
            if self in _watched:
                _watched.remove(self)
