"""Find out what the calls in a context spend their time on."""

import io
import os
import pstats

import mitogen.master


def count_words(text: str) -> "dict[str, int]":
    """Do some work."""
    counts: dict[str, int] = {}
    for word in text.split():
        counts[word] = counts.get(word, 0) + 1
    return counts


if __name__ == "__main__":
    with mitogen.master.Router() as router:
        context = router.local(profiling=True)
        pid = context.call(os.getpid)
        context.call(count_words, "to be or not to be " * 10000)
        context.shutdown(wait=True)  # The profile is written when the context ends.

    os.unlink("/tmp/mitogen.stats.%d.broker.log" % pid)
    path = "/tmp/mitogen.stats.%d.main.log" % pid
    report = io.StringIO()
    pstats.Stats(path, stream=report).print_stats("count_words")
    os.unlink(path)
    print(report.getvalue().splitlines()[-3])
