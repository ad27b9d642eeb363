"""Routing at scale: ``python -m tests.properties.simulator [contexts] [fan-out]``.

Puts the tables of a whole tree into one process, and has them do what they would do in as many
processes: note which ids are granted, learn of each context that starts, decide about messages,
and forget what is lost with a link. Nothing else takes part: no process, no descriptor, no message. Inner
contexts have a `ForwardingTable` each, leaves a `RoutingTable`.

Prints a line for each fan-out (100,000 contexts, and fan-outs of 2 to 1000, if none is given): a tree of
the least depth in which inner contexts have so many children. A fan-out of 0 stands for a tree that is as
good as a chain: `CHAIN` inner contexts below one another, with an equal share of the leaves each. In a
chain proper, each context would know all below it: for 100,000 of them, 5,000,000,000 routes.

Memory is that of the process, which is why each tree has one of its own. It counts everything that is
there because of the contexts, and so is higher than what the routes alone take.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import random
import sys
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

from mitogen.core.forwarding import ForwardingTable
from mitogen.core.routing import DELIVER, Refusal, RoutingTable

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

#: Ids that an inner context gets with one request, as in `mitogen.master.router`.
BATCH = 1000
#: Inner contexts of the tree that is nearly a chain.
CHAIN = 100
FAN_OUTS = (2, 10, 100, 1000, 0)
LIMIT = 1 << 27


class Link:
    """One end of a connection: what its owner sends on it arrives at `peer`, from `back`."""

    __slots__ = ("back", "peer")

    peer: Node
    back: Link


class Node:
    """A context."""

    __slots__ = ("end", "id", "next_id", "parent", "table", "up")

    def __init__(self, context_id: int, parent: Node | None, is_inner: bool) -> None:
        self.id = context_id
        self.parent = parent
        above = [parent.id, *parent.table.parent_ids] if parent else []
        table_class = ForwardingTable if is_inner else RoutingTable
        self.table: RoutingTable = table_class(context_id, above, LIMIT)
        #: The link to the parent. A child's link is that one's `back`.
        self.up: Link
        self.next_id = self.end = 0


@dataclass
class Figures:
    """What was measured. Times in seconds, memory in bytes."""

    contexts: int
    fan_out: int
    depth: int
    #: Entries of all tables.
    routes: int
    build: float
    #: What all contexts take.
    memory: int
    decisions: int
    deciding: float
    #: What the notes of who talked to whom added, and how many there are.
    notes_memory: int
    notes: int
    #: How many contexts were lost with one link, the entries that were removed because of that in all
    #: tables above, and how long that took.
    lost: int
    removed: int
    losing: float

    def line(self) -> str:
        """Return the line of the table."""
        return "%8d %7s %6d %9d %7.2f %8.2f %8.0f %8.0f %9.2f %6.1f %8.0f %8d %9.2f %8.2f" % (
            self.contexts,
            self.fan_out or "chain",
            self.depth,
            self.routes,
            self.build,
            self.build / self.routes * 1e6,
            self.memory / self.contexts,
            self.memory / self.routes,
            self.deciding / self.decisions * 1e6,
            self.decisions / MESSAGES,
            self.notes_memory / max(1, self.notes),
            self.lost,
            self.losing * 1e3,
            self.losing / self.removed * 1e6,
        )


HEAD = (
    "contexts fan-out  depth    routes build/s us/route B/contxt  B/route us/decide   hops   B/note"
    "     lost   loss/ms us/entry"
)
#: Messages between contexts chosen at random.
MESSAGES = 20_000


class Tree:
    """The contexts of one tree."""

    def __init__(self, contexts: int, fan_out: int) -> None:
        self.last_id = 0
        self.nodes = [Node(0, None, True)]
        for i in range(1, contexts):
            parent, is_inner = self._place(i, contexts, fan_out)
            self._start(self.nodes[parent], is_inner)

    @staticmethod
    def _place(i: int, contexts: int, fan_out: int) -> tuple[int, bool]:
        """Return where the parent of context number `i` is, and if that one gets children."""
        if fan_out:
            return (i - 1) // fan_out, i * fan_out + 1 < contexts
        return (i - 1, True) if i < CHAIN else (i % CHAIN, False)

    def _start(self, parent: Node, is_inner: bool) -> None:
        if parent.next_id == parent.end:
            self._allocate(parent)
        node = Node(parent.next_id, parent, is_inner)
        parent.next_id += 1
        self.nodes.append(node)
        up, down = Link(), Link()
        up.peer, up.back, down.peer, down.back = parent, down, node, up
        node.up = node.table.parent_link = up
        table_of(parent).add(node.id, down)
        at: Node = parent
        while at.parent is not None:
            assert table_of(at.parent).announce(node.id, at.up.back)
            at = at.parent

    def _allocate(self, node: Node) -> None:
        """Give `node` ids, as all contexts on the way do."""
        node.next_id, node.end = self.last_id + 1, self.last_id + 1 + BATCH
        self.last_id += BATCH
        at = node
        while at.parent is not None:
            assert table_of(at.parent).reserve(at.up.back)
            table_of(at.parent).grant(at.up.back, node.next_id, node.end)
            at = at.parent

    def routes(self) -> int:
        """Return the number of entries in all tables."""
        return sum(
            len(node.table.links) for node in self.nodes if isinstance(node.table, ForwardingTable)
        )

    def notes(self) -> int:
        """Return how many notes of who talked to whom there are."""
        tables = (node.table for node in self.nodes if isinstance(node.table, ForwardingTable))
        return sum(len(links) for table in tables for links in table._talkers.values())

    def send(self, src: Node, dst: Node) -> int:
        """Send a message; return how many contexts decided about it."""
        node, link = src, None
        hops = 0
        while True:
            hops += 1
            out = node.table.decide(dst.id, src.id, src.id, 100, link, False)
            if out is DELIVER:
                assert node is dst
                return hops
            assert isinstance(out, Link), out if isinstance(out, Refusal) else type(out)
            node, link = out.peer, out.back

    def lose(self, node: Node) -> tuple[int, int]:
        """Break the link above `node`, and tell all that have to know.

        :returns: how many contexts are gone, and how many entries in tables.
        """
        assert node.parent is not None
        at, link = node.parent, node.up.back
        ids = table_of(at).remove_link(link)
        removed = 0
        while True:
            removed += len(ids)
            # Downwards it is told to those who talked; how far that goes is their own affair.
            for talker, gone in table_of(at).take_talkers(ids).items():
                assert isinstance(talker, Link)
                removed += len(gone)
            if at.parent is None:
                return len(ids), removed
            link, at = at.up.back, at.parent
            for context_id in ids:
                assert table_of(at).withdraw(context_id, link)


def table_of(node: Node) -> ForwardingTable:
    """Return the table of a context that has children."""
    assert isinstance(node.table, ForwardingTable)
    return node.table


def resident() -> int:
    """Return the bytes of memory that this process has."""
    gc.collect()
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def measure(contexts: int, fan_out: int) -> Figures:
    """Build a tree, use it, and break it."""
    chance = random.Random(1)
    empty = resident()
    began = perf_counter()
    tree = Tree(contexts, fan_out)
    build = perf_counter() - began
    memory = resident() - empty
    routes = tree.routes()
    depth = len(tree.nodes[-1].table.parent_ids)

    pairs = [(chance.choice(tree.nodes), chance.choice(tree.nodes)) for _ in range(MESSAGES)]
    # The first message between two leaves a note; decisions are timed as they are from then on.
    for src, dst in pairs:
        tree.send(src, dst)
    notes_memory = resident() - empty - memory
    began = perf_counter()
    decisions = sum(tree.send(src, dst) for src, dst in pairs)
    deciding = perf_counter() - began

    notes = tree.notes()
    # The end of the context that has the most below it.
    first = max(tree.nodes[1:], key=lambda node: len(getattr(node.table, "links", ())))
    began = perf_counter()
    lost, removed = tree.lose(first)
    losing = perf_counter() - began
    return Figures(
        *(contexts, fan_out, depth, routes, build, memory, decisions, deciding),
        *(notes_memory, notes, lost, removed, losing),
    )


def main(contexts: int, fan_outs: tuple[int, ...]) -> None:
    """Print the table."""
    print(HEAD, flush=True)
    fork = multiprocessing.get_context("fork")
    for fan_out in fan_outs:
        receive, send = fork.Pipe(False)
        process = fork.Process(target=_report, args=(send, contexts, fan_out))
        process.start()
        send.close()
        print(receive.recv().line(), flush=True)
        process.join()
        process.close()
        receive.close()


def _report(send: Connection, contexts: int, fan_out: int) -> None:
    send.send(measure(contexts, fan_out))


if __name__ == "__main__":
    numbers = [int(text) for text in sys.argv[1:]]
    main(numbers[0] if numbers else 100_000, (numbers[1],) if numbers[1:] else FAN_OUTS)
