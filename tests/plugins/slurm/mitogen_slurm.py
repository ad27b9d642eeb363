"""Contexts in an allocation of a Slurm cluster that somebody holds already: the transport `srun`.

srun passes on what a command writes line by line, and a message need not end with a newline, so it is
told not to. The command's stdout is then a terminal, but one that leaves bytes as they are.
"""

from __future__ import annotations

from mitogen.parent.transport import Connection, Options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


class SrunOptions(Options):
    """What step to start.

    :param jobid: of the allocation.
    :param node: the node to start on; by default Slurm chooses one.
    :param srun_path: the program.
    :param srun_args: further arguments for it.
    """

    def __init__(
        self,
        jobid: str | int,
        node: str | None = None,
        srun_path: str = "srun",
        srun_args: Sequence[str] = (),
        **common: Any,
    ) -> None:
        Options.__init__(self, **common)
        self.jobid = str(jobid)
        self.node = node
        self.srun_path = srun_path
        self.srun_args = list(srun_args)


class SrunConnection(Connection):
    """Start a context with ``srun --jobid JOB COMMAND``."""

    transport = "srun"
    options_class = SrunOptions
    options: SrunOptions
    #: A network is between us and the nodes.
    compress = True

    @property
    def target(self) -> str:
        return ".".join(filter(None, (self.options.jobid, self.options.node)))

    def wrap(self, argv: list[str]) -> list[str]:
        options = self.options
        where = [] if options.node is None else ["--nodelist=" + options.node]
        # One process, beside whatever else runs in the allocation, and no words but errors.
        step = ["--ntasks=1", "--nodes=1", "--overlap", "--unbuffered", "--quiet", *where]
        return [options.srun_path, "--jobid=" + options.jobid, *step, *options.srun_args, *argv]
