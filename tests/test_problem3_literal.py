"""Do Problem 3's constraints say what the paper prints? Compared point by point, because the optimum alone cannot tell.

(17) and (18) change nothing at the optimum (theory 4.2), so a model without them has the same answer. Here every named
constraint is evaluated at arbitrary times and payments and must hold exactly where the printed inequality does.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pyomo.environ as pyo
import pytest

import bcfl_opt as bo
from bcfl_opt.models import problem3_cvxpy, problem3_pyomo

PSI, DEADLINE = 5.0, 15.0
MU = {"least": 6.0, "inside": 9.0, "largest": 12.0}
RHO = {"least": 0.01, "inside": 0.02, "largest": 0.015}


def game() -> bo.Game:
    frame = pd.DataFrame({"mu": MU, "rho": RHO}).rename_axis("client")
    return bo.Game(bo.Population(frame), mining_cycles=PSI, deadline=DEADLINE, target=9.0)


def points() -> Iterator[tuple[float, float, float]]:
    """A training time and the two payments as multiples of the energy they are for: below, at and above it."""
    for time in (4.0, 9.0):
        for training in (0.5, 1.0, 2.0):
            for mining in (0.25, 1.0, 3.0):
                yield time, training, mining


def printed(client: str, t: float, a: float, b: float) -> dict[str, bool]:
    """The printed inequalities at speeds q_t = mu/t, q_m = psi/s and prices p_t = a/t, p_m = b/s, with s = T - t."""
    mu, rho, s, slack = MU[client], RHO[client], DEADLINE - t, 1e-12
    q_t, q_m, p_t, p_m = mu / t, PSI / s, a / t, b / s

    def utility(reported: float) -> float:  # (1) with another mu at the same speeds and prices, as (18) is written
        return reported / q_t * p_t + PSI / q_m * p_m - rho * reported * q_t**2 - rho * PSI * q_m**2

    return {
        "training_rationality": mu / q_t * p_t - rho * mu * q_t**2 >= -slack,
        "mining_rationality": PSI / q_m * p_m - rho * PSI * q_m**2 >= -slack,
        "individual_rationality": utility(mu) >= -slack,
        # every mu_hat of the type interval
        "incentive_compatibility": all(
            utility(mu) >= utility(hat) - slack for hat in np.linspace(min(MU.values()), max(MU.values()), 61)
        ),
    }


def payments(client: str, t: float, training: float, mining: float) -> tuple[float, float]:
    rho = RHO[client]
    return training * rho * MU[client] ** 3 / t**2, mining * rho * PSI**3 / (DEADLINE - t) ** 2


@pytest.mark.parametrize("client", MU)
def test_pyomo_says_what_is_printed(client: str) -> None:
    m = problem3_pyomo.build(game(), screen=False)
    seen: dict[str, set[bool]] = {}
    for t, training, mining in points():
        a, b = payments(client, t, training, mining)
        for name, number in (("training_time", t), ("mining_time", DEADLINE - t), ("training_payment", a)):
            getattr(m, name)[client].set_value(number)
        m.mining_payment[client].set_value(b)
        for name, holds in printed(client, t, a, b).items():
            constraint = getattr(m, name)[client]
            assert (min(constraint.lslack(), constraint.uslack()) >= -1e-12) == holds, (name, t, training, mining)
            seen.setdefault(name, set()).add(holds)
    assert all(verdicts == {True, False} for verdicts in seen.values()), "a constraint that never fails is not tested"


@pytest.mark.parametrize("client", MU)
def test_cvxpy_imposes_the_convex_half_and_checks_the_other(client: str) -> None:
    c = problem3_cvxpy.build(game(), screen=False)
    place = list(MU).index(client)
    for t, training, mining in points():
        values = {}
        for name in MU:  # the other clients sit where everything holds
            where = (t, training, mining) if name == client else (9.0, 1.0, 1.0)
            values[name] = (where[0], DEADLINE - where[0], *payments(name, *where))
        columns = np.array([values[name] for name in MU]).T
        for name, column in zip(
            ("training_time", "mining_time", "training_payment", "mining_payment"), columns, strict=True
        ):
            c.variables[name].value = column
        for name, holds in printed(client, *columns[[0, 2, 3], place]).items():
            # the half against over-reporting is a check, "incentive_compatibility_over_reporting"
            parts = [item for part in (c.constraints, c.checks) for key, item in part.items() if key.startswith(name)]
            assert parts
            violation = max(float(np.max(part.violation())) for part in parts)
            assert (violation <= 1e-12) == holds, (name, t, training, mining)


def test_incentive_compatibility_binds_when_the_objective_overpays() -> None:
    # Maximise what is paid for training. Without (18) every cap is spent; with it only the largest type, whom no
    # over-report can tempt, is paid more than its energy.
    m = problem3_pyomo.build(game(), screen=False)
    m.utility.set_value(pyo.quicksum(m.training_reward[i] for i in m.clients))
    pyo.SolverFactory("bcfl_ipopt").solve(m)
    profit = {i: pyo.value(m.training_reward[i] - m.training_energy[i]) for i in m.clients}
    assert profit["least"] == pytest.approx(0.0, abs=1e-6) and profit["inside"] == pytest.approx(0.0, abs=1e-6)
    assert profit["largest"] > 1.0
    m.incentive_compatibility.deactivate()
    pyo.SolverFactory("bcfl_ipopt").solve(m)
    assert all(pyo.value(m.training_reward[i] - m.training_energy[i]) > 1.0 for i in ("least", "inside"))
