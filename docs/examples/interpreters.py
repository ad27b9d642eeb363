"""Choose what runs a context: the program's own interpreter, another one, or a command."""

import os
import platform
import sys

import mitogen.master

if __name__ == "__main__":
    with mitogen.master.Router() as router:
        own = router.local()
        print("same version:", own.call(platform.python_version) == platform.python_version())
        print("known without a call:", own.python_version == sys.version_info[:3])

        # Looked up on PATH. Any CPython from 3.6 on will do, and PyPy3.
        other = router.local(python_path="python3")
        print("major version:", other.call(platform.python_version_tuple)[0])

        # A command that ends with an interpreter: here with a variable, and a lower priority.
        polite = router.local(python_path=["env", "GREETING=hello", "nice", "-n", "5", "python3"])
        print(polite.call(os.getenv, "GREETING"), polite.call(os.nice, 0) - os.nice(0))
