"""`mitogen.fakessh` where it is needed: in accounts and containers that no ssh of their own leads to."""

from __future__ import annotations

import os
import random
import subprocess
from typing import TYPE_CHECKING

import pytest

from mitogen import fakessh
from tests.integration.targets import place
from tests.integration.targets import sudo as sudoers
from tests.integration.test_chains import set_environment
from tests.integration.test_ssh import options
from tests.utils import remote_programs

if TYPE_CHECKING:
    from pathlib import Path

    from mitogen.master import Router
    from mitogen.parent import Context
    from tests.integration.targets.accounts import Account
    from tests.integration.targets.containers import Container
    from tests.integration.targets.sshd import Server

#: Run with the tree that is copied, a folder of its own here, and one at the other end.
PROGRAMS = r"""
set -eux
tree=$1 here=$2 there=$3 ssh=$(command -v ssh)
exec 2>$here/log
sums='find . -name .git -prune -o -type f -exec sha256sum {} + | sort'
same() { diff -r --exclude .git $tree $here/$1; }

ssh host "mkdir -p $there/rsync; echo >$there/rsync/surplus"
rsync -a --delete -i $tree/ host:$there/rsync >$here/first
grep -q '^\*deleting *surplus' $here/first
rsync -a --delete -i $tree/ host:$there/rsync >$here/second
test ! -s $here/second

scp -S $ssh -q -r -s $tree root@host:$there/scp
scp -S $ssh -q -r -O host:$there/scp $here
same scp

printf '%s\n' "mkdir $there/sftp" "put -r $tree/. $there/sftp" "get -r $there/sftp $here" >$here/batch
sftp -S $ssh -q -b $here/batch host >$here/said
same sftp

git clone -q ssh://host$there/rsync $here/git
same git

(cd $tree; eval "$sums") >$here/expected
code=0
ssh host "cd $there/rsync; $sums; rm -r $there; kill -TERM \$\$" >$here/found || code=$?
test $code = 143
cmp $here/expected $here/found
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with files of all sizes."""
    for program, package in (("rsync", "rsync"), ("scp", "openssh-client"), ("git", "git")):
        place.need(program, package)
    root = tmp_path_factory.mktemp("tree")
    rng = random.Random(6)
    for i, size in enumerate([0, 1, 5000, 140000, 3 << 20]):
        path = root / str(i % 3) / "sub folder" / ("file %d" % i)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rng.randbytes(size))
    git = ["git", "-C", str(root), "-c", "user.name=x", "-c", "user.email=x@y"]
    for args in (["init", "-q", "--template="], ["add", "."], ["commit", "-q", "-m", "x"]):
        subprocess.run([*git, *args], check=True)
    return root


def run_all(dest: Context, router: Router, child: Context | None, tree: Path, folder: Path) -> None:
    """Run the programs in the master, or in `child`, and have their ssh lead to `dest`."""
    folder.mkdir()
    args = ["bash", "-c", PROGRAMS, "bash", str(tree), str(folder), "%s/there" % folder]
    if child is None:
        code = fakessh.run(dest, router, args, 60)
    else:
        code = child.call(remote_programs.ssh, dest, args, 60)
    assert code == 0, (folder / "log").read_text()[-3000:]


@pytest.mark.parametrize("runner", ["master", "child"])
def test_through_ssh_and_sudo(
    router: Router, ssh_server: Server, user: Account, tree: Path, tmp_path: Path, runner: str
) -> None:
    child = router.local() if runner == "child" else None
    account = options(ssh_server, username=user.name, password=user.password)
    machine = router.ssh(**account, via=child)
    with sudoers.rule(user.name):
        root = router.sudo(password=user.password, via=machine)
    assert machine.call(os.getuid) != root.call(os.getuid) == 0
    run_all(root, router, child, tree, tmp_path / "here")


@pytest.mark.parametrize("runner", ["master", "child"])
def test_through_ssh_and_docker(
    docker_container: Container,
    router: Router,
    ssh_server: Server,
    tree: Path,
    tmp_path: Path,
    runner: str,
) -> None:
    child = router.local() if runner == "child" else None
    account = options(ssh_server, username="root", identity_file=ssh_server.key)
    machine = router.ssh(**account, via=child)
    machine.call(set_environment, {"DOCKER_HOST": os.environ["DOCKER_HOST"]})
    container = router.docker(docker_container.name, via=machine)
    assert container.call(os.path.exists, "/.dockerenv")
    assert not container.call(os.path.exists, str(tree))
    run_all(container, router, child, tree, tmp_path / "here")
