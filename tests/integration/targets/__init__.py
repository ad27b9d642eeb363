"""The real counterparts of transports on this machine: started for tests, stopped by pid, nothing left.

One module for each program, with context managers; `fixtures` makes the fixtures of them that tests use.
`standins` holds scripts in place of the programs that have no counterpart on a Linux machine of tests.
"""

from __future__ import annotations
