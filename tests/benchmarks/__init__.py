"""Benchmarks: ``python -m tests.benchmarks``; see `tests.benchmarks.__main__`."""

from __future__ import annotations
