"""Modules travel when they are imported."""

import greeting  # type: ignore[import-not-found]
import mitogen.core
import mitogen.master


def optional() -> bool:
    """Code that tries an import works as it does anywhere."""
    try:
        import no_such_module  # type: ignore[import-not-found] # noqa: F401
    except ImportError:
        return False
    return True


if __name__ == "__main__":
    with mitogen.master.Router() as router:
        context = router.local()
        print(context.call(greeting.greet, "fr", "world"))
        print("optional module:", context.call(optional))
