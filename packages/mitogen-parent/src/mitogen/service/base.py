"""What services are made of: `Service`, and the decorators `expose`, `arg_spec` and `no_reply`.

Nothing of a service can be called but what is exposed: decorators only put marks on functions, which the
pool looks for (`method_of`).
"""

from __future__ import annotations

from mitogen.core.errors import Error
from mitogen.service.invokers import Invoker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from mitogen.core.message import Message
    from mitogen.core.router import Router
    from mitogen.service.policies import Policy

    F = TypeVar("F", bound=Callable[..., Any])


def expose(policy: Policy) -> Callable[[F], F]:
    """Let other contexts call a method of a service.

    With several of these, one of which allows a call, it is allowed.

    :param policy: who may, such as ``AllowParents()``.
    """

    def mark(func: F) -> F:
        marks: Any = func
        marks.mitogen_policies = (*getattr(func, "mitogen_policies", ()), policy)
        return func

    return mark


def arg_spec(spec: dict[str, Any]) -> Callable[[F], F]:
    """Have the arguments of an exposed method checked before it runs.

    :param spec: the type, or a tuple of types, of each argument by its name. An argument that is missing,
        unknown or of another type is refused. Those with a default may be left out.
    """

    def mark(func: F) -> F:
        func.mitogen_arg_spec = dict(spec)  # type: ignore[attr-defined]
        return func

    return mark


def no_reply() -> Callable[[F], F]:
    """Mark an exposed method whose result is not sent to the caller.

    It may take the message as `msg`, keep it, and answer it later with ``msg.reply(value)``, or never.
    What it raises is sent to the caller nevertheless.
    """

    def mark(func: F) -> F:
        func.mitogen_no_reply = True  # type: ignore[attr-defined]
        return func

    return mark


class Service:
    """Something whose exposed methods other contexts call. Methods run in the threads of a `Pool`.

    A method that has a parameter `msg` gets the `mitogen.core.Message` that called it, which says who
    called: `msg.src_id`.

    :param router: the router of the context that it is in.
    :ivar invoker_class: how calls run: `Invoker`, `SerializedInvoker` or `DeduplicatingInvoker`.
    """

    invoker_class: type[Invoker] = Invoker

    def __init__(self, router: Router) -> None:
        self.router = router

    @classmethod
    def name(cls) -> str:
        """Return the name that the service is called by: module and class, with a dot between."""
        return "%s.%s" % (cls.__module__, cls.__qualname__)

    def on_shutdown(self) -> None:
        """Clean up: called once when the pool has stopped, and none of its calls runs. Does nothing."""

    def method_of(self, name: str, kwargs: dict[str, Any], msg: Message) -> Callable[..., Any]:
        """Return the method that a call is for, once it is clear that it may be called so.

        :raises Error: there is no such method, or the caller may not call it.
        :raises TypeError: the arguments are not those that it takes.
        """
        method = getattr(type(self), name, None)
        policies: tuple[Policy, ...] = getattr(method, "mitogen_policies", ())
        if not policies:
            raise Error("service %s exposes no method %r", self.name(), name)
        if not any(policy.is_authorized(self, msg) for policy in policies):
            raise Error(
                "context %d may not call %s.%s(): the policy of that method refused it",
                msg.auth_id,
                self.name(),
                name,
            )
        code: Any = getattr(method, "__code__", None)
        taken = code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount] if code else ()
        if "msg" in kwargs:
            raise TypeError("%s() is given the message as `msg`: no caller can pass it" % name)
        spec = getattr(method, "mitogen_arg_spec", None)
        if spec is not None:
            _check(name, spec, kwargs, _defaults(method))
        bound: Callable[..., Any] = getattr(self, name)
        if "msg" in taken:
            return lambda **kwargs: bound(msg=msg, **kwargs)
        return bound


def _defaults(method: Any) -> set[str]:
    """Return the names of the parameters that have defaults."""
    code = method.__code__
    positional = code.co_varnames[: code.co_argcount]
    with_default = positional[len(positional) - len(method.__defaults__ or ()) :]
    return {*with_default, *(method.__kwdefaults__ or ())}


def _check(name: str, spec: dict[str, Any], kwargs: dict[str, Any], optional: set[str]) -> None:
    for key in kwargs:
        if key not in spec:
            raise TypeError("%s() has no argument %r" % (name, key))
    for key, wanted in spec.items():
        if key in kwargs:
            if not isinstance(kwargs[key], wanted):
                text = "%s() takes no %s as its argument %r"
                raise TypeError(text % (name, type(kwargs[key]).__name__, key))
        elif key not in optional:
            raise TypeError("%s() needs an argument %r" % (name, key))
