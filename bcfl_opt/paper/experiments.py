"""What are the numbers behind the paper's Figures 2 to 6, under its closed forms and under truly optimal strategies?

Every figure is a tidy table. Three columns say what a row is about:

information : "complete" (Problem 2; closed forms: Theorem 3.2, corrected) or "incomplete" (Problem 3; Theorem 4.1).
strategies : "closed forms" (prices by those theorems, clients by Theorem 3.1) or "optimum" (exact equilibrium and
    exact best responses; the same under complete and incomplete information, theory 4.2).
reason : "" or why this point has no answer, or which limit its answer violates.

What the paper states (section 5.1): rho = 0.01, xi = 0.1, g = 10, T = 15, eta = 1500, R_m = 5, N = 50, mu = 10 in
Figures 2 and 6. What it does not state, and what stands here instead:

======================== ============================================================================================
f                        "log"; it is constant in every decision and matters in Figure 3 alone
psi                      5 where it is not swept
random prices            uniform over the prices up to (15) and (16), redrawn until the client has a response and that
                         response respects (13), (14); every client is quoted its own
random speeds            uniform over the feasible times of Problem 1 at the quoted prices
the price not swept      Figures 4 and 6: p_m follows p_t by the theorem, R_m / s or rho (psi / s)^3 with s = T - t of
                         (11); where p_m is swept, p_t is the theorem's. Both strategies face the same prices
mu in Figure 5           "equal": all clients have the same mu, which is swept; "spread": one population over the
                         range, so that the reward caps differ by client as (6) says
======================== ============================================================================================
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pandas as pd

from bcfl_opt import closed_form, exact, participation
from bcfl_opt.errors import InputError, choice
from bcfl_opt.game import Game
from bcfl_opt.population import Population
from bcfl_opt.utilities import client_utility, owner_cost

INFORMATION = ("complete", "incomplete")
STRATEGIES = ("closed forms", "optimum")
#: How the random strategies of Figure 2 may be drawn.
RANDOM_TIMES = ("feasible", "on the deadline")
#: Prices that pay one task only up to rounding: at the equilibrium's prices a client's feasible set is one point.
ROUNDING = participation.ROUNDING


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """Section 5.1, and what it leaves open.

    clients : N. training_cycles : mu where it is not swept. mining_cycles : psi where it is not swept.
    points : grid points of a swept range. draws : random strategies of each client in Figure 2. seed : of these draws.
    energy_coefficient, deadline, cost_weight, reward_budget, mining_cap, target, performance : of the game, as in
        :class:`bcfl_opt.Game`. random_times : "feasible" (anywhere in Problem 1's feasible set) or "on the deadline" (t + s = T).
    """

    clients: int = 50
    training_cycles: float = 10.0
    mining_cycles: float = 5.0
    energy_coefficient: float = 0.01
    deadline: float = 15.0
    cost_weight: float = 0.1
    reward_budget: float = 1500.0
    mining_cap: float = 5.0
    target: float = 10.0
    performance: str = "log"
    points: int = 21
    draws: int = 200
    seed: int = 0
    random_times: str = "feasible"

    def __post_init__(self) -> None:
        for name, least in (("clients", 1), ("points", 3), ("draws", 2)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise InputError(f"{name}: {value!r} must be a whole number, at least {least}")
        choice("random_times", self.random_times, RANDOM_TIMES)
        self.game()

    def game(self, training_cycles: float | np.ndarray | None = None, mining_cycles: float | None = None) -> Game:
        """The game at this point: equal clients, or one client for each entry of an array, at the same budget a head."""
        mu = self.training_cycles if training_cycles is None else training_cycles
        cycles = np.full(self.clients, mu) if np.ndim(mu) == 0 else np.asarray(mu)
        frame = pd.DataFrame({"training_cycles": cycles, "energy_coefficient": self.energy_coefficient})
        return Game(
            Population(frame, source="the paper's setting"),
            mining_cycles=self.mining_cycles if mining_cycles is None else mining_cycles,
            deadline=self.deadline,
            cost_weight=self.cost_weight,
            reward_budget=self.reward_budget * len(cycles) / self.clients,
            mining_cap=self.mining_cap,
            target=self.target,
            performance=self.performance,
        )


# ---------------------------------------------------------------------- strategies


def _closed_form_prices(game: Game, information: str) -> pd.DataFrame:
    return closed_form.theorem_3_2(game) if information == "complete" else closed_form.theorem_4_1(game)


def _play(game: Game, information: str, strategies: str) -> pd.DataFrame:
    """Both sides by these strategies: one row a client, as :func:`_respond` gives it."""
    if strategies == "optimum":
        clients = exact.equilibrium(game).clients
        assert clients is not None
        return clients[[*_COLUMNS, "client_utility", "reason"]]
    prices = _closed_form_prices(game, information)
    answer = _respond(game, prices, strategies)
    answer["reason"] = prices["reason"].where(prices["reason"] != "", answer["reason"])
    return answer


_COLUMNS = ["training_price", "mining_price", "training_time", "mining_time", "training_speed", "mining_speed"]


def _respond(game: Game, prices: pd.DataFrame, strategies: str) -> pd.DataFrame:
    """The clients' answers to prices: prices, times, speeds, utility and reason, one row a client.

    An answer that the client's own limits (8)-(10) rule out is none: NaN and the reason.
    """
    prices = prices[["training_price", "mining_price"]]
    if strategies == "closed forms":
        answer = closed_form.theorem_3_1(game, prices)
    else:
        clients = exact.best_response(game, prices).clients
        assert clients is not None
        answer = clients.assign(training_price=prices["training_price"], mining_price=prices["mining_price"])
    answer = answer[[*_COLUMNS, "client_utility", "reason"]].copy()
    answer.loc[answer["reason"] != "", [*_COLUMNS[2:], "client_utility"]] = np.nan
    return answer


def _owner_utility(game: Game, clients: pd.DataFrame) -> float:
    """(2) with everyone on board; NaN as soon as one client has no answer, because the sums would not compare."""
    t, s = clients["training_time"], clients["mining_time"]
    cost = owner_cost(t, s, t * clients["training_price"], s * clients["mining_price"]).to_numpy()
    return game.performance_value() - game.cost_weight * float(cost.sum())


def _cases() -> Iterator[tuple[str, str]]:
    for information in INFORMATION:
        for strategies in STRATEGIES:
            yield information, strategies


# ---------------------------------------------------------------------- the figures


def figure_2(setting: Setting | None = None) -> pd.DataFrame:
    """Utilities for {optimal, random} strategies of either side, N equal clients.

    Returns
    -------
    DataFrame: information, strategies (what "optimal" means), owner, clients ("optimal" or "random" each), owner_utility
    (2), client_utility (mean over clients and draws of (1)), and for both the standard error over the draws.
    """
    setting = setting or Setting()
    game = setting.game()
    rows = []
    for information, strategies in _cases():
        best = _play(game, information, strategies)
        _refuse(best, "Figure 2")
        posted = best[["training_price", "mining_price"]].to_numpy()[0]
        rng = np.random.default_rng(setting.seed)
        shape = (setting.draws, setting.clients)
        fixed = np.broadcast_to(posted, (*shape, 2))
        drawn = _random_prices(setting, game, strategies, shape, rng)
        for owner, prices in (("optimal", fixed), ("random", drawn)):
            for clients in ("optimal", "random"):
                if clients == "optimal":
                    t, s = _optimal_times(setting, game, prices, strategies)
                else:
                    t, s = _random_times(setting, prices, rng)
                p_t, p_m = prices[..., 0], prices[..., 1]
                utility = client_utility(
                    t,
                    s,
                    t * p_t,
                    s * p_m,
                    training_cycles=setting.training_cycles,
                    mining_cycles=setting.mining_cycles,
                    energy_coefficient=setting.energy_coefficient,
                ).mean(axis=1)
                cost = owner_cost(t, s, t * p_t, s * p_m).sum(axis=1)
                mo = game.performance_value() - game.cost_weight * cost
                rows.append(
                    {
                        "information": information,
                        "strategies": strategies,
                        "owner": owner,
                        "clients": clients,
                        "owner_utility": mo.mean(),
                        "owner_standard_error": mo.std(ddof=1) / np.sqrt(setting.draws),
                        "client_utility": utility.mean(),
                        "client_standard_error": utility.std(ddof=1) / np.sqrt(setting.draws),
                    }
                )
    return pd.DataFrame(rows)


def _refuse(clients: pd.DataFrame, what: str) -> None:
    reasons = clients["reason"]
    if (reasons != "").any():
        raise InputError(f"{what} cannot be drawn in this setting: {reasons[reasons != ''].iloc[0]}")


def _optimal_times(setting: Setting, game: Game, prices: np.ndarray, strategies: str) -> tuple[np.ndarray, np.ndarray]:
    """t, s of equal clients at prices of shape (draws, clients, 2)."""
    flat = prices.reshape(-1, 2)
    crowd = setting.game(np.full(len(flat), setting.training_cycles))
    quoted = crowd.prices(flat[:, 0], flat[:, 1])
    answer = _respond(crowd, quoted, strategies)
    _refuse(answer, "Figure 2")
    return answer["training_time"].to_numpy().reshape(prices.shape[:2]), answer["mining_time"].to_numpy().reshape(
        prices.shape[:2]
    )


def _least_times(setting: Setting, prices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """t_lo, s_lo of (8), (9); no speed limits here."""
    with np.errstate(divide="ignore"):
        return (
            setting.training_cycles * np.cbrt(setting.energy_coefficient / prices[..., 0]),
            setting.mining_cycles * np.cbrt(setting.energy_coefficient / prices[..., 1]),
        )


def _random_prices(
    setting: Setting, game: Game, strategies: str, shape: tuple[int, int], rng: np.random.Generator
) -> np.ndarray:
    """Prices of shape (draws, clients, 2) as the table on top says."""
    highest = closed_form.theorem_3_2(game)[["training_price", "mining_price"]].to_numpy()[0]
    caps = game.caps[["training_cap", "mining_cap"]].to_numpy()[0]
    wanted = shape[0] * shape[1]
    kept: list[np.ndarray] = []
    found = 0
    for _ in range(1000):
        drawn = rng.uniform(0.0, highest, (wanted, 2))
        low_t, low_s = _least_times(setting, drawn)
        drawn = drawn[low_t + low_s <= setting.deadline]
        if len(drawn):
            t, s = _optimal_times(setting, game, drawn[:, None, :], strategies)
            rewards = np.stack([t[:, 0], s[:, 0]], axis=1) * drawn
            drawn = drawn[(rewards <= caps * (1 + ROUNDING)).all(axis=1)]
        kept.append(drawn)
        found += len(drawn)
        if found >= wanted:
            return np.concatenate(kept)[:wanted].reshape(*shape, 2)
    raise InputError("Figure 2 cannot be drawn in this setting: random prices within the caps recruit nobody")


def _random_times(setting: Setting, prices: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """t, s uniform over t >= t_lo, s >= s_lo, t + s <= T, or over the part of it on the deadline."""
    low_t, low_s = _least_times(setting, prices)
    room = np.maximum(setting.deadline - low_t - low_s, 0.0)  # a feasible set of one point may be empty by rounding
    u, v = rng.uniform(size=(2, *room.shape))
    if setting.random_times == "on the deadline":
        v = 1 - u
    else:  # the unit square folded onto the triangle u + v <= 1
        u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)
    return low_t + room * u, low_s + room * v


def figure_3(setting: Setting | None = None) -> pd.DataFrame:
    """Utilities of both sides against mu and psi in [0, 5], both sides by their strategies, N equal clients.

    Returns
    -------
    DataFrame: information, strategies, training_cycles, mining_cycles, owner_utility, client_utility (one client's),
    round_time t + s, performance f(N mu), reason.
    """
    setting = setting or Setting()
    axis = np.linspace(0.0, 5.0, setting.points)
    rows = []
    for mu in axis:
        for psi in axis:
            point = {"training_cycles": mu, "mining_cycles": psi}
            if mu == 0 or psi == 0:
                edge = _edge("mu" if mu == 0 else "psi")
                rows += [{"information": i, "strategies": s, **point, "reason": edge} for i, s in _cases()]
                continue
            game = setting.game(mu, psi)
            for information, strategies in _cases():
                clients = _play(game, information, strategies)
                one = clients.iloc[0]
                rows.append(
                    {
                        "information": information,
                        "strategies": strategies,
                        **point,
                        "owner_utility": _owner_utility(game, clients),
                        "client_utility": one["client_utility"],
                        "round_time": one["training_time"] + one["mining_time"],
                        "performance": game.performance_value(),
                        "reason": one["reason"],
                    }
                )
    return pd.DataFrame(rows)


def _edge(symbol: str) -> str:
    if symbol == "mu":
        return "mu = 0: there is nothing to train, and (15) divides by mu"
    return "psi = 0: there is nothing to mine, so no price for it either"


def figure_4(setting: Setting | None = None) -> pd.DataFrame:
    """Utilities of both sides against p_t and against p_m in [0, 10], N equal clients.

    Returns
    -------
    DataFrame: information, strategies, swept ("training_price" or "mining_price"), the prices, times, speeds and
    client_utility of one client, round_time, owner_utility, reason (an answer that violates (13) or (14) says so).
    """
    setting = setting or Setting()
    axis = np.linspace(0.0, 10.0, 5 * (setting.points - 1) + 1)
    tables = []
    for information in INFORMATION:
        for swept in ("training_price", "mining_price"):
            # Each point is a price for everyone, so one client speaks for all N.
            crowd, posted = _quoted(setting, information, swept, axis)
            for strategies in STRATEGIES:
                clients = _respond(crowd, posted, strategies)
                t, s = clients["training_time"], clients["mining_time"]
                cost = owner_cost(t, s, t * clients["training_price"], s * clients["mining_price"])
                game = setting.game()
                clients["owner_utility"] = game.performance_value() - game.cost_weight * setting.clients * cost
                clients["round_time"] = t + s
                caps = game.caps[["training_cap", "mining_cap"]].to_numpy()[0]
                clients["reason"] = clients["reason"].where(clients["reason"] != "", _capped(clients, caps))
                clients.insert(0, "swept", swept)
                clients.insert(0, "strategies", strategies)
                clients.insert(0, "information", information)
                tables.append(clients)
    return pd.concat(tables, ignore_index=True)


def _quoted(setting: Setting, information: str, swept: str, axis: np.ndarray) -> tuple[Game, pd.DataFrame]:
    """One client for each swept price, and the prices: the other one by the theorem."""
    game = setting.game()
    crowd = setting.game(np.full(len(axis), setting.training_cycles))
    if swept == "mining_price":
        p_t = float(_closed_form_prices(game, information)["training_price"].iloc[0])
        return crowd, crowd.prices(p_t, axis)
    with np.errstate(divide="ignore", invalid="ignore"):
        s = setting.deadline - setting.training_cycles * np.cbrt(setting.energy_coefficient / axis)
        if information == "complete":
            p_m = setting.mining_cap / s
        else:
            p_m = setting.energy_coefficient * (setting.mining_cycles / s) ** 3
    # At a training price too low to leave time for mining, no mining price helps; 0 stands for "none".
    return crowd, crowd.prices(axis, np.where(s > 0, p_m, 0.0))


def _capped(clients: pd.DataFrame, caps: np.ndarray) -> pd.Series:
    reason = pd.Series("", index=clients.index, dtype=object)
    for (task, number), cap in zip((("training", 13), ("mining", 14)), caps, strict=True):
        reward = clients[f"{task}_time"] * clients[f"{task}_price"]
        over = reward > cap * (1 + ROUNDING)
        reason[over & (reason == "")] = f"violates ({number}): the {task} reward exceeds its cap {cap:.6g}"
    return reason


def figure_5(setting: Setting | None = None) -> pd.DataFrame:
    """Prices and speeds against mu in [0, 5], both sides by their strategies.

    Returns
    -------
    DataFrame: information, strategies, population ("equal" or "spread"), training_cycles, prices, times, speeds,
    client_utility, reason.
    """
    setting = setting or Setting()
    axis = np.linspace(0.0, 5.0, setting.clients + 1)
    tables = []
    for information, strategies in _cases():
        edge = pd.DataFrame({"training_cycles": [0.0], "reason": [_edge("mu")]})
        equal = [
            _play(setting.game(mu), information, strategies).iloc[:1].assign(training_cycles=mu) for mu in axis[1:]
        ]
        spread = _play(setting.game(axis[1:]), information, strategies).assign(training_cycles=axis[1:])
        for population, parts in (("equal", equal), ("spread", [spread])):
            table = pd.concat([edge, *parts], ignore_index=True)
            table.insert(0, "population", population)
            table.insert(0, "strategies", strategies)
            table.insert(0, "information", information)
            tables.append(table)
    return pd.concat(tables, ignore_index=True)


def figure_6(setting: Setting | None = None) -> pd.DataFrame:
    """The clients' speeds against p_t in [0, 10] at mu = 10: the part of :func:`figure_4` where p_t is swept.

    Returns
    -------
    DataFrame: information, strategies, training_price, mining_price, training_speed, mining_speed, reason.
    """
    table = figure_4(setting)
    columns = ["information", "strategies", *_COLUMNS[:2], *_COLUMNS[4:], "reason"]
    return table.loc[table["swept"] == "training_price", columns].reset_index(drop=True)
