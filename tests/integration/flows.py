# ruff: noqa: I002 - Python 3.6 has no `annotations` in `__future__`, and this module runs there as it is.
# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators, allow-any-generics
"""Functions that the tests of flows between contexts call. Imports nothing that old Pythons lack."""

import os
import resource
import time

import mitogen.core


def echo_twice(channel, count):
    """Answer `count` values, each with its double, and return how many there were."""
    for _ in range(count):
        channel.send(channel.get_data() * 2)
    return count


def fail(channel, text):
    """Raise at once."""
    raise ValueError(text)


def listen_until_closed(channel):
    """Return what arrived before the other end was closed, and why it was."""
    found = []
    try:
        while True:
            found.append(channel.get_data())
    except mitogen.core.ChannelError as e:
        return found, str(e)


@mitogen.core.takes_econtext
def start(econtext):
    """Start a context, and return it."""
    return econtext.router.local()


@mitogen.core.takes_econtext
def shut_down_what_others_started(econtext):
    """End contexts that were started elsewhere, and wait for that; return how often it was noticed."""
    child = econtext.router.local()
    grandchildren = [child.call(start), econtext.router.local(via=child)]
    noticed = []
    for context in grandchildren:
        mitogen.core.listen(context, "disconnect", lambda: noticed.append(1))
        context.shutdown().get(20)
        child.call(start).shutdown(wait=True)
    return len(noticed), [bool(context.reason) for context in grandchildren]


@mitogen.core.takes_econtext
def give_to_own_child(econtext):
    """Give a sender to a context started from here, and end that; return why nothing will come."""
    child = econtext.router.local()
    receiver = mitogen.core.Receiver(econtext.router)
    child.call(keep, receiver.to_sender())
    child.shutdown(wait=True)
    try:
        return receiver.get(20)
    except mitogen.core.ChannelError as e:
        return str(e)


def hang(channel):
    """Wait for something that does not come."""
    channel.send("began")
    channel.get()


class Plain:
    """A class with a method that takes a channel."""

    @staticmethod
    def static(channel, word="word"):
        """Send one word."""
        channel.send(word)


def send_many(sender, count, size):
    """Send `count` messages of `size` bytes; return the growth of this process's memory in MB."""
    before = peak()
    for i in range(count):
        sender.send(b"%d" % i + b"x" * (size - len(b"%d" % i)))
    return peak() - before


def send_until_refused(sender):
    """Send until that is refused; return how many went out, and why no more did."""
    count = 0
    try:
        while True:
            sender.send(count)
            count += 1
    except mitogen.core.ChannelError as e:
        return count, str(e)


def send_with_timeout(sender, count, timeout):
    """Send `count` messages; return how many were sent in time."""
    for i in range(count):
        try:
            sender.send(i, timeout=timeout)
        except mitogen.core.TimeoutError as e:
            return i, str(e)
    return count, ""


def peak():
    """Return the peak memory of this process in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0


def keep(sender):
    """Be somebody who has a sender, and never uses it."""


def identity(value):
    """Return `value`."""
    return value


def call(context, value):
    """Call another context from this one."""
    return context.call(identity, value), os.getpid()


def ask(context):
    """Send a message to a handle that nobody has in another context; return why there is no answer."""
    try:
        context.send_await(mitogen.core.Message(handle=77), 20)
    except mitogen.core.ChannelError as e:
        return str(e)
    return None


def give(sender, value):
    """Send one value."""
    sender.send(value)


def sleep(seconds):
    """Sleep."""
    time.sleep(seconds)


def documented_names():
    """Return the names of what `mitogen.parent` and `mitogen.core` document that is found here."""
    import mitogen.parent

    return mitogen.parent.CallChain.__name__, mitogen.core.Receiver.__name__
