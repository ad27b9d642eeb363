"""Functions that are in no file, in real programs: typed at prompts, in IPython, given with -c."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

import mitogen
from tests import interpreters

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Seconds for a prompt to come back.
LIMIT = 40.0

SOURCES = os.pathsep.join(path for path in sys.path if path.endswith("src") and "packages" in path)


def environ(home: Path) -> dict[str, str]:
    """Return an environment in which nothing is written to the user's own folders."""
    return dict(
        os.environ,
        PYTHONPATH=SOURCES,
        HOME=str(home),
        IPYTHONDIR=str(home),
        TERM="xterm",
        PYTHON_HISTORY=str(home / "history"),
    )


class Terminal:
    """A Python at a terminal."""

    def __init__(self, home: Path, *argv: str) -> None:
        self.fd, theirs = pty.openpty()
        self.process = subprocess.Popen(
            argv,
            env=environ(home),
            cwd=str(home),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self.out = b""
        self.seen = 0

    def read_until(self, pattern: str) -> str:
        """Return what is written, from where the last call ended, once `pattern` matches its end."""
        deadline = time.monotonic() + LIMIT
        while True:
            text = re.sub(r"\x1b(\[[\d;?]*[a-zA-Z]|[=>])", "", self.out[self.seen :].decode())
            if re.search(pattern, text):
                self.seen = len(self.out)
                return text
            assert select.select([self.fd], [], [], max(0, deadline - time.monotonic()))[0], text
            try:
                data = os.read(self.fd, 65536)
            except OSError:
                data = b""  # How Linux says that nobody has the other end any more.
            assert data, text
            self.out += data

    def type(self, text: str) -> str:
        """Type something at a prompt; return what is written until the next one."""
        os.write(self.fd, text.encode() + b"\r")
        # The line that was typed is redrawn behind the prompt with each character.
        return self.read_until(r"\n(>>> )+$")

    def close(self) -> None:
        try:
            os.write(self.fd, b"router.__exit__(None, None, None); import os; os._exit(0)\r")
            self.process.wait(LIMIT)
        finally:
            self.process.kill()
            self.process.wait()
            os.close(self.fd)


def master_python(name: str) -> str:
    """Return an interpreter that a master may run on."""
    return interpreters.find(name)


@pytest.fixture
def terminal(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Terminal]:
    terminal = Terminal(tmp_path, master_python(request.param), "-q")
    try:
        terminal.read_until(r">>> $")
        terminal.type("import mitogen.master")
        terminal.type("router = mitogen.master.Router(); context = router.local()")
        yield terminal
    finally:
        terminal.close()


@pytest.mark.parametrize("terminal", ["3.13"], indirect=True)
def test_functions_typed_at_the_prompt_of_python_313_can_be_called(terminal: Terminal) -> None:
    terminal.type("FACTOR = 3")
    os.write(terminal.fd, b"def times(x):\r")
    os.write(terminal.fd, b"  return x * FACTOR, __name__[:15]\r")
    terminal.type("")
    assert "(12, 'mitogen_prompt_')" in terminal.type("context.call(times, 4)")
    terminal.type("FACTOR = 5")
    assert "(20, 'mitogen_prompt_')" in terminal.type("context.call(times, 4)")
    # A copy of the program has its globals, and the functions as they are.
    terminal.type("copy = router.fork(); FACTOR = 7")
    assert "(20, '__main__')" in terminal.type("copy.call(times, 4)")
    text = terminal.type("context.call(lambda: 1)")
    assert "define it with 'def' at the top level" in text


@pytest.mark.parametrize("terminal", ["3.12"], indirect=True)
def test_older_prompts_keep_no_source_and_the_caller_is_told(terminal: Terminal) -> None:
    os.write(terminal.fd, b"def one():\r")
    os.write(terminal.fd, b"  return 1\r")
    terminal.type("")
    text = " ".join(terminal.type("context.call(one)").split())
    assert "TypeError: can't call one in another context: it is in no file" in text
    assert "put it into a module, or into a script" in text
    terminal.type("copy = router.fork()")
    assert "\n1\r" in terminal.type("copy.call(one)")


PROGRAM = """\
import mitogen.master

def one():
    return 1

router = mitogen.master.Router()
try:
    print(router.local().call(one), router.fork().call(one))
except TypeError as e:
    print(router.fork().call(one), e)
finally:
    router.__exit__(None, None, None)
"""


@pytest.mark.parametrize("name", ["3.11", "3.13"])
def test_a_program_given_with_c_works_where_python_knows_its_source(tmp_path: Path, name: str) -> None:
    out = run(tmp_path, [master_python(name), "-W", "ignore", "-c", PROGRAM])
    if name == "3.13":
        assert out == "1 1\n"
    else:
        assert re.match(r"1 can't call one in another context: it is in no file", out)


@pytest.mark.parametrize("name", ["3.11", "3.13"])
def test_a_program_on_standard_input_is_told_what_to_do(tmp_path: Path, name: str) -> None:
    out = run(tmp_path, [master_python(name), "-W", "ignore", "-"], PROGRAM)
    assert re.match(r"1 can't call one in another context: it is in no file, .*save|.*put it into", out)


def test_what_is_typed_after_a_script_is_sent_as_typed_and_the_rest_as_the_script(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import mitogen.master\n"
        "def from_script(): return __name__\n"
        "if __name__ == '__main__':\n"
        "    router = mitogen.master.Router(); context = router.local()\n"
    )
    terminal = Terminal(tmp_path, master_python("3.13"), "-q", "-i", str(script))
    try:
        terminal.read_until(r">>> $")
        assert "'__main__'" in terminal.type("context.call(from_script)")
        os.write(terminal.fd, b"def typed():\r  return 'typed', __name__[:7]\r")
        terminal.type("")
        assert "('typed', 'mitogen')" in terminal.type("context.call(typed)")
    finally:
        terminal.close()


def run(home: Path, argv: list[str], stdin: str = "") -> str:
    done = subprocess.run(
        argv,
        env=environ(home),
        cwd=str(home),
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


NOTEBOOK = """\
import mitogen.master
router = mitogen.master.Router(); context = router.local()
N = 4

def double(x):
    return 2 * x * N + helper()

def helper():
    return 1

class Base: pass

class Greeter(Base):
    @staticmethod
    def greet(): return 'hello', issubclass(Greeter, Base)

far = router.fork(via=router.local(via=context))
print('RESULT', context.call(double, 4), context.call(Greeter.greet), far.call(double, 4))
%time print('RESULT', context.call(double, 1))
def magic(): return get_ipython()

try: context.call(magic)
except TypeError as e: print('RESULT', e)

router.__exit__(None, None, None)
exit
"""


def test_functions_of_an_ipython_session_can_be_called(tmp_path: Path) -> None:
    argv = [sys.executable, "-W", "ignore", "-m", "IPython", "--simple-prompt", "--no-banner"]
    out = run(tmp_path, [*argv, "--colors=NoColor", "--HistoryManager.enabled=False"], NOTEBOOK)
    results = re.findall(r"RESULT (.*)", out)
    assert results[:2] == ["33 ('hello', True) 33", "9"], out
    assert "the global 'get_ipython' (method), which magic uses, can't be sent along" in results[2]


def test_this_is_the_library_under_test() -> None:
    assert os.path.dirname(os.path.dirname(mitogen.__file__)) in SOURCES.split(os.pathsep)
