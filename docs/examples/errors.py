"""What goes wrong, and how it is told."""

import os
import sys

import mitogen.core
import mitogen.master


def read_port(settings: "dict[str, str]") -> int:
    """Fail with a cause."""
    try:
        return int(settings["port"])
    except KeyError as e:
        raise ValueError("no port in the settings") from e


if __name__ == "__main__":
    with mitogen.master.Router() as router:
        try:
            router.local(python_path="/no/such/python")
        except mitogen.core.StreamError as e:
            print("StreamError:", e)

        context = router.local(name="worker")
        try:
            context.call(read_port, {})
        except mitogen.core.CallError as e:
            print("CallError:", e.type_name, "-", e.text)
            print("caused by:", e.cause.type_name if e.cause else None)
            print(e.traceback.splitlines()[-2].strip())

        try:
            context.call(sys.exit, 3)
        except mitogen.core.CallError as e:
            print("CallError:", e.type_name, "-", e.text)
        print("still there:", context.call(os.getpid) > 0)

        try:
            context.call(os._exit, 3)
        except mitogen.core.ChannelError as e:
            print("ChannelError:", e)
