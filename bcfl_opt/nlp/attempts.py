"""What is tried, in which order, when IPOPT does not get there at once? Options, scalings, starting points.

All of it is fixed beforehand, other starting points included: the same model gives the same attempts, run after run.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from bcfl_opt import ipopt
from bcfl_opt.nlp.elimination import Eliminated
from bcfl_opt.nlp.kkt import coefficient_sizes
from bcfl_opt.nlp.presolve import Multipliers, Presolved
from bcfl_opt.nlp.program import Program

#: Where constraints depend on one another at the solution, IPOPT's steps need the regularisation from the beginning on.
DEPENDENT: dict[str, Any] = {"perturb_always_cd": "yes", "mumps_permuting_scaling": 0}
#: Variables that little ties together: minimum degree orders them at once, where the choice among orderings that MUMPS makes by
#: itself can take a time that grows with their square.
LOOSE: dict[str, Any] = {"mumps_pivot_order": 0}
#: Another path to the solution.
ADAPTIVE: dict[str, Any] = {"mu_strategy": "adaptive"}
#: The tight bounds give the exact answer; where the feasible set has no interior, IPOPT needs them relaxed by its usual 1e-8.
RELAXED: dict[str, Any] = {"bound_relax_factor": 1e-8}
#: Second derivatives of a function with kinks or cliffs can mislead; differences of gradients do not.
QUASI_NEWTON: dict[str, Any] = {"hessian_approximation": "limited-memory"}
#: From a point that IPOPT takes for optimal and its residuals do not: on to where doubles end.
FINER: dict[str, Any] = {"tol": 1e-14, "dual_inf_tol": 1e-12, "compl_inf_tol": 1e-13, "nlp_scaling_method": "none"}
#: Iterations of an attempt after the first one.
PATIENCE = 500
#: Iterations of the first two attempts at a game: most take 10 to 60, a feasible set without an interior may take a thousand, and
#: what takes more does not arrive.
PATIENCE_WITH_GAMES = 1500
#: Other starting points tried for one at which everything can be evaluated.
DRAWS = 20
#: What an objective must gain, relative to its terms, for a way down to count.
NOTICEABLE = 1e-9
#: Attempts after the first one end when this many numbers (variables, rows and entries, times iterations) were worked on.
EFFORT = 3e7
#: Coefficients below this are scaled up.
TINY = 1e-3


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Attempt:
    """options : IPOPT's, under the user's own. scaling : instead of IPOPT's. start : None is where the model stands.

    eliminating : without the variables that follow from others, see :mod:`bcfl_opt.nlp.elimination`.
    """

    options: Mapping[str, Any]
    scaling: ipopt.Scaling | None = None
    start: np.ndarray | None = None
    eliminating: bool = False

    def same(self, other: Attempt) -> bool:
        alike = self.scaling is other.scaling and self.start is other.start and self.eliminating == other.eliminating
        return alike and self.options == other.options


def limited(attempts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Options of the attempts at a game, with the iterations that each is given."""
    return [{"max_iter": PATIENCE if k > 1 else PATIENCE_WITH_GAMES, **options} for k, options in enumerate(attempts)]


def general(reduced: Presolved, x: np.ndarray) -> list[Attempt]:
    """For a model of unknown units and any origin, which is left to IPOPT's own scaling unless its coefficients are tiny."""
    raised = raising(reduced, x)
    near, far = (nearby(reduced, x, seed) for seed in range(2))
    patient = {"max_iter": PATIENCE}
    return [
        Attempt({}, raised),
        Attempt({**patient, **DEPENDENT}, raised),
        Attempt(patient, raised, near),
        Attempt({**patient, **ADAPTIVE}, raised),
        Attempt({**patient, **RELAXED}, raised),
        Attempt({**patient, **ADAPTIVE}, raised, far),
        Attempt({**patient, **RELAXED, **ADAPTIVE}, raised),
        Attempt({**patient, **DEPENDENT}, raised, middle(reduced)),
        Attempt({**patient, **QUASI_NEWTON}, raised),
    ]


def as_near(reduced: Presolved | Eliminated, x: np.ndarray) -> dict[str, Any]:
    """Options with which IPOPT begins where it is put, and with a barrier no higher than that asks for.

    The barrier of a point on the central path is its distance from a bound times what pulls at it. None where there are rows.
    """
    if reduced.functions.rows:
        return {}
    x = np.clip(reduced.there(x), reduced.x_lower, reduced.x_upper)
    with np.errstate(all="ignore"):
        room = np.minimum(x - reduced.x_lower, reduced.x_upper - x)
        products = (np.abs(reduced.functions.gradient(x)) * room)[np.isfinite(room)]
    if not products.size or not np.isfinite(products).all():
        return {}
    barrier = float(products.mean())
    return {"bound_push": 1e-8, "bound_frac": 1e-8, "mu_init": float(np.clip(barrier, 1e-6, 0.1))}


def raising(reduced: Presolved, x: np.ndarray) -> ipopt.Scaling | None:
    """Factors that raise an objective or rows with tiny coefficients, which IPOPT's absolute tolerances would pass over.

    What IPOPT's own scaling would do, which this one replaces, comes on top: gradients above 100 at the start are lowered.
    None where no coefficient is tiny.
    """
    functions = reduced.functions
    raising = 1.0 / np.minimum(coefficient_sizes(functions), 1.0)
    if not raising.max() > 1.0 / TINY:
        return None
    with np.errstate(all="ignore"):
        steep = np.append(
            abs(functions.jacobian_matrix(x)).max(axis=1).toarray().ravel(),
            np.abs(functions.gradient(x)).max(initial=0.0),
        )
        factor = raising * np.minimum(1.0, 100.0 / np.fmax(np.nan_to_num(steep * raising), 100.0))
    return ipopt.Scaling(float(factor[-1]), np.ones(len(x)), factor[:-1])


def nearby(reduced: Presolved, x: np.ndarray, seed: int) -> np.ndarray:
    """x, every variable moved by up to half its size (half of 1 where it is smaller), within its bounds.

    Starts are often 0 or a bound all over, where what makes one variable different from the next has no slope yet.
    """
    x = np.clip(x, reduced.x_lower, reduced.x_upper)
    reach = 0.5 * np.maximum(1.0, np.abs(x))
    low, high = np.maximum(x - reach, reduced.x_lower), np.minimum(x + reach, reduced.x_upper)
    generator = np.random.default_rng(seed)
    for _ in range(DRAWS):
        point = low + generator.random(len(x)) * (high - low)
        if defined(reduced, point):
            break
    return point


def defined(reduced: Presolved, x: np.ndarray) -> bool:
    """Have all functions and first derivatives values at x?"""
    functions = reduced.functions
    with np.errstate(all="ignore"):
        values = (functions.gradient(x), functions.constraints(x), functions.jacobian(x))
        return bool(np.isfinite(functions.objective(x)) and all(np.isfinite(part).all() for part in values))


def gain(program: Program, x: np.ndarray, multipliers: Multipliers, direction: np.ndarray) -> float:
    """By how much could the objective fall along a direction of negative curvature before a bound or a row is in the way?

    An interior-point method leaves variables a little off bounds that hardly pull at them; down to such a bound there may
    be a way, but nothing to be had. Rows are taken for straight. Relative to the objective's terms, or its coefficients.
    """
    functions = program.functions
    unit = min(float(coefficient_sizes(functions)[-1]), 1.0)
    with np.errstate(all="ignore"):
        slope = np.where(program.lower == program.upper, 0.0, functions.jacobian_matrix(x) @ direction)
        place = (functions.hessian_rows, functions.hessian_columns)
        lower = functions.hessian(x, multipliers.rows, 1.0) * direction[place[0]] * direction[place[1]]
        curvature = float(np.where(place[0] == place[1], lower, 2 * lower).sum())
        rooms = [
            np.where(change > 0, (high - at) / change, np.where(change < 0, (low - at) / change, np.inf))
            for at, low, high, change in (
                (x, program.x_lower, program.x_upper, direction),
                (functions.constraints(x), program.lower, program.upper, slope),
            )
        ]
        reach = float((np.maximum(np.abs(x), 1.0) / np.abs(direction)).min())
        step = max(min(reach, *(float(np.nanmin(room, initial=np.inf)) for room in rooms)), 0.0)
        return 0.5 * max(-curvature, 0.0) * step**2 / max(unit, functions.objective_size(x))


def middle(reduced: Presolved) -> np.ndarray:
    """A point well inside the bounds, whatever the model's own values are."""
    low, high = reduced.x_lower, reduced.x_upper
    with np.errstate(invalid="ignore"):
        return np.select(
            [np.isfinite(low) & np.isfinite(high), np.isfinite(low), np.isfinite(high)],
            [(low + high) / 2, low + np.maximum(1.0, np.abs(low)), high - np.maximum(1.0, np.abs(high))],
            0.0,
        )
