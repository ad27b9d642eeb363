# ruff: noqa: I002 - Python 3.6 has no `annotations` in `__future__`, and this module runs there as it is.
# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators, allow-any-generics
"""Services, and functions of children that call those of their parents. Runs on all old Pythons."""

import io
import os
import time

import mitogen.core
from mitogen.service import (
    AllowAny,
    AllowParents,
    DeduplicatingInvoker,
    FileService,
    Policy,
    PushFileService,
    SerializedInvoker,
    Service,
    arg_spec,
    expose,
    get_or_create_pool,
    no_reply,
)


class Even(Policy):
    """Lets contexts with even ids call."""

    def is_authorized(self, service, msg):
        """Return True for some."""
        return msg.src_id % 2 == 0


class Numbers(Service):
    """Remembers numbers."""

    def __init__(self, router):
        super(Numbers, self).__init__(router)  # noqa: UP008
        self.seen = []
        self.kept = []

    @expose(AllowParents())
    @arg_spec({"n": int, "m": (int, float)})
    def add(self, n, m=1):
        """Add two numbers."""
        self.seen.append(n)
        return n + m

    @expose(AllowAny())
    def who(self, msg):
        """Return who calls, and where this runs."""
        return msg.src_id, msg.router.context_id

    @expose(AllowParents())
    @expose(Even())
    def even(self):
        """Do nothing."""

    @expose(AllowParents())
    def fail(self):
        """Raise."""
        raise ValueError("no")

    @expose(AllowParents())
    def unsendable(self):
        """Return what can't be sent."""
        return [object()]

    @expose(AllowAny())
    def large(self, size):
        """Return many bytes."""
        return b"x" * size

    @expose(AllowAny())
    @no_reply()
    def keep(self, msg):
        """Keep the message, to be answered later."""
        self.kept.append(msg)

    @expose(AllowParents())
    def answer(self, value):
        """Answer those kept."""
        for msg in self.kept:
            msg.reply(value)
        return len(self.kept)

    @expose(AllowAny())
    def meet(self, seconds):
        """Stay for a while; return how many were here at most."""
        self.seen.append(1)
        most = len(self.seen)
        deadline = time.time() + seconds
        while time.time() < deadline:
            most = max(most, len(self.seen))
            time.sleep(0.005)
        self.seen.pop()
        return most

    def hidden(self):
        """Be something that is not exposed."""


class InOrder(Numbers):
    """The same, one at a time."""

    invoker_class = SerializedInvoker


class Once(Numbers):
    """The same, each call once."""

    invoker_class = DeduplicatingInvoker

    @expose(AllowParents())
    def count(self, n, fails=False):
        """Return how many calls ran."""
        time.sleep(0.05)
        self.seen.append(n)
        if fails:
            raise ValueError(len(self.seen))
        return len(self.seen)


class NotAService:
    """Something that must not be made by a call."""


@mitogen.core.takes_econtext
def call_parent(name, method, kwargs, econtext):
    """Call a service of the parent; return the result, or the error's text."""
    try:
        return econtext.parent.call_service(name, method, **kwargs)
    except mitogen.core.Error as e:
        return str(e)


@mitogen.core.takes_econtext
def flood_parent(name, method, kwargs, count, econtext):
    """Call a service of the parent often, and wait for all answers; return how many were refused."""
    calls = [econtext.parent.call_service_async(name, method, **kwargs) for _ in range(count)]
    refused = 0
    for call in calls:
        try:
            call.get_data(60)
        except mitogen.core.ChannelError:
            refused += 1
    return refused


@mitogen.core.takes_econtext
def ask_and_die(name, method, kwargs, econtext):
    """Call a service of the parent, and end before it answers."""
    econtext.parent.call_service_async(name, method, **kwargs)
    time.sleep(0.1)
    os._exit(0)


@mitogen.core.takes_econtext
def get_file(path, econtext):
    """Get a file of the parent's; return its content and what is known of it."""
    out = io.BytesIO()
    try:
        return FileService.get(econtext.parent, path, out), out.getvalue()
    except mitogen.core.Error as e:
        return str(e), out.getvalue()


@mitogen.core.takes_econtext
def get_file_slowly(path, econtext):
    """Ask for a file without taking any of it; return how much comes before the service waits."""
    receiver = mitogen.core.Receiver(econtext.router)
    found = econtext.parent.call_service(FileService, "fetch", path=path, sender=receiver.to_sender())
    total = 0
    try:
        while True:
            total += len(receiver.get_data(0.7))
    except mitogen.core.TimeoutError:
        return total, found["size"]


@mitogen.core.takes_econtext
def ask_for_another(path, victim, handle, econtext):
    """Ask for a file to be sent to somebody else."""
    sender = mitogen.core.Sender(victim or econtext.parent, handle)
    return call_parent("mitogen.service.FileService", "fetch", {"path": path, "sender": sender}, econtext)


@mitogen.core.takes_econtext
def pushed(path, timeout, econtext):
    """Return the content of a file that is pushed here."""
    service = get_or_create_pool(econtext.router).get_service(PushFileService)
    return service.get(path, timeout)


@mitogen.core.takes_econtext
def put_below(local_path, remote_path, econtext):
    """Start a context, and copy a file to it and back."""
    context = econtext.router.local()
    context.put(local_path, remote_path)
    context.get(remote_path, remote_path + ".back")
    context.shutdown(wait=True)


def change_folder(path):
    """Make a folder, and go there: relative paths lead to it."""
    os.makedirs(path)
    os.chdir(path)
    return os.getpid()


def peak():
    """Return the peak memory of this process in MB, since it began to run its program."""
    with open("/proc/self/status") as f:
        return int(f.read().partition("VmHWM:")[2].split()[0]) / 1024.0


#: Where a hostile context wants things sent.
TARGET = []  # type: ignore[var-annotated]


def set_hostile(context, handle):
    """Say where."""
    TARGET[:] = [mitogen.core.Sender(context, handle)]


def hostile_relay(hello, ids, path, reports, patience):
    """Stand for the function that takes a copy, and name a receiver of somebody else."""
    hello.send(TARGET[0])
    time.sleep(0.1)


def hostile_send_back(path, sender):
    """Stand for the function that sends a copy."""
    sender.send(TARGET[0])
    sender.send(("plan", 10, []))
    time.sleep(0.1)
