"""What imports cost: how often children ask, and what crosses each link in which form.

`Router.stats()` has the figures; what the master sends is noted on its way.
"""

from __future__ import annotations

import base64
import importlib.machinery
import os
import random
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from mitogen.core.stats import stats as stats_of
from tests import interpreters
from tests.integration import remote_imports as there
from tests.integration.programs import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from mitogen.master import Router
    from mitogen.parent import Context

    Make = Callable[..., str]

#: A Python that is not ours: it takes source.
OTHER = "3.6"
#: Modules of `big_package`.
MANY = 60


class Sent(NamedTuple):
    """An answer of the master."""

    context_id: int
    #: Without the form that was asked for.
    name: str
    #: ``code``, ``source``, or None if there is no such module.
    form: str | None
    related: tuple[str, ...]


@pytest.fixture
def sent(router: Router, monkeypatch: pytest.MonkeyPatch) -> list[Sent]:
    """What the master sends."""
    import zlib

    sent: list[Sent] = []
    send = router.responder.send

    def note(context_id: int, answer: Any) -> None:
        name, _, _, content, related = answer
        form = None
        if content is not None:
            form = "code" if zlib.decompress(content)[:1] == b"\0" else "source"
        plain, *others = [key.partition(":")[0] for key in (name, *related)]
        sent.append(Sent(context_id, plain, form, tuple(others)))
        send(context_id, answer)

    monkeypatch.setattr(router.responder, "send", note)
    return sent


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Make a package of the given modules, on the master's `sys.path`; return its name."""

    def make(**modules: str) -> str:
        name = "traffic_%d_%d" % (os.getpid(), random.getrandbits(32))
        (tmp_path / name).mkdir()
        for module, source in modules.items():
            (tmp_path / name / (module + ".py")).write_text(source)
        return name

    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return make


def big_package(make: Make) -> str:
    """Return the name of a package whose modules import one another, in all ways."""
    modules = {"__init__": "from . import m0\nfrom .m1 import VALUE\n"}
    for i in range(MANY):
        lines = ["from . import m%d" % random.randrange(i, MANY)]
        if i + 1 < MANY:
            lines += ["from .m%d import VALUE" % (i + 1), "import os, json"]
        else:
            lines += ["VALUE = 5"]
        modules["m%d" % i] = "\n".join(lines)
    return make(**modules)


def asked(router: Router, context: Context) -> int:
    """Return how often the master was asked for a module over the link to a context."""
    return int(link_of(router.stats(), context)["modules_asked"])


def link_of(stats: dict[str, Any], context: Context) -> dict[str, Any]:
    """Return the figures of the link to a context."""
    (link,) = (link for link in stats["links"] if link["context_id"] == context.context_id)
    return dict(link)


def all_came(context: Context) -> bool:
    """Return whether a context has all that was announced to it."""
    return not context.call(there.waits_for)


def ours(sent: Sequence[Sent], package: str) -> list[Sent]:
    return [answer for answer in sent if answer.name.partition(".")[0] == package]


def start(router: Router, python: str | None = None, via: Context | None = None) -> Context:
    """Start a child that has imported what all tests need."""
    path = sys.executable if python is None else interpreters.find(python)
    context = router.local(python_path=[path, "-I", "-W", "error"], via=via)
    context.call(there.attempt, "json.nowhere")
    return context


# -- Round trips -------------------------------------------------------------------------------------


@pytest.mark.parametrize("python", [None, OTHER, "pypy3"])
def test_a_package_of_many_modules_costs_two_round_trips(
    router: Router, make: Make, sent: list[Sent], python: str | None
) -> None:
    package = big_package(make)
    context = start(router, python)
    before = asked(router, context)
    assert context.call(there.get, package, "VALUE") == 5
    assert asked(router, context) - before <= 2
    names = [answer.name for answer in ours(sent, package)]
    assert sorted(names) == sorted([package, *("%s.m%d" % (package, i) for i in range(MANY))])
    # As ever the second time.
    before = asked(router, context)
    assert context.call(there.reload, package) == (True, package)
    assert asked(router, context) == before


def test_a_module_may_import_very_many(router: Router, make: Make, sent: list[Sent]) -> None:
    names = ["m%d" % i for i in range(600)]
    package = make(
        __init__="from . import %s\nVALUE = m599.VALUE\n" % ", ".join(names),
        **dict.fromkeys(names, "VALUE = 1\n"),
    )
    for context in start(router), start(router, via=start(router)):
        before = len(sent)
        assert context.call(there.get, package, "VALUE") == 1
        # In the order in which they are needed.
        assert [answer.name for answer in sent[before:]] == [
            package,
            *("%s.%s" % (package, n) for n in names),
        ]


def test_each_of_very_many_modules_may_name_the_next(
    router: Router, make: Make, sent: list[Sent]
) -> None:
    modules = {
        "m%d" % i: "if not __name__:\n    from . import m%d\nVALUE = 1\n" % (i + 1) for i in range(600)
    }
    package = make(__init__="from .m0 import VALUE\n", m600="VALUE = 2\n", **modules)
    for context in start(router), start(router, via=start(router)):
        assert context.call(there.get, package, "VALUE") == 1
        assert context.call(there.get, package + ".m600", "VALUE") == 2
    wait_until(lambda: len(ours(sent, package)) == 2 * 602)


def test_the_second_child_of_a_parent_costs_the_master_nothing(
    router: Router, make: Make, sent: list[Sent]
) -> None:
    package = big_package(make)
    top = start(router)
    first, second = (start(router, via=top) for _ in range(2))
    assert first.call(there.get, package, "VALUE") == 5
    assert first.call(there.attempt, package + ".nowhere")
    assert first.call(there.attempt, "nowhere_at_all_%s" % package)
    before = asked(router, top), len(sent)
    assert second.call(there.get, package, "VALUE") == 5
    assert second.call(there.attempt, package + ".nowhere")
    assert second.call(there.attempt, "nowhere_at_all_%s" % package)
    assert top.call(there.get, package, "VALUE") == 5
    assert (asked(router, top), len(sent)) == before
    # Nor does it ask its parent more often than the first one did.
    figures = top.call(stats_of)
    assert link_of(figures, second)["modules_asked"] <= link_of(figures, first)["modules_asked"]


def test_what_is_nowhere_is_asked_for_once(router: Router, make: Make, sent: list[Sent]) -> None:
    package = make(__init__="")
    context = start(router)
    for name in package + ".nowhere", package + "_nowhere", "json.nothing_like_it":
        counts = []
        for _ in range(3):
            assert context.call(there.attempt, name)
            assert context.call(there.find, name) is None
            counts.append(asked(router, context))
        assert len(set(counts)) == 1


# -- Each byte once ----------------------------------------------------------------------------------


def noise(size: int) -> str:
    """Return source of about `size` bytes."""
    return "DATA = %r\n" % base64.b64encode(os.urandom(size * 3 // 4)).decode()


@pytest.mark.parametrize(
    "pythons",
    [
        (None, None, None),
        (OTHER, OTHER, OTHER),
        (OTHER, None, OTHER),
        (None, OTHER, None),
        (None, None, OTHER),
    ],
    ids=lambda pythons: "-".join("ours" if p is None else p for p in pythons),
)
def test_through_three_hops_each_byte_crosses_each_link_once(
    router: Router, make: Make, sent: list[Sent], pythons: tuple[str | None, ...]
) -> None:
    size = 100_000
    package = make(
        __init__="from . import a, b\nDONE = 1\n",
        a="from .b import B\n" + noise(size),
        b="B = 1\ndef lazy():\n    from . import c\n    return 1\n" + noise(size),
        c=noise(size),
    )
    chain: list[Context] = []
    for python in pythons:
        chain.append(start(router, python, via=chain[-1] if chain else None))

    def figures() -> list[int]:
        stats = [router.stats(), *(context.call(stats_of) for context in chain[:-1])]
        return [link_of(found, context)["bytes_sent"] for found, context in zip(stats, chain)]

    for context in chain[:-1]:
        context.call(stats_of)
    before = figures()
    del sent[:]
    # The last one first, then those on the way to it, which have it all.
    for context in reversed(chain):
        assert context.call(there.get, package, "DONE") == 1
        assert context.call(there.run, package + ".b", "lazy") == 1
    names = [answer.name for answer in ours(sent, package)]
    assert len(names) == len(set(names)) == 4, ours(sent, package)
    total = 3 * size
    for bytes_before, bytes_after in zip(before, figures()):
        assert total * 0.95 < bytes_after - bytes_before < total * 1.15


def test_source_for_tracebacks_is_sent_for_those_modules_only(
    router: Router, make: Make, sent: list[Sent]
) -> None:
    package = big_package(make)
    context = start(router)
    assert context.call(there.get, package, "VALUE") == 5
    del sent[:]
    assert "VALUE = 5" in context.call(there.sources, "%s.m%d" % (package, MANY - 1), [])[""]
    assert "from .m1 import VALUE" in context.call(there.sources, package, [])[""]
    context.call(there.attempt, "json.nowhere_else")
    assert [(answer.name, answer.form) for answer in ours(sent, package)] == [
        ("%s.m%d" % (package, MANY - 1), "source"),
        (package, "source"),
    ]


# -- Names and forms ---------------------------------------------------------------------------------


def test_each_name_crosses_a_link_once(router: Router, make: Make, sent: list[Sent]) -> None:
    package = big_package(make)
    top = start(router)
    contexts = [top, start(router, via=top), start(router, OTHER, via=top), start(router)]
    receivers = [context.call_async(there.get, package, "VALUE") for context in contexts]
    assert [receiver.get_data(60) for receiver in receivers] == [5] * 4
    for name in [package, package + ".m7", "mitogen.core.imports"]:
        # In two forms where contexts of another Python are behind a link.
        for context, forms in (contexts[0], {"code", "source"}), (contexts[3], {"code"}):
            found = [s.form for s in sent if (s.context_id, s.name) == (context.context_id, name)]
            assert sorted(map(str, found)) == sorted(forms), name


def test_code_goes_to_our_own_python_and_source_to_others(
    router: Router, make: Make, sent: list[Sent]
) -> None:
    package = make(__init__="from . import part\nVALUE = part.VALUE\n", part="VALUE = 1\n")
    for python, form in (None, "code"), (OTHER, "source"), ("pypy3", "source"):
        context = start(router, python)
        assert context.call(there.get, package, "VALUE") == 1
        found = [answer for answer in ours(sent, package) if answer.context_id == context.context_id]
        assert [answer.form for answer in found] == [form] * 2


def test_whatever_is_announced_comes(router: Router, make: Make, sent: list[Sent]) -> None:
    """Be it that there is no such module, or that it can't be sent."""
    package = make(
        __init__="from . import native, gone, wrong, part, space\n",
        part="from . import part\nVALUE = 1\n",
        wrong="x = = 1\n",
        gone="",
    )
    folder = os.path.join(sys.path[0], package)
    open(os.path.join(folder, "native" + importlib.machinery.EXTENSION_SUFFIXES[0]), "wb").close()
    os.mkdir(os.path.join(folder, "space"))
    # The master finds it among the package's children, and can't read it then.
    os.chmod(os.path.join(folder, "gone.py"), 0)
    os.remove(os.path.join(folder, "gone.py"))
    os.symlink("nowhere", os.path.join(folder, "gone.py"))
    top = start(router)
    contexts = [top, start(router, via=top), start(router, OTHER, via=top), start(router, OTHER)]
    for context in contexts:
        for _ in range(2):
            error = context.call(there.attempt, package)
            assert error is not None
            assert "compiled for the master's platform" in error[1]
            assert context.call(there.attempt, package + ".part") == error
            assert context.call(there.attempt, "nowhere_%s" % package)
    for context in contexts:
        # Some may still be on their way.
        wait_until(partial(all_came, context))
    for context in contexts[0], contexts[3]:
        found = [answer for answer in sent if answer.context_id == context.context_id]
        names = {answer.name for answer in found}
        for answer in found:
            assert set(answer.related) <= names, answer


def test_a_module_that_has_no_code_does_not_promise_source_of_others(router: Router, make: Make) -> None:
    """A context of our Python asks for itself, and gets source since the module is not valid."""
    package = make(__init__="from . import wrong\n", wrong="x = = 1\n", other="from . import wrong\n")
    top = start(router)
    assert top.call(there.attempt, package)
    for below in start(router, OTHER, via=top), start(router, via=top):
        error = below.call(there.attempt, package)
        assert error is not None
        assert error[0] == "SyntaxError"
        wait_until(partial(all_came, below))
