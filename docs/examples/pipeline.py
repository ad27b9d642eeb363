"""Send a sequence of calls without waiting for each answer."""

import os
import tempfile

import mitogen.core
import mitogen.master
import mitogen.parent


def write(path: str, text: str) -> None:
    """Write a file."""
    with open(path, "w") as f:
        f.write(text)


if __name__ == "__main__":
    with mitogen.master.Router() as router, tempfile.TemporaryDirectory() as folder:
        context = router.local()
        with mitogen.parent.CallChain(context, pipelined=True) as chain:
            chain.call_no_reply(os.mkdir, folder + "/a")
            chain.call_no_reply(write, folder + "/a/file", "text")
            print(chain.call(os.listdir, folder + "/a"))

            chain.call_no_reply(os.mkdir, folder + "/a")  # Fails: it is there.
            chain.call_no_reply(write, folder + "/a/more", "never run")
            try:
                chain.call(os.listdir, folder + "/a")
            except mitogen.core.CallError as e:
                print(e.type_name)

            chain.reset()
            print(chain.call(os.listdir, folder + "/a"))
