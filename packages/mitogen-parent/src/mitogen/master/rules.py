"""Which modules contexts may have: `Rules`.

Owns the decision, by name alone. Knows no modules: a denied name is not looked for, so that neither the
answer nor the time that it takes tells whether there is such a module.

Any thread may add rules; the broker thread asks. Rules are kept in tuples, which are replaced, so that
asking takes no lock.
"""

from __future__ import annotations

from _thread import allocate_lock

from mitogen.core import logs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Union

    Rule = Union[str, Callable[[str], object]]


def own_name(fullname: str) -> str:
    """Return the name that a program means: ``package.__init__`` is what is in `package` itself."""
    return fullname.removesuffix(".__init__")


class Rules:
    """Rules on full names of modules. A rule is either of

    * the name of a module: it matches that, and all that is in it if it is a package;
    * a function, which is called with a name, by the broker thread, and returns whether it matches.

    A name is allowed if no deny rule matches, and, if there are allow rules, one of them does. `mitogen`
    and what is in it always is. A function that raises is logged, the first time, and taken for a no: as
    a deny rule it denies, as an allow rule it does not allow.

    :param on_change: called, by any thread, when there are other rules than before.
    """

    def __init__(self, on_change: Callable[[], object] = lambda: None) -> None:
        self._on_change = on_change
        self._lock = allocate_lock()
        self._allow: tuple[Rule, ...] = ()
        self._deny: tuple[Rule, ...] = ()
        #: Functions that raised.
        self._failed: list[object] = []

    def allow(self, *rules: Rule) -> None:
        """Add allow rules. Any thread.

        :raises TypeError: a rule is neither text nor a function; or there is none.
        :raises ValueError: a text is not the name of a module.
        """
        checked = _checked("allow", rules)
        with self._lock:
            self._allow += checked
        self._on_change()

    def deny(self, *rules: Rule) -> None:
        """Add deny rules. Any thread.

        :raises TypeError: a rule is neither text nor a function; or there is none.
        :raises ValueError: a text is not the name of a module.
        """
        checked = _checked("deny", rules)
        with self._lock:
            self._deny += checked
        self._on_change()

    def exist(self) -> bool:
        """Return whether there are any rules."""
        return bool(self._allow or self._deny)

    def is_allowed(self, fullname: str) -> bool:
        """Return whether contexts may have a module, its data and what else there is of it."""
        fullname = own_name(fullname)
        if _is_in(fullname, "mitogen"):
            return True
        if any(self._matches(rule, fullname, True) for rule in self._deny):
            return False
        allow = self._allow
        return not allow or any(self._matches(rule, fullname, False) for rule in allow)

    def is_importable(self, fullname: str) -> bool:
        """Return whether contexts may have the code of a module.

        That is also so for packages around a module that is allowed by its name, which could not be
        imported without them, unless they are denied.
        """
        if self.is_allowed(fullname):
            return True
        prefix = fullname + "."
        if any(isinstance(rule, str) and rule.startswith(prefix) for rule in self._allow):
            return not any(self._matches(rule, fullname, True) for rule in self._deny)
        return False

    def _matches(self, rule: Rule, fullname: str, on_error: bool) -> bool:
        if isinstance(rule, str):
            return _is_in(fullname, rule)
        try:
            return bool(rule(fullname))
        except Exception:
            if rule not in self._failed:
                self._failed.append(rule)
                logs.log_exception("the rule %r for modules failed; it counts as a no", rule)
            return on_error


def _is_in(fullname: str, package: str) -> bool:
    return fullname == package or fullname.startswith(package + ".")


def _checked(what: str, rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    if not rules:
        raise TypeError("%s() needs at least one rule: the name of a module, or a function" % what)
    for rule in rules:
        if isinstance(rule, str):
            if not all(part.isidentifier() for part in rule.split(".")):
                raise ValueError(
                    "%s(): %r is not the name of a module; 'package' stands for a package and all that"
                    " is in it" % (what, rule)
                )
        elif not callable(rule):
            raise TypeError(
                "%s(): a rule is the name of a module, or a function of such a name that returns"
                " a bool, not %r" % (what, rule)
            )
    return rules
