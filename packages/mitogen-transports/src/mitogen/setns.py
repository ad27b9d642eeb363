"""Contexts in the namespaces of containers, whatever manages those: the transport `setns`.

For root on Linux. The container's manager is asked for the container's first process, and for nothing
else. An interpreter of ours then enters the namespaces of that and becomes the command: no `nsenter` is
needed.

That interpreter has our rights among the container's files for a moment, so nothing of those may run
with them: it imports nothing from there on, and reads the accounts itself, where `pwd` would load the
container's libraries. Nor may processes of the container look into it.

Rejected: to enter them in a fork of this process, whose threads do not come along but whose locks do.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys

from mitogen.core.errors import StreamError
from mitogen.parent.container import ContainerConnection, ContainerOptions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: What is asked for the first process of a container, by its kind.
_KINDS = {
    "docker": ["docker", "inspect", "--type=container", "--format={{.State.Pid}}"],
    "lxc": ["lxc-info", "--no-humanize", "--pid", "--name"],
    "lxd": ["lxc", "info"],
    "machinectl": ["machinectl", "show", "--property=Leader"],
}
#: What they answer for one that runs. Others have 0, -1, or no such line.
_PID = re.compile(r"^(?:pid: *|leader=)?([1-9]\d*)\s*$", re.IGNORECASE | re.MULTILINE)

# Enters the namespaces of the process argv[1] and executes argv[3:] there as the account argv[2]. Those
# that may not be entered may once the one for users was: the usual order deprives us of rights, but if it
# is that one that has them, it goes first.
#
# A process enters a PID namespace with its children only. Then it stays behind without a part in the
# connection, passes signals on, and ends as its child does; if it is killed, so is that (prctl 1), whose
# memory and executable are out of reach until it is the account's own process (prctl 4).
_ENTER = """\
import os,sys
from _signal import SIG_DFL,signal
try:
 import ctypes
 libc=ctypes.CDLL(None,use_errno=True)
 prctl=libc.prctl
except ImportError:prctl=lambda *a:0
pid,user=sys.argv[1:3]
argv=sys.argv[3:]
def enter(fd):
 if hasattr(os,"setns"):os.setns(fd)
 elif libc.setns(fd,0):
  n=ctypes.get_errno()
  raise OSError(n,os.strerror(n))
def table(path):
 try:
  with open(path,"rb") as f:
   return [l.split(":") for l in f.read().decode("utf-8","replace").split("\\n")]
 except OSError:return []
def main():
 p=os.open("/proc/"+pid,0)
 root,cwd=os.open("root",0,dir_fd=p),os.open("cwd",0,dir_fd=p)
 todo={}
 for n in "cgroup","ipc","uts","net","pid","mnt","time","user":
  try:fd=os.open("ns/"+n,0,dir_fd=p)
  except FileNotFoundError:continue
  if not os.path.samestat(os.fstat(fd),os.stat("/proc/self/ns/"+n)):todo[n]=fd
 forks="pid" in todo
 while todo:
  left={}
  for n in todo:
   try:enter(todo[n])
   except PermissionError as e:left[n],why=todo[n],e
  if len(left)==len(todo):raise why
  todo=left
 os.fchdir(root)
 os.chroot(".")
 os.fchdir(cwd)
 prctl(4,0)
 if forks:
  child=os.fork()
  if child:follow(child)
 known=[l for l in table("/etc/passwd") if len(l)==7]
 for name,_,uid,gid,_,home,shell in known+[["root",0,0,0,0,"/",""]]:
  if name==user:break
 else:raise OSError(2,"no account "+user)
 gid=int(gid)
 os.setgroups([gid]+[int(l[2]) for l in table("/etc/group") if len(l)==4 and user in l[3].split(",")])
 os.setgid(gid)
 os.setuid(int(uid))
 prctl(1,9)
 path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
 env=dict(HOME=home,USER=user,LOGNAME=user,SHELL=shell or "/bin/sh",PATH=path)
 for p in path.split(":"):
  try:os.execve(os.path.join(p,argv[0]),argv,env)
  except OSError as e:why=e
 raise OSError(why.errno,argv[0]+": "+why.strerror)
def follow(child):
 for n in 1,2,3,10,12,15:signal(n,lambda n,_:os.kill(child,n))
 os.closerange(0,3)
 status=os.waitpid(child,0)[1]
 n=status&127
 if n:
  if n!=9:signal(n,SIG_DFL)
  os.kill(os.getpid(),n)
 os._exit(status>>8)
try:main()
except BaseException as e:
 why=pid,getattr(e,"strerror",0) or e
 os.write(2,("can't start in the namespaces of process %s, as only root can: %s\\n"%why).encode())
os._exit(1)
"""


class SetnsOptions(ContainerOptions):
    """See `mitogen.parent.signatures.Transports.setns`."""

    def __init__(
        self,
        container: str,
        kind: str,
        username: str | None = None,
        docker_path: str | None = None,
        lxc_info_path: str | None = None,
        machinectl_path: str | None = None,
        lxc_path: str | None = None,
        **common: Any,
    ) -> None:
        if kind not in _KINDS:
            raise StreamError("setns: kind must be one of %s, not %r", ", ".join(sorted(_KINDS)), kind)
        paths = {"docker": docker_path, "lxc": lxc_info_path, "lxd": lxc_path}
        path = paths.get(kind, machinectl_path) or _KINDS[kind][0]
        ContainerOptions.__init__(self, container, username or "root", path, **common)
        self.kind = kind


class SetnsConnection(ContainerConnection):
    """Start a context in the namespaces of the first process of a container."""

    transport = "setns"
    options_class = SetnsOptions
    options: SetnsOptions

    def wrap(self, argv: list[str]) -> list[str]:
        return [sys.executable, "-ISc", _ENTER, self._find(), str(self.options.username), *argv]

    def _find(self) -> str:
        """Return the id of the container's first process.

        :raises StreamError: it can't be found.
        """
        options = self.options
        command = [options.path, *_KINDS[options.kind][1:], self.target]
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                # Some translate what they say.
                env=dict(os.environ, LC_ALL="C"),
                timeout=options.connect_timeout,
            )
        except (OSError, subprocess.TimeoutExpired) as e:
            raise self._error("can't ask for the container: %s; check the program" % e) from e
        found = _PID.search(done.stdout.decode("utf-8", "replace"))
        if done.returncode:
            said = (done.stderr or done.stdout).decode("utf-8", "replace").strip()
            text = "can't find the container: %s exited with status %d: %s"
            raise self._error(text % (" ".join(command), done.returncode, said))
        if found is None:
            raise self._error("the %s container is not running" % options.kind)
        return found.group(1)

    def _error(self, reason: str) -> StreamError:
        return StreamError("%s context %s: %s", self.transport, self.name, reason)
