"""Joining a running tree over a UNIX socket: `Listener` for the program that has the tree, its *host*,
and `connect` for other processes on the same machine, its *clients*.

A client gets an id from the host, and a router with which it can talk to all contexts that the host can
talk to. It is no child: it runs no calls, and its modules stay its own.

*Who is admitted.* The kernel tells who is at the other end of a socket. The host admits processes of its
own user and of root, who could do anything to it anyway, and nobody where the kernel does not tell. The
mode of the socket and of its folder keep others away as well, but nothing relies on them: folders are
shared, and modes changed. A client asks the same about the host, since what it sends may be secret.

*Whose authority it has.* Contexts below the host obey it and its parents, and would refuse a sibling.
So what a client sends arrives with the host's id in `auth_id`, and its own in `src_id`, where answers
go. It can't write that itself: before a message is passed on, the link that would carry a reply to
`auth_id` must be the link it came on, and no link leads to the host's own id. So it writes its own id
into both. With these the host decides as about any neighbour: what is forged, has no way, or has one
that `unidirectional` or a policy closes, is refused. Only what passed gets the host's `auth_id`, and
goes on as if made here.

Others need not trust this. Contexts above see both ids come over the link that leads to both, whose
other end could always send the same; contexts below see their parent's id come from their parent. And
nothing that only neighbours may say (routes, ids, detaching) is believed of a client, since it does not
come with the client's own authority.

Rejected: to have the client write the host's id, and believe it (the host could not tell it from what
was forged further away, should clients ever have children); to give the client the id of the host
(answers would go there); to set `mitogen.context_id` in the client (it may have a tree of its own, or
several hosts).

The parts: `wire` (who is there, and what is said first), `place` (the file), `listener`, `client`.
"""

from __future__ import annotations

from mitogen.unix.client import ClientRouter, connect
from mitogen.unix.listener import Listener

__all__ = ["ClientRouter", "Listener", "connect"]
