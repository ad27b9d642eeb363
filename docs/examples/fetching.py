"""Files that contexts fetch when they need them, and files that are sent ahead."""

from __future__ import annotations

import io
import os
import tempfile
from typing import Any

import mitogen.core
from mitogen.service import FileService, PushFileService, get_or_create_pool


@mitogen.core.takes_econtext
def fetch(path: str, econtext: Any) -> str:
    """Run in a context: fetch a file of its parent."""
    content = io.BytesIO()
    found = FileService.get(econtext.parent, path, content)
    return "%r, mode %o" % (content.getvalue(), found["mode"] & 0o777)


@mitogen.core.takes_router
def wait_for(path: str, router: Any) -> bytes:
    """Run in a context: wait for a file that is sent here."""
    service = get_or_create_pool(router).get_service(PushFileService)
    content: bytes = service.get(path, timeout=30)
    return content


if __name__ == "__main__":
    from mitogen.master import Router

    with tempfile.TemporaryDirectory() as folder, Router() as router:
        path = os.path.join(folder, "settings")
        with open(path, "w", encoding="utf-8") as f:
            f.write("colour = red")
        os.chmod(path, 0o600)
        pool = get_or_create_pool(router)
        pool.get_service(FileService).register_prefix(folder)
        context = router.local(name="child")
        print(context.call(fetch, path))
        try:
            context.call(fetch, "/etc/shadow")
        except mitogen.core.CallError as e:
            print(e.text)
        many = [router.local(via=context) for _ in range(3)]
        for one in many:
            pool.get_service(PushFileService).propagate_to(one, path)
        print({one.call(wait_for, path) for one in many})
