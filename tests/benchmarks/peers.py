"""What would a user reach without this package? The same problems by hand, with each tool that one might pick.

Problem 1 in times, arrays over clients: min A/t^2 + C/s^2 - p_t t - p_m s, t + s <= T, t >= t_lo, s >= s_lo, where A = rho mu^3,
C = rho psi^3. Shared budget: min sum(t + s + a + b), a >= A/t^2, b >= C/s^2, t + s <= T, sum(a + b) <= B. Every peer returns the
optimal value, every IPOPT peer starts from T/2 and stops at tol 1e-8, its own default. One thread each.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

import bcfl_opt as bo


@dataclasses.dataclass(frozen=True)
class Instance:
    """One population at its prices, as arrays."""

    game: bo.Game
    p_t: np.ndarray
    p_m: np.ndarray

    @classmethod
    def random(cls, n: int, seed: int = 0) -> Instance:
        """Work 1 to 20, chips 0.005 to 0.02, prices 1 to 10, psi 10, T 15: nobody is too slow."""
        rng = np.random.default_rng(seed)
        import pandas as pd

        frame = pd.DataFrame({"mu": rng.uniform(1, 20, n), "rho": rng.uniform(0.005, 0.02, n), "q": np.full(n, 50.0)})
        game = bo.Game(bo.Population(frame), mining_cycles=10.0, deadline=15.0)
        return cls(game, rng.uniform(1, 10, n), rng.uniform(1, 10, n))

    @property
    def prices(self) -> Any:
        return self.game.prices(self.p_t, self.p_m)

    @property
    def energies(self) -> tuple[np.ndarray, np.ndarray]:
        """A, C."""
        people = self.game.population
        return (
            people.energy_coefficient * people.training_cycles** 3,
            people.energy_coefficient * self.game.mining_cycles** 3,
        )

    @property
    def least(self) -> tuple[np.ndarray, np.ndarray]:
        """t_lo, s_lo by rationality and speed limit."""
        people, psi = self.game.population, self.game.mining_cycles
        return (
            people.training_cycles * np.maximum(np.cbrt(people.energy_coefficient / self.p_t), 1 / people.max_speed),
            psi * np.maximum(np.cbrt(people.energy_coefficient / self.p_m), 1 / people.max_speed),
        )


# ---------------------------------------------------------------------- IPOPT, callbacks by hand


class Response:
    """Problem 1 for cyipopt; x = (t, s)."""

    def __init__(self, instance: Instance) -> None:
        n = len(instance.game)
        self.n, self.work = n, np.concatenate(instance.energies)
        self.pay = np.concatenate([instance.p_t, instance.p_m])
        self.lower, self.upper = np.concatenate(instance.least), np.full(2 * n, 1e20)
        self.row_lower, self.row_upper = np.full(n, -1e20), np.full(n, instance.game.deadline)
        self.ones, self.diagonal = np.ones(2 * n), np.arange(2 * n)
        self.start = np.full(2 * n, instance.game.deadline / 2)

    def objective(self, x: np.ndarray) -> float:
        return float(np.dot(self.work, x**-2.0) - np.dot(self.pay, x))

    def gradient(self, x: np.ndarray) -> np.ndarray:
        return -2 * self.work / x**3 - self.pay

    def constraints(self, x: np.ndarray) -> np.ndarray:
        return x[: self.n] + x[self.n :]

    def jacobian(self, x: np.ndarray) -> np.ndarray:
        return self.ones

    def jacobianstructure(self) -> tuple[np.ndarray, np.ndarray]:
        return self.diagonal % self.n, self.diagonal

    def hessianstructure(self) -> tuple[np.ndarray, np.ndarray]:
        return self.diagonal, self.diagonal

    def hessian(self, x: np.ndarray, multipliers: np.ndarray, factor: float) -> np.ndarray:
        return 6 * factor * self.work / (x * x) ** 2


class Budget:
    """The shared budget for cyipopt; x = (t, s, a, b)."""

    def __init__(self, instance: Instance, budget: float) -> None:
        n, deadline = len(instance.game), instance.game.deadline
        self.n, self.work = n, np.concatenate(instance.energies)
        speed = np.concatenate([instance.game.population.max_speed] * 2)
        cycles = np.concatenate([instance.game.population.training_cycles, np.full(n, instance.game.mining_cycles)])
        self.lower = np.concatenate([cycles / speed, np.zeros(2 * n)])
        self.upper = np.full(4 * n, 1e20)
        self.row_lower = np.concatenate([np.zeros(2 * n), np.full(n + 1, -1e20)])
        self.row_upper = np.concatenate([np.full(2 * n, 1e20), np.full(n, deadline), [budget]])
        k = np.arange(2 * n)
        self.rows = np.concatenate([k, k, 2 * n + k % n, np.full(2 * n, 3 * n)])
        self.columns = np.concatenate([k, 2 * n + k, k, 2 * n + k])
        half = np.full(2 * n, deadline / 2)
        self.start = np.concatenate([half, 2 * self.work / half**2])

    def objective(self, x: np.ndarray) -> float:
        return float(x.sum())

    def gradient(self, x: np.ndarray) -> np.ndarray:
        return np.ones(4 * self.n)

    def constraints(self, x: np.ndarray) -> np.ndarray:
        times, pay = x[: 2 * self.n], x[2 * self.n :]
        return np.concatenate([pay - self.work / times**2, times[: self.n] + times[self.n :], [pay.sum()]])

    def jacobian(self, x: np.ndarray) -> np.ndarray:
        times = x[: 2 * self.n]
        return np.concatenate([2 * self.work / times**3, np.ones(6 * self.n)])

    def jacobianstructure(self) -> tuple[np.ndarray, np.ndarray]:
        return self.rows, self.columns

    def hessianstructure(self) -> tuple[np.ndarray, np.ndarray]:
        return np.arange(2 * self.n), np.arange(2 * self.n)

    def hessian(self, x: np.ndarray, multipliers: np.ndarray, factor: float) -> np.ndarray:
        return -6 * multipliers[: 2 * self.n] * self.work / x[: 2 * self.n] ** 4


def by_cyipopt(model: Response | Budget) -> float:
    import cyipopt

    problem = cyipopt.Problem(
        n=len(model.start),
        m=len(model.row_lower),
        problem_obj=model,
        lb=model.lower,
        ub=model.upper,
        cl=model.row_lower,
        cu=model.row_upper,
    )
    for name, value in {"print_level": 0, "sb": "yes", "tol": 1e-8}.items():
        problem.add_option(name, value)
    x, info = problem.solve(model.start)
    assert info["status"] in (0, 1), info["status_msg"]
    return float(model.objective(x))


def response_by_cyipopt(instance: Instance) -> float:
    return -by_cyipopt(Response(instance))


def budget_by_cyipopt(instance: Instance, budget: float) -> float:
    return by_cyipopt(Budget(instance, budget))


# ---------------------------------------------------------------------- CasADi, vector expressions


def _casadi(x: Any, cost: Any, rows: Any, bounds: dict[str, Any]) -> float:
    import casadi as ca

    options = {"print_time": False, "ipopt": {"print_level": 0, "sb": "yes", "tol": 1e-8}}
    answer = ca.nlpsol("s", "ipopt", {"x": x, "f": cost, "g": rows}, options)(**bounds)
    return float(answer["f"])


def response_by_casadi(instance: Instance) -> float:
    import casadi as ca

    model = Response(instance)
    x, n = ca.MX.sym("x", 2 * model.n), model.n
    cost = ca.dot(model.work, x**-2) - ca.dot(model.pay, x)
    rows = x[:n] + x[n:]
    bounds = {"lbx": model.lower, "ubx": model.upper, "lbg": model.row_lower, "ubg": model.row_upper, "x0": model.start}
    return -_casadi(x, cost, rows, bounds)


def budget_by_casadi(instance: Instance, budget: float) -> float:
    import casadi as ca

    model = Budget(instance, budget)
    x, n = ca.MX.sym("x", 4 * model.n), model.n
    times, pay = x[: 2 * n], x[2 * n :]
    rows = ca.vertcat(pay - model.work / times**2, times[:n] + times[n:], ca.sum1(pay))
    bounds = {"lbx": model.lower, "ubx": model.upper, "lbg": model.row_lower, "ubg": model.row_upper, "x0": model.start}
    return _casadi(x, ca.sum1(x), rows, bounds)


# ---------------------------------------------------------------------- CVXPY and Clarabel, bare


def response_by_cvxpy(instance: Instance) -> float:
    import cvxpy as cp

    n = len(instance.game)
    (work_t, work_s), (least_t, least_s) = instance.energies, instance.least
    t, s = cp.Variable(n), cp.Variable(n)
    energy = work_t @ cp.power(t, -2) + work_s @ cp.power(s, -2)
    problem = cp.Problem(
        cp.Maximize(instance.p_t @ t + instance.p_m @ s - energy),
        [t >= least_t, s >= least_s, t + s <= instance.game.deadline],
    )
    problem.solve(solver="CLARABEL", max_threads=1)
    return float(problem.value)


# ---------------------------------------------------------------------- exact, bare


def response_by_numpy(instance: Instance) -> float:
    """Bisection for the root of h over all clients at once."""
    (work_t, work_s), (least_t, least_s) = instance.energies, instance.least
    deadline = instance.game.deadline
    low, high = least_t.copy(), deadline - least_s
    for _ in range(60):
        t = 0.5 * (low + high)
        rises = instance.p_t - instance.p_m + 2 * work_t / t**3 - 2 * work_s / (deadline - t) ** 3 > 0
        low, high = np.where(rises, t, low), np.where(rises, high, t)
    t = 0.5 * (low + high)
    s = deadline - t
    return float(np.sum(instance.p_t * t + instance.p_m * s - work_t / t**2 - work_s / s**2))


RESPONSES: dict[str, Callable[[Instance], float]] = {
    "cyipopt, callbacks by hand": response_by_cyipopt,
    "CasADi, vectors": response_by_casadi,
    "CVXPY, Clarabel": response_by_cvxpy,
    "numpy, bisection": response_by_numpy,
}
BUDGETS: dict[str, Callable[[Instance, float], float]] = {
    "cyipopt, callbacks by hand": budget_by_cyipopt,
    "CasADi, vectors": budget_by_casadi,
}
