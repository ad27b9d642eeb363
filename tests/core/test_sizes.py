"""What is shipped stays within its budgets; `python tests/size_table.py` prints the whole table."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests import size_table
from tests.size_table import Row

ROWS = size_table.measure()
LIMITED = [row for row in ROWS if row.budget is not None]


@pytest.mark.parametrize("row", LIMITED, ids=[row.what for row in LIMITED])
def test_shipped_size_is_within_its_budget(row: Row) -> None:
    assert not row.over, str(row)


def test_every_layer_that_exists_has_a_budget() -> None:
    limited = " ".join(row.what for row in LIMITED)
    for layer in ("core", "parent", "first stage"):
        assert layer in limited


def test_exceeding_a_budget_is_shown_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert size_table.main([Row("small", 9, 10), Row("large", 12, 10), Row("whatever", 99)]) == 1
    out = capsys.readouterr().out
    assert "OVER by 2" in out
    assert out.count("OVER") == 1
    assert size_table.main([Row("small", 10, 10)]) == 0


def test_table_runs_as_a_program_from_any_folder(tmp_path: object) -> None:
    run = subprocess.run(
        [sys.executable, size_table.__file__], cwd=str(tmp_path), stdout=subprocess.PIPE, check=False
    )
    assert run.returncode == int(any(row.over for row in ROWS))
    assert "first stage" in run.stdout.decode()
