"""Do paper, numerics and exact answers agree, and if not, why not? ``cross_check``: verdicts computed, never written down."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bcfl_opt import closed_form, exact
from bcfl_opt.game import Game
from bcfl_opt.population import Population
from bcfl_opt.solution import Solution

if TYPE_CHECKING:
    import pyomo.environ as pyo

    from bcfl_opt.context import ConvexModel
    from bcfl_opt.program import Program

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
        """Does every solve agree with the exact answer to 1e-6, relative, or with its word that no client can take part?"""
        same = self.solves["succeeded"] & (self.solves["relative_gap"].abs() <= AGREEMENT)
        nobody = (self.solves["status"] == "no_clients") & self.solves["exact"].isna()
        return bool((same | nobody).all())

    def __repr__(self) -> str:
        solved, nobody = int(self.solves["succeeded"].sum()), int((self.solves["status"] == "no_clients").sum())
        failed = len(self.solves) - solved - nobody
        worst = self.solves["relative_gap"].abs().max()
        lines = [
            f"Cross-check of {len(self.game)} clients: {solved} solves agree with the exact answers to {worst:.1e}"
            + (f", {nobody} found that no client can take part" if nobody else "")
            + (f", {failed} failed" if failed else "")
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
    prices = game.checked_prices(closed_form.theorem_3_2(game) if prices is None else prices)
    game.caps  # computed once, shared by the games made from this one
    as_printed, limited = _without_speed_limits(game), bool(np.isfinite(game.population.max_speed).any())
    programmes = _programmes(as_printed, prices, _PRINTED)
    readings = _readings(as_printed, prices)
    if limited:
        programmes |= _programmes(game, prices, _LIMITED, _WITH_LIMITS)
        readings += _readings_with_limits(game, prices)
    solves = pd.DataFrame([row for programme in programmes.values() for row in programme.rows()])
    judged = [_judge(reading, programmes[reading.programme]) for reading in readings]
    table = pd.DataFrame(
        [*_with_corrections(readings, judged), *_open_responses(as_printed), *_compatibility(as_printed)]
    )
    return CrossCheck(game, prices, table, solves, _clients(game, prices))


def _without_speed_limits(game: Game) -> Game:
    """The game of the printed problems: (8)-(10) know no largest speed, which section 2.2.1 introduces."""
    frame = game.population.frame
    return game.replace(population=Population(frame.assign(max_speed=np.inf), source=game.population.source))


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
                    "problem": self.title,
                    "language": language,
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


#: (problem, response, budgets) of the owner's programmes solved without and with speed limits, and Problem 1 in both.
_PRINTED = tuple(
    (problem, response, budgets)
    for problem in ("Problem 2", "Problem 3")
    for response, budgets in (("optimal", "at_most"), ("theorem", "at_most"), ("theorem", "exhausted"))
)
_LIMITED = (
    ("Problem 2", "optimal", "at_most"),
    ("Problem 2", "theorem", "at_most"),
    ("Problem 3", "optimal", "at_most"),
)
_WITH_LIMITS = ", with speed limits"


def _programmes(
    game: Game, prices: pd.DataFrame, owner: Sequence[tuple[str, str, str]], suffix: str = ""
) -> dict[str, _Programme]:
    """Problem 1 without and with reward caps, and these programmes of the owner: built by both languages and solved."""
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
        title = f"Problem 1{' with reward caps' if caps else ''}{suffix}"
        forms = {
            f" {form}": problem1_pyomo.build(game, prices, form=form, reward_caps=caps) for form in ("time", "speed")
        }
        convex = problem1_cvxpy.build(game, prices, reward_caps=caps)
        programmes[title] = _Programme(title, _value(response), forms, convex)
    equilibrium = _value(exact.equilibrium(game))
    modules = {"Problem 2": (problem2_pyomo, problem2_cvxpy), "Problem 3": (problem3_pyomo, problem3_cvxpy)}
    for problem, response_kind, budgets in owner:
        title = f"{problem}, {response_kind} response, budgets {budgets.replace('_', ' ')}{suffix}"
        value = equilibrium if budgets == "at_most" else _exhausted_value(game, zero_utility=problem == "Problem 3")
        native, convex = (module.build(game, response=response_kind, budgets=budgets) for module in modules[problem])
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
    spent = "Problem {}, theorem response, budgets exhausted"
    most = "Problem {}, theorem response, budgets at most"

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
        _Reading("Theorem 3.2", "(16) as printed, caps spent", spent.format(2), printed, why_printed, False),
        _Reading("Theorem 3.2", "corrected, caps spent", spent.format(2), corrected, why_exhausted),
        _Reading("Theorem 3.2", "corrected, caps at most", most.format(2), corrected, why_at_most),
        _Reading("Theorem 4.1", "training cap spent, utility 0", spent.format(3), theorem_4_1, why_exhausted),
        _Reading("Theorem 4.1", "caps at most", most.format(3), theorem_4_1, why_at_most),
    ]


def _readings_with_limits(game: Game, prices: pd.DataFrame) -> list[_Reading]:
    """The same formulas where clients have a largest speed, which the formulas ignore."""
    times = closed_form.theorem_3_1(game, prices)[["training_time", "mining_time"]]

    def why(gap: float) -> str:
        return "the formulas ignore the largest speeds of section 2.2.1"

    title = "Problem 2, theorem response, budgets at most" + _WITH_LIMITS
    return [
        _Reading("Theorem 3.1", "clients with speed limits", "Problem 1" + _WITH_LIMITS, times, why),
        _Reading("Theorem 3.2", "corrected, clients with speed limits", title, closed_form.theorem_3_2(game), why),
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
        return {
            **row,
            "verdict": "no verdict: no client can take part",
            "reason": next(iter(model.bcfl.excluded.values())),
        }
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
    if certificate.primal > AGREEMENT:
        return {**row, "verdict": _violated(read, x), "reason": reading.reason(abs(gap))}
    return {**row, "verdict": _verdict(value, programme.exact, gap), "reason": reading.reason(abs(gap))}


def _violated(read: Program, x: np.ndarray) -> str:
    """Which constraint fails by how much, in its own units, and how many others do."""
    g = read.functions.constraints(x)
    size = AGREEMENT * np.maximum(np.abs(g), 1e-300)
    below, above = g < read.lower - size, g > read.upper + size
    excess = np.maximum(read.lower - g, g - read.upper) / size
    row = int(excess.argmax())
    bound, side = (read.lower[row], "at least") if below[row] else (read.upper[row], "at most")
    others = int((below | above).sum()) - 1
    also = f"; so are {others} others" if others > 1 else "; so is another" if others else ""
    name = read.constraints[row].name
    return f"infeasible: {name} is violated by {abs(g[row] - bound):.4g} ({g[row]:.4g}, {side} {bound:.4g}){also}"


def _verdict(value: float, best: float, gap: float) -> str:
    if abs(gap) <= AGREEMENT:
        return "optimal"
    return f"feasible but worse by {best - value:.6g}: {value:.6g} where {best:.6g} is possible"


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
    for theorem, prices in (
        ("Theorem 3.2", closed_form.theorem_3_2(game)),
        ("Theorem 4.1", closed_form.theorem_4_1(game)),
    ):
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
            reason = (
                "the clients do not answer with Theorem 3.1: the better-paid task is drawn out, at the owner's expense"
            )
        else:
            verdict = _verdict(value, best, row["gap"])
            reason = (
                "the clients have no other answer at these prices"
                if verdict == "optimal"
                else "prices above the equilibrium's pay for more than the clients' energy"
            )
        rows.append({**row, "verdict": verdict, "reason": reason})
    return rows


#: Misreports tried, as multiples of the true mu.
_LIES = (0.8, 0.9, 0.95, 1.05, 1.1, 1.2, 1.35, 1.5)


def _compatibility(game: Game) -> list[dict[str, Any]]:
    """Is Theorem 4.1 incentive compatible, in the words of (18) and in the standard sense?

    (18): same prices and speeds, another mu: U changes by (p_t / q_t - rho q_t^2)(mu - mu_hat). Standard: a client that
    reports mu_hat is quoted p(mu_hat), with its own caps, and then responds optimally with its true mu, or walks away.
    """
    prices = closed_form.theorem_4_1(game)
    speeds = closed_form.theorem_3_1(game, prices)["training_speed"]
    mu, rho = game.population.training_cycles, game.population.energy_coefficient
    blank = dict.fromkeys(("paper_value", "ipopt", "clarabel", "exact", "gap", "primal", "stationarity"), np.nan)
    row: dict[str, Any] = {"theorem": "Theorem 4.1", "reading": "incentive compatible as (18) is printed", **blank}
    if not speeds.notna().any():
        return [{**row, "verdict": "no verdict: no client can take part", "reason": str(prices["reason"].iloc[0])}]
    payment = (prices["training_price"] / speeds).to_numpy()
    profit = payment - rho * speeds.to_numpy() ** 2
    span = np.maximum(mu.max() - mu, mu - mu.min())
    change = float(np.nanmax(np.abs(profit) * span / (payment * mu)))
    holds = change <= AGREEMENT
    rows = [
        {
            **row,
            "primal": change,
            "verdict": "holds with equality" if holds else f"violated by {change:.3g} of the training reward",
            "reason": "training earns nothing at Theorem 3.1's speed, so no mu_hat changes U" if holds else "",
        }
    ]
    truth = exact.best_response(game, prices)
    best, liar, lie = 0.0, None, 1.0
    for factor in _LIES:
        quoted = closed_form.theorem_4_1(game, reports=pd.Series(factor * mu, index=game.population.ids))
        response = exact.best_response(game, quoted)
        assert response.clients is not None and truth.clients is not None
        gain = response.clients["client_utility"] - truth.clients["client_utility"].clip(lower=0.0)
        if gain.max() > best:
            best, liar, lie = float(gain.max()), gain.idxmax(), factor
    unit = float(game.caps["training_cap"].max())
    pays = best > AGREEMENT * unit
    rows.append(
        {
            "theorem": "Theorem 4.1",
            "reading": "incentive compatible if clients misreport and then optimise",
            **blank,
            "gap": best / unit,
            "verdict": f"violated: client {liar!r} gains {best:.4g} by reporting {lie:g} mu" if pays else "holds",
            "reason": "a report buys other prices, and clients answer them with their true work"
            if pays
            else f"none of the misreports {', '.join(f'{lie:g}' for lie in _LIES)} x mu pays",
        }
    )
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
