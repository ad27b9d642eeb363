"""Keep a few contexts busy with many jobs."""

import concurrent.futures
import os
import time
from typing import Any

import mitogen.master
from mitogen.parent import Context
from mitogen.select import Select


def work(job: int) -> "tuple[int, int]":
    """Do a job: return its result, and who did it."""
    time.sleep(0.01 * (job % 3))
    return job * job, os.getpid()


if __name__ == "__main__":
    with mitogen.master.Router() as router:
        # Starting a context waits for its interpreter: use a thread for each.
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            contexts = list(pool.map(lambda _: router.local(), range(3)))

        jobs = iter(range(20))
        results: dict[int, int] = {}
        workers: set[int] = set()
        with Select() as select:
            running: dict[Any, tuple[int, Context]] = {}  # By the receiver of the result.

            def begin(context: Context) -> None:
                """Give `context` the next job, if there is one."""
                job = next(jobs, None)
                if job is not None:
                    receiver = context.call_async(work, job)
                    running[receiver] = job, context
                    select.add(receiver)

            for context in contexts:
                begin(context)
            for msg in select:  # Ends when no call is left.
                job, context = running.pop(msg.receiver)
                results[job], pid = msg.unpickle()
                workers.add(pid)
                begin(context)
        print(len(results), "jobs done by", len(workers), "contexts; the last is", results[19])
