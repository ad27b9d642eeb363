# ruff: noqa: I002 - Python 3.6 has no `annotations` in `__future__`, and this module runs there as it is.
# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators, allow-any-generics
"""Functions that the tests of trees call in other contexts. Nothing that any Python from 3.6 on lacks."""

import hashlib
import os
import sys
import threading
import time

import mitogen.core

kept: dict = {}


def text_of(error):
    """Return what a test is told of an error."""
    return "%s: %s" % (type(error).__name__, error)


def digest(data):
    """Return what tells data from any other, and how much there is."""
    return hashlib.sha256(data).hexdigest(), len(data)


def pattern(size):
    """Return so many bytes that do not repeat within a block."""
    block = b"".join(b"%08x" % i for i in range(1 << 13))
    return block * (size // len(block)) + block[: size % len(block)]


# -- Starting ----------------------------------------------------------------------------------


@mitogen.core.takes_router
def start(count, router):
    """Start contexts, call each, and return them with what they said."""
    contexts = [router.local() for _ in range(count)]
    kept["started"] = contexts
    return [(context, context.call(os.getpid), context.call(os.getppid)) for context in contexts]


@mitogen.core.takes_router
def start_via(context, router):
    """Start a context by way of another one that was started here."""
    below = router.local(via=context)
    kept["below"] = below
    return below, below.call(os.getppid)


def call_kept(fn_result):
    """Call the contexts started here once more."""
    return [context.call(abs, fn_result) for context in kept["started"]]


@mitogen.core.takes_router
def start_after_an_interruption(router):
    """Start a context, after a first attempt was interrupted while this one became a parent."""
    broker = router.broker
    wait = broker.defer_sync

    def wait_and_be_interrupted(func, timeout=None):
        wait(func, timeout)
        raise KeyboardInterrupt

    broker.defer_sync = wait_and_be_interrupted
    try:
        router.local()
    except KeyboardInterrupt:
        del broker.defer_sync
        return router.local()


@mitogen.core.takes_router
def forget(router):
    """Drop the references to the contexts started here; they live on."""
    kept.clear()
    return sorted(router.starter.connections)


def child_pids(pid):
    """Return the processes that a process started."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open("/proc/%s/stat" % name) as f:
                    fields = f.read().rpartition(") ")[2].split()
            except OSError:
                continue
            if int(fields[1]) == pid and fields[0] not in "ZX":
                found.append(int(name))
    return found


def wait_for_a_child(limit):
    """Return the processes that this one started, once there is one."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        found = child_pids(os.getpid())
        if found:
            return found
        time.sleep(0.005)
    raise RuntimeError("no child process was started")


# -- Modules -----------------------------------------------------------------------------------


def last_value(package, size):
    """Import the last module of a package and return its value."""
    return __import__("%s.m%d" % (package, size - 1), None, None, ["VALUE"]).VALUE


def import_error(name):
    """Import what is not there, twice."""
    texts = []
    for _ in range(2):
        try:
            __import__(name)
            texts.append("imported")
        except ImportError as e:
            texts.append(str(e))
    assert texts[0] == texts[1]
    return texts[0]


# -- Messages between any two contexts ---------------------------------------------------------


@mitogen.core.takes_router
def receive(router):
    """Make a receiver and return its sender."""
    kept["receiver"] = mitogen.core.Receiver(router)
    return kept["receiver"].to_sender()


@mitogen.core.takes_router
def receive_and_close(router):
    """Make a receiver, close it, and return its sender."""
    receiver = mitogen.core.Receiver(router)
    receiver.close()
    return receiver.to_sender()


def received(count, timeout):
    """Return so many values from the receiver."""
    return [kept["receiver"].get_data(timeout) for _ in range(count)]


def send(sender, *values):
    """Send values."""
    for value in values:
        sender.send(value)


@mitogen.core.takes_router
def serve(router):
    """Answer messages with their doubled value; return the handle."""
    return router.add_handler(lambda msg: msg.is_dead or msg.reply(msg.unpickle() * 2))


@mitogen.core.takes_router
def serve_nothing(router):
    """Take messages and never answer; return the handle."""
    return router.add_handler(lambda msg: None)


@mitogen.core.takes_router
def serve_slowly(seconds, router):
    """Answer messages with their doubled value, but not at once; return the handle."""

    def answer(msg):
        if not msg.is_dead:
            router.broker.call_later(seconds, lambda: msg.reply(msg.unpickle() * 2))

    return router.add_handler(answer)


def answer_after(seconds):
    """Answer, but not at once."""
    time.sleep(seconds)
    return "the truth"


def ask(context, handle, value, deadline=None):
    """Send a message and return the answer."""
    return context.send_await(mitogen.core.Message.pickled(value, handle=handle), deadline)


def error_of_asking(context, handle, began=None, deadline=None):
    """Send a message that gets no good answer; return the error, and when it came."""
    receiver = context.send_async(mitogen.core.Message.pickled(1, handle=handle))
    if began is not None:
        began.send("began")
    try:
        return "no error: %r" % receiver.get_data(deadline), time.monotonic()
    except mitogen.core.Error as e:
        return text_of(e), time.monotonic()


@mitogen.core.takes_router
def error_of_waiting(context, began, patience, router):
    """Wait for what never comes from a context; return the error, when it came, and if Context fired."""
    fired = threading.Event()
    mitogen.core.listen(context, "disconnect", fired.set)
    receiver = mitogen.core.Receiver(router, respondent=context)
    began.send("began")
    try:
        return "no error: %r" % receiver.get_data(), time.monotonic(), False
    except mitogen.core.Error as e:
        return text_of(e), time.monotonic(), fired.wait(patience)


@mitogen.core.takes_router
def write_end_of_wait(path, began, router, context=None):
    """Wait for what never comes, and write down when that ended, and how."""
    receiver = mitogen.core.Receiver(router, respondent=context)
    began.send("began")
    try:
        text = "no error: %r" % receiver.get()
    except BaseException as e:
        text = text_of(e)
        raise
    finally:
        now = time.monotonic()
        with open(path + ".tmp", "w") as f:
            f.write("%r %s" % (now, text))
        os.rename(path + ".tmp", path)


# -- Leaving -----------------------------------------------------------------------------------


@mitogen.core.takes_econtext
def detach_with_children(path, econtext):
    """Leave the parent; go on with the contexts below, old ones and a new one."""
    econtext.detach()
    try:
        lines = [str(context.call(os.getpid)) for context in kept["started"]]
        lines.append(str(econtext.router.local().call(os.getppid)))
        context = kept["started"][0]
        try:
            context.call(int, "no number")
        except mitogen.core.CallError as e:
            lines.append("%s, with a traceback: %s" % (e.type_name, "in _call" in e.traceback))
        # The first to import it.
        lines.append(str("logging" in sys.modules))
        import logging

        logging.getLogger("x").warning("nobody reads this")
    except BaseException as e:
        lines = [text_of(e)]
    with open(path + ".tmp", "w") as f:
        f.write("\n".join(lines))
    os.rename(path + ".tmp", path)
