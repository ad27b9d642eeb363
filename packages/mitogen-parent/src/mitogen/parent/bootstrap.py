"""The first contact with a target: the first stage, the hello it answers with, and what is sent then.

Owns the text that runs on the target before anything of ours is there, and the choice of the cheapest
thing to send. Pure: who starts the process and moves the bytes is the connection's business.

The first stage is an argument of a command line that may cross several shells, so it is short, and
it must parse on any Python from 2.4 on, because an interpreter that is too old must still be able to say
so. It

1. takes the current folder off `sys.path`, so that a file there can't pass for a standard module;
2. writes the hello: ``MITOGEN1 3.11.7 cpython-311 a70d0d0a linux PATH``: version, implementation, magic
   number of its bytecode, platform, and the folder that has the wanted version of mitogen-core, if any.
   The marker is put together at run time: a terminal that echoes the command is not taken for it;
3. reads one payload: its length in hex, and a marshalled tuple, the first item of which it executes.

It reads with `os.read`: a script on stdin would be read by the byte. Whoever started it may have made
stdin non-blocking, as sudo does when it logs: that is undone. The end of input ends it.

No character of it means anything to a shell within single quotes, be it sh, csh or fish; `one_line` makes
it a single line, which csh needs.
"""

from __future__ import annotations

import re

import mitogen
from mitogen import bundle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Oldest Python that a child may run on.
FLOOR = (3, 6)

MARKER = b"MITOGEN1 "

FIRST_STAGE = """\
import sys;sys.path=[p for p in sys.path if p]
import os,marshal
def r(n):
 b=bytes()
 while len(b)<n:
  d=os.read(0,n-len(b))
  if not d:os._exit(1)
  b+=d
 return b
try:
 os.set_blocking(0,1)
 from _frozen_importlib_external import MAGIC_NUMBER as m
 m=sys.implementation.cache_tag+" "+m.hex()
except:m="- -"
i="-"
%sos.write(1,("MITO"+"GEN1 %%s %%s %%s %%s"%%(sys.version.split()[0],m,sys.platform,i)+chr(10)).encode())
t=marshal.loads(r(int(r(8),16)));exec(t[0])"""

#: Part of the first stage that looks for an installed core: beside the interpreter, which covers virtual
#: environments, and where pip puts it on Debian. A core that is installed anywhere else is simply sent.
FIND_CORE = """\
v="/lib/python%%d.%%d/"%%sys.version_info[:2]
for p in os.path.dirname(sys.executable)+"/.."+v+"site","/usr/local"+v+"dist":
 p+="-packages"
 if os.path.isdir(p+"/mitogen_core-%s.dist-info"):i=p
"""

#: Runs in the place of the boot code where the core is installed: boots from there if the content is
#: what we have, else asks for the bundle.
BOOT_INSTALLED = """\
import hashlib
sys.path.insert(0,t[1]['path'])
h=hashlib.sha256()
try:
 for f in t[1]['files']:
  with open(t[1]['path']+'/'+f,'rb') as f:h.update(f.read())
except OSError:pass
same=h.hexdigest()==t[1]['digest']
if same:
 t=(0,{},t[2])
 import mitogen.core.boot
 del sys.path[0]
 mitogen.core.boot.boot(t)
del sys.path[0]
os.write(1,('MITOGEN-'+'SEND\\n').encode())
t=marshal.loads(r(int(r(8),16)));exec(t[0])
"""


def first_stage(find_core: bool) -> str:
    """Return the program for ``python -S -c``.

    :param find_core: have the target look for an installed mitogen-core.
    """
    return FIRST_STAGE % (FIND_CORE % mitogen.__version__ if find_core else "")


def one_line(program: str) -> str:
    """Return Python code in one line that executes `program`, for command lines that cross shells."""
    return 'exec("""%s""".replace("~",chr(10)))' % program.replace("\n", "~")


class Hello:
    """What a first stage reports of its interpreter.

    :ivar version: as in ``(3, 11, 7)``.
    :ivar tag: implementation and version as used for cache files, or ``-``.
    :ivar magic: magic number of its bytecode in hex, or ``-``.
    :ivar platform: its `sys.platform`.
    :ivar core_path: folder where the wanted mitogen-core is installed, or None.
    """

    def __init__(self, line: bytes) -> None:
        """Parse `line`.

        :raises ValueError: it is no hello.
        """
        words = line.decode("utf-8", "replace").split(" ", 5)
        if len(words) != 6 or words[0] != "MITOGEN1":
            raise ValueError("not a hello: %r" % line[:200])
        # Development versions end in letters or a plus: 3.15.0a1+.
        self.version = tuple(int(part) for part in re.findall("[0-9]+", words[1])[:3])
        self.tag, self.magic, self.platform = words[2:5]
        self.core_path = words[5] if words[5] != "-" else None

    @property
    def version_text(self) -> str:
        """The version as people write it."""
        return ".".join(map(str, self.version))

    @property
    def too_old(self) -> bool:
        """True if nothing of ours runs there."""
        return self.version[:2] < FLOOR

    @property
    def same_code(self) -> bool:
        """True if it runs code objects that this interpreter compiled."""
        # Imported at the first use: a parent that only meets other versions has no need of it.
        from importlib.util import MAGIC_NUMBER
        from sys import implementation

        return self.tag == implementation.cache_tag and self.magic == MAGIC_NUMBER.hex()


def missing(hello: Hello, config: dict[str, Any]) -> list[str]:
    """Return the modules that must be fetched before `answer` can be called."""
    return bundle.missing(*_needs(hello, config))


def _needs(hello: Hello, config: dict[str, Any]) -> tuple[bool, list[str]]:
    extras = bundle.extras(hello.version, hello.platform, config)
    return hello.same_code and bundle.has_code(), extras


def answer(hello: Hello, config: dict[str, Any], compress: bool) -> bytes:
    """Return the cheapest payload that starts the core on the target that said `hello`."""
    if hello.core_path is None or not bundle.has_files():
        hello.core_path = None
        as_code, extras = _needs(hello, config)
        return bundle.payload(as_code, config, compress, extras)
    wanted = {"path": hello.core_path, "digest": bundle.digest(), "files": bundle.files()}
    return bundle.frame((BOOT_INSTALLED, wanted, config))
