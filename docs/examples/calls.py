"""What can be called in another context."""

import functools
import os.path

import mitogen.master


def join(*words: str, sep: str = " ") -> str:
    """Any function at the top level of a module."""
    return sep.join(words)


class Text:
    """A class is only a place to find functions in."""

    def __init__(self, text: str) -> None:
        self.text = text

    @staticmethod
    def upper(text: str) -> str:
        """Static methods can be called, those of nested classes as well."""
        return text.upper()

    @classmethod
    def name(cls) -> str:
        """Class methods, too."""
        return cls.__name__

    def show(self) -> str:
        """A method of an instance can't: the instance is here."""
        return self.text


if __name__ == "__main__":
    with mitogen.master.Router() as router:
        context = router.local()
        print(context.call(join, "a", "b", sep="-"))
        print(context.call(os.path.basename, "/usr/lib/python3"))
        print(context.call(Text.upper, "loud"), context.call(Text.name))
        print(context.call(int, "ff", 16))
        print(context.call(functools.partial(join, "x", sep="+"), "y"))
        for wrong in (lambda: 1, Text("mine").show):
            try:
                context.call(wrong)
            except TypeError as e:
                print("TypeError:", e)
