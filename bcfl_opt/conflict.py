"""Which of these cannot hold together, none of which can be left out? A deletion filter, whatever says "in conflict"."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Generic, Protocol, TypeVar

Member = TypeVar("Member", bound=Hashable)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Conflict:
    """What stands in the way of a feasible point.

    relaxation : name -> violation, in the constraint's own units, of the least total violation (relative to the sizes of
        the constraints) that makes room for a point.
    members : names of constraints and bounds that cannot hold together, although without any one of them the others can.
    irreducible : False where the solver could not tell of each member whether the others can do without it.
    alone : member -> how much it would have to give if the other members stand.
    texts : name -> the constraint as written, where the name says little.
    decided : False where the solver could not find the least violation; then the rest is empty.
    """

    relaxation: Mapping[str, float] = dataclasses.field(default_factory=dict)
    members: tuple[str, ...] = ()
    alone: Mapping[str, float] = dataclasses.field(default_factory=dict)
    texts: Mapping[str, str] = dataclasses.field(default_factory=dict)
    decided: bool = True
    irreducible: bool = True


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Least(Generic[Member]):
    """The least violation. violation : by member, in its own units, where it is any. part : soft members that take part in
    the conflict; held : hard ones that do, by their multipliers."""

    violation: Mapping[Member, float]
    part: Sequence[Member]
    held: Sequence[Member]


class Elastic(Protocol[Member]):
    """Elastic problems over the constraints and the variables' bounds of one problem: its members."""

    def constraints(self) -> list[Member]: ...

    def bounds(self) -> list[Member]: ...

    def bounds_of(self, members: Iterable[Member]) -> list[Member]:
        """Bounds of the variables in these constraints."""

    def name(self, member: Member) -> str: ...

    def text(self, member: Member) -> str:
        """The member as written; "" where its name says it all."""

    def least(self, soft: Iterable[Member], hard: Iterable[Member]) -> Least[Member] | None:
        """The least violation of the soft members where the hard ones hold; what is in neither is not there.

        None if the hard ones cannot hold together, or no answer is found.
        """


def conflict_of(elastic: Elastic[Member]) -> Conflict:
    """The least violations that make room, an irreducible conflict of constraints and bounds, and what each would have to give.

    The bounds of variables hold while constraints are looked for; then the bounds of their variables are left out in turn.
    """
    bounds = elastic.bounds()
    least = elastic.least(elastic.constraints(), bounds)
    if least is None:
        return Conflict(decided=False)
    if not least.violation:
        return Conflict()
    told: list[bool] = []

    def answered(soft: Iterable[Member], hard: Iterable[Member]) -> Least[Member] | None:
        found = elastic.least(soft, hard)
        told.append(found is not None)
        return found if found is not None and found.violation else None

    def with_bounds(some: Sequence[Member]) -> Sequence[Member] | None:
        found = answered(some, bounds)
        return found.part if found is not None else None

    def without(some: Sequence[Member]) -> Sequence[Member] | None:
        found = answered(members, some)
        return [member for member in some if member in set(found.held)] if found is not None else None

    members = irreducible(least.part, with_bounds)
    theirs = elastic.bounds_of(members)
    if theirs:
        # Nothing at all may be left over of the bounds, which the filter does not ask.
        theirs = [] if answered(members, []) is not None else irreducible(theirs, without)
    everything = [*members, *theirs]
    alone = {}
    for member in everything:
        found = elastic.least([member], [other for other in everything if other != member])
        alone[elastic.name(member)] = float("nan") if found is None else found.violation.get(member, 0.0)
    texts = {elastic.name(member): elastic.text(member) for member in (*everything, *least.violation)}
    return Conflict(
        {elastic.name(member): amount for member, amount in least.violation.items()},
        tuple(alone),
        alone,
        {name: text for name, text in texts.items() if text},
        irreducible=all(told),
    )


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
