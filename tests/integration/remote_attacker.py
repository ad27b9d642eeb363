# ruff: noqa: I002 - runs in children of any version, as it is.
# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators, allow-any-generics
"""A child in other hands: functions that take over the link of their context and write what they like."""

import os
import random
import select
import struct
import time

import mitogen.core
from mitogen.core import handles

HEADER = struct.Struct(">HLLLLLL")
MAGIC = 0x4D49
MODULE = "tests.integration.remote"
#: `GET_DATA`: not among the handles that every child knows.
DATA = 113
#: In everything that is forged, for those that look for it.
MARK = b"forged"

seen: list = []


def frame(dst, src, auth, handle, reply_to=0, data=b"", magic=MAGIC, length=None):
    """Return a frame, which may say of itself what is not so."""
    length = len(data) if length is None else length
    return HEADER.pack(magic, dst, src, auth, handle, reply_to, length) + data


class Wire:
    """The link to the parent, with nothing between it and whoever writes.

    :param deaf: read nothing of what is sent here.
    :param drained: read all that is sent here, and forget it: so nothing slows the writing down.
    """

    def __init__(self, econtext, deaf=False, drained=False):
        self._econtext = econtext
        self.here = econtext.router.context_id
        self._stream = econtext.stream
        self._drained = [econtext.stream.receive_side.fd] if drained else []
        self.deadline = None
        if deaf or drained:
            econtext.broker.defer_sync(lambda: econtext.broker._stop_receive(self._stream))

    def write(self, data):
        """Write all of `data`, between messages of the context's own."""
        view = memoryview(data)
        with self._stream._lock:
            assert not self._stream._queue
            fd = self._stream.transmit_side.fd
            while view:
                readable, _, _ = select.select(self._drained, [fd], [], 0.1)
                for drained in readable:
                    os.read(drained, 1 << 20)
                try:
                    view = view[os.write(fd, view) :]
                except BlockingIOError:
                    if self.deadline is not None and time.monotonic() > self.deadline:
                        # Whoever should read does not: nothing more can be said on this link.
                        time.sleep(60)


def call_of(text):
    """Return the body of a call that would be noticed: `remote.note`."""
    call: tuple = (None, MODULE, None, "note", (text,), {})
    return mitogen.core.Message.pickled(call).data


def grant_of(first, end):
    """Return the body of a grant of ids."""
    return mitogen.core.Message.pickled((first, end)).data


# -- Looking on --------------------------------------------------------------------------------


@mitogen.core.takes_router
def look_on(router):
    """Remember who sent the messages with the mark that this context gets to see."""
    dispatch = router._dispatch

    def look(msg, stream):
        if MARK in msg.data:
            seen.append((msg.src_id, msg.auth_id, msg.handle))
        dispatch(msg, stream)

    router._dispatch = look


def looked():
    """Return and forget what was seen."""
    found = seen[:]
    del seen[:]
    return found


@mitogen.core.takes_router
def pending_handles(router):
    """Return the handles in use here."""
    return sorted(router._handlers)


# -- Attacks that go for something ---------------------------------------------------------------


@mitogen.core.takes_econtext
def send_frames(frames, econtext):
    """Send frames, each a tuple of arguments for `frame`, with their own kinds of bodies."""
    wire = Wire(econtext)
    wire.write(b"".join(frame(*args) for args in frames))


@mitogen.core.takes_econtext
def send_calls(dst_ids, src_ids, auth_ids, econtext):
    """Send everybody calls and commands in everybody's name."""
    wire = Wire(econtext)
    bodies = {
        handles.CALL_FUNCTION: call_of("forged call"),
        handles.CALL_ASIDE: call_of("forged call aside"),
        handles.CALL_SERVICE: call_of("forged service"),
        handles.SHUTDOWN: b"now # forged",
        handles.CANCEL_CALL: b"1000",
        handles.LOAD_MODULE: mitogen.core.Message.pickled(
            ("forged_module", None, "x", b"import os", ())
        ).data,
        handles.FORWARD_MODULE: b"1:forged",
        handles.DEL_ROUTE: b"0,1,2,3,4,5,6:forged",
        handles.DETACHING: b"forged",
        handles.NOTICE: b"forged",
    }
    frames = []
    for handle, data in bodies.items():
        for dst in dst_ids:
            for src in src_ids:
                for auth in auth_ids:
                    if (dst, src, auth, handle) == (econtext.parent.context_id, *[wire.here] * 2, 109):
                        continue  # DETACHING, which it may say of itself.
                    for reply_to in (0, 5555):
                        frames.append(frame(dst, src, auth, handle, reply_to, data))
    wire.write(b"".join(frames))
    return len(frames)


@mitogen.core.takes_econtext
def send_answers(dst, src_ids, first, end, bodies, econtext):
    """Answer every question that somebody may have asked, in everybody's name."""
    wire = Wire(econtext)
    for src in src_ids:
        for data, reply_to in bodies:
            frames = [frame(dst, src, src, h, reply_to, data) for h in range(first, end)]
            wire.write(b"".join(frames))


@mitogen.core.takes_econtext
def grant_itself(first, end, targets, econtext):
    """Ask for ids, answer that question in the parent's parent's place, and announce the loot."""
    wire = Wire(econtext)
    parent = econtext.parent.context_id
    data = [wire_frame(wire, parent, handles.ALLOCATE_ID, b"", 5555)]
    data += [wire_frame(wire, parent, h, grant_of(first, end)) for h in range(1000, 1400)]
    data += [wire_frame(wire, parent, handles.ADD_ROUTE, b"%d:forged" % i) for i in targets]
    for _ in range(20):
        wire.write(b"".join(data))


def wire_frame(wire, dst, handle, data=b"", reply_to=0):
    """Return a frame that tells the truth about its sender."""
    return frame(dst, wire.here, wire.here, handle, reply_to, data)


@mitogen.core.takes_econtext
def announce(texts, handle, econtext):
    """Send the parent news of routes."""
    wire = Wire(econtext)
    parent = econtext.parent.context_id
    wire.write(b"".join(wire_frame(wire, parent, handle, text) for text in texts))


@mitogen.core.takes_econtext
def answer_with(data, econtext):
    """Answer the call that runs with a body of our own; what is returned then comes too late."""
    caller, handle = econtext.dispatcher._current
    wire = Wire(econtext)
    wire.write(frame(caller, wire.here, wire.here, handle, 0, data))


@mitogen.core.takes_econtext
def write_and_go(data, econtext):
    """Write raw bytes, and end."""
    Wire(econtext).write(data)
    os._exit(0)


@mitogen.core.takes_econtext
def write_and_stay(data, econtext):
    """Write raw bytes, and wait for what comes of it."""
    Wire(econtext).write(data)
    time.sleep(60)


# -- Floods --------------------------------------------------------------------------------------


def flood(wire, make, seconds, limit, batch=2000):
    """Write what ``make(i)`` returns, many at a time, for so long or so many; return how many."""
    deadline = time.monotonic() + seconds
    wire.deadline = deadline + 1.0
    count = 0
    while count < limit and time.monotonic() < deadline:
        wire.write(b"".join([make(i) for i in range(count, count + batch)]))
        count += batch
    return count


@mitogen.core.takes_econtext
def run_flood(name, path, seconds, limit, econtext):
    """Run one of the floods below, and write down how much it said."""
    count = globals()[name](seconds, limit, econtext=econtext)
    with open(path + ".tmp", "w") as f:
        f.write(str(count))
    os.rename(path + ".tmp", path)


def _to_parent(wire, econtext, handle, body, reply_to=0):
    parent = econtext.parent.context_id
    return lambda i: wire_frame(wire, parent, handle, body(i), reply_to)


@mitogen.core.takes_econtext
def flood_dead(seconds, limit, econtext):
    """Dead messages, to all kinds of handles."""
    wire = Wire(econtext)
    parent = econtext.parent.context_id

    def make(i):
        return wire_frame(wire, parent, i % 2000, b"forged", handles.IS_DEAD)

    return flood(wire, make, seconds, limit)


@mitogen.core.takes_econtext
def flood_random(seconds, limit, econtext):
    """Frames of random content, many of which nearly make sense."""
    wire = Wire(econtext, drained=True)
    rng = random.Random(1)
    ids = [0, 1, 2, 3, 4, 5, wire.here, 1001, 1 << 31]
    numbers = [0, *range(100, 115), 999, 1000, 1001, 1002, 1 << 31]
    blocks = []
    for _ in range(5):
        frames = []
        for _ in range(2000):
            honest = rng.random() < 0.7
            src = wire.here if honest else rng.choice(ids)
            auth = wire.here if honest else rng.choice(ids)
            dst, handle = rng.choice(ids), rng.choice(numbers)
            # Not to where an answer, which has the authority of a parent, would end the attacker.
            reply_to = rng.choice([0, 0, 999, 1000, 1001, 5555, 1 << 31])
            if handle == handles.DETACHING:
                handle = 0
            data = bytes(rng.getrandbits(8) for _ in range(rng.choice([0, 0, 1, 5, 20])))
            frames.append(frame(dst, src, auth, handle, reply_to, data))
        blocks.append(b"".join(frames))
    deadline = time.monotonic() + seconds
    wire.deadline = deadline + 1.0
    count = 0
    while count < limit and time.monotonic() < deadline:
        wire.write(blocks[count // 2000 % len(blocks)])
        count += 2000
    return count


@mitogen.core.takes_econtext
def flood_forged(seconds, limit, econtext):
    """Messages in the name of others."""
    wire = Wire(econtext)
    return flood(wire, lambda i: frame(0, i % 7, i % 5, 101, 5555, b"forged"), seconds, limit)


@mitogen.core.takes_econtext
def flood_modules(seconds, limit, econtext):
    """Questions for modules that are nowhere."""
    wire = Wire(econtext)
    body = lambda i: b"made_up_%d" % i  # noqa: E731
    return flood(wire, _to_parent(wire, econtext, handles.GET_MODULE, body, 107), seconds, limit)


@mitogen.core.takes_econtext
def flood_long_modules(seconds, limit, econtext):
    """Questions for modules with very long names."""
    wire = Wire(econtext)
    body = lambda i: b"%d" % i + b"n" * 100_000  # noqa: E731
    make = _to_parent(wire, econtext, handles.GET_MODULE, body, 107)
    return flood(wire, make, seconds, limit, 100)


@mitogen.core.takes_econtext
def flood_dotted_modules(seconds, limit, econtext):
    """Questions for modules deep in packages that are there, and in those that are not."""
    wire = Wire(econtext)
    texts = [
        b"os." * 300 + b"x",
        b"\0",
        b"a\0b",
        b"..",
        b"",
        b".",
        b"/etc/passwd",
        b"\xff\xfe",
        b"json.\n",
    ]
    texts += [b"json." + b"x." * 200, b"con/../aux", b"mitogen.core.", b"email.mime." + b"z" * 200]
    body = lambda i: texts[i % len(texts)] + (b"%d" % i if i % 2 else b"")  # noqa: E731
    return flood(wire, _to_parent(wire, econtext, handles.GET_MODULE, body, 107), seconds, limit)


@mitogen.core.takes_econtext
def flood_large_module(seconds, limit, econtext):
    """Questions for one large module, by somebody who reads no answers."""
    wire = Wire(econtext, deaf=True)
    body = lambda i: b"_pydecimal"  # noqa: E731
    return flood(wire, _to_parent(wire, econtext, handles.GET_MODULE, body, 107), seconds, limit)


def _flood_data(seconds, limit, econtext, deaf, requests, batch=2000):
    wire = Wire(econtext, deaf)
    bodies = [r if isinstance(r, bytes) else mitogen.core.Message.pickled(r).data for r in requests]

    def make(i):
        return frame(0, wire.here, wire.here, DATA, 5555, bodies[i % len(bodies)])

    return flood(wire, make, seconds, limit, batch)


@mitogen.core.takes_econtext
def flood_data(seconds, limit, econtext):
    """Requests for data that is not there, or must not be had, and such that make no sense."""
    requests = [
        (what, "package", name, path) + rest
        for what, rest in (("list", ()), ("stat", ()), ("walk", ()), ("read", (0, 1 << 20)))
        for name in ("flooded", "missing", "os", "..", "/", "a" * 900, "json.tool", "__main__")
        for path in ("", "..", "../../etc/passwd", "/etc/passwd", "x" * 4000, "\0", "missing/x")
    ]
    requests += [("modules", "package", name) for name in ("missing", "flooded", "json")]
    requests += [("distributions", "distribution", name) for name in ("missing", "../x", "x" * 900)]
    odd: list = [(), None, ("list",), ("walk", "package", 1, 2), b"", b"garbage", b"x" * 20000]
    requests += odd
    return _flood_data(seconds, limit, econtext, False, requests)


LARGE_PARTS = [("read", "package", "flooded", "large.bin", i << 28, 1 << 20) for i in range(40)]


@mitogen.core.takes_econtext
def flood_large_file(seconds, limit, econtext):
    """Requests for parts of a large file."""
    return _flood_data(seconds, limit, econtext, False, LARGE_PARTS, 100)


@mitogen.core.takes_econtext
def take_no_data(seconds, limit, econtext):
    """Requests for parts of a large file, by somebody who reads no answers."""
    return _flood_data(seconds, limit, econtext, True, LARGE_PARTS, 100)


@mitogen.core.takes_econtext
def flood_zip_file(seconds, limit, econtext):
    """Requests for the ends, and the beginning, of a file in a zip file that is a lot to decompress."""
    requests = [
        ("read", "package", "flooded_zip", "large.bin", offset, 1000)
        for offset in (1 << 40, (1 << 28) - 1000, 0, 1 << 27)
    ]
    return _flood_data(seconds, limit, econtext, False, requests, 100)


@mitogen.core.takes_econtext
def flood_distributions(seconds, limit, econtext):
    """Requests for all distributions, and for all files of a package."""
    requests = [("distributions", "distribution", ""), ("walk", "package", "encodings", "")]
    return _flood_data(seconds, limit, econtext, False, requests, 100)


@mitogen.core.takes_econtext
def flood_ids(seconds, limit, econtext):
    """Requests for ids."""
    wire = Wire(econtext)
    make = _to_parent(wire, econtext, handles.ALLOCATE_ID, lambda i: b"", 5555)
    return flood(wire, make, seconds, limit)


@mitogen.core.takes_econtext
def flood_logs(seconds, limit, econtext):
    """Log records, some of them odd."""
    wire = Wire(econtext)
    texts = [b"x\x0020\0text", b"", b"\0\0\0\0", b"x\0\xc2\xb2\0text", b"x\0" + b"9" * 5000 + b"\0t"]
    texts += [b"x\x0030\0" + b"long " * 2000, b"%s\x0040\0%s %d", b"\xff\0\xff\0\xff"]

    def make(i):
        return frame(0, wire.here, wire.here, handles.FORWARD_LOG, 0, texts[i % len(texts)])

    return flood(wire, make, seconds, limit)


@mitogen.core.takes_econtext
def flood_calls(seconds, limit, econtext):
    """Calls upward that ask for an answer, by somebody who reads none."""
    wire = Wire(econtext, deaf=True)
    make = _to_parent(wire, econtext, handles.CALL_FUNCTION, lambda i: b"forged", 5555)
    return flood(wire, make, seconds, limit)


@mitogen.core.takes_econtext
def shout_upward(seconds, limit, econtext):
    """Calls of the master that ask for an answer, by somebody who reads none."""
    wire = Wire(econtext, deaf=True)
    make = lambda i: frame(0, wire.here, wire.here, handles.CALL_FUNCTION, 5555, b"forged")  # noqa: E731
    return flood(wire, make, seconds, limit)


@mitogen.core.takes_econtext
def flood_siblings(seconds, limit, econtext):
    """Calls of everybody that ask for an answer, which is read."""
    wire = Wire(econtext, drained=True)
    return flood(wire, _to_everybody(wire), seconds, limit)


@mitogen.core.takes_econtext
def flood_siblings_deaf(seconds, limit, econtext):
    """Calls of everybody that ask for an answer, which is never read."""
    wire = Wire(econtext, deaf=True)
    return flood(wire, _to_everybody(wire), seconds, limit)


def _to_everybody(wire):
    # The first contexts that a program starts are those that everybody knows.
    return lambda i: frame(i % 5, wire.here, wire.here, handles.CALL_FUNCTION, 5555, b"forged")


@mitogen.core.takes_router
def be_impatient(seconds, mark=1 << 16, router=None):
    """Take links for full, and give up those that take nothing, sooner."""
    import mitogen.core.pressure

    mitogen.core.pressure.STALL = seconds
    router.high_water_mark = mark


@mitogen.core.takes_econtext
def flood_routes(seconds, limit, econtext):
    """Announcements of contexts, with ids that were granted and long names."""
    wire = Wire(econtext)
    parent = econtext.parent.context_id
    got = mitogen.core.Receiver(econtext.router)
    name = ("\U0001f600" * 1000).encode()
    deadline = time.monotonic() + seconds
    wire.deadline = deadline + 1.0
    count = 0
    while count < limit and time.monotonic() < deadline:
        for _ in range(4):
            wire.write(wire_frame(wire, parent, handles.ALLOCATE_ID, b"", got.handle))
        for _ in range(4):
            try:
                first, end = got.get_data(10)
            except mitogen.core.Error:
                return count
            data = [
                wire_frame(wire, parent, handles.ADD_ROUTE, b"%d:" % i + name) for i in range(first, end)
            ]
            wire.write(b"".join(data))
            count += len(data)
    return count


@mitogen.core.takes_econtext
def flood_ends(seconds, limit, econtext):
    """News of the end of very many contexts at a time."""
    wire = Wire(econtext)
    numbers = b"1," * 5_000_000
    make = _to_parent(wire, econtext, handles.DEL_ROUTE, lambda i: numbers + b"1:forged")
    return flood(wire, make, seconds, min(limit, 20), 1)


@mitogen.core.takes_econtext
def flood_odd_routes(seconds, limit, econtext):
    """News of routes that no context would send."""
    wire = Wire(econtext)
    parent = econtext.parent.context_id
    texts = [
        b"",
        b":",
        b"x",
        b"-1:x",
        b"\xc2\xb2:x",
        b"9" * 5000 + b":x",
        b"\xff:\xff",
        b"1 :x",
        b"0x1:x",
    ]
    texts += [b"\xd9\xa3:x", b"4294967296:x", b"0:x", b"1:x", b"2:x", b",,,:x", b"%s:%d"]

    def make(i):
        handle = handles.ADD_ROUTE if i % 2 else handles.DEL_ROUTE
        return wire_frame(wire, parent, handle, texts[i // 2 % len(texts)])

    return flood(wire, make, seconds, limit)


@mitogen.core.takes_econtext
def flood_strangers(seconds, limit, econtext):
    """Messages to contexts that are nowhere, each another one."""
    wire = Wire(econtext)
    make = lambda i: frame(100_000 + i, wire.here, wire.here, 0, 0, b"")  # noqa: E731
    return flood(wire, make, seconds, limit)


@mitogen.core.takes_econtext
def flood_promises(seconds, limit, econtext):
    """The beginning of the largest message that is taken, and never the rest."""
    wire = Wire(econtext)
    wire.write(frame(0, wire.here, wire.here, 100, 0, b"", length=1 << 27))
    time.sleep(seconds)
    return 1


@mitogen.core.takes_econtext
def flood_oddities(seconds, limit, econtext):
    """Every standard handle, with bodies that it does not expect."""
    wire = Wire(econtext)
    parent = econtext.parent.context_id
    bodies = [b"", b"\0", b"\xff" * 9, b"9" * 5000, b"\x80\x04.", b"\x80\x04N.", b"\0" * 100, b":" * 50]
    numbers = [h for h in [0, *range(100, 120)] if h != handles.DETACHING]

    def make(i):
        handle, body = numbers[i % len(numbers)], bodies[i // len(numbers) % len(bodies)]
        return wire_frame(wire, parent, handle, body, 5555 if i % 3 else 0)

    return flood(wire, make, seconds, limit)
