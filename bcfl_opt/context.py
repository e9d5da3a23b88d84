"""What does a model remember of the game it came from? ``Context``, and ``ConvexModel``, a CVXPY model open to changes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bcfl_opt.layout import laid_out

if TYPE_CHECKING:
    import cvxpy as cp

    from bcfl_opt.game import Game


@dataclasses.dataclass(frozen=True, eq=False)
class Context:
    """How a built model relates to its game. It rides along as ``model.bcfl`` (Pyomo) or ``model.context`` (CVXPY).

    problem : "Problem 1, time form" and the like.
    clients : ids of the clients that are in the model.
    excluded : reason by id of the clients left out by screening.
    prices : the owner's prices where they are data (Problem 1), else None.
    columns : columns of the clients' table that the model itself knows, in place of computed ones or beside them: column ->
        name of the variable or expression by client. Where there is a column ``deadline``, it is the client's own.
    response : where the clients' problem is not Problem 1: their optimal times (t, s), from the table of those recruited.
    follower_optimal : the model drops the clients' optimality and gets it back at the optimum (theory 5.3), so a
        solution counts only when the clients' problems, solved exactly at the found prices, confirm its times.
    """

    game: Game
    problem: str
    clients: pd.Index
    excluded: Mapping[Any, str]
    prices: pd.DataFrame | None = None
    follower_optimal: bool = False
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
    response: Callable[[pd.DataFrame], tuple[np.ndarray, np.ndarray]] | None = None

    @property
    def unit(self) -> float:
        """What counts as small in this game: a thousandth of the least energy that any of its clients needs for a round.

        rho (mu + psi)^3 / T^2 is the game's own unit of money, whatever currency, clock and cycles it is told in.
        """
        population, psi = self.game.population, self.game.mining_cycles
        energy = population.energy_coefficient * (population.training_cycles + psi) ** 3 / self.game.deadline**2
        return 1e-3 * float(energy.min()) * min(1.0, self.game.cost_weight)


@dataclasses.dataclass(eq=False)
class ConvexModel:
    """A CVXPY model as dictionaries by name: swap what you like, then ``bo.solve(model)`` or ``model.problem()``.

    variables, constraints, expressions : dicts by name, native CVXPY objects; vectors follow ``context.clients``.
    objective : a native ``cp.Maximize`` or ``cp.Minimize``.
    checks : constraints that are not convex and therefore not imposed; each is evaluated at the answer, and an answer
        that violates one is not a success.
    """

    context: Context
    variables: dict[str, cp.Variable]
    constraints: dict[str, cp.Constraint]
    expressions: dict[str, cp.Expression]
    objective: cp.Maximize | cp.Minimize
    checks: dict[str, cp.Constraint] = dataclasses.field(default_factory=dict)

    def problem(self) -> cp.Problem:
        """The native ``cp.Problem`` of what the dictionaries hold now."""
        import cvxpy as cp

        return cp.Problem(self.objective, list(self.constraints.values()))

    def __repr__(self) -> str:
        text = (
            f"{self.context.problem} (CVXPY), {len(self.context.clients)} of {len(self.context.game)} clients\n"
            f"  variables    {', '.join(self.variables)}\n"
            f"  constraints  {', '.join(self.constraints)}\n"
            f"  expressions  {', '.join(self.expressions)}"
        )
        return laid_out([text])
