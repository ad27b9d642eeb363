"""Make the compressed text that children of other Python versions are started with: `make bundle`.

Three things that take minutes, and so are done before a release rather than in a master:

* the modules are put into the order that compresses best;
* frequent words are replaced by bytes that do not occur in the text. Which ones is found by trying: of
  the substrings that promise most, the one that makes the result smallest is taken, until none does;
* zopfli looks for the smallest deflate stream that says it.

`tests/parent/test_bundle.py` checks that the file fits the sources.
"""

from __future__ import annotations

import random
import sys
import time
import zlib
from collections import Counter
from pathlib import Path

import zopfli.zlib

from mitogen import bundle

#: Seconds to look for words, and a number that begins the search for an order.
LIMIT = float(sys.argv[1]) if len(sys.argv) > 1 else 300.0
SEED = int(sys.argv[2]) if len(sys.argv) > 2 else 2
#: Substrings that are tried for each word.
CANDIDATES = 400
LENGTHS = [*range(2, 24), 28, 32, 40]
#: Separates words in front of the text.
SEPARATOR = 13


def join(table: list[bytes], data: bytes) -> bytes:
    """Return what the child takes apart again."""
    return b"\r".join(table) + b"\r\r" + data


def expand(small: bytes) -> bytes:
    """Return the text that was compressed, as a child does."""
    if not small:
        return b""
    words, data = zlib.decompress(small).split(b"\r\r")
    for word in words.split(b"\r"):
        data = data.replace(word[:1], word[1:])
    return data


def arrange() -> bytes:
    """Return the text of the bundle with the modules in a better order."""
    boot, *flat = bundle.text().split("\0")
    order = ["\0".join(pair) for pair in zip(flat[::2], flat[1::2], strict=True)]
    choice = random.Random(SEED)
    best = b""
    for _ in range(4000):
        tried = order[:]
        tried.insert(choice.randrange(len(tried)), tried.pop(choice.randrange(len(tried))))
        data = "\0".join([boot, *tried]).encode()
        small = zlib.compress(data, 9)
        if not best or len(small) <= len(best):
            best, order = small, tried
    return zlib.decompress(best)


def candidates(data: bytes) -> list[bytes]:
    """Return the substrings that promise most."""
    counts = Counter(
        data[start : start + length] for length in LENGTHS for start in range(len(data) - length)
    )
    scores = [((n - 1) * (len(word) - 1) ** 0.5, word) for word, n in counts.items() if n > 3]
    return [word for _, word in sorted(scores, reverse=True)[:CANDIDATES]]


def abbreviate(data: bytes) -> bytes:
    """Return `data` with words replaced, and in front of it the table of them."""
    deadline = time.monotonic() + LIMIT
    unused = [bytes([code]) for code in range(1, 256) if code not in data and code != SEPARATOR]
    table: list[bytes] = []
    best = len(zlib.compress(join(table, data), 9))
    for code in unused:
        tried = []
        for word in candidates(data):
            shorter = data.replace(word, code)
            size = len(zlib.compress(join([*table, code + word], shorter), 9))
            tried.append((size, word, shorter))
        size, word, shorter = min(tried)
        if size >= best or time.monotonic() > deadline:
            break
        best, data = size, shorter
        table.append(code + word)
    return join(table[::-1], data)


def main() -> None:
    """Write the file; only its digest is new if nothing changed but comments."""
    path = Path(bundle.__file__).parent / bundle.FILE
    small = path.read_bytes().partition(b"\n")[2] if path.exists() else b""
    if sorted(expand(small).split(b"\0")) != sorted(bundle.text().encode().split(b"\0")):
        small = zopfli.zlib.compress(abbreviate(arrange()), numiterations=200)
    path.write_bytes(bundle.digest().encode() + b"\n" + small)
    print("%s: %d bytes" % (path, len(small)))


if __name__ == "__main__":
    main()
