"""How are a million sentences with numbers in them written at once? As one Arrow column of text, not as a million objects."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

#: Sizes that ``f"{x:.6g}"`` writes without exponent.
PLAIN = (1e-4, 999_999.5)
TEN = 10.0 ** np.arange(301)
#: Clients whose sentences are written at a time.
CHUNK = 1 << 16
TEXT = pa.large_string()


def six_digits(values: np.ndarray) -> pa.Array:
    """``f"{x:.6g}"`` of every number, as texts.

    >>> six_digits(np.array([0.1 + 0.2, 12.0, 1e-9, float("inf")])).to_pylist()
    ['0.3', '12', '1e-09', 'inf']
    """
    values = np.asarray(values, dtype=float)
    size = np.abs(values)
    ordinary = (size >= 1e-290) & (size <= 1e290)
    safe = np.where(ordinary, values, 1.0)
    exponent = np.floor(np.log10(np.abs(safe))).astype(np.int64)
    # Six digits before the point, as a whole number; one over a power of ten up to 1e22 is the double its digits name.
    shift = 5 - exponent
    digits = np.rint(np.where(shift >= 0, safe * TEN[np.maximum(shift, 0)], safe / TEN[np.maximum(-shift, 0)]))
    plain = (size >= PLAIN[0]) & (size < PLAIN[1])
    texts = pc.cast(pa.array(digits / np.where(plain, TEN[np.clip(shift, 0, 9)], 1e5)), TEXT)
    tail = ordinary & ~plain & (np.abs(digits) < 1e6)
    if tail.any():
        written, row = np.unique(exponent[tail], return_inverse=True)
        ends = pa.array([f"e{power:+03d}" for power in written.tolist()], TEXT).take(pa.array(row))
        with_tail = pc.binary_join_element_wise(texts.filter(pa.array(tail)), ends, pa.scalar("", TEXT))
        texts = pc.replace_with_mask(texts, pa.array(tail), with_tail)
    rest = ~plain & ~tail
    if rest.any():
        others = pa.array([f"{x:.6g}" for x in values[rest].tolist()], TEXT)
        texts = pc.replace_with_mask(texts, pa.array(rest), others)
    return texts


def sentences(*parts: str | np.ndarray | pa.Array) -> pa.Array:
    """One text a row: the parts in order, where an array stands for its number, or text, in that row.

    >>> sentences("takes ", np.array([1.5, 2.0]), " too long").to_pylist()
    ['takes 1.5 too long', 'takes 2 too long']
    """
    texts = [six_digits(part) if isinstance(part, np.ndarray) else part for part in parts]
    return pc.binary_join_element_wise(
        *(pa.scalar(t, TEXT) if isinstance(t, str) else t for t in texts), pa.scalar("", TEXT)
    )


def same(text: str) -> Callable[[np.ndarray], pa.Array]:
    """A writer of :meth:`Reasons.say` with one text for all."""
    return lambda rows: pa.array([text], TEXT).take(pa.array(np.zeros(rows.size, dtype=np.intp)))


def in_order(rows: Sequence[np.ndarray], texts: Sequence[pa.Array]) -> tuple[np.ndarray, pa.Array]:
    """All rows ascending, with their texts; the rows of the parts are disjoint."""
    together = np.concatenate(rows)
    order = np.argsort(together, kind="stable")
    return together[order], pa.concat_arrays(list(texts)).take(pa.array(order))


class Reasons:
    """What stands in the way of each client, "" at first; what is said later takes the place of what was said before.

    Sentences are written at the end, once for each client that needs one.
    """

    def __init__(self, n: int) -> None:
        self._kind = np.zeros(n, dtype=np.int8)
        self._writers: list[Callable[[np.ndarray], pa.Array]] = []

    def say(self, where: np.ndarray, write: Callable[[np.ndarray], pa.Array]) -> None:
        """For the clients in this mask: ``write`` gets their rows, and returns a text for each."""
        if where.any():
            self._writers.append(write)
            self._kind[where] = len(self._writers)

    @property
    def none(self) -> np.ndarray:
        """Mask of the clients that nothing stands in the way of."""
        return self._kind == 0

    def column(self, ids: pd.Index) -> pd.Series:
        """The texts by client, a Series ``reason``."""
        parts = []
        for start in range(0, len(ids), CHUNK):
            kinds = self._kind[start : start + CHUNK]
            ends, data = np.zeros(kinds.size + 1, dtype=np.int64), pa.py_buffer(b"")
            rows = [np.flatnonzero(kinds == kind) + start for kind in np.unique(kinds[kinds > 0])]
            if rows:
                where, texts = in_order(rows, [self._writers[self._kind[part[0]] - 1](part) for part in rows])
                ends[where - start + 1] = pc.binary_length(texts).to_numpy()
                data = texts.buffers()[2]
            parts.append(pa.LargeStringArray.from_buffers(kinds.size, pa.py_buffer(ends.cumsum(out=ends)), data))
        texts = pa.chunked_array(parts, TEXT)
        return pd.Series(pd.StringDtype(na_value=np.nan).__from_arrow__(texts), index=ids, name="reason")
