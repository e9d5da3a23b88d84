"""What does the cross-check solve? Every programme the theorems speak of, by every route, with its exact value."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bcfl_opt import exact
from bcfl_opt.game import Game
from bcfl_opt.participation import screen_recruitment
from bcfl_opt.solution import Solution

if TYPE_CHECKING:
    import pyomo.environ as pyo

    from bcfl_opt.context import ConvexModel


@dataclasses.dataclass(eq=False)
class Programme:
    """One programme with its exact value and what the solvers make of it.

    exact : NaN where no client can take part. size : the sum of the sizes of its terms.
    """

    title: str
    exact: float
    size: float
    pyomo: dict[str, pyo.ConcreteModel]
    cvxpy: ConvexModel
    solutions: dict[str, Solution] = dataclasses.field(default_factory=dict)

    def solve(self) -> Programme:
        from bcfl_opt.solving import solve

        for form, model in self.pyomo.items():
            self.solutions[f"pyomo{form}"] = solve(model)
        self.solutions["cvxpy"] = solve(self.cvxpy)
        return self

    def value(self, solver: str) -> float:
        for solution in self.solutions.values():
            if solution.solver == solver:
                return solution.objective if solution.succeeded else np.nan
        return np.nan

    def relative(self, value: float) -> float:
        """How much better the exact value is: relative to it, or to a hundredth of its terms where they cancel.

        Clients held to utility 0 have an optimum of 0 exactly, to which nothing is relative.
        """
        difference = self.exact - value
        return difference if difference == 0 else float(difference / max(abs(self.exact), 1e-2 * self.size))

    def rows(self) -> list[dict[str, Any]]:
        rows = []
        for language, solution in self.solutions.items():
            objective = solution.objective if solution.succeeded else np.nan
            rows.append(
                {
                    "problem": self.title,
                    "language": language,
                    "solver": solution.solver,
                    "objective": objective,
                    "exact": self.exact,
                    "relative_gap": self.relative(objective),
                    "succeeded": solution.succeeded,
                    "status": solution.status.name.lower(),
                    "quality": solution.quality.name.lower(),
                    "iterations": solution.iterations,
                    "seconds": sum(solution.timing.values()),
                    "certificate": np.nan if solution.certificate is None else solution.certificate.worst[1],
                }
            )
        return rows


#: (problem, response, budgets) of the owner's programmes solved without and with speed limits, and Problem 1 in both.
PRINTED = tuple(
    (problem, response, budgets)
    for problem in ("Problem 2", "Problem 3")
    for response, budgets in (("optimal", "at_most"), ("theorem", "at_most"), ("theorem", "exhausted"))
)
LIMITED = (
    ("Problem 2", "optimal", "at_most"),
    ("Problem 2", "theorem", "at_most"),
    ("Problem 3", "optimal", "at_most"),
)
WITH_LIMITS = ", with speed limits"


def programmes(
    game: Game, prices: pd.DataFrame, owner: Sequence[tuple[str, str, str]], suffix: str = ""
) -> dict[str, Programme]:
    """Problem 1 without and with reward caps, and these programmes of the owner: built by both languages and solved."""
    from bcfl_opt.models import (
        problem1_cvxpy,
        problem1_pyomo,
        problem2_cvxpy,
        problem2_pyomo,
        problem3_cvxpy,
        problem3_pyomo,
    )

    found: dict[str, Programme] = {}
    for caps in (False, True):
        response = exact.best_response(game, prices, reward_caps=caps)
        title = f"Problem 1{' with reward caps' if caps else ''}{suffix}"
        forms = {
            f" {form}": problem1_pyomo.build(game, prices, form=form, reward_caps=caps) for form in ("time", "speed")
        }
        convex = problem1_cvxpy.build(game, prices, reward_caps=caps)
        found[title] = Programme(title, *_values(response, _client_terms(response)), forms, convex)
    equilibrium = exact.equilibrium(game)
    modules = {"Problem 2": (problem2_pyomo, problem2_cvxpy), "Problem 3": (problem3_pyomo, problem3_cvxpy)}
    for problem, response_kind, budgets in owner:
        title = f"{problem}, {response_kind} response, budgets {budgets.replace('_', ' ')}{suffix}"
        if budgets == "at_most":
            values = _values(equilibrium, _owner_terms(equilibrium))
        else:
            values = _exhausted_values(game, zero_utility=problem == "Problem 3")
        native, convex = (module.build(game, response=response_kind, budgets=budgets) for module in modules[problem])
        found[title] = Programme(title, *values, {"": native}, convex)
    return {title: programme.solve() for title, programme in found.items()}


def _values(solution: Solution, size: float) -> tuple[float, float]:
    return (solution.objective, size) if solution.succeeded else (np.nan, np.nan)


def _client_terms(response: Solution) -> float:
    """Rewards and energy: the terms of all clients' utilities."""
    assert response.clients is not None
    return float(response.clients[["training_reward", "mining_reward", "energy_cost"]].to_numpy().sum())


def _owner_terms(solution: Solution) -> float:
    """Times and rewards, weighted: what the owner pays for the recruited clients."""
    assert solution.game is not None and solution.clients is not None
    times = solution.clients[["training_time", "mining_time"]].to_numpy()[solution.clients["recruited"].to_numpy()]
    rewards = solution.clients[["training_reward", "mining_reward"]].to_numpy()
    return solution.game.cost_weight * float(times.sum() + rewards.sum())


def _exhausted_values(game: Game, *, zero_utility: bool) -> tuple[float, float]:
    """U_mo when every training cap is spent on clients that earn nothing by training: t = sqrt(rho mu^3 / R_t), s = T - t.

    Payments are then R_t, and R_m (Problem 2) or the mining energy (Problem 3): no price appears in the sum.
    """
    kept = (screen_recruitment(game, exhausted=True, theorem=True) == "").to_numpy()
    if not kept.any():
        return np.nan, np.nan
    mu, rho = game.population.training_cycles[kept], game.population.energy_coefficient[kept]
    r_t, r_m = game.caps["training_cap"].to_numpy()[kept], game.caps["mining_cap"].to_numpy()[kept]
    s = game.deadline - np.sqrt(rho * mu**3 / r_t)
    mining = rho * game.mining_cycles**3 / s**2 if zero_utility else r_m
    cost = game.cost_weight * float((game.deadline + r_t + mining).sum())
    return game.performance_value(kept) - cost, cost
