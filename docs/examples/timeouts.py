"""Stop waiting, and stop the work as well."""

import os
import time

import mitogen.core
import mitogen.master
import mitogen.parent


def work(seconds: float) -> str:
    """Take some time; an interrupted function may clean up."""
    try:
        time.sleep(seconds)
    finally:
        os.environ["LAST_WORK"] = str(seconds)
    return "done"


if __name__ == "__main__":
    with mitogen.master.Router() as router:
        context = router.local(name="worker")
        print(context.call(work, 0))

        hasty = mitogen.parent.CallChain(context, timeout=0.5)
        try:
            hasty.call(work, 60)
        except mitogen.core.TimeoutError as e:
            print(e)
        print("cleaned up after:", context.call(os.getenv, "LAST_WORK"))

        receiver = context.call_async(work, 60)
        try:
            receiver.get(timeout=0.2)
        except mitogen.core.TimeoutError as e:
            print(e)
        context.default_call_chain.cancel(receiver)
        print("process:", context.call(os.getpid) > 0)
