"""What does it look like? One function a question: each draws on the axes it is given, or on new ones, and returns them.

A result that holds nothing to draw (a solve that failed, a game in which nobody can take part) is said in words on the axes.
Units are the paper's, GHz and minutes; read yours instead if you use others.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bcfl_opt import closed_form, exact
from bcfl_opt.certificate import TOLERANCE
from bcfl_opt.drawing import (
    BLACK,
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    RED,
    SHADES,
    SKY,
    axes_or_new,
    finish,
    label,
    say,
)
from bcfl_opt.errors import InputError, choice, unknown_name
from bcfl_opt.game import Game
from bcfl_opt.participation import response_bounds
from bcfl_opt.population import Population
from bcfl_opt.utilities import client_utility

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from bcfl_opt.judging import CrossCheck
    from bcfl_opt.solution import Solution

PRICES = ("training_price", "mining_price")


def client_problem(game: Game, prices: pd.DataFrame, client: Hashable | None = None, ax: Axes | None = None) -> Axes:
    """Which times may a client choose at these prices, and which does it like best? Problem 1 in the (t, s) plane.

    Parameters
    ----------
    game : the game. prices : from ``game.prices(...)``. client : an id; by default the first that can answer. ax : axes.

    The shade is the client's utility (1) over the feasible set (8)-(10) with speed limits; marked are the exact optimum
    and Theorem 3.1's point.
    """
    ax = axes_or_new(ax)
    prices = game.checked_prices(prices)
    answer = exact.best_response(game, prices).clients
    assert answer is not None
    k, client = _client(game, client, answer)
    mine = answer.iloc[k]
    if not mine["recruited"]:
        return say(ax, f"Client {client} {mine['reason']}")
    bounds = response_bounds(game, prices)
    low_t, low_s, deadline = bounds.training_low[k], bounds.mining_low[k], game.deadline
    p_t, p_m = prices.iloc[k][list(PRICES)]
    constants = {
        "training_cycles": game.population.training_cycles[k],
        "mining_cycles": game.mining_cycles,
        "energy_coefficient": game.population.energy_coefficient[k],
    }
    room = max(deadline - low_t - low_s, 1e-9 * deadline)
    t, s = np.meshgrid(*(np.linspace(low, low + room, 201) for low in (low_t, low_s)))
    utility = client_utility(t, s, t * p_t, s * p_m, **constants)
    utility = np.where(t + s <= deadline * (1 + 1e-12), utility, np.nan)
    if room > 1e-6 * deadline:
        shades = ax.contourf(t, s, utility, levels=16, cmap=SHADES)
        ax.figure.colorbar(shades, ax=ax, label=label("client_utility"))
    corners = np.array([(low_t, low_s), (low_t + room, low_s), (low_t, low_s + room), (low_t, low_s)])
    ax.plot(*corners.T, color=BLACK, linewidth=1, label="feasible set, (8)-(10)")
    theorem = closed_form.theorem_3_1(game, prices).iloc[k]
    if np.isfinite(theorem["training_time"]):
        point = f"Theorem 3.1: {theorem['client_utility']:.4g}{' (infeasible)' if theorem['reason'] else ''}"
        ax.plot(theorem["training_time"], theorem["mining_time"], "X", ms=11, color=RED, mec="white", label=point)
    best = f"optimum: {mine['client_utility']:.4g}"
    ax.plot(mine["training_time"], mine["mining_time"], "o", ms=10, color=ORANGE, mec="white", label=best)
    ax.use_sticky_edges = False  # room for points in the corners
    ax.margins(0.06)
    return finish(ax, label("training_time"), label("mining_time"), f"Client {client}: its choice of times")


def response_curves(
    game: Game,
    client: Hashable | None = None,
    *,
    price: str = "training_price",
    values: Sequence[float] | np.ndarray | None = None,
    other: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """How do a client's speeds answer to one of the prices? Exact best responses, and Theorem 3.1's dashed.

    Parameters
    ----------
    client : an id; by default the first that can be recruited. price : which one is swept, "training_price" or
        "mining_price". values : of that price; by default 200 up to 20 times the equilibrium's. other : the other
        price; by default 4 times the equilibrium's, which leaves the client something to decide.
    """
    ax = axes_or_new(ax)
    choice("price", price, PRICES)
    k, client = _client(game, client, exact.equilibrium(game).clients)
    one = game.replace(population=game.population.select([game.population.ids[k]]))
    psi, rho, mu = game.mining_cycles, one.population.energy_coefficient[0], one.population.training_cycles[0]
    usual = rho * ((mu + psi) / game.deadline) ** 3  # the equilibrium's, if no cap and no speed limit binds
    swept = np.linspace(0, 20 * usual, 201)[1:] if values is None else np.asarray(values, dtype=float)
    fixed = 4 * usual if other is None else float(other)
    crowd = pd.DataFrame(
        {
            "training_cycles": np.full(swept.size, mu),
            "energy_coefficient": rho,
            "max_speed": one.population.max_speed[0],
        }
    )
    many = game.replace(population=Population(crowd))
    pair = (swept, fixed) if price == "training_price" else (fixed, swept)
    prices = many.prices(*pair)
    best, theorem = exact.best_response(many, prices).clients, closed_form.theorem_3_1(many, prices)
    assert best is not None
    if not best["recruited"].any():
        return say(ax, f"Client {client} {best['reason'].iloc[0]}")
    theorem = theorem.where(theorem["reason"] == "")
    for name, colour in (("training_speed", BLUE), ("mining_speed", RED)):
        task = name.partition("_")[0]
        ax.plot(swept, best[name], color=colour, label=f"{task}, best response")
        ax.plot(swept, theorem[name], color=colour, linestyle="--", label=f"{task}, Theorem 3.1")
    held = PRICES[1 - PRICES.index(price)].replace("_", " ")
    return finish(ax, label(price), "speed [GHz]", f"Client {client}: speeds; {held} {fixed:.4g}")


def utilities(
    game: Game, side: str = "owner", *, client: Hashable | None = None, points: int = 61, ax: Axes | None = None
) -> Axes:
    """Who gains from which prices, if clients answer optimally? A utility over a grid of price pairs.

    Parameters
    ----------
    side : "owner" (its utility (2) from this client alone, without f) or "client" (1). client : an id; by default the
        first that can be recruited. points : of the grid along each axis.

    White: at these prices the client has no feasible answer. Beyond the lines the answer breaks a reward cap (13), (14).
    """
    ax = axes_or_new(ax)
    choice("side", side, ("owner", "client"))
    equilibrium = exact.equilibrium(game).clients
    assert equilibrium is not None
    k, client = _client(game, client, equilibrium)
    mine = equilibrium.iloc[k]
    if not mine["recruited"]:
        return say(ax, f"Client {client} {mine['reason']}")
    best_t, best_m = mine["training_price"], mine["mining_price"]
    axis_t, axis_m = (np.geomspace(price / 4, price * 16, points) for price in (best_t, best_m))
    p_t, p_m = (grid.ravel() for grid in np.meshgrid(axis_t, axis_m))
    crowd = pd.DataFrame(
        {
            "training_cycles": np.full(p_t.size, game.population.training_cycles[k]),
            "energy_coefficient": game.population.energy_coefficient[k],
            "max_speed": game.population.max_speed[k],
        }
    )
    many = game.replace(population=Population(crowd))
    answer = exact.best_response(many, many.prices(p_t, p_m)).clients
    assert answer is not None
    cost = answer[["training_time", "mining_time", "training_reward", "mining_reward"]].sum(axis=1)
    value = answer["client_utility"] if side == "client" else -game.cost_weight * cost
    shape = (points, points)
    field = value.where(answer["recruited"]).to_numpy().reshape(shape)
    shades = ax.contourf(axis_t, axis_m, field, levels=16, cmap=SHADES)
    what = label("client_utility") if side == "client" else "owner's utility from this client, without f [money]"
    ax.figure.colorbar(shades, ax=ax, label=what)
    caps = game.caps.iloc[k]
    for reward, cap, colour in (("training_reward", "training_cap", RED), ("mining_reward", "mining_cap", PURPLE)):
        paid = answer[reward].where(answer["recruited"]).to_numpy().reshape(shape)
        if np.nanmin(paid) < caps[cap] < np.nanmax(paid):
            ax.contour(axis_t, axis_m, paid, levels=[caps[cap]], colors=[colour], linestyles="--")
            ax.plot([], [], color=colour, linestyle="--", label=f"{cap.replace('_', ' ')} {caps[cap]:.4g}")
    ax.plot(best_t, best_m, "o", ms=10, color=ORANGE, mec="white", label="equilibrium")
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.tick_params(which="minor", labelbottom=False, labelleft=False)
    return finish(ax, label("training_price"), label("mining_price"), f"Client {client}: utility of the {side}")


def population(clients: Population | Game, column: str = "training_cycles", ax: Axes | None = None) -> Axes:
    """How do the clients differ? The distribution of one column, with its median."""
    ax = axes_or_new(ax)
    table = clients.population.frame if isinstance(clients, Game) else clients.frame
    numeric = [name for name in table if pd.api.types.is_numeric_dtype(table[name].dtype)]
    if column not in numeric:
        raise InputError(unknown_name("column", column, numeric))
    values = table[column].to_numpy(dtype=float)
    finite = values[np.isfinite(values)]
    if not finite.size:
        return say(ax, f"No client has a finite {column.replace('_', ' ')}")
    ax.hist(finite, bins="auto" if finite.size > 1 else 1, color=SKY, edgecolor="white")
    ax.axvline(float(np.median(finite)), color=RED, linestyle="--", label=f"median {np.median(finite):.4g}")
    absent = values.size - finite.size
    without = f", {absent} without a limit" if absent else ""
    return finish(ax, label(column), "clients", f"{values.size} clients{without}", axis="y")


def times(solution: Solution, ax: Axes | None = None, most: int = 60) -> Axes:
    """How does each client divide its time? Training and mining up to the deadline, slowest trainer first.

    most : clients shown one by one; of more, this many evenly spaced quantiles.
    """
    ax = axes_or_new(ax, (7.5, 4.2))
    table = _clients(solution)
    if isinstance(table, str):
        return say(ax, table)
    assert solution.game is not None
    table = table[table["recruited"]].sort_values("training_time", ascending=False)
    shown = table if len(table) <= most else table.iloc[np.linspace(0, len(table) - 1, most).round().astype(int)]
    places = np.arange(len(shown))
    ax.bar(places, shown["training_time"], width=0.9, color=BLUE, label="training")
    ax.bar(places, shown["mining_time"], bottom=shown["training_time"], width=0.9, color=ORANGE, label="mining")
    deadline = solution.game.deadline
    ax.axhline(deadline, color=BLACK, linestyle="--", label=f"deadline {deadline:.4g}")
    if len(shown) <= 15:
        ax.set_xticks(places, [str(i) for i in shown.index], rotation=45, ha="right")
    else:
        ax.set_xticks([])
    names = "clients" if len(shown) == len(table) else f"{len(shown)} of {len(table)} clients, evenly spaced"
    out = len(solution.game) - len(table)
    title = f"{solution.problem}{f'; {out} take no part' if out else ''}"
    return finish(ax, names, "time [min]", title, axis="y")


def distribution(solution: Solution, column: str = "client_utility", ax: Axes | None = None) -> Axes:
    """How is one column of the answer spread over the recruited clients? Its cumulative distribution."""
    ax = axes_or_new(ax)
    table = _clients(solution)
    if isinstance(table, str):
        return say(ax, table)
    numeric = [name for name in table if pd.api.types.is_numeric_dtype(table[name].dtype) and name != "recruited"]
    if column not in numeric:
        raise InputError(unknown_name("column", column, numeric))
    values = np.sort(table.loc[table["recruited"], column].to_numpy(dtype=float))
    ax.step(values, np.arange(1, values.size + 1) / values.size, where="post", color=BLUE)
    ax.set_ylim(0, 1.02)
    return finish(ax, label(column), "share of the recruited clients", solution.problem)


def cross_check(check: CrossCheck, ax: Axes | None = None) -> Axes:
    """Do the solvers agree with the exact answers, and how far off are the closed forms? Relative gaps, logarithmic."""
    ax = axes_or_new(ax, (8.0, 5.2))
    solves = check.solves.assign(name=check.solves["problem"] + ", " + check.solves["solver"])
    solves["gap"] = solves["relative_gap"].abs().where(solves["succeeded"])
    theorems = check.table.assign(name=check.table["theorem"] + ": " + check.table["reading"])
    theorems["gap"] = theorems["gap"].abs()
    rows = pd.concat([theorems[["name", "gap"]].assign(kind=RED), solves[["name", "gap"]].assign(kind=BLUE)])
    rows = rows.dropna().iloc[::-1]
    if rows.empty:
        return say(ax, "Nobody can take part in this game, so nothing was compared")
    floor = 1e-17
    ax.barh(range(len(rows)), np.maximum(rows["gap"], floor), left=floor, color=rows["kind"])
    ax.set_yticks(range(len(rows)), rows["name"], fontsize=7)
    ax.set_xscale("log")
    ax.set_xlim(left=floor)
    ax.axvline(TOLERANCE, color=BLACK, linestyle="--", label=f"tolerance {TOLERANCE:g}")
    for colour, what in ((RED, "closed forms of the paper"), (BLUE, "solvers")):
        ax.plot([], [], "s", color=colour, label=what)
    return finish(ax, "distance from the exact optimum, relative", "", "Closed forms and solvers", axis="x")


def convergence(solution: Solution, ax: Axes | None = None) -> Axes:
    """How did IPOPT get there? Infeasibilities and barrier parameter by iteration; also of a solve that failed."""
    ax = axes_or_new(ax)
    history = solution.history
    if history.empty:
        return say(ax, f"{solution.problem} by {solution.solver} keeps no record of its iterations")
    floor = 1e-18
    for name, colour, style in (
        ("primal_infeasibility", BLUE, "-"),
        ("dual_infeasibility", RED, "--"),
        ("barrier", GREEN, ":"),
    ):
        ax.plot(
            history["iteration"], np.maximum(history[name], floor), style, color=colour, label=name.replace("_", " ")
        )
    ax.set_yscale("log")
    outcome = "" if solution.succeeded else f": {solution.status.name.lower().replace('_', ' ')}"
    return finish(ax, "iteration", "unscaled size", f"{solution.problem}{outcome}")


# ---------------------------------------------------------------------- what they share


def _client(game: Game, client: Hashable | None, table: pd.DataFrame | None) -> tuple[int, Any]:
    """Row and id of the client asked for; by default the first that takes part in ``table``, or the first of all."""
    ids = game.population.ids
    if client is None:
        k = 0 if table is None else int(table["recruited"].to_numpy().argmax())
        return k, ids[k]
    if client not in ids:
        raise InputError(unknown_name("client", str(client), [str(i) for i in ids]))
    return int(ids.get_loc(client)), client


def _clients(solution: Solution) -> pd.DataFrame | str:
    """The table of clients, or why there is nothing to draw."""
    if solution.clients is None:
        return f"{solution.problem} knows no clients"
    if not solution.clients["recruited"].any():
        return f"{solution.problem}: {solution.message}"
    return solution.clients
