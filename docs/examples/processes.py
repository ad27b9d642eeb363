"""A context that has several processes work for it."""

import multiprocessing

import mitogen.master


def square(x: int) -> int:
    """Runs in processes that the context starts."""
    return x * x


def squares(n: int) -> "list[int]":
    """Runs in the context."""
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        return pool.map(square, range(n))


if __name__ == "__main__":
    with mitogen.master.Router() as router:
        print(router.local().call(squares, 5))
