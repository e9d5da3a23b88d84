"""Is it true? Residuals of a point, recomputed from the model and never taken from the solver."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

from bcfl_opt.layout import laid_out

#: A solve whose residuals exceed this is not a success.
TOLERANCE = 1e-6
#: A game's constraints, whose sizes are known, are violated by no more than this. A client may lack 1e-9 of the deadline, and
#: its least times and the deadline, a row of twice that size, add up to four times what each may be violated by.
FEASIBLE = 2.5e-10
#: Each other residual of a game is at most a tenth of what all of them promise: those of one client add up.
EACH = 1e-7


@dataclasses.dataclass(frozen=True, slots=True)
class Certificate:
    """Relative residuals of the optimality conditions at a point.

    primal : largest constraint violation, relative to the size of the terms of its constraint.
    dual : largest multiplier of the wrong sign, relative to the largest multiplier.
    complementarity : largest multiplier x slack, relative to multiplier x size of its constraint.
    stationarity : largest entry of the Lagrangian's gradient, relative to the terms that should cancel in it. None where
        the point is claimed to be feasible and no more.
    gap : duality gap, relative to the size of the objective's terms: a bound on how much better any feasible point can
        be. None where no bound is known (the model is not known to be convex).
    follower_gap : for ``response="optimal"``: the largest amount by which a client, solved exactly at the found prices,
        would move its times or raise its utility; relative. None where there is no follower.
    where : residual name -> the constraint, variable or client it is attained at.
    unscaled : the same residuals in the model's own units, not relative to anything: the largest violation of a constraint
        as written, the largest entry of the Lagrangian's gradient, and so on. For the record: what is small depends on
        the units, so no success hangs on them.
    curvature : where the model is not known to be convex, the least curvature of the Lagrangian in the directions that the
        active constraints leave, relative to the largest (second-order condition: not negative, within 1e-7). None where
        there is no such direction, or nothing was computed.
    """

    primal: float
    dual: float
    complementarity: float
    stationarity: float | None
    gap: float | None = None
    follower_gap: float | None = None
    where: Mapping[str, str] = dataclasses.field(default_factory=dict)
    unscaled: Mapping[str, float] = dataclasses.field(default_factory=dict)
    curvature: float | None = None

    @property
    def residuals(self) -> dict[str, float]:
        """All residuals that apply, by name."""
        names = ("primal", "dual", "complementarity", "stationarity", "gap", "follower_gap")
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    @property
    def worst(self) -> tuple[str, float]:
        """Name and value of the largest residual (NaN counts as the largest)."""
        return max(self.residuals.items(), key=lambda item: float("inf") if item[1] != item[1] else item[1])

    def holds(self, tol: float = TOLERANCE) -> bool:
        """Are all residuals at most ``tol``? A NaN is not."""
        return all(value <= tol for value in self.residuals.values())

    @property
    def closes_gap(self) -> bool:
        """Is the point globally optimal: all residuals hold and a duality gap is known?"""
        return self.gap is not None and self.holds()

    def accepted(self, *, game: bool) -> bool:
        """Does the point count as an answer? Of a game, whose sizes are known, more is asked: FEASIBLE and EACH."""
        return all(value <= limit for value, limit in zip(self.residuals.values(), self._limits(game), strict=True))

    def failure(self, *, game: bool = False) -> str:
        """The residual that exceeds its limit by most, in words, with the place it is attained at.

        game : by the limits of a game, see :meth:`accepted`.
        """
        found = zip(self.residuals.items(), self._limits(game), strict=True)
        (name, value), limit = max(found, key=lambda one: math.inf if math.isnan(one[0][1]) else one[0][1] / one[1])
        place = self.where.get(name, "")
        return f"{name.replace('_', ' ')} {value:.3g} > {limit:g}{' at ' if place else ''}{place}"

    def _limits(self, game: bool) -> list[float]:
        return (
            [FEASIBLE if name == "primal" else EACH for name in self.residuals]
            if game
            else [TOLERANCE for _ in self.residuals]
        )

    @property
    def text(self) -> str:
        """All residuals, and whether they hold, in one line."""
        text = ", ".join(f"{name.replace('_', ' ')} {value:.1e}" for name, value in self.residuals.items())
        bent = "" if self.curvature is None else f", curvature {self.curvature:+.1e}"
        return f"{text}{bent}; {'holds' if self.holds() else 'DOES NOT HOLD'} at {TOLERANCE:g}"

    def __repr__(self) -> str:
        return laid_out([self.text])
