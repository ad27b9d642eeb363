"""A real Slurm on this machine alone: its controller, the daemon of its one node, and munged for both."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
from typing import TYPE_CHECKING

from tests.integration.targets import place

if TYPE_CHECKING:
    from collections.abc import Iterator

_CONFIG = """\
ClusterName={tag}
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={path}/munge/socket
CredType=cred/munge
StateSaveLocation={path}/state
SlurmdSpoolDir={path}/spool
SlurmctldPidFile={path}/slurmctld.pid
SlurmdPidFile={path}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:8
"""


@contextlib.contextmanager
def serve() -> Iterator[None]:
    """Run the daemons, with `SLURM_CONF` set, until the node is idle."""
    controller = place.need("slurmctld", "slurm-wlm")
    node = place.need("slurmd", "slurm-wlm")
    munged = place.need("munged", "munge")
    with contextlib.ExitStack() as stack:
        path = stack.enter_context(place.folder("slurm"))
        for name in ("munge", "state", "spool"):
            os.mkdir(os.path.join(path, name), 0o755)
        munge = os.path.join(path, "munge")
        key = os.path.join(munge, "key")
        with open(key, "wb") as f:
            os.fchmod(f.fileno(), 0o400)
            f.write(secrets.token_bytes(128))
        files = [
            "--%s=%s/%s" % (option, munge, option)
            for option in ("socket", "pid-file", "seed-file", "log-file")
        ]
        stack.enter_context(
            place.daemon(
                # It does not trust a folder below /tmp without --force.
                [munged, "--foreground", "--force", "--key-file=" + key, *files],
                os.path.join(path, "munged.out"),
                lambda: place.succeeds("munge", "--no-input", "--socket", os.path.join(munge, "socket")),
            )
        )
        config = os.path.join(path, "slurm.conf")
        with contextlib.ExitStack() as taken:
            sockets = [taken.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
            ports = [each.getsockname()[1] for each in sockets]
        with open(config, "w") as f:
            host, cpus = socket.gethostname().partition(".")[0], os.cpu_count()
            f.write(_CONFIG.format(tag=place.TAG, host=host, ports=ports, path=path, cpus=cpus))
        stack.enter_context(place.environ(SLURM_CONF=config))
        log = os.path.join(path, "log")
        stack.enter_context(
            place.daemon([controller, "-D"], log, lambda: place.succeeds("scontrol", "ping"))
        )
        stack.enter_context(
            place.daemon(
                [node, "-D"], log, lambda: "idle" in place.run("sinfo", "--noheader", "--format=%T")
            )
        )
        yield


@contextlib.contextmanager
def allocation() -> Iterator[str]:
    """Hold an allocation of one task; yields its job id, for `srun --jobid`."""
    place.run("salloc", "--quiet", "--ntasks=1", "--no-shell", "--job-name=" + place.TAG)
    job = place.run("squeue", "--noheader", "--format=%i", "--name=" + place.TAG).split()[0]
    try:
        yield job
    finally:
        place.run("scancel", job)
        place.wait_for(lambda: not place.run("squeue", "--noheader", "--jobs", job), "end of job " + job)
