"""Some modules stay at home."""

import mitogen.master


def attempt(name: str) -> str:
    """Try to import a module."""
    try:
        __import__(name)
    except ImportError as e:
        return str(e)
    return name + " is here"


if __name__ == "__main__":
    with mitogen.master.Router() as router:
        router.responder.deny("greeting", lambda name: name.endswith("_secrets"))
        context = router.local()
        for name in "greeting", "app_secrets", "nowhere", "values":
            print(context.call(attempt, name))
