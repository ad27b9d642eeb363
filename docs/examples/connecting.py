"""Many targets at once, some of which fail."""

import os
from concurrent.futures import as_completed
from typing import Any

import mitogen.core
import mitogen.master

TARGETS: dict[str, tuple[str, dict[str, Any]]] = {
    "one": ("local", {}),
    "two": ("local", {"connect_timeout": 10.0}),
    "broken": ("local", {"python_path": "/opt/none/bin/python3"}),
}

if __name__ == "__main__":
    with mitogen.master.Router() as router:
        router.max_connecting = 200
        starts = {
            router.connect_async(transport, **options): name
            for name, (transport, options) in TARGETS.items()
        }
        lines = []
        for future in as_completed(starts):
            try:
                context = future.result()
            except mitogen.core.StreamError as e:
                lines.append("%s: %s" % (starts[future], e))
            else:
                mine = context.call(os.getppid) == os.getpid()
                lines.append("%s: runs %s, and is mine: %s" % (starts[future], context.name, mine))
        print("\n".join(sorted(lines)))

        # By name, and waiting for it.
        print(router.connect("local").call(os.path.basename, "/a/b"))
