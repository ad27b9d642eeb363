"""A module of the program's own, which contexts import from the master."""

LANGUAGES = {"en": "hello", "de": "hallo", "fr": "bonjour"}


def greet(language: str, name: str) -> str:
    """Say hello; and say which file this is."""
    return "%s, %s (from %s)" % (LANGUAGES[language], name, __file__.rpartition("/")[2])
