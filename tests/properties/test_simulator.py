"""The simulator, with fewer contexts: no cost grows with the number of contexts by more than it must."""

from __future__ import annotations

import pytest

from tests.properties import simulator


@pytest.mark.parametrize("fan_out", simulator.FAN_OUTS)
def test_a_tree_of_3000_contexts_is_built_used_and_broken(fan_out: int) -> None:
    figures = simulator.measure(3000, fan_out)
    # Each context is known to all above it, and to nobody else.
    tree = simulator.Tree(3000, fan_out)
    assert figures.routes == sum(len(node.table.parent_ids) for node in tree.nodes)
    assert figures.depth == {2: 11, 10: 4, 100: 2, 1000: 2, 0: 100}[fan_out]
    assert 0 < figures.lost <= figures.removed
    # Ten times and more of what it takes, for slow machines; a search through all would take longer.
    assert figures.build / figures.routes < 1e-4
    assert figures.deciding / figures.decisions < 1e-4
    assert figures.losing / figures.removed < 1e-4


def test_with_a_subtree_all_that_is_known_of_it_goes() -> None:
    tree = simulator.Tree(200, 3)
    for src in tree.nodes[::7]:
        for dst in tree.nodes[::5]:
            tree.send(src, dst)
    assert tree.notes()
    for node in tree.nodes[1:4]:
        tree.lose(node)
    root = simulator.table_of(tree.nodes[0])
    assert (root.links, root._talkers, root._branches) == ({}, {}, {})


def test_the_program_prints_a_line_for_each_tree(capsys: pytest.CaptureFixture[str]) -> None:
    simulator.main(50, (2, 0))
    head, *lines = capsys.readouterr().out.splitlines()
    assert head == simulator.HEAD
    assert [line.split()[:2] for line in lines] == [["50", "2"], ["50", "chain"]]
    assert all(len(line) == len(head) for line in lines)
