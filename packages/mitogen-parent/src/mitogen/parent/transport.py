"""The contract of transports: `Options` and `Connection`, from which each derives its own two classes.

A transport is a way to start Python elsewhere: a program that is given the command of an interpreter, and
connects the standard streams of that with its own. Its module has

* a class of options, derived from `Options`: what its callers may say. It travels to contexts that run
  Python 3.6 as a dictionary of plain values, so all it holds are such;
* a class of connections, derived from `Connection`: how the command looks, what it may ask for on a
  terminal, and what its errors mean.

The entry point ``NAME = "module:ConnectionClass"`` in the group ``mitogen.transports`` of a distribution
makes it ``router.NAME(...)``. With `via`, the module travels to where it is needed, without entry points.

The whole of one::

    class ChrootOptions(Options):
        def __init__(self, root: str, **common: Any) -> None:
            Options.__init__(self, **common)
            self.root = root

    class ChrootConnection(Connection):
        transport = "chroot"
        options_class = ChrootOptions
        options: ChrootOptions

        @property
        def target(self) -> str:
            return self.options.root

        def wrap(self, argv: list[str]) -> list[str]:
            return ["chroot", self.options.root, *argv]

Everything about connections runs on the broker thread, but for what says otherwise.
"""

from __future__ import annotations

import os
import re
from functools import partial
from shlex import quote

from mitogen.core import logs
from mitogen.core.errors import StreamError
from mitogen.core.stdtypes import Secret
from mitogen.parent import bootstrap
from mitogen.parent.asking import ask
from mitogen.parent.connection import Connection as _Connection
from mitogen.parent.options import Options
from mitogen.parent.process import spawn
from mitogen.parent.prompts import Dialogue, PasswordError, Prompt
from mitogen.parent.terminal import PASSED_FD, Terminal, start_on_terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from mitogen.core.timers import Timer
    from mitogen.parent.starter import Starter

__all__ = ["Connection", "Options", "PasswordError", "Prompt", "quoted", "secret"]

#: The newest Python that is looked for by its full name.
_NEWEST = 20
#: Where an interpreter may be, best first.
_CANDIDATES = " ".join(
    ["python3"]
    + ["python3.%d" % minor for minor in range(_NEWEST, bootstrap.FLOOR[1] - 1, -1)]
    + ["/usr/libexec/platform-python", "python"]
)
#: Runs the first interpreter there is with the arguments that follow. One line, and nothing in it means
#: anything to a shell within single quotes.
_DISCOVER = (
    'for p in %s;do command -v $p>/dev/null 2>&1&&exec $p "$@";done;'
    "echo No Python found: looked for %s >&2;exit 127"
    % (_CANDIDATES, "python3, python3.6 and up, python")
)
#: A value that may stand in code which crosses shells.
_PLAIN = re.compile(r"[\w.@-]+\Z", re.ASCII)
#: Seconds of silence after which a line that nobody expected is taken for a question.
_SILENCE = 0.5


def secret(text: str | None) -> str | None:
    """Return a password in a form that no repr shows; options keep theirs so."""
    return None if text is None else Secret(text)


def quoted(argv: Sequence[str]) -> str:
    """Return a command line for a shell, of any kind, that executes `argv` in its place."""
    return "exec " + " ".join(map(quote, argv))


class Connection(_Connection):
    """Start one context with another program's help.

    :ivar options: what was asked for, an instance of `options_class`.
    """

    #: Errors of its own that its starts may raise; first, the one for passwords.
    error_types: tuple[type[StreamError], ...] = (PasswordError,)
    #: What the target may have printed when it failed, as regular expressions, and what that raises.
    complaints: tuple[tuple[str, type[StreamError]], ...] = ()
    #: Environment variables that the program gets.
    environment: dict[str, str] = {}
    #: Whether the program has to have a terminal.
    needs_terminal = False
    #: Whether it reads answers from its stdin rather than from its terminal.
    asks_on_stdin = False
    #: Whether an interpreter of our version is sent code that it need not compile. It takes twice the
    #: bytes of source, and saves the target some 20 ms.
    sends_code = True

    find_core = True
    _terminal: Terminal | None = None

    def __init__(self, starter: Starter, options: Options) -> None:
        _Connection.__init__(self, starter, options)
        self._dialogue = Dialogue(self.prompts())
        self._silence: Timer | None = None
        self._refused: type[StreamError] | None = None

    # -- For transports ------------------------------------------------------------------------

    @property
    def target(self) -> str:
        """What is connected to, for the name of the context: ``ssh.TARGET``."""
        raise NotImplementedError("%s has no `target`" % type(self).__name__)

    def wrap(self, argv: list[str]) -> list[str]:
        """Return the command that has `argv` executed on the target, on the caller's thread.

        It may block, as for another program that knows something of the target.

        :param argv: the command of an interpreter. No argument has a newline, backslash or single quote,
            unless the caller's `python_path` has; see `quoted`.
        :raises StreamError: the target can't be started on.
        """
        raise NotImplementedError("%s has no `wrap`" % type(self).__name__)

    def prompts(self) -> list[Prompt]:
        """Return what the program may ask for on its terminal, the most particular first."""
        return []

    # -- What the base class asks for ----------------------------------------------------------

    def _default_name(self, number: int) -> str:
        return "%s%s.%s" % (self.options.name_prefix, self.transport, self.target)

    def command(self) -> tuple[list[str], str]:
        argv = self.wrap(self.python_argv())
        return argv, argv[0]

    def python_argv(self) -> list[str]:
        """Return the command of the target's interpreter with the first stage.

        Without a `python_path`, it is found by a shell in that same command: nothing needs to be asked
        beforehand.
        """
        path = self.options.python_path
        if path is None:
            argv = ["sh", "-c", _DISCOVER, "sh"]
        else:
            argv = [path] if isinstance(path, str) else list(path)
        stage = bootstrap.one_line(self._restore() + bootstrap.first_stage(self.find_core))
        return [*argv, "-S", "-c", stage, "mitogen:" + self.options.remote_name]

    def _restore(self) -> str:
        """Return code that undoes there what was done to have the program speak English, or ask."""
        code = ""
        for name in self.environment:
            old = os.environ.get(name)
            undo = 'pop("%s",0)' % name
            if old is not None and _PLAIN.match(old):
                undo = 'update({"%s":"%s"})' % (name, old)
            code += "import os;os.environ.%s\n" % undo
        if self.asks_on_stdin:
            for fd in range(2):
                code += "import os;os.dup2(%d,%d);os.close(%d)\n" % (PASSED_FD + fd, fd, PASSED_FD + fd)
        return code

    def launch(self, argv: list[str], executable: str, opened: list[int]) -> Any:
        fds = opened[2], opened[1], opened[5]
        env = dict(os.environ, **self.environment)
        if not self.needs_terminal:
            return spawn(argv, executable, fds, self._pids, env)
        ends, popen = start_on_terminal(argv, executable, fds, self._pids, env, self.asks_on_stdin)
        self._terminal = Terminal(ends, self.name, self._on_terminal)
        return popen

    def start(self) -> None:
        try:
            _Connection.start(self)
        except BaseException:
            if self._terminal is not None and not self._is_started:
                self._terminal.on_fork()
            raise

    def _attach(self) -> None:
        _Connection._attach(self)
        if self._terminal is not None:
            if self.stream.closed:
                self._terminal.on_fork()
            else:
                self.broker._start_receive(self._terminal)

    def _on_hello(self, hello: bootstrap.Hello) -> None:
        if not self.sends_code:
            hello.magic = "-"  # As of an interpreter whose byte code nobody here could make.
        _Connection._on_hello(self, hello)

    def _on_disconnect(self) -> None:
        _Connection._on_disconnect(self)
        self._be_quiet()
        if self._terminal is not None:
            self._terminal.on_disconnect(self.broker)

    def said(self) -> bytes:
        terminal = b""
        if self._terminal is not None:
            self._terminal.on_receive(self.broker)
            terminal = self._terminal.tail.replace(b"\r\n", b"\n")
        return self._dialogue.scrub(_Connection.said(self) + terminal)

    def error(self, reason: str) -> StreamError:
        if self._refused is not None:
            return self._refused("%s", reason)
        for pattern, cls in self.complaints:
            if re.search(pattern, reason, re.IGNORECASE):
                return cls("%s", reason)
        return _Connection.error(self, reason)

    # -- The terminal --------------------------------------------------------------------------

    def _on_terminal(self, data: bytes) -> None:
        if self._hello is not None or self._failed:
            return
        logs.log(logs.DEBUG, "%s: its terminal shows %r", self.name, self._dialogue.scrub(data))
        for step in self._dialogue.receive_data(data):
            if isinstance(step, bytes):
                self._terminal.write(step)  # type: ignore[union-attr]
            else:
                self._refuse(*step)
        self._be_quiet()
        if self._dialogue.question:
            self._silence = self.broker.call_later(_SILENCE, self._on_silence)

    def _be_quiet(self) -> None:
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None

    def _on_silence(self) -> None:
        """Nothing followed a line that looks like a question."""
        self._silence = None
        question = self._dialogue.question
        if question and self._hello is None:
            on_prompt = getattr(self.options, "on_prompt", None)
            if on_prompt is None:
                self._decline(question)
            else:
                ask(self.router, on_prompt, question, partial(self._on_answer, question))

    def _on_answer(self, question: str, answer: str | None) -> None:
        if self._failed or self._hello is not None:
            return
        if answer is None:
            self._decline(question)
        else:
            self._terminal.write(self._dialogue.take_answer(answer))  # type: ignore[union-attr]

    def _decline(self, question: str) -> None:
        text = "it asks %r, which nothing was given to answer: pass on_prompt, which gets the question"
        self._refuse(self.error_types[0], text % question)

    def _refuse(self, cls: type[StreamError], reason: str) -> None:
        self._refused = cls
        self.fail(reason)
