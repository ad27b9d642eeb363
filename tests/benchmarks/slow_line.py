"""A line with a delay each way, for a client's ProxyCommand: ``slow_line.py HOST PORT SECONDS``.

Stands in for a network: no bandwidth limit, no loss, and what is sent together arrives together.
"""

from __future__ import annotations

import os
import queue
import socket
import sys
import threading
import time


def carry(from_fd: int, to_fd: int, delay: float) -> None:
    """Copy until the end, each piece so many seconds after it came."""
    pieces: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()

    def deliver() -> None:
        while True:
            due, data = pieces.get()
            time.sleep(max(0.0, due - time.monotonic()))
            if not data:
                # Both ends of the line go down together.
                os._exit(0)
            view = memoryview(data)
            while view:
                view = view[os.write(to_fd, view) :]

    threading.Thread(target=deliver, daemon=True).start()
    while True:
        try:
            data = os.read(from_fd, 1 << 18)
        except OSError:
            data = b""
        pieces.put((time.monotonic() + delay, data))
        if not data:
            return


def main(host: str, port: str, delay: str) -> None:
    """Copy both ways; ends the process."""
    sock = socket.create_connection((host, int(port)))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    ways = [(0, sock.fileno()), (sock.fileno(), 1)]
    threads = [threading.Thread(target=carry, args=(*way, float(delay))) for way in ways]
    for thread in threads:
        thread.start()
    threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
