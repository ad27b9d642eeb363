# ruff: noqa: I002 - Python 3.6 has no `annotations` in `__future__`, and this module runs there as it is.
# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators, allow-any-generics
"""Functions that the tests call in other contexts. Imports nothing that any Python from 3.6 on lacks."""

import functools
import logging
import os
import signal
import sys
import time
import traceback

import mitogen.core


class UserError(Exception):
    """An exception of the program's own."""


class Unprintable(Exception):
    """An exception that can't be shown."""

    def __repr__(self):
        raise RuntimeError("repr")

    def __str__(self):
        raise RuntimeError("str")


class HostileExit(SystemExit):
    """Neither shown nor an Exception."""

    def __str__(self):
        raise KeyboardInterrupt("str")

    __repr__ = __str__


class HostileValue:
    """A value whose every hook raises."""

    def __reduce_ex__(self, protocol):
        raise SystemExit("reduce")

    def __repr__(self):
        raise KeyboardInterrupt("repr")


class HostileKey:
    """A dict key that can't be shown."""

    def __repr__(self):
        raise RuntimeError("repr")


class Plain:
    """A class of the program's own, with methods of each kind."""

    class Nested:
        """A class within it."""

        @staticmethod
        def static(x):
            """A static method."""
            return "nested", x

        @classmethod
        def klass(cls, x):
            """A class method."""
            return cls.__qualname__, x

    partial = functools.partialmethod(print, 1)

    def method(self):
        """A method."""

    @staticmethod
    def static(x):
        """A static method."""
        return "static", x

    @classmethod
    def klass(cls, x):
        """A class method."""
        return cls.__name__, x


class Derived(Plain):
    """Inherits the methods."""


class MyDict(dict):
    """A subclass of a basic type."""


def _decorator(fn):
    @functools.wraps(fn)
    def wrapper(*args):
        return fn.__name__, fn(*args)

    return wrapper


def _careless_decorator(fn):
    def wrapper(*args):
        return fn(*args)

    return wrapper


@_decorator
def decorated(x):
    return x


@functools.lru_cache(None)
def cached(x):
    return x


@_careless_decorator
def renamed(x):
    return x


def make_closure(x):
    def closure():
        return x

    return closure


class Callable:
    """A class whose instances can be called."""

    def __call__(self, x):
        return x


def send_sum(channel, a, b):
    channel.send(a + b)


def echo(*args, **kwargs):
    """Return what came."""
    return args, kwargs


def identity(x):
    """Return the argument."""
    return x


def kind_of(x):
    """Return the type's name, repr of what came, and the thing itself."""
    return type(x).__name__, repr(x), x


# -- Results that can't be sent ----------------------------------------------------------------


def bad_result(kind):
    """Return something that can't be sent."""
    import threading

    async def coroutine():
        pass

    if kind == "lock":
        return threading.Lock()
    if kind == "nested":
        return {"locks": [threading.Lock()]}
    if kind == "generator":
        return (x for x in range(3))
    if kind == "coroutine":
        made = coroutine()
        made.close()
        return made
    if kind == "function":
        return identity
    if kind == "class":
        return Plain
    if kind == "builtin class":
        return int
    if kind == "module":
        return os
    if kind == "instance":
        return Plain()
    if kind == "subclass":
        return MyDict(a=1)
    if kind == "file":
        return sys.stdout
    if kind == "exception":
        return UserError("returned, not raised")
    if kind == "key":
        return {HostileKey(): threading.Lock()}
    if kind == "deep":
        deep: list = []
        for _ in range(200000):
            deep = [deep]
        return deep
    if kind == "hostile":
        return [HostileValue()]
    raise ValueError(kind)


def bytes_of(size):
    """Return so many bytes."""
    return b"x" * size


def list_of(size):
    """Return a list that takes more than so many bytes to send."""
    return ["%09d" % i for i in range(size // 10)]


# -- Functions that raise ----------------------------------------------------------------------


def raise_named(name, *args):
    """Raise a built-in exception, or one of this module."""
    import builtins

    raise (getattr(builtins, name, None) or globals()[name])(*args)


def raise_long(size):
    """Raise an exception with a text of so many characters."""
    raise ValueError("begin" + "x" * size + "end")


def raise_surrogate():
    """Raise an exception whose text has no UTF-8 form."""
    raise ValueError("name \udc80\ud800 end")


def raise_unknown_class():
    """Raise an exception of a class that exists here only."""
    cls = type("OnlyHere", (Exception,), {"__module__": "no_such_module_anywhere"})
    raise cls("from nowhere", object())


def raise_odd_module():
    """Raise an exception of a class without a usable module name."""
    raise type("Odd", (Exception,), {"__module__": None})("odd")


def raise_chain():
    """Raise with a cause that has a cause."""
    try:
        try:
            raise KeyError("innermost")
        except KeyError as e:
            raise UserError("in between") from e
    except UserError as e:
        raise ValueError("outermost") from e


def raise_context():
    """Raise while handling another exception."""
    try:
        raise KeyError("first")
    except KeyError:
        raise ValueError("second")  # noqa: B904


def raise_suppressed():
    """Raise with the context suppressed."""
    try:
        raise KeyError("first")
    except KeyError:
        raise ValueError("second") from None


def raise_cycle():
    """Raise an exception that is its own cause, at a distance."""
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    raise first


def raise_call_error():
    """Raise the library's own error."""
    raise mitogen.core.CallError("a.b", "text", "traceback\n")


def raise_channel_error():
    """Raise the library's own error."""
    raise mitogen.core.ChannelError("not your channel")


def raise_timeout():
    """Raise the library's own error."""
    raise mitogen.core.TimeoutError("not your time-out")


def recurse(n=0):
    """Never return."""
    return recurse(n + 1) + 1


def call_os_exit(code):
    """Go without saying anything."""
    os._exit(code)


def kill_self(signum):
    """Be killed."""
    os.kill(os.getpid(), signum)
    time.sleep(10)


# -- Being interrupted -------------------------------------------------------------------------

seen: list = []


def note(value):
    """Remember a value."""
    seen.append(value)


def noted():
    """Return and forget the values remembered."""
    values = seen[:]
    del seen[:]
    return values


def _until_interrupted(fn, *args):
    started = time.time()
    try:
        fn(*args)
    except BaseException as e:
        names = [cls.__name__ for cls in type(e).__mro__]
        seen.append((names, time.time() - started))
        raise


def send_for_ever(sender, size):
    """Send large messages until interrupted."""
    while True:
        sender.send(b"x" * size)


def touch(path):
    """Make a file, for the test to see that this was reached."""
    with open(path, "w"):
        pass


def _touch_and_sleep(path, seconds):
    touch(path)
    time.sleep(seconds)


def sleep(seconds, path=None):
    """Sleep, and remember what ended it; if asked to, say when that would be seen."""
    if path:
        _until_interrupted(_touch_and_sleep, path, seconds)
    else:
        _until_interrupted(time.sleep, seconds)


def wait_for(path):
    """Return when the test has made a file: a time that no busy machine changes."""
    deadline = time.time() + 30
    while not os.path.exists(path) and time.time() < deadline:
        time.sleep(0.005)


def sleep_and_touch(path, seconds):
    """Say that it began, and sleep."""
    touch(path)
    time.sleep(seconds)


def read_pipe():
    """Read what never comes."""
    r, w = os.pipe()
    try:
        _until_interrupted(os.read, r, 1)
    finally:
        os.close(r)
        os.close(w)


def read_socket():
    """Receive what never comes."""
    import socket

    a, b = socket.socketpair()
    with a, b:
        _until_interrupted(a.recv, 1)


def wait_lock():
    """Acquire what is never released."""
    import threading

    lock = threading.Lock()
    lock.acquire()
    _until_interrupted(lock.acquire)


def run_program():
    """Wait for a program that takes long."""
    import subprocess

    process = subprocess.Popen(["sleep", "60"])
    try:
        _until_interrupted(process.wait)
    finally:
        process.kill()
        process.wait()


def busy(path=None):
    """Compute for ever."""
    if path:
        touch(path)

    def loop():
        while True:
            pass

    _until_interrupted(loop)


def wait_latch():
    """Wait on a latch that nobody puts into."""
    _until_interrupted(mitogen.core.Latch().get)


def stubborn(path=None, seconds=60.0):
    """Ignore every interruption."""
    if path:
        touch(path)
    end = time.time() + seconds
    while time.time() < end:
        try:
            time.sleep(0.5)
        except KeyboardInterrupt:
            pass


def deaf(path=None):
    """Ignore every interruption, and SIGTERM too."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    stubborn(path)


def swallow_once():
    """Return normally although interrupted."""
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        return "swallowed"


def clean_up_slowly():
    """Need a moment after an interruption."""
    try:
        time.sleep(60)
    finally:
        time.sleep(0.3)
        seen.append("cleaned up")


# -- Logs and output ---------------------------------------------------------------------------


def say(text):
    """Print."""
    print(text)


def say_error(text):
    """Print to standard error."""
    sys.stderr.write(text)


def run_echo(text):
    """Have a program print."""
    import subprocess

    return subprocess.call(["echo", text])


def log(name, level, text, *args):
    """Log."""
    logging.getLogger(name).log(level, text, *args)


def log_exception(name):
    """Log an exception."""
    try:
        raise UserError("logged")
    except UserError:
        logging.getLogger(name).exception("it failed")


def write_raw(total, fd):
    """Write so many bytes without a newline."""
    block = b"y" * 65536
    written = 0
    while written < total:
        written += os.write(fd, block)
    return written


def descriptor_flags():
    """Return whether each standard descriptor is blocking."""
    return [os.get_blocking(fd) for fd in range(3)]


def file_of(name):
    """Return the file that a module says it is from."""
    return os.path.realpath(sys.modules[name].__file__ or "")


def search_path():
    """Return where modules are looked for."""
    return [os.path.realpath(folder) for folder in sys.path]


def read_stdin():
    """Read all of standard input."""
    return sys.stdin.read()


# -- Receivers and the like --------------------------------------------------------------------


def send_many(sender, count):
    """Send numbers, and close."""
    for i in range(count):
        sender.send(i)
    sender.close()


def keep_sending(sender):
    """Send one value and hang."""
    sender.send("alive")
    time.sleep(60)


@mitogen.core.takes_econtext
def with_econtext(x, econtext):
    """Tell about the context."""
    router = econtext.router
    return x, type(econtext).__name__, router.context_id, econtext.parent.context_id, mitogen.context_id


@mitogen.core.takes_router
def with_router(x, router):
    """Tell about the router."""
    return x, isinstance(router, mitogen.core.Router), router.context_id


@mitogen.core.takes_router
@mitogen.core.takes_econtext
def with_both(econtext=None, router=None):
    """Be given both."""
    return econtext.router is router


class Marked:
    """Methods that are marked."""

    @classmethod
    @mitogen.core.takes_router
    def klass(cls, x, router):
        """A marked class method."""
        return cls.__name__, x, router.context_id

    @staticmethod
    @mitogen.core.takes_econtext
    def static(x, econtext):
        """A marked static method."""
        return x, econtext.router.context_id


def identity_of_context():
    """Return the module attributes."""
    return mitogen.is_master, mitogen.context_id, mitogen.parent_id, mitogen.parent_ids


# -- Endings -----------------------------------------------------------------------------------


@mitogen.core.takes_econtext
def detach_and_write(path, go, econtext):
    """Leave the parent, and write a file when the test has made another."""
    econtext.detach()
    wait_for(go)
    with open(path + ".tmp", "w") as f:
        f.write("%d" % os.getpid())
    os.rename(path + ".tmp", path)


@mitogen.core.takes_econtext
def detach_and_stay(path, econtext):
    """Leave the parent, and tell how that went."""
    try:
        econtext.detach()
        text = "detached"
        try:
            econtext.detach()
            text = "detached twice"
        except mitogen.core.Error as e:
            text += "\n%s" % e
        print("nobody reads this")
        sys.stdout.flush()
    except BaseException:
        text = traceback.format_exc()
    with open(path + ".tmp", "w") as f:
        f.write(text)
    os.rename(path + ".tmp", path)


def fork_a_sleeper(path):
    """Fork a process that stays for a while."""
    pid = os.fork()
    if pid == 0:
        time.sleep(60)
        os._exit(0)
    with open(path, "w") as f:
        f.write(str(pid))
    return pid


@mitogen.core.takes_econtext
def use_after_fork(econtext):
    """Fork, use the context in the fork, and return what came of it."""
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            econtext.parent.send(mitogen.core.Message(handle=1))
            text = "no error"
        except BaseException as e:
            text = "%s: %s" % (type(e).__name__, e)
        os.write(w, text.encode())
        os._exit(0)
    os.close(w)
    with os.fdopen(r) as f:
        text = f.read()
    os.waitpid(pid, 0)
    return text


def start_thread_that_stays():
    """Leave a thread that keeps no daemon's promise."""
    import threading

    threading.Thread(target=time.sleep, args=(60,)).start()


def register_exit(path):
    """Write a file at exit."""
    import atexit

    def write():
        with open(path, "w") as f:
            f.write("exit function ran")

    atexit.register(write)


def change_sigint():
    """Take the signal that interruptions use."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


# -- Interpreters ------------------------------------------------------------------------------


def version():
    """Return what runs this."""
    return sys.version_info[:2], sys.implementation.name, sys.warnoptions


def find_spec(name):
    """Return whether a module is found."""
    import importlib.util

    spec = importlib.util.find_spec(name)
    return None if spec is None else spec.name


def raise_here():
    """Raise from a line that the test knows."""
    raise UserError("here")  # the line


def imported(name):
    """Return whether a module was imported."""
    return name in sys.modules


@mitogen.core.takes_econtext
def set_shutdown_timeout(seconds, econtext):
    """Give calls less time at the end."""
    econtext.broker.shutdown_timeout = seconds


def touch_and_read(path):
    """Say that it began, and read what never comes."""
    touch(path)
    r, _ = os.pipe()
    os.read(r, 1)


@mitogen.core.takes_econtext
def write_nonsense(econtext):
    """Break the protocol."""
    os.write(econtext.stream.transmit_side.fd, b"This is no message of ours. " * 10)
    time.sleep(10)


def die_soon(how, number, seconds):
    """Return, and die later, whatever else runs here."""
    import threading

    def die():
        time.sleep(seconds)
        if how == "exit":
            os._exit(number)
        os.kill(os.getpid(), number)

    threading.Thread(target=die, daemon=True).start()


def executable():
    """Return the path of the interpreter."""
    return sys.executable


@mitogen.core.takes_econtext
def break_broker(econtext):
    """Have the broker's loop fail, as a bug in it would."""

    def fail(timeout):
        raise TypeError("a bug in the poller")

    econtext.broker.poller.poll = fail
    econtext.broker.defer(int)
    time.sleep(10)


#: Set by tests, to see whether a fork has it.
inherited = "as imported"


def set_inherited(value: str) -> None:
    """Change the state of this process."""
    global inherited

    inherited = value


def get_inherited():
    """Return the state of this process."""
    return inherited


def note_fork():
    """What `on_fork` may be: change the state of the fork."""
    set_inherited("on_fork")


def note_start(econtext):
    """What `on_start` may be: change the state of the fork, which `on_fork` may have done before."""
    set_inherited("%s, on_start in %d" % (inherited, econtext.router.context_id))


def whereabouts():
    """Return the ids of this process, of its parent, and what identifies the context."""
    import mitogen

    return os.getpid(), os.getppid(), mitogen.context_id, mitogen.parent_ids, mitogen.is_master


def handler_names():
    """Return the classes of the handlers of the root logger, and those of finders on `sys.meta_path`."""
    finders = [type(finder).__name__ for finder in sys.meta_path]
    return [type(handler).__name__ for handler in logging.getLogger().handlers], finders


def open_files() -> dict:
    """Return what each descriptor of this process refers to."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink("/proc/self/fd/" + name)
        except OSError:
            pass  # The one that lists them.
    return found


@mitogen.core.takes_router
def fork_here(router):
    """Have this context fork, from within a call; return the id of the new context's process."""
    return router.fork().call(os.getpid)


def fail_in_fork():
    """What `on_fork` must not be."""
    raise ValueError("so it went")
