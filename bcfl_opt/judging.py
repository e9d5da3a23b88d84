"""Do paper, numerics and exact answers agree, and if not, why not? ``cross_check``: verdicts computed, never written down."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bcfl_opt import closed_form, exact
from bcfl_opt.certificate import Certificate
from bcfl_opt.game import Game
from bcfl_opt.solution import Solution

if TYPE_CHECKING:
    import pyomo.environ as pyo

    from bcfl_opt.context import ConvexModel

#: Two values are the same number if they differ by no more than this, relative to the exact one.
AGREEMENT = 1e-6


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class CrossCheck:
    """The paper's closed forms judged against exact answers and two solvers.

    table : one row per theorem x reading: theorem, reading, paper_value (the objective at the closed form's point), ipopt
        and clarabel (numeric optima), exact, gap (how much better the exact optimum is, relative), primal and
        stationarity (the closed form's own residuals, with the multipliers that make it look best), verdict, reason.
    solves : one row per model and solver: problem, language, solver, objective, exact, relative_gap, succeeded, status,
        quality, iterations, seconds, certificate (the largest residual).
    clients : by client: the prices judged, the exact response and Theorem 3.1's, the equilibrium's prices, reasons.
    """

    game: Game
    prices: pd.DataFrame
    table: pd.DataFrame
    solves: pd.DataFrame
    clients: pd.DataFrame

    @property
    def agrees(self) -> bool:
        """Does every solve succeed and agree with the exact answer to 1e-6, relative?"""
        return bool((self.solves["succeeded"] & (self.solves["relative_gap"].abs() <= AGREEMENT)).all())

    def __repr__(self) -> str:
        solved = int(self.solves["succeeded"].sum())
        worst = self.solves["relative_gap"].abs().max()
        lines = [
            f"Cross-check of {len(self.game)} clients: {solved} of {len(self.solves)} solves succeeded, "
            f"largest difference from the exact answers {worst:.1e}"
        ]
        for row in self.table.itertuples():
            lines.append(f"  {row.theorem}, {row.reading}: {row.verdict}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return self.table.to_html(index=False, float_format="%.6g") + self.solves.to_html(
            index=False, float_format="%.6g"
        )


@dataclasses.dataclass(frozen=True, eq=False)
class _Reading:
    """One way to read a theorem: the programme it should solve, and the point it proposes."""

    theorem: str
    reading: str
    programme: str
    point: pd.DataFrame
    reason: Callable[[float], str]
    corrected: bool = True


def cross_check(game: Game, prices: pd.DataFrame | None = None) -> CrossCheck:
    """Solve Problems 1-3 by every route, compare with the exact answers, and judge Theorems 3.1, 3.2 and 4.1.

    Parameters
    ----------
    game : the game.
    prices : prices for Problem 1 and Theorem 3.1; by default those of Theorem 3.2 (corrected), the paper's own play.

    Returns
    -------
    CrossCheck. A client without an answer is left out of a programme with its reason in ``clients``; sums run over the
    others.
    """
    prices = closed_form.theorem_3_2(game) if prices is None else prices
    prices = game.checked_prices(prices)
    programmes = _programmes(game, prices)
    solves = pd.DataFrame([row for programme in programmes.values() for row in programme.rows()])
    readings = _readings(game, prices)
    judged = [_judge(reading, programmes[reading.programme]) for reading in readings]
    table = pd.DataFrame([*_with_corrections(readings, judged), *_open_responses(game)])
    return CrossCheck(game, prices, table, solves, _clients(game, prices))


# ---------------------------------------------------------------------------------- the programmes


@dataclasses.dataclass(eq=False)
class _Programme:
    """One programme with its exact value and what the solvers make of it."""

    title: str
    exact: float
    pyomo: dict[str, pyo.ConcreteModel]
    cvxpy: ConvexModel
    solutions: dict[str, Solution] = dataclasses.field(default_factory=dict)

    def solve(self) -> _Programme:
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

    def rows(self) -> list[dict[str, Any]]:
        rows = []
        for language, solution in self.solutions.items():
            objective = solution.objective if solution.succeeded else np.nan
            rows.append(
                {
                    "problem": solution.problem,
                    "language": language.split()[0],
                    "solver": solution.solver,
                    "objective": objective,
                    "exact": self.exact,
                    "relative_gap": _relative(self.exact - objective, self.exact),
                    "succeeded": solution.succeeded,
                    "status": solution.status.name.lower(),
                    "quality": solution.quality.name.lower(),
                    "iterations": solution.iterations,
                    "seconds": sum(solution.timing.values()),
                    "certificate": np.nan if solution.certificate is None else solution.certificate.worst[1],
                }
            )
        return rows


def _programmes(game: Game, prices: pd.DataFrame) -> dict[str, _Programme]:
    from bcfl_opt.models import (
        problem1_cvxpy,
        problem1_pyomo,
        problem2_cvxpy,
        problem2_pyomo,
        problem3_cvxpy,
        problem3_pyomo,
    )

    programmes: dict[str, _Programme] = {}
    for caps in (False, True):
        response = exact.best_response(game, prices, reward_caps=caps)
        title = "Problem 1 with reward caps" if caps else "Problem 1"
        forms = {
            f" {form}": problem1_pyomo.build(game, prices, form=form, reward_caps=caps) for form in ("time", "speed")
        }
        convex = problem1_cvxpy.build(game, prices, reward_caps=caps)
        programmes[title] = _Programme(title, _value(response), forms, convex)
    equilibrium = _value(exact.equilibrium(game))
    modules = {"Problem 2": (problem2_pyomo, problem2_cvxpy), "Problem 3": (problem3_pyomo, problem3_cvxpy)}
    for problem, (pyomo_model, cvxpy_model) in modules.items():
        for response_kind, budgets in (("optimal", "at_most"), ("theorem", "at_most"), ("theorem", "exhausted")):
            title = f"{problem}, {response_kind}, {budgets}"
            value = equilibrium if budgets == "at_most" else _exhausted_value(game, zero_utility=problem == "Problem 3")
            native = pyomo_model.build(game, response=response_kind, budgets=budgets)
            convex = cvxpy_model.build(game, response=response_kind, budgets=budgets)
            programmes[title] = _Programme(title, value, {"": native}, convex)
    return {title: programme.solve() for title, programme in programmes.items()}


def _value(solution: Solution) -> float:
    return solution.objective if solution.succeeded else np.nan


def _exhausted_value(game: Game, *, zero_utility: bool) -> float:
    """U_mo when every training cap is spent on clients that earn nothing by training: t = sqrt(rho mu^3 / R_t), s = T - t.

    Payments are then R_t, and R_m (Problem 2) or the mining energy (Problem 3): no price appears in the sum.
    """
    from bcfl_opt.participation import screen_recruitment

    kept = (screen_recruitment(game, exhausted=True, theorem=True) == "").to_numpy()
    if not kept.any():
        return np.nan
    mu, rho = game.population.training_cycles[kept], game.population.energy_coefficient[kept]
    r_t, r_m = game.caps["training_cap"].to_numpy()[kept], game.caps["mining_cap"].to_numpy()[kept]
    s = game.deadline - np.sqrt(rho * mu**3 / r_t)
    mining = rho * game.mining_cycles**3 / s**2 if zero_utility else r_m
    return game.performance_value(kept) - game.cost_weight * float((game.deadline + r_t + mining).sum())


# ---------------------------------------------------------------------------------- the readings


def _readings(game: Game, prices: pd.DataFrame) -> list[_Reading]:
    theorem_3_1 = closed_form.theorem_3_1(game, prices)
    times = theorem_3_1[["training_time", "mining_time"]]
    corrected, printed = closed_form.theorem_3_2(game), closed_form.theorem_3_2(game, printed=True)
    theorem_4_1 = closed_form.theorem_4_1(game)
    holds = theorem_3_1["optimal"]

    def why_3_1(gap: float) -> str:
        answered = int(times.notna().all(axis=1).sum())
        count = f"3 p_t <= p_m + 2 rho q_m^3 at a feasible point holds for {int(holds.sum())} of {answered} clients"
        if gap <= AGREEMENT:
            return count
        return (
            f"{count}; elsewhere longer training pays, and Appendix A misses it: its derivative of the Lagrangian drops the "
            "revenue, and Case 1, the interior optimum, is dismissed"
        )

    def why_3_1_caps(gap: float) -> str:
        if gap <= AGREEMENT:
            return "the training cap leaves no training time but the theorem's"
        return "within the caps, more training or mining time than the theorem's pays"

    def why_at_most(gap: float) -> str:
        if gap <= AGREEMENT:
            return "the caps leave no cheaper prices"
        return (
            "the owner's utility falls in both prices, so spending the caps is dear; the proof's multiplier is -xi < 0, against "
            "its own sign condition"
        )

    def why_exhausted(gap: float) -> str:
        return "with the caps spent to the last coin nothing is left to choose" if gap <= AGREEMENT else ""

    def why_printed(gap: float) -> str:
        if gap <= AGREEMENT:
            return "the misprint does not matter here"
        reward = printed["mining_price"] * (game.deadline - _training_time(game, printed["training_price"]))
        left = float((game.caps["mining_cap"] - reward).abs().max())
        return (
            f"(16) prints (rho mu)^(3/2) where (14) with equality gives rho^(1/2) mu^(3/2); the mining reward misses its cap by "
            f"up to {left:.4g}"
        )

    return [
        _Reading("Theorem 3.1", "Problem 1 as printed", "Problem 1", times, why_3_1),
        _Reading("Theorem 3.1", "client also faces the reward caps", "Problem 1 with reward caps", times, why_3_1_caps),
        _Reading("Theorem 3.2", "(16) as printed, caps spent", "Problem 2, theorem, exhausted", printed, why_printed, False),
        _Reading("Theorem 3.2", "corrected, caps spent", "Problem 2, theorem, exhausted", corrected, why_exhausted),
        _Reading("Theorem 3.2", "corrected, caps at most", "Problem 2, theorem, at_most", corrected, why_at_most),
        _Reading("Theorem 4.1", "training cap spent, utility 0", "Problem 3, theorem, exhausted", theorem_4_1, why_exhausted),
        _Reading("Theorem 4.1", "caps at most", "Problem 3, theorem, at_most", theorem_4_1, why_at_most),
    ]


def _training_time(game: Game, price: pd.Series) -> pd.Series:
    return game.population.training_cycles * np.cbrt(game.population.energy_coefficient / price)


def _judge(reading: _Reading, programme: _Programme) -> dict[str, Any]:
    """Put the closed form's point into the programme and read off feasibility, KKT residuals, objective and verdict."""
    from bcfl_opt.kkt import certify, kindest_multipliers
    from bcfl_opt.program import program

    model = next(iter(programme.pyomo.values())).clone()
    clients = list(model.bcfl.clients)
    row = {
        "theorem": reading.theorem,
        "reading": reading.reading,
        "paper_value": np.nan,
        "ipopt": programme.value("ipopt"),
        "clarabel": programme.value("clarabel"),
        "exact": programme.exact,
        "gap": np.nan,
        "primal": np.nan,
        "stationarity": np.nan,
    }
    if not clients:
        return {**row, "verdict": "no verdict: no client can take part", "reason": next(iter(model.bcfl.excluded.values()))}
    point = reading.point.drop(columns="reason", errors="ignore").loc[clients]
    absent = point.isna().any(axis=1)
    if absent.any():
        verdict = f"no value for {int(absent.sum())} of {len(clients)} clients, {clients[int(absent.argmax())]!r} first"
        return {**row, "verdict": verdict, "reason": "the formula has no real, positive value there"}
    for name, column in point.items():
        for client, number in column.items():
            getattr(model, str(name))[client].set_value(number, skip_validation=True)
    read = program(model)
    x = read.start()
    certificate = certify(read, x, kindest_multipliers(read, x), convex=False, unit=model.bcfl.unit)
    value = read.sense * read.functions.objective(x)
    gap = _relative(programme.exact - value, programme.exact)
    row |= {"paper_value": value, "gap": gap, "primal": certificate.primal, "stationarity": certificate.stationarity}
    return {**row, "verdict": _verdict(certificate, value, programme.exact, gap), "reason": reading.reason(abs(gap))}


def _verdict(certificate: Certificate, value: float, best: float, gap: float) -> str:
    if certificate.primal > AGREEMENT:
        place = certificate.where["primal"]
        return f"infeasible: {place} is violated by {certificate.primal:.3g} of its size"
    if abs(gap) <= AGREEMENT:
        return "optimal"
    return f"feasible but worse by {best - value:.6g} ({abs(gap):.1%} of the optimum)"


def _with_corrections(readings: Sequence[_Reading], judged: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A formula that fails where its corrected form is optimal in the same programme is a misprint."""
    right = {
        (reading.theorem, reading.programme)
        for reading, row in zip(readings, judged, strict=True)
        if reading.corrected and row["verdict"] == "optimal"
    }
    for reading, row in zip(readings, judged, strict=True):
        if not reading.corrected and row["verdict"] != "optimal" and (reading.theorem, reading.programme) in right:
            row["verdict"] = f"misprinted, corrected form agrees: {row['verdict']}"
    return judged


def _open_responses(game: Game) -> list[dict[str, Any]]:
    """The owners' theorems against clients that truly optimise at the proposed prices, instead of following Theorem 3.1."""
    best = _value(exact.equilibrium(game))
    rows = []
    for theorem, prices in (("Theorem 3.2", closed_form.theorem_3_2(game)), ("Theorem 4.1", closed_form.theorem_4_1(game))):
        response = exact.best_response(game, prices)
        row = {
            "theorem": theorem,
            "reading": "clients optimise at its prices",
            "paper_value": np.nan,
            "ipopt": np.nan,
            "clarabel": np.nan,
            "exact": best,
            "gap": np.nan,
            "primal": np.nan,
            "stationarity": np.nan,
        }
        if not response.succeeded:
            rows.append({**row, "verdict": "no verdict: no client can take part", "reason": response.message})
            continue
        value = response.owner_utility
        caps = game.caps
        over = pd.concat(
            {
                "training cap (13)": response.clients["training_reward"] / caps["training_cap"] - 1,
                "mining cap (14)": response.clients["mining_reward"] / caps["mining_cap"] - 1,
            },
            axis=1,
        )[response.clients["recruited"]]
        worst = float(over.to_numpy().max())
        row |= {"paper_value": value, "gap": _relative(best - value, best), "primal": max(worst, 0.0)}
        if worst > AGREEMENT:
            client, cap = over.stack().idxmax()
            verdict = f"infeasible: client {client!r} exceeds its {cap} by {worst:.3g} of it"
            reason = "the clients do not answer with Theorem 3.1: the better-paid task is drawn out, at the owner's expense"
        elif abs(row["gap"]) <= AGREEMENT:
            verdict, reason = "optimal", "the clients have no other answer at these prices"
        else:
            verdict = f"feasible but worse by {best - value:.6g} ({abs(row['gap']):.1%} of the optimum)"
            reason = "prices above the equilibrium's pay for more than the clients' energy"
        rows.append({**row, "verdict": verdict, "reason": reason})
    return rows


def _clients(game: Game, prices: pd.DataFrame) -> pd.DataFrame:
    response, equilibrium = exact.best_response(game, prices), exact.equilibrium(game)
    theorem = closed_form.theorem_3_1(game, prices)
    assert response.clients is not None and equilibrium.clients is not None
    frame = prices.copy()
    for name in ("training_time", "mining_time", "client_utility"):
        frame[name] = response.clients[name]
        frame[f"theorem_3_1_{name}"] = theorem[name]
    frame["theorem_3_1_optimal"] = theorem["optimal"]
    frame["response_reason"] = response.clients["reason"]
    for name in ("training_price", "mining_price", "recruited", "reason"):
        frame[f"equilibrium_{name}"] = equilibrium.clients[name]
    return frame


def _relative(difference: float, reference: float) -> float:
    """difference / |reference|; 0 where both are 0."""
    if difference == 0:
        return 0.0
    return float(difference / abs(reference)) if reference else float(np.inf)
