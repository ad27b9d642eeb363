"""The machine that was measured, in words, and how busy others kept it meanwhile."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path

#: Share of the processors that others may use before it is said that the machine was busy.
QUIET = 0.05


def described() -> str:
    """Return processors, memory, system and interpreter."""
    return "%d processors (%s), %s GiB of memory, %s, Linux %s, %s %s" % (
        os.cpu_count() or 1,
        field(Path("/proc/cpuinfo").read_text(), "model name"),
        round(int(field(Path("/proc/meminfo").read_text(), "MemTotal").split()[0]) / (1 << 20)),
        platform.freedesktop_os_release().get("PRETTY_NAME", "unknown system"),
        platform.release().partition("-")[0],
        platform.python_implementation(),
        platform.python_version(),
    )


def field(text: str, name: str) -> str:
    """Return the value of the first line ``NAME: value``."""
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return "0 unknown"


class Load:
    """What others do on the machine from now on."""

    def __init__(self) -> None:
        self._begin = self._now()

    @staticmethod
    def _now() -> tuple[float, float, float]:
        user, nice, system, _, _, irq, softirq, steal = map(
            int, Path("/proc/stat").read_text().split()[1:9]
        )
        own = os.times()
        busy = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
        return time.monotonic(), busy, own.user + own.system + own.children_user + own.children_system

    def others(self) -> float:
        """Return the share of all processors that other processes had since."""
        elapsed, busy, own = (after - before for after, before in zip(self._now(), self._begin))
        return max(0.0, (busy - own) / elapsed / (os.cpu_count() or 1))

    def in_words(self) -> str:
        """Say whether figures can be trusted."""
        share = self.others()
        if share < QUIET:
            return "Nothing else ran meanwhile."
        return (
            "The machine was busy: other programs used %d %% of its processors, so only ratios count."
            % round(100 * share)
        )
