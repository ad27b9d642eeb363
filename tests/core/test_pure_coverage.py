"""Each pure module is covered, branch by branch, by its own tests alone."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.core.coverage_of_pure import MODULES, measure


@pytest.fixture(scope="module")
def missing() -> dict[str, str]:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(MODULES, pool.map(measure, MODULES), strict=True))


@pytest.mark.parametrize("module", MODULES)
def test_every_branch_is_covered_by_the_module_s_own_tests(module: str, missing: dict[str, str]) -> None:
    assert missing[module] == ""
