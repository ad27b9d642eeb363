"""Greetings in files, for the example `data.py`."""

import importlib.resources


def greet(language: str, name: str) -> str:
    """Return a greeting in a language."""
    file = importlib.resources.files(__name__) / (language + ".txt")
    return file.read_text(encoding="utf-8").strip() % name
