"""What may be sent, as strategies of Hypothesis: texts, contexts, values.

Drawn flat where `recursive` would do: a thousand values are drawn for each property, and drawing them is
most of what that takes.
"""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from mitogen.core import Blob, Secret
from mitogen.core.context import Context
from mitogen.core.receiver import Sender

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy


class Router:
    """As much of a router as makes contexts."""

    def make_context(self, context_id: int, name: str | None = None) -> Context:
        return Context(self, context_id, name)  # type: ignore[arg-type]


ROUTER: Any = Router()


def joined(body: Any) -> bytes:
    """Return what `dumps` gave as the bytes that travel."""
    return b"".join(body) if type(body) is list else body


any_text: SearchStrategy[str] = st.text(st.characters(), max_size=20)  # Lone surrogates as well.
contexts = st.builds(
    lambda i, name: Context(ROUTER, i, name), st.integers(0, 2**32 - 1), any_text | st.none()
)
hashable: SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers().map(lambda n: n << 300),
    st.floats(allow_nan=False),
    st.complex_numbers(allow_nan=False),
    any_text,
    st.binary(max_size=40),
    st.builds(lambda n: bytes(n), st.sampled_from([255, 256, 16383, 16384, 65536, 200_000])),
    st.dates(),
    st.datetimes(),
    st.times(),
    st.timedeltas(),
    st.builds(
        datetime.timezone,
        st.timedeltas(datetime.timedelta(hours=-23), datetime.timedelta(hours=23)),
        any_text,
    ),
    st.decimals(allow_nan=False),
    st.uuids(),
    st.binary(max_size=40).map(Blob),
    any_text.map(Secret),
    contexts,
    st.builds(Sender, contexts, st.integers(0, 2**32 - 1)),
)
# Two levels, by hand: with `recursive` here and below, most of the time would go into drawing.
pairs = st.lists(hashable, max_size=2).map(tuple)
nested_hashable = st.one_of(
    hashable,
    st.lists(hashable | pairs, max_size=3).map(tuple),
    st.frozensets(hashable | pairs, max_size=3),
    st.frozensets(pairs.map(frozenset), max_size=2),
)
containers: SearchStrategy[Any] = st.one_of(
    st.binary(max_size=40).map(bytearray),
    st.sets(nested_hashable, max_size=3),
    st.lists(hashable, max_size=3),
    st.dictionaries(hashable, hashable, max_size=3),
)
values: SearchStrategy[Any] = st.recursive(
    hashable | nested_hashable | containers,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(nested_hashable, inner, max_size=3),
    ),
    max_leaves=6,
)
