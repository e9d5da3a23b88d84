"""What does IPOPT solve once the followers' conditions stand in the leader's model, and how complementary is a point?"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from bcfl_opt.nlp.program import Program
from bcfl_opt.nlp.subprogram import independent_parts, restricted
from bcfl_opt.reformulations.conditions import Pair
from bcfl_opt.reformulations.followers import Follower


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class System:
    """The leader's programme with the followers' conditions, and the places of the complementarity pairs in it.

    whole : all rows. program : those that hold with complementarity left open. relaxed : those of a reformulation, relaxed by
    the value of the column ``relaxation``. All have the same columns. rows, relaxed_rows : the rows of ``whole`` in the
    second and third. pairs, and multiplier, variable, sign, bound, size by pair : see
    :class:`~bcfl_opt.reformulations.conditions.Pair`; the two variables as columns.
    """

    whole: Program
    program: Program
    relaxed: Program
    rows: np.ndarray
    relaxed_rows: np.ndarray
    relaxation: int
    pairs: tuple[Pair, ...]
    multiplier: np.ndarray
    variable: np.ndarray
    sign: np.ndarray
    bound: np.ndarray
    size: np.ndarray

    @classmethod
    def of(
        cls, whole: Program, rows: np.ndarray, relaxed_rows: np.ndarray, relaxation: int, pairs: Sequence[Pair]
    ) -> System:
        """rows, relaxed_rows : numbers of rows of ``whole``."""
        columns = np.arange(len(whole.variables))
        program, relaxed = (restricted(whole, kept, columns) for kept in (rows, relaxed_rows))
        place = {id(variable): k for k, variable in enumerate(program.variables)}
        known = [pair for pair in pairs if id(pair.multiplier) in place and id(pair.variable) in place]
        numbers = np.array([(pair.sign, pair.bound, pair.size) for pair in known], dtype=float).reshape(-1, 3)
        both = [(place[id(pair.multiplier)], place[id(pair.variable)]) for pair in known]
        multiplier, variable = np.array(both, dtype=np.int64).reshape(-1, 2).T
        return cls(
            whole, program, relaxed, rows, relaxed_rows, relaxation, tuple(known), multiplier, variable, *numbers.T
        )

    def slacks(self, x: np.ndarray) -> np.ndarray:
        """The slack of every pair, in the follower's own sizes."""
        return self.sign * (x[self.variable] - self.bound) / self.size

    def complementarity(self, x: np.ndarray) -> np.ndarray:
        """min(multiplier, slack) of every pair: 0 where complementary."""
        return np.minimum(np.abs(x[self.multiplier]), np.abs(self.slacks(x)))

    def parts(self, followers: Sequence[Follower]) -> list[tuple[System, np.ndarray, np.ndarray]]:
        """The systems that have nothing to do with one another, each with its columns, and its rows of ``program``.

        A follower is never divided: it is asked as a whole.
        """
        shared = np.array([self.relaxation])
        place = {id(variable): k for k, variable in enumerate(self.whole.variables)}
        own = [[place[id(v)] for v in follower.decisions if id(v) in place] for follower in followers]
        together = np.array([pair for columns in own for pair in itertools.pairwise(columns)], dtype=np.int64)
        links = np.concatenate([np.column_stack([self.multiplier, self.variable]), together.reshape(-1, 2)])
        found = independent_parts(self.whole, (links[:, 0], links[:, 1]), shared)
        if len(found) <= 1:
            return [(self, np.arange(len(self.program.variables)), np.arange(len(self.program.constraints)))]
        result = []
        for rows, columns in found:
            mine = set(columns.tolist()) - {self.relaxation}
            pairs = [p for p, column in zip(self.pairs, self.variable.tolist(), strict=True) if column in mine]
            part = System.of(
                restricted(self.whole, rows, columns),
                np.flatnonzero(np.isin(rows, self.rows)),
                np.flatnonzero(np.isin(rows, self.relaxed_rows)),
                int(np.searchsorted(columns, self.relaxation)),
                pairs,
            )
            result.append((part, columns, np.flatnonzero(np.isin(self.rows, rows))))
        return result
