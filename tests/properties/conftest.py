"""Profiles of Hypothesis: many examples where CI has the time, few where a person waits.

`MITOGEN_EXAMPLES` sets another number, to look longer than either.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# Machines of CI are slow at times, and so is the first example that imports something.
COMMON = settings(deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])

settings.register_profile("ci", COMMON, max_examples=1000, derandomize=False)
settings.register_profile("dev", COMMON, max_examples=50)
if os.environ.get("MITOGEN_EXAMPLES"):
    settings.register_profile("asked", COMMON, max_examples=int(os.environ["MITOGEN_EXAMPLES"]))
    settings.load_profile("asked")
else:
    settings.load_profile("ci" if os.environ.get("CI") == "true" else "dev")
