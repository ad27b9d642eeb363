"""Copies to a context, to many at once, and back."""

from __future__ import annotations

import filecmp
import os
import tempfile


def show(done: int, total: int, rate: float) -> None:
    """Run in the program: say how far a copy is."""
    if done == total:
        print("%d bytes, %d MB/s" % (done, rate / 1e6))


if __name__ == "__main__":
    from mitogen.master import Router
    from mitogen.parent import copying

    with tempfile.TemporaryDirectory() as folder, Router() as router:
        path = os.path.join(folder, "data")
        with open(path, "wb") as f:
            f.write(os.urandom(5_000_000))

        relay = router.local(name="relay")
        inner = router.local(name="inner", via=relay)
        inner.put(path, path + ".there", progress=show)
        inner.get(path + ".there", path + ".back", progress=show)
        print("equal:", filecmp.cmp(path, path + ".back", shallow=False))
        copying.put([relay, inner], path, path + ".many")
        try:
            copying.put([relay, inner], path, "/nowhere/data")
        except copying.CopyError as e:
            for context, reason in sorted(e.failed.items(), key=lambda item: item[0].name):
                print("%s: %s" % (context.name, reason))
