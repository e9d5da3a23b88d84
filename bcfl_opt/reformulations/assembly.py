"""What do the best answers of the independent parts make together? One point, its certificate, what the followers say."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from bcfl_opt.certificate import Certificate
from bcfl_opt.nlp.kkt import certify
from bcfl_opt.nlp.nonlinear import Answer
from bcfl_opt.nlp.presolve import Multipliers
from bcfl_opt.nlp.program import Program
from bcfl_opt.reformulations.pieces import BIACTIVE
from bcfl_opt.reformulations.search import Attempt
from bcfl_opt.reformulations.verification import Check


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Confirmed:
    """A candidate for one part of the problem, and what its followers say of it."""

    attempt: Attempt
    checks: tuple[Check, ...]

    @property
    def holds(self) -> bool:
        return all(c.holds for c in self.checks)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Whole:
    """An answer to the whole problem. program, x, multipliers : what was solved last, and the point.

    method, complementarity, biactive, strong : see :class:`~bcfl_opt.bilevel_record.BilevelRecord`.
    """

    method: str
    program: Program
    x: np.ndarray
    multipliers: Multipliers
    certificate: Certificate
    checks: tuple[Check, ...]
    complementarity: float = 0.0
    biactive: tuple[str, ...] = ()
    strong: bool = True

    @classmethod
    def of_single_level(cls, single: Answer, checks: Sequence[Check]) -> Whole:
        """The leader's choice for all, which the followers confirm."""
        assert single.multipliers is not None and single.certificate is not None
        return cls("single_level", single.program, single.x, single.multipliers, single.certificate, tuple(checks))


def assembled(base: Program, chosen: Sequence[Confirmed], unit: float) -> Whole:
    """The best of each part put together; also sets the model's variables to it.

    base : the whole programme, with complementarity left open.
    """
    x, low, high = base.start(), base.x_lower.copy(), base.x_upper.copy()
    rows, z_low, z_high = np.zeros(len(base.constraints)), np.zeros(len(x)), np.zeros(len(x))
    columns = {id(variable): k for k, variable in enumerate(base.variables)}
    places = {id(constraint): k for k, constraint in enumerate(base.constraints)}
    complementarity, strong = 0.0, True
    biactive: list[str] = []
    for candidate in chosen:
        candidate.attempt.load()
        part, piece = candidate.attempt.system, candidate.attempt.piece
        assert piece is not None
        known = np.array([id(variable) in columns for variable in part.program.variables], dtype=bool)
        mine = np.array([columns[id(v)] for v in part.program.variables if id(v) in columns], dtype=np.int64)
        here = np.array([places[id(row)] for row in part.program.constraints], dtype=np.int64)
        x[mine], low[mine], high[mine] = piece.x[known], piece.program.x_lower[known], piece.program.x_upper[known]
        rows[here] = piece.multipliers.rows
        z_low[mine], z_high[mine] = piece.multipliers.x_lower[known], piece.multipliers.x_upper[known]
        complementarity = max(complementarity, float(part.complementarity(piece.x).max(initial=0.0)))
        both = np.maximum(np.abs(piece.x[part.multiplier]), np.abs(part.slacks(piece.x))) <= BIACTIVE
        biactive += [part.pairs[j].name for j in np.flatnonzero(both).tolist()]
        strong = strong and piece.strong
    program = dataclasses.replace(base, x_lower=low, x_upper=high)
    multipliers = Multipliers(rows, z_low, z_high)
    certificate = certify(program, x, multipliers, convex=False, unit=unit)
    curvatures = [c.attempt.piece.certificate.curvature for c in chosen if c.attempt.piece is not None]
    known_curvatures = [number for number in curvatures if number is not None]
    certificate = dataclasses.replace(certificate, curvature=min(known_curvatures, default=None))
    methods = ", ".join(sorted({candidate.attempt.method for candidate in chosen}))
    checks = tuple(c for candidate in chosen for c in candidate.checks)
    return Whole(methods, program, x, multipliers, certificate, checks, complementarity, tuple(biactive), strong)
