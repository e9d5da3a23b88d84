"""Which of these cannot hold together, none of which can be left out? A deletion filter, whatever says "in conflict"."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TypeVar

Member = TypeVar("Member", bound=Hashable)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Conflict:
    """What stands in the way of a feasible point.

    relaxation : name -> violation, in the constraint's own units, of the least total violation (relative to the sizes of
        the constraints) that makes room for a point.
    members : names of constraints and bounds that cannot hold together, although without any one of them the others can.
    alone : member -> how much it would have to give if the other members stand.
    texts : name -> the constraint as written, where the name says little.
    decided : False where the solver could not find the least violation; then the rest is empty.
    """

    relaxation: Mapping[str, float] = dataclasses.field(default_factory=dict)
    members: tuple[str, ...] = ()
    alone: Mapping[str, float] = dataclasses.field(default_factory=dict)
    texts: Mapping[str, str] = dataclasses.field(default_factory=dict)
    decided: bool = True


def irreducible(
    members: Sequence[Member], conflicting: Callable[[Sequence[Member]], Sequence[Member] | None]
) -> list[Member]:
    """An irreducible part of ``members``, which are in conflict.

    conflicting : some members -> those of them that take part in a conflict, or None if they can hold together.

    Half of the members are left out at a time, then a quarter, and so on, and in the end one by one: k members of n are
    found in some k log n questions.
    """
    kept = list(members)
    size = max(len(kept) // 2, 1)
    while True:
        k = 0
        while k < len(kept):
            rest = kept[:k] + kept[k + size :]
            part = conflicting(rest) if rest else None
            if part is None:
                k += size
            else:
                chosen = set(part)
                k = sum(member in chosen for member in kept[:k])
                kept = [member for member in rest if member in chosen]
        if size == 1:
            return kept
        size = max(min(size, len(kept)) // 2, 1)
