"""Another process joins a running program, and uses its contexts."""

import os
import subprocess
import sys

import mitogen.core
import mitogen.master
import mitogen.unix

#: Agreed upon by both programs.
CONTEXTS = 2000


def host() -> None:
    """Have contexts, and let other processes use them."""
    with mitogen.master.Router() as router:
        contexts = [router.local(name=name) for name in ("red", "green")]

        def on_contexts(msg: mitogen.core.Message) -> None:
            if not msg.is_dead:
                msg.reply(contexts)

        # Clients may ask; the contexts may not.
        router.add_handler(on_contexts, CONTEXTS, policy=mitogen.core.has_parent_authority)
        listener = mitogen.unix.Listener.build_stream(router)
        subprocess.run([sys.executable, __file__, listener.path], check=True)


def client(path: str) -> None:
    """Use the contexts of the program that listens on `path`."""
    router, host = mitogen.unix.connect(path)
    with router:
        for context in host.send_await(mitogen.core.Message(handle=CONTEXTS), deadline=10):
            print(context.name, "runs below the host:", context.call(os.getppid) == os.getppid())


if __name__ == "__main__":
    if len(sys.argv) > 1:
        client(sys.argv[1])
    else:
        host()
