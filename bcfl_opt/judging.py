"""Do paper, numerics and exact answers agree, and if not, why not? ``cross_check``: verdicts are computed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bcfl_opt import closed_form, exact
from bcfl_opt.game import Game
from bcfl_opt.incentives import audit
from bcfl_opt.layout import laid_out
from bcfl_opt.population import Population, id_text
from bcfl_opt.programmes import LIMITED, PRINTED, WITH_LIMITS, Programme, programmes
from bcfl_opt.reasons import (
    AGREEMENT,
    Finding,
    only_point,
    or_too_fast,
    why_3_1,
    why_3_1_with_caps,
    why_16,
    why_at_most,
)
from bcfl_opt.solution import Solution

if TYPE_CHECKING:
    from bcfl_opt.nlp.program import Program


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class CrossCheck:
    """The paper's closed forms judged against exact answers and two solvers.

    table : one row per theorem x reading: theorem, reading, clients (how many are judged; the others are left out of
        the programme with a reason in ``clients``), paper_value (the objective at the closed form's point), ipopt and
        clarabel (numeric optima), exact, gap (how much better the exact optimum is, relative; for misreports, how much
        of the largest training cap a lie gains), primal and stationarity (the closed form's own residuals, with the
        multipliers that make it look best), verdict, reason (only what was checked at this point).
    solves : one row per model and solver: problem, language, solver, objective, exact, relative_gap, succeeded, status,
        quality, iterations, seconds, certificate (the largest residual).
    game : the game. prices : at which Theorem 3.1 and Problem 1 are judged, by client [money / time].
    clients : by client: the prices judged, the exact response and Theorem 3.1's, the equilibrium's prices, reasons.
    """

    game: Game
    prices: pd.DataFrame
    table: pd.DataFrame
    solves: pd.DataFrame
    clients: pd.DataFrame

    @property
    def agrees(self) -> bool:
        """Does every solve agree with the exact answer, or with it that no client can take part?

        To 1e-6 of the exact value, or of a hundredth of the objective's terms where these cancel to less: clients held
        to utility 0 leave an optimum of 0, to which nothing is relative.
        """
        same = self.solves["succeeded"] & (self.solves["relative_gap"].abs() <= AGREEMENT)
        nobody = (self.solves["status"] == "no_clients") & self.solves["exact"].isna()
        return bool((same | nobody).all())

    def __repr__(self) -> str:
        solves = self.solves
        agree = solves["succeeded"] & (solves["relative_gap"].abs() <= AGREEMENT)
        nobody = solves["status"] == "no_clients"
        parts = []
        if agree.any():
            worst = solves["relative_gap"][agree].abs().max()
            parts.append(f"{int(agree.sum())} solves agree with the exact answers to {worst:.1e}")
        if nobody.any():
            parts.append(f"{int(nobody.sum())} found that no client can take part")
        if (differ := solves["succeeded"] & ~agree).any():
            parts.append(f"{int(differ.sum())} DIFFER from the exact answers")
        if (failed := ~solves["succeeded"] & ~nobody).any():
            parts.append(f"{int(failed.sum())} failed")
        count = f"{len(self.game)} client{'s' if len(self.game) > 1 else ''}"
        lines = [f"Cross-check of {count}: {', '.join(parts)}"]
        for row in self.table.itertuples():
            lines.append(f"  {row.theorem}, {row.reading}: {row.verdict}")
        return laid_out(lines)

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
    reason: Callable[[Finding], str]
    corrected: bool = True


def cross_check(game: Game, prices: pd.DataFrame | None = None) -> CrossCheck:
    """Solve Problems 1-3 by every route, compare with the exact answers, and judge Theorems 3.1, 3.2 and 4.1.

    Parameters
    ----------
    game : the game.
    prices : prices for Problem 1 and Theorem 3.1, a row a client [money / time]; by default those of Theorem 3.2 (corrected),
        the paper's own play.

    Returns
    -------
    CrossCheck. A client without an answer is left out of a programme with its reason in ``clients``; sums run over the
    others.

    Raises
    ------
    InputError : prices that do not fit the game's clients. SolverMissingError : a solver of one of the routes is missing.

    Source: Problems 1-3, Theorems 3.1, 3.2, 4.1.
    """
    prices = game.checked_prices(closed_form.theorem_3_2(game) if prices is None else prices)
    _ = game.caps  # computed once, shared by the games made from this one
    as_printed, limited = _without_speed_limits(game), bool(np.isfinite(game.population.max_speed).any())
    solved = programmes(as_printed, prices, PRINTED)
    readings = _readings(as_printed, prices)
    if limited:
        solved |= programmes(game, prices, LIMITED, WITH_LIMITS)
        readings += _readings_with_limits(game, prices)
    solves = pd.DataFrame([row for programme in solved.values() for row in programme.rows()])
    judged = [_judge(reading, solved[reading.programme]) for reading in readings]
    table = pd.DataFrame(
        [*_with_corrections(readings, judged), *_open_responses(as_printed), *_compatibility(as_printed)]
    )
    return CrossCheck(game, prices, table, solves, _clients(game, prices))


def _without_speed_limits(game: Game) -> Game:
    """The game of the printed problems: (8)-(10) know no largest speed, which section 2.2.1 introduces."""
    frame = game.population.frame
    return game.replace(population=Population(frame.assign(max_speed=np.inf), source=game.population.source))


# ---------------------------------------------------------------------------------- the readings


def _readings(game: Game, prices: pd.DataFrame) -> list[_Reading]:
    times = closed_form.theorem_3_1(game, prices)[["training_time", "mining_time", "reason"]]
    corrected, printed = closed_form.theorem_3_2(game), closed_form.theorem_3_2(game, printed=True)
    theorem_4_1 = closed_form.theorem_4_1(game)
    spent = "Problem {}, theorem response, budgets exhausted"
    most = "Problem {}, theorem response, budgets at most"
    return [
        _Reading("Theorem 3.1", "Problem 1 as printed", "Problem 1", times, why_3_1(game, prices)),
        _Reading(
            "Theorem 3.1",
            "client also faces the reward caps",
            "Problem 1 with reward caps",
            times,
            why_3_1_with_caps(game, prices),
        ),
        _Reading("Theorem 3.2", "(16) as printed, caps spent", spent.format(2), printed, why_16(game, printed), False),
        _Reading("Theorem 3.2", "corrected, caps spent", spent.format(2), corrected, only_point("both caps spent")),
        _Reading(
            "Theorem 3.2",
            "corrected, caps at most",
            most.format(2),
            corrected,
            why_at_most(game, corrected, spends_both=True),
        ),
        _Reading(
            "Theorem 4.1",
            "training cap spent, utility 0",
            spent.format(3),
            theorem_4_1,
            only_point("the training cap spent and utility 0"),
        ),
        _Reading("Theorem 4.1", "caps at most", most.format(3), theorem_4_1, why_at_most(game, theorem_4_1)),
    ]


def _readings_with_limits(game: Game, prices: pd.DataFrame) -> list[_Reading]:
    """The same formulas where clients have a largest speed, which the formulas ignore."""
    times = closed_form.theorem_3_1(game, prices)[["training_time", "mining_time", "reason"]]
    corrected = closed_form.theorem_3_2(game)
    title = "Problem 2, theorem response, budgets at most" + WITH_LIMITS
    limited_3_1 = or_too_fast(game, prices, why_3_1(game, prices))
    limited_3_2 = or_too_fast(game, corrected, why_at_most(game, corrected, spends_both=True))
    return [
        _Reading("Theorem 3.1", "clients with speed limits", "Problem 1" + WITH_LIMITS, times, limited_3_1),
        _Reading("Theorem 3.2", "corrected, clients with speed limits", title, corrected, limited_3_2),
    ]


def _judge(reading: _Reading, programme: Programme) -> dict[str, Any]:
    """Put the closed form's point into the programme and read off feasibility, KKT residuals, objective and verdict."""
    from bcfl_opt.nlp.kkt import certify, kindest_multipliers
    from bcfl_opt.nlp.program import program

    model = next(iter(programme.pyomo.values())).clone()
    clients = list(model.bcfl.clients)
    row = _row(
        reading.theorem,
        reading.reading,
        len(clients),
        ipopt=programme.value("ipopt"),
        clarabel=programme.value("clarabel"),
        exact=programme.exact,
    )
    if not clients:
        client, reason = next(iter(model.bcfl.excluded.items()))
        return {**row, "verdict": NOBODY, "reason": f"client {client!r}: {reason}"}
    proposed = reading.point.loc[clients]
    point = proposed.drop(columns="reason")
    absent = point.isna().any(axis=1).to_numpy()
    if absent.any():
        first = clients[int(absent.argmax())]
        return {
            **row,
            "verdict": f"no value for {int(absent.sum())} of {len(clients)} clients, {first!r} first",
            "reason": f"client {first!r}: {proposed.at[first, 'reason']}",
        }
    for name, column in point.items():
        for client, number in column.items():
            getattr(model, str(name))[client].set_value(number, skip_validation=True)
    read = program(model)
    x = read.start()
    certificate = certify(read, x, kindest_multipliers(read, x), convex=False, unit=model.bcfl.unit)
    value = read.sense * read.functions.objective(x)
    gap = programme.relative(value)
    row |= {"paper_value": value, "gap": gap, "primal": certificate.primal, "stationarity": certificate.stationarity}
    if certificate.primal > AGREEMENT:
        kind, verdict = "infeasible", _violated(read, x)
    else:
        kind, verdict = _verdict(value, programme.exact, gap)
    finding = Finding(kind, clients, _gradient(read, x))
    return {**row, "verdict": verdict, "reason": reading.reason(finding)}


def _gradient(read: Program, x: np.ndarray) -> dict[str, pd.Series]:
    """Component name -> derivative of the objective, as the user wrote it, by client."""
    slopes: dict[str, dict[Any, float]] = {}
    for variable, slope in zip(read.variables, read.sense * read.functions.gradient(x), strict=True):
        slopes.setdefault(variable.parent_component().name, {})[variable.index()] = float(slope)
    return {name: pd.Series(numbers) for name, numbers in slopes.items()}


NOBODY = "no verdict: no client can take part"


def _row(theorem: str, reading: str, clients: int, **numbers: float) -> dict[str, Any]:
    names = ("paper_value", "ipopt", "clarabel", "exact", "gap", "primal", "stationarity")
    return {"theorem": theorem, "reading": reading, "clients": clients, **dict.fromkeys(names, np.nan), **numbers}


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


def _verdict(value: float, best: float, gap: float) -> tuple[str, str]:
    if abs(gap) <= AGREEMENT:
        return "optimal", "optimal"
    if gap < 0:
        return "better", f"feasible and BETTER than the exact value {best:.10g}: {value:.10g}; one of the two is wrong"
    return "worse", f"feasible but worse by {best - value:.6g}: {value:.6g} where {best:.6g} is possible"


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


# ---------------------------------------------------------------------------------- clients that optimise


def _open_responses(game: Game) -> list[dict[str, Any]]:
    """The owner's theorems against clients that truly optimise at the proposed prices, instead of following Theorem 3.1."""
    equilibrium = exact.equilibrium(game)
    return [
        _open_response(game, "Theorem 3.2", closed_form.theorem_3_2(game), equilibrium),
        _open_response(game, "Theorem 4.1", closed_form.theorem_4_1(game), equilibrium),
    ]


def _open_response(game: Game, theorem: str, prices: pd.DataFrame, equilibrium: Solution) -> dict[str, Any]:
    reading = "clients optimise at its prices"
    response = exact.best_response(game, _within_limits(prices))
    clients, best = response.clients, equilibrium.clients
    assert clients is not None and best is not None
    recruited = clients["recruited"]
    if not response.succeeded:
        return {**_row(theorem, reading, 0), "verdict": NOBODY, "reason": response.message}
    value, optimum = response.owner_utility, equilibrium.objective
    cost = float(best[["training_time", "mining_time", "training_reward", "mining_reward"]].sum().sum())
    gap = (optimum - value) / max(abs(optimum), 1e-2 * game.cost_weight * cost)
    caps = game.caps
    over = pd.DataFrame(
        {
            "training cap (13)": clients["training_reward"] / caps["training_cap"] - 1,
            "mining cap (14)": clients["mining_reward"] / caps["mining_cap"] - 1,
        }
    )[recruited]
    worst = max(float(over.to_numpy().max()), 0.0)
    row = _row(theorem, reading, int(recruited.sum()), paper_value=value, exact=optimum, gap=gap, primal=worst)
    if worst > AGREEMENT:
        k, which = np.unravel_index(int(over.to_numpy().argmax()), over.shape)
        client, cap = over.index[k], over.columns[which]
        times = closed_form.theorem_3_1(game, prices)["training_time"]
        return {
            **row,
            "verdict": f"infeasible: client {id_text(over.index, int(k))} exceeds its {cap} by {worst:.3g} of it",
            "reason": f"at these prices that client trains for {clients.at[client, 'training_time']:.4g}, where "
            f"Theorem 3.1 has it train for {times[client]:.4g}",
        }
    _, verdict = _verdict(value, optimum, gap)
    paid = float(clients[["training_reward", "mining_reward"]].to_numpy().sum())
    energy, least = float(clients["energy_cost"].sum()), float(best["energy_cost"].sum())
    reason = f"it pays {paid:.6g} for energy that costs {energy:.6g}; {least:.6g} recruits the same clients"
    return {**row, "verdict": verdict, "reason": reason if list(clients.index[recruited]) == _ids(best) else ""}


def _ids(clients: pd.DataFrame) -> list[Any]:
    return list(clients.index[clients["recruited"]])


def _within_limits(prices: pd.DataFrame) -> pd.DataFrame:
    """Prices that the theorem itself calls a violation are not offered."""
    names = ["training_price", "mining_price"]
    return prices[names].mask(prices["reason"] != "")


#: Misreports tried, as multiples of the true mu.
_LIES = (0.8, 0.9, 0.95, 1.05, 1.1, 1.2, 1.35, 1.5)


def _compatibility(game: Game) -> list[dict[str, Any]]:
    """Is Theorem 4.1 incentive compatible, in the words of (18) and in the standard sense?

    (18): same prices and speeds, another mu: U changes by (p_t / q_t - rho q_t^2)(mu - mu_hat). Standard: a client that
    reports mu_hat is quoted p(mu_hat), with its own caps, and then responds optimally with its true mu, or walks away.
    """
    prices = closed_form.theorem_4_1(game)
    offered = _within_limits(prices)
    theorem = "Theorem 4.1"
    readings = "incentive compatible as (18) is printed", "incentive compatible if clients misreport and then optimise"
    count = int(offered["training_price"].notna().sum())
    if not count:
        nobody = {"verdict": NOBODY, "reason": f"client {id_text(prices.index, 0)}: {prices['reason'].iloc[0]}"}
        return [{**_row(theorem, reading, 0), **nobody} for reading in readings]
    speeds = closed_form.theorem_3_1(game, offered)["training_speed"]
    mu, rho = game.population.training_cycles, game.population.energy_coefficient
    payment = (offered["training_price"] / speeds).to_numpy()
    profit = payment - rho * speeds.to_numpy() ** 2
    span = np.maximum(mu.max() - mu, mu - mu.min())
    change = float(np.nanmax(np.abs(profit) * span / (payment * mu)))
    holds = change <= AGREEMENT
    literal = {
        **_row(theorem, readings[0], count, primal=change),
        "verdict": "holds with equality" if holds else f"violated by {change:.3g} of the training reward",
        "reason": "training earns nothing at Theorem 3.1's speed, so no mu_hat changes U" if holds else "",
    }
    gain, liar, lie = _best_lie(game)
    unit = float(game.caps["training_cap"].max())
    row = _row(theorem, readings[1], count, gap=gain / unit)
    if gain <= AGREEMENT * unit:
        tried = f"tried {', '.join(f'{factor:g}' for factor in _LIES)} times mu, with the true game's caps"
        return [literal, {**row, "verdict": "no misreport found that pays", "reason": tried}]
    verdict = f"violated: client {liar} gains {gain:.4g} by reporting {lie:g} mu"
    reason = "the report buys other prices, under the same caps, and the client answers them with its true work"
    return [literal, {**row, "verdict": verdict, "reason": reason}]


def _best_lie(game: Game) -> tuple[float, str, float]:
    """Largest gain of one client from one of the misreports, who it is, and the lie."""
    reports = np.outer(game.population.training_cycles, _LIES)
    table = audit(game, "theorem_4_1", reports=reports, progress=False).table
    k = int(table["gain"].to_numpy().argmax())  # rows go client by client, report by report
    liar, lie = divmod(k, len(_LIES))
    return max(float(table["gain"].iloc[k]), 0.0), id_text(game.population.ids, liar), _LIES[lie]


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
