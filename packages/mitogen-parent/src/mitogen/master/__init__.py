"""The root of a tree of contexts: the program that users write runs here.

Re-exports the documented names. Never shipped: nothing below this package may import it.
"""

from __future__ import annotations

from mitogen.master.broker import Broker
from mitogen.master.finder import ModuleFinder
from mitogen.master.responder import ModuleResponder
from mitogen.master.router import IdAllocator, Router
from mitogen.select import Select

__all__ = ["Broker", "IdAllocator", "ModuleFinder", "ModuleResponder", "Router", "Select"]
