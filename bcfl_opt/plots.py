"""What does it look like? One function a question: each draws on the axes it is given, or on new ones, and returns them.

A result that holds nothing to draw (a solve that failed, a game in which nobody can take part) is said in words on the axes.
Units are the paper's, GHz and minutes; read yours instead if you use others. In every function ``ax`` is axes to draw on, None
for new ones; ``solution`` is a :class:`bcfl_opt.Solution`, ``game`` a :class:`bcfl_opt.Game`. A name that is not there raises
InputError.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bcfl_opt import closed_form, exact, offers
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
from bcfl_opt.errors import InputError, choice, listing, unknown_name
from bcfl_opt.game import Game
from bcfl_opt.participation import response_bounds
from bcfl_opt.population import Population
from bcfl_opt.utilities import client_utility

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

    from bcfl_opt.incentives import Audit
    from bcfl_opt.judging import CrossCheck
    from bcfl_opt.menu_record import Menu
    from bcfl_opt.solution import Solution

PRICES = ("training_price", "mining_price")
#: Axes narrower than this, in inches, are a phone's.
NARROW = 4.0


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
        "mining_price". values : of that price, in increasing order, shape (k,) [money / time]; by default 200 up to 20
        times the equilibrium's. other : the other price; by default 4 times the equilibrium's, which leaves the client
        something to decide.
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
    what = label("client_utility") if side == "client" else "owner's utility, without f [money]"
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
    """Do the solvers agree with the exact answers, and how far off are the closed forms? Relative gaps, logarithmic.

    check : from :func:`bcfl_opt.cross_check`.
    """
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
    finish(ax, "distance from the exact optimum, relative", "", "Closed forms and solvers", axis="x")
    if ax.get_window_extent().width / ax.figure.dpi < NARROW:  # beside the bars the names would leave no room for these
        ax.tick_params(axis="y", direction="in", pad=-4, labelsize=5)
        ax.set_axisbelow(False)
        for bar in ax.patches:
            bar.set_alpha(0.45)
        for text in ax.get_yticklabels():
            text.set_horizontalalignment("left")
        ax.legend(fontsize=5, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0), borderaxespad=0.1, frameon=False)
        ax.set_title(ax.get_title(), fontsize=11, pad=12)
    return ax


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


def menu(design: Menu, ax: Axes | None = None) -> Axes:
    """Who would take which contract? A menu in the plane of its two prices, a dot a contract.

    Parameters
    ----------
    design : from :func:`bcfl_opt.design_menu`. ax : axes.

    With a common deadline and at most seven contracts each line runs through the offers that are worth as much to a type as its
    own contract: what lies above it the type would rather have, so no dot does. Contracts with deadlines of their own are not
    comparable by price alone; then the deadlines stand beside the dots.
    """
    ax = axes_or_new(ax)
    if not design.succeeded:
        return say(ax, f"{design.problem}: {design.message}")
    assert design.game is not None
    contracts = design.contracts.drop_duplicates(["training_price", "mining_price", "deadline"])
    p_t, p_m, own_deadline = (contracts[name].to_numpy() for name in (*PRICES, "deadline"))
    styles = (BLUE, RED, GREEN, ORANGE, PURPLE, SKY, BLACK)
    few, common = len(contracts) <= len(styles), np.ptp(own_deadline) == 0
    axis_t, axis_m = (_around(prices) for prices in (p_t, p_m))
    if few and common:
        clients = offers.Clients.of(design.game.population.select(contracts.index), design.game.mining_cycles)
        for k in range(len(contracts)):
            worth = offers.answers(clients[k], axis_t[None, :], axis_m[:, None], own_deadline[k])
            spare = worth.value - offers.answers(clients[k], p_t[k], p_m[k], own_deadline[k]).value
            # Offers that a type cannot accept at all are below its own, however high one of the prices.
            spare = np.where(worth.accepts, spare, -np.abs(spare).max())
            ax.contour(axis_t, axis_m, spare, levels=[0.0], colors=[styles[k]], linewidths=1)
    sizes = contracts["probability"] / contracts["probability"].max() * 120 + 30
    for k, client in enumerate(contracts.index):
        colour = styles[k] if few else BLUE
        name = f"{client}{'' if common else f', {own_deadline[k]:.3g} min'}" if few else None
        ax.scatter(p_t[k], p_m[k], s=sizes.iloc[k], color=colour, edgecolor="white", label=name, zorder=3)
    ax.set_xlim(axis_t[0], axis_t[-1])
    ax.set_ylim(axis_m[0], axis_m[-1])
    many = f"{len(contracts)} contract{'' if len(contracts) == 1 else 's'}"
    return finish(ax, label("training_price"), label("mining_price"), f"{design.problem}: {many}")


def rents(design: Menu, ax: Axes | None = None) -> Axes:
    """What is each type paid, and how much of that is for what it knows and the owner does not? Energy and rent by type.

    design : from :func:`bcfl_opt.design_menu`. Energy is what the type would be paid, at least, if the owner knew it.
    """
    ax = axes_or_new(ax)
    if not design.succeeded:
        return say(ax, f"{design.problem}: {design.message}")
    assert design.clients is not None
    table = design.clients.loc[design.contracts.index].sort_values("energy_cost", kind="stable")
    places = np.arange(len(table))
    ax.bar(places, table["energy_cost"], width=0.8, color=BLUE, label="energy")
    rent = np.maximum(table["client_utility"], 0.0)
    ax.set_ylim(0, 1.25 * float((table["energy_cost"] + rent).max()))  # room for the legend
    ax.bar(
        places, rent, bottom=table["energy_cost"], width=0.8, color=ORANGE, hatch="//", edgecolor="white", label="rent"
    )
    if len(table) <= 15:
        long = sum(len(str(i)) for i in table.index) > 40
        ax.set_xticks(
            places, [str(i) for i in table.index], rotation=45 if long else 0, ha="right" if long else "center"
        )
    else:
        ax.set_xticks([])
    return finish(ax, "type, by what its work costs it", "payment [money]", design.problem, axis="y")


def audit(found: Audit, clients: Iterable[Hashable] | None = None, ax: Axes | None = None) -> Axes:
    """What does a lie gain? Gain against report; by default of the six clients with the most to gain.

    found : from :func:`bcfl_opt.audit`. clients : ids.
    """
    return found.plot(ax, clients)


def sweep(
    data: xr.Dataset,
    quantity: str = "objective",
    along: str | None = None,
    lines: str | None = None,
    *,
    ax: Axes | None = None,
    **at: Any,
) -> Axes:
    """How does one quantity change with a parameter? One line for each value of another.

    Parameters
    ----------
    data : the dataset from :func:`bcfl_opt.sweep`. quantity : a variable of it, with numbers.
    along : the dimension along the axis; by default the first of ``quantity`` that nothing else is said of.
    lines : the dimension with a line for each value, of at most seven values; by default the next one, if there is one.
    at : a value for every other dimension, ``client="phone-1"`` or the nearest of numbers, ``deadline=15``.

    A cell that failed leaves a gap in its line; the title counts such cells.

    Raises
    ------
    InputError : an unknown variable, dimension or value, a dimension of which nothing is said, or too many lines.
    """
    ax = axes_or_new(ax)
    numeric = [str(name) for name in data.data_vars if np.issubdtype(data[name].dtype, np.number)]
    if quantity not in numeric:
        raise InputError(unknown_name("quantity", quantity, numeric))
    array = data[quantity].astype(float)
    for name, value in at.items():
        choice("dimension", name, [str(dimension) for dimension in array.dims])
        array = array.sel({name: _nearest(array[name].to_numpy(), name, value)})
    free = [str(dimension) for dimension in array.dims]
    for dimension in (along, lines):
        if dimension is not None:
            choice("dimension", dimension, free)
    if along is not None and along == lines:
        raise InputError(f"along and lines are both {along!r}; a dimension can be only one of them")
    # Clients come last in line: a line for every client of a large population is no answer to anything.
    rest = sorted((name for name in free if name not in (along, lines)), key=lambda name: name == "client")
    along = along or (rest.pop(0) if rest else None)
    lines = lines or (rest.pop(0) if rest and rest[0] != "client" else None)
    if along is None:
        raise InputError(f"{quantity} is a single number here: leave one dimension without a value")
    if rest:
        example = f"{rest[0]}={_first(array, rest[0])!r}"
        raise InputError(f"{quantity} also has the dimension {listing(rest)}: give a value, for example {example}")
    styles = list(
        zip((BLUE, RED, GREEN, ORANGE, PURPLE, SKY, BLACK), ("-", "--", "-.", ":", "-", "--", "-."), strict=True)
    )
    if lines is not None and array.sizes[lines] > len(styles):
        raise InputError(
            f"{lines} has {array.sizes[lines]} values, and more than {len(styles)} lines cannot be told apart; pick one, for "
            f"example {lines}={_first(array, lines)!r}, or pass data.sel({lines}=[...])"
        )
    array = array.transpose(along, *([] if lines is None else [lines]))
    values = array.to_numpy().reshape(array.sizes[along], -1)
    if not np.isfinite(values).any():
        return say(ax, f"No cell has a finite {label(quantity).partition(' [')[0]}{_first_message(data)}")
    places = array[along].to_numpy()
    labelled = not np.issubdtype(places.dtype, np.number)
    for k in range(values.shape[1]):
        colour, style = styles[k]
        value = None if lines is None else _short(array[lines].to_numpy()[k])
        where = np.arange(len(places)) if labelled else places
        ax.plot(where, values[:, k], style, marker="o", ms=4, color=colour, label=value)
    if labelled:
        ax.set_xticks(np.arange(len(places)), [str(i) for i in places], rotation=45, ha="right")
    gone = int((~np.isfinite(values)).sum())
    said = [
        str(data.attrs.get("function", "sweep")),
        *(f"{name.replace('_', ' ')} {_short(array[name].item())}" for name in at),
    ]
    said += [f"{gone} of {values.size} cells have no value"] if gone else []
    finish(ax, label(along), label(quantity), "; ".join(said))
    if lines is not None:
        ax.legend(title=label(lines), title_fontsize=9, fontsize=9, framealpha=0.9)
    return ax


# ---------------------------------------------------------------------- what they share


def _around(prices: np.ndarray, points: int = 241) -> np.ndarray:
    """An axis that shows all of these prices with room around them."""
    low, high = float(prices.min()), float(prices.max())
    margin = max(0.35 * (high - low), 0.25 * high)
    return np.linspace(max(low - margin, high * 1e-3), high + margin, points)


def _nearest(values: np.ndarray, name: str, value: Any) -> Any:
    """The value of a dimension that is meant: the same label, or the nearest number within the grid."""
    if np.issubdtype(values.dtype, np.number) and isinstance(value, int | float | np.number):
        nearest = values[np.abs(values - value).argmin()]
        if not values.min() <= value <= values.max():
            raise InputError(
                f"{name}={value!r} is outside of the sweep, which goes from {values.min():g} to {values.max():g}"
            )
        return nearest
    if value not in list(values):
        raise InputError(unknown_name(name, str(value), [str(known) for known in values]))
    return value


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float | np.number) else str(value)


def _first(array: xr.DataArray, name: str) -> Any:
    return array[name].to_numpy()[0].item() if array[name].dtype != object else array[name].to_numpy()[0]


def _first_message(data: xr.Dataset) -> str:
    """ ": " and what the first failed cell says, if any cell says anything."""
    if "message" not in data:
        return ""
    said = [text for text in data["message"].to_numpy().ravel() if text]
    return f": {said[0]}" if said else ""


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
