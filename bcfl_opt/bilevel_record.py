"""What is known of a bilevel answer beyond its point? ``BilevelRecord``, which rides along as ``solution.bilevel``."""

from __future__ import annotations

import dataclasses

import pandas as pd

from bcfl_opt.layout import laid_out

#: Columns of :attr:`BilevelRecord.starts`, in order.
ATTEMPT_COLUMNS = ("start", "method", "part", "outcome", "objective", "detail")


@dataclasses.dataclass(frozen=True, slots=True, eq=False, repr=False)
class BilevelRecord:
    """How a bilevel answer was found, and what the followers say of it.

    method : the reformulation that gave the answer.
    starts : DataFrame, one row a start, method and independent part of the problem: ``start``, ``method``, ``part``, ``outcome``
        (the status in words), ``objective`` (of that part; NaN without a point), ``detail``.
    followers : DataFrame by follower's name: ``objective`` (in its own sense), ``gap`` (how much better its own optimum is,
        relative to the size of its objective's terms), ``convexity`` (of its problem there: "proven", "refuted" or
        "unknown"), ``unique`` (its optimum: True where proven, else False), ``detail``.
    complementarity : largest min(multiplier, slack) over all pairs, each in the follower's own sizes.
    biactive : names of the pairs with both sides 0: there the follower's answer has a kink.
    strongly_stationary : no biactive pair's other side improves the leader to first order.
    pessimistic_objective : the leader's objective if followers with several optima choose the worst of them for it; equal to
        the objective where all optima are unique; None where it could not be found.
    ties_matter : does that differ from the objective? Then ties were broken in the leader's favour.
    bound : no bilevel answer is better than this, if that is known; None otherwise. bound_by : how it is known.
    """

    method: str
    starts: pd.DataFrame
    followers: pd.DataFrame
    complementarity: float
    biactive: tuple[str, ...]
    strongly_stationary: bool
    pessimistic_objective: float | None
    ties_matter: bool
    bound: float | None
    bound_by: str

    @property
    def follower_gap(self) -> float:
        """The largest gap of a follower."""
        return float(self.followers["gap"].max()) if len(self.followers) else float("nan")

    @property
    def ties(self) -> str:
        """In a sentence: are the followers' optima unique, and if not, what does the leader owe to their goodwill?"""
        loose = [str(name) for name in self.followers.index[~self.followers["unique"].astype(bool)]]
        if not loose:
            return "every follower's optimum is unique"
        who = f"follower {loose[0]}{f' and {len(loose) - 1} more' if len(loose) > 1 else ''}"
        if self.pessimistic_objective is None:
            return f"{who} may have several optima; what the worst of them would mean to the leader could not be found"
        if self.ties_matter:
            return (
                f"ties broken in the leader's favour: {who} has several optima, and the leader's objective would be "
                f"{self.pessimistic_objective:.8g} at the worst of them"
            )
        return f"{who} may have several optima, but no tie changes the leader's objective"

    def __repr__(self) -> str:
        lines = [
            f"bilevel answer by {self.method}, {len(self.starts)} attempts",
            f"  followers        {len(self.followers)}, largest gap {self.follower_gap:.1e}; {self.ties}",
            f"  complementarity  {self.complementarity:.1e}, {len(self.biactive)} biactive pairs",
        ]
        if self.bound is not None:
            lines.append(f"  bound            {self.bound:.10g}: {self.bound_by}")
        return laid_out(lines)
