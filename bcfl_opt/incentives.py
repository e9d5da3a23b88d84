"""Do clients tell the truth? ``audit``: what every client would gain from every report of its work, under any mechanism."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Hashable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bcfl_opt import closed_form, exact
from bcfl_opt.errors import InputError, choice, listing
from bcfl_opt.game import Game
from bcfl_opt.layout import laid_out
from bcfl_opt.population import Population, id_text
from bcfl_opt.progress import progress_bar
from bcfl_opt.solution import Solution

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: A mechanism: the game as reported -> the prices it posts, by client.
Mechanism = Callable[[Game], pd.DataFrame]
PRICES = ["training_price", "mining_price"]
#: The column of a menu whose contracts carry deadlines of their own.
DEADLINE = "deadline"
#: Gains below this share of the client's reward are rounding.
NOISE = 1e-9
#: Reports tried by default: multiples of the truth, and the work of other clients.
FACTORS = np.unique(np.append(np.geomspace(0.25, 4.0, 80), 1.0))
OTHERS = 20
#: Golden-section steps around the best report of the grid: the bracket shrinks to a millionth.
REFINEMENTS = 30
#: Seconds of work that an audit may be expected to take before it is refused.
PATIENCE = 3600.0


def _theorem(formula: Callable[[Game], pd.DataFrame]) -> Mechanism:
    def prices(reported: Game) -> pd.DataFrame:
        table = formula(reported)
        return table[PRICES].mask(table["reason"] != "")  # prices that violate a limit are no offer

    return prices


def _equilibrium(reported: Game) -> pd.DataFrame:
    clients = exact.equilibrium(reported).clients
    assert clients is not None
    return clients[PRICES]


#: Mechanisms by name. Each quotes a client a price that depends on its own report and its own caps alone.
MECHANISMS: dict[str, Mechanism] = {
    "theorem_3_2": _theorem(closed_form.theorem_3_2),
    "theorem_4_1": _theorem(closed_form.theorem_4_1),
    "equilibrium": _equilibrium,
}


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Audit:
    """What misreporting would gain.

    table : one row a client and report: client, report (mu_hat), truth (mu), training_price, mining_price (quoted for the
        report), utility (after the lie, or 0 by walking away), gain (against the truth), literal_gain (under (18) as
        printed: U at mu_hat minus U at mu, prices and speeds kept). Offers that a client cannot accept have utility 0.
    best : one row a client: truth, truthful_utility, individually_rational (does the truth earn at least 0 with an offer
        that it can accept), best_report, gain, literal_gain (the largest), scale (the truthful reward, or the largest
        that a report earns), reason (why the truth has no offer).
    mechanism, responses, shares : what was audited. searched : where lies were looked for, in words.
    """

    table: pd.DataFrame
    best: pd.DataFrame
    mechanism: str
    responses: str
    shares: str
    searched: str

    @property
    def largest_gain(self) -> float:
        """The largest gain of all clients [money]; at least 0, which the truth itself gains."""
        return max(float(self.best["gain"].max()), 0.0)

    @property
    def incentive_compatible(self) -> bool:
        """Does no report that was tried gain more than rounding, in the standard sense?"""
        return bool((self.best["gain"] <= NOISE * self.best["scale"]).all())

    @property
    def literally_compatible(self) -> bool:
        """Does (18) hold as printed, for every report that was tried, up to rounding?"""
        return bool((self.best["literal_gain"] <= NOISE * self.best["scale"]).all())

    @property
    def individually_rational(self) -> bool:
        """Does every client get an offer that it can accept without loss when it tells the truth?"""
        return bool(self.best["individually_rational"].all())

    def plot(self, ax: Axes | None = None, clients: Iterable[Hashable] | None = None) -> Axes:
        """Gain [money] against report, relative to the truth; by default of the six clients with the most to gain.

        ax : axes to draw on, or None for new ones; they are returned. clients : ids.

        Raises
        ------
        InputError : a client that is not in the audit.
        """
        from bcfl_opt.drawing import BLUE, GREEN, ORANGE, PURPLE, RED, SKY, axes_or_new, finish

        ax = axes_or_new(ax)
        order = self.best["gain"].sort_values(ascending=False, kind="stable")
        chosen = list(order.index[:6] if clients is None else clients)
        unknown = [client for client in chosen if client not in self.best.index]
        if unknown:
            raise InputError(f"client {listing(unknown)} is not in this audit")
        looks = zip((BLUE, RED, GREEN, ORANGE, PURPLE, SKY), ("-", "--", "-.", ":", "-", "--"), strict=True)
        styles = list(looks)
        for k, client in enumerate(chosen):
            mine = self.table[self.table["client"] == client].sort_values("report")
            colour, line = styles[k % len(styles)]
            ax.plot(mine["report"] / mine["truth"], mine["gain"], linestyle=line, color=colour, label=str(client))
        ax.axvline(1.0, color="black", linewidth=0.8)
        ax.axhline(0.0, color="black", linewidth=0.8)
        title = f"{self.mechanism}: what a lie gains ({self.responses} responses, {self.shares} shares)"
        return finish(ax, "reported work / true work", "gain [money]", title)

    def _edge(self, k: int) -> str:
        tried = self.table.loc[self.table["client"] == self.best.index[k], "report"]
        at_edge = self.best["best_report"].iloc[k] in (tried.min(), tried.max())
        return " (the end of what was tried: more may be to be gained beyond)" if at_edge else ""

    def __repr__(self) -> str:
        best = self.best
        liars = int((best["gain"] > NOISE * best["scale"]).sum())
        lines = [f"Audit of {self.mechanism}, {self.responses} responses, {self.shares} shares: {len(best)} clients"]
        if liars:
            k = int(best["gain"].to_numpy().argmax())
            top, row = id_text(best.index, k), best.iloc[k]
            gain = "client gains" if liars == 1 else "clients gain"
            lines.append(
                f"  misreports   {liars} {gain}; the most: client {top} by {row['gain']:.6g}, reporting "
                f"{row['best_report']:.6g} instead of {row['truth']:.6g}{self._edge(k)}"
            )
        else:
            lines.append("  misreports   none that was tried gains")
        worst = float(best["literal_gain"].max())
        literal = "holds for every report tried" if self.literally_compatible else f"violated by up to {worst:.6g}"
        lines.append(f"  (18) as printed {literal}")
        refusals = np.flatnonzero(~best["individually_rational"].to_numpy())
        who = "every client can accept"
        if len(refusals):
            first = id_text(best.index, int(refusals[0]))
            who = f"{len(refusals)} client{'s' if len(refusals) > 1 else ''} cannot accept the truth's offer; {first}: "
            who += str(best["reason"].iloc[refusals[0]])
        lines.append(f"  rationality  {who}")
        lines.append(f"  searched     {self.searched}")
        return laid_out(lines)

    def _repr_html_(self) -> str:
        from html import escape

        return f"<pre>{escape(repr(self))}</pre>{self.best.to_html(max_rows=10, float_format='%.6g')}"


def audit(
    game: Game,
    mechanism: str | Mechanism | pd.DataFrame | Solution = "theorem_4_1",
    *,
    responses: str = "optimal",
    shares: str = "fixed",
    reports: Any = None,
    separable: bool | None = None,
    progress: bool | None = None,
) -> Audit:
    """What would each client gain from each report of its own work, if everybody else tells the truth?

    Parameters
    ----------
    game : the true game.
    mechanism : "theorem_4_1", "theorem_3_2", "equilibrium"; or a function that takes the game as reported (its population
        carries the reports as training_cycles) and returns prices by client, NaN for no offer; or a menu, a table of price
        pairs by client (or a Solution with such clients), from which a report chooses a row: its reports are the menu's rows.
        Where the table has a column ``deadline``, each contract carries its own, and who takes it has to meet that one.
    responses : "optimal": with its true work, the client answers the prices that its report is quoted as is best for it, or
        walks away with 0; "theorem": by Theorem 3.1, or walks away.
    shares : "fixed": the caps stay those of the true game; "reported": Shapley values, and so caps, follow the reports.
    reports : work to report, > 0: shape (R,) for everybody or (N, R) by client; by default multiples of the truth from 1/4 to
        4 and the work of up to 20 other clients, the best of which is then refined.
    separable : does the price of a client depend on nobody else's report (and on nothing but its own if shares are fixed)?
        Then all clients are audited in one go. By default True for the named mechanisms with fixed shares.
    progress : a bar on standard error; by default where it takes longer than a second and somebody watches.

    Returns
    -------
    Audit: reports [GHz min], utilities and gains [money], by client and report.

    Raises
    ------
    InputError : an argument cannot be used as given, the mechanism's prices cannot be, or the audit would take hours: then
        with the estimate.

    Source: definition 4.2, (18) read literally and in the standard sense; theory 4.2, 4.3.
    """
    choice("responses", responses, ("optimal", "theorem"))
    choice("shares", shares, ("fixed", "reported"))
    if isinstance(mechanism, pd.DataFrame | Solution):
        return _menu_audit(game, mechanism, responses)
    name, quote = _named(mechanism)
    if separable is None:
        separable = isinstance(mechanism, str) and shares == "fixed"
    truth = game.population.training_cycles
    grid = _grid(game, reports)
    teller = _Teller(game, quote, responses, shares, separable)
    begin = time.perf_counter()
    honest = teller.utilities(truth)
    _refuse_hours(time.perf_counter() - begin, separable, grid.shape)
    literal = _literal_slope(game, honest)

    n, count = grid.shape
    utilities, prices = np.empty((n, count)), np.empty((n, count, 2))
    with progress_bar(f"audit of {name}", count, progress) as advance:
        for k in range(count):
            answer = teller.utilities(grid[:, k])
            utilities[:, k], prices[:, k] = answer.utility, answer.prices
            advance(1)
    top = utilities.argmax(axis=1)
    best_report, best_utility = grid[np.arange(n), top], utilities[np.arange(n), top]
    searched = f"{count} reports a client, {grid.min():.4g} to {grid.max():.4g}"
    if reports is None and separable:
        best_report, best_utility = _refined(teller, grid, top, best_report, best_utility)
        searched += ", the best refined between its neighbours"
    stays = best_utility <= honest.utility
    best_report, best_utility = np.where(stays, truth, best_report), np.where(stays, honest.utility, best_utility)

    ids = game.population.ids
    literal_gain = literal[:, None] * (grid - truth[:, None])
    scale = np.maximum(honest.reward, np.maximum(best_utility, np.abs(honest.utility)))
    best = pd.DataFrame(
        {
            "truth": truth,
            "truthful_utility": honest.utility,
            "individually_rational": honest.accepts,
            "best_report": best_report,
            "gain": best_utility - honest.utility,
            "literal_gain": np.maximum(literal_gain.max(axis=1), 0.0),
            "scale": scale,
            "reason": honest.reason,
        },
        index=ids,
    )
    table = pd.DataFrame(
        {
            "client": np.repeat(ids.to_numpy(), count),
            "report": grid.ravel(),
            "truth": np.repeat(truth, count),
            "training_price": prices[..., 0].ravel(),
            "mining_price": prices[..., 1].ravel(),
            "utility": utilities.ravel(),
            "gain": (utilities - honest.utility[:, None]).ravel(),
            "literal_gain": literal_gain.ravel(),
        }
    )
    return Audit(table, best, name, responses, shares, searched)


# ---------------------------------------------------------------------- reports and their consequences


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Answer:
    """What happens to every client: quoted prices (N, 2), utility, reward, speeds' profit rate, acceptance, reason."""

    prices: np.ndarray
    utility: np.ndarray
    reward: np.ndarray
    training_speed: np.ndarray
    accepts: np.ndarray
    reason: np.ndarray


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Teller:
    """Turns reports into utilities: every client's under its own report while the others tell the truth."""

    game: Game
    quote: Mechanism
    responses: str
    shares: str
    separable: bool

    def utilities(self, reports: np.ndarray) -> _Answer:
        truth = self.game.population.training_cycles
        if self.separable or np.array_equal(reports, truth):
            return _respond(self.game, self._prices(reports), self.responses)
        prices = np.empty((len(truth), 2))
        for i in range(len(truth)):  # one liar at a time
            told = truth.copy()
            told[i] = reports[i]
            prices[i] = self._prices(told)[i]
        return _respond(self.game, prices, self.responses)

    def _prices(self, reports: np.ndarray) -> np.ndarray:
        reported = _reported(self.game, reports, self.shares)
        quoted = self.quote(reported)
        ids = self.game.population.ids
        if not isinstance(quoted, pd.DataFrame) or not set(PRICES) <= set(quoted) or not ids.isin(quoted.index).all():
            raise InputError(
                "mechanism: it must return a DataFrame with training_price and mining_price for every client of the game "
                "it is given"
            )
        values = quoted.loc[ids, PRICES].to_numpy(dtype=float)
        return np.where(np.isnan(values).any(axis=1)[:, None], np.nan, values)


def _reported(game: Game, reports: np.ndarray, shares: str) -> Game:
    people = game.population
    frame = pd.DataFrame(
        {
            "training_cycles": reports,
            "energy_coefficient": people.energy_coefficient,
            "max_speed": people.max_speed,
        },
        index=people.ids,
    )
    reported = game.replace(population=Population(frame, source="reported population"))
    if shares == "fixed":  # the caps that the truth gives, whatever is reported
        for name in ("shapley_values", "shapley_shares", "_caps"):
            reported.__dict__[name] = getattr(game, name)
    return reported


def _respond(game: Game, prices: np.ndarray, responses: str) -> _Answer:
    """The clients' answers with their true work; who cannot answer, or would lose, walks away with 0."""
    frame = pd.DataFrame(prices, index=game.population.ids, columns=PRICES)
    if responses == "optimal":
        clients = exact.best_response(game, frame).clients
        assert clients is not None
        accepts, reason = clients["recruited"].to_numpy(dtype=bool), clients["reason"].to_numpy(dtype=object)
        utility, speed = clients["client_utility"].to_numpy(), clients["training_speed"].to_numpy()
        times = clients[["training_time", "mining_time"]].to_numpy()
    else:
        theorem = closed_form.theorem_3_1(game, frame)
        reason = theorem["reason"].to_numpy(dtype=object)
        accepts = reason == ""
        utility, speed = theorem["client_utility"].to_numpy(), theorem["training_speed"].to_numpy()
        times = theorem[["training_time", "mining_time"]].to_numpy()
    with np.errstate(invalid="ignore"):
        reward = np.where(accepts, np.nansum(times * prices, axis=1), 0.0)
        accepts = accepts & (utility >= -NOISE * reward)
    return _Answer(
        prices,
        np.where(accepts, np.maximum(utility, 0.0), 0.0),
        reward,
        np.where(accepts, speed, np.nan),
        accepts,
        reason,
    )


def _literal_slope(game: Game, honest: _Answer) -> np.ndarray:
    """d U / d mu_hat under (18) as printed: p_t / q_t - rho q_t^2, which is what over-reporting by 1 would gain."""
    q, rho = honest.training_speed, game.population.energy_coefficient
    slope = honest.prices[:, 0] / q - rho * q**2
    size = honest.prices[:, 0] / q
    # At Theorem 3.1's speed the two terms are equal; what is left of them is rounding.
    slope = np.where(np.abs(slope) <= NOISE * size, 0.0, slope)
    return np.where(honest.accepts, np.nan_to_num(slope), 0.0)


def _grid(game: Game, reports: Any) -> np.ndarray:
    """Reports of shape (N, R)."""
    truth = game.population.training_cycles
    if reports is None:
        others = np.unique(np.quantile(truth, np.linspace(0, 1, OTHERS), method="nearest"))
        return np.hstack([truth[:, None] * FACTORS, np.broadcast_to(others, (len(truth), len(others)))])
    try:
        grid = np.asarray(reports, dtype=float)
    except (TypeError, ValueError) as error:
        raise InputError(f"reports: {reports!r} is not an array of numbers") from error
    if grid.ndim == 1:
        grid = np.broadcast_to(grid, (len(truth), len(grid)))
    if grid.ndim != 2 or len(grid) != len(truth) or not grid.shape[1]:
        raise InputError(f"reports: shape {np.shape(reports)} is neither (R,) nor ({len(truth)}, R) with R at least 1")
    if not (np.isfinite(grid) & (grid > 0)).all():
        i, k = np.argwhere(~(np.isfinite(grid) & (grid > 0)))[0]
        client = id_text(game.population.ids, int(i))
        raise InputError(f"reports: client {client}, report {k}: {grid[i, k]!r} must be a finite number above 0")
    return grid


def _refined(
    teller: _Teller, grid: np.ndarray, top: np.ndarray, report: np.ndarray, utility: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Golden-section search between the neighbours of each client's best report, for all clients at once."""
    ordered = np.sort(grid, axis=1)
    rows = np.arange(len(grid))
    place = np.array([np.searchsorted(ordered[i], grid[i, top[i]]) for i in rows])
    low = ordered[rows, np.maximum(place - 1, 0)]
    high = ordered[rows, np.minimum(place + 1, grid.shape[1] - 1)]
    golden = (np.sqrt(5) - 1) / 2
    for _ in range(REFINEMENTS):
        left, right = high - golden * (high - low), low + golden * (high - low)
        at_left, at_right = teller.utilities(left).utility, teller.utilities(right).utility
        for candidate, value in ((left, at_left), (right, at_right)):
            better = value > utility
            report, utility = np.where(better, candidate, report), np.where(better, value, utility)
        goes_left = at_left >= at_right
        low, high = np.where(goes_left, low, left), np.where(goes_left, right, high)
    return report, utility


def _refuse_hours(seconds: float, separable: bool, shape: tuple[int, ...]) -> None:
    calls = shape[1] * (1 if separable else shape[0])
    if seconds * calls > PATIENCE:
        raise InputError(
            f"this audit needs the mechanism's prices {calls:,} times, about {seconds * calls / 3600:.1f} hours; pass fewer "
            'reports, audit a smaller game, use shares="fixed", or say separable=True if a client\'s price depends on its own '
            "report alone"
        )


def _named(mechanism: Any) -> tuple[str, Mechanism]:
    if callable(mechanism):
        return getattr(mechanism, "__name__", "mechanism"), mechanism
    choice("mechanism", mechanism, MECHANISMS)
    return mechanism, MECHANISMS[mechanism]


# ---------------------------------------------------------------------- menus


def _menu_audit(game: Game, menu: pd.DataFrame | Solution, responses: str) -> Audit:
    """Every client against every offer of a menu; the truth is the offer in its own row."""
    offers = _offers(game, menu)
    ids, n = game.population.ids, len(game)
    prices = offers[PRICES].to_numpy()
    carried = DEADLINE in offers
    # One offer at a time to everybody; what a client has from its own one is the truth.
    answers = [
        _respond(
            game.replace(deadline=float(offers[DEADLINE].iloc[j])) if carried and np.isfinite(prices[j, 0]) else game,
            np.broadcast_to(prices[j], (n, 2)),
            responses,
        )
        for j in range(n)
    ]
    utility = np.stack([answer.utility for answer in answers], axis=1)
    honest = _Answer(
        prices,
        *(
            np.array([getattr(answer, name)[j] for j, answer in enumerate(answers)])
            for name in ("utility", "reward", "training_speed", "accepts", "reason")
        ),
    )
    truth = game.population.training_cycles
    literal = _literal_slope(game, honest)[:, None] * (truth[None, :] - truth[:, None])
    top = utility.argmax(axis=1)
    top = np.where(utility[np.arange(n), top] > honest.utility, top, np.arange(n))
    best = pd.DataFrame(
        {
            "truth": truth,
            "truthful_utility": honest.utility,
            "individually_rational": honest.accepts,
            "best_report": truth[top],
            "gain": utility[np.arange(n), top] - honest.utility,
            "literal_gain": np.maximum(literal.max(axis=1), 0.0),
            "scale": np.maximum(honest.reward, utility.max(axis=1)),
            "reason": honest.reason,
        },
        index=ids,
    )
    table = pd.DataFrame(
        {
            "client": np.repeat(ids.to_numpy(), n),
            "report": np.tile(truth, n),
            "truth": np.repeat(truth, n),
            **{str(name): np.tile(column, n) for name, column in offers.items()},
            "utility": utility.ravel(),
            "gain": (utility - honest.utility[:, None]).ravel(),
            "literal_gain": literal.ravel(),
        }
    )
    return Audit(table, best, "menu", responses, "fixed", f"all {n} offers of the menu")


def _offers(game: Game, menu: pd.DataFrame | Solution) -> pd.DataFrame:
    """Prices by client, and the offers' own deadlines where they carry some; NaN where there is no offer."""
    if isinstance(menu, Solution):
        table = menu.prices  # a failed solve has none, and says so
        if menu.clients is not None and DEADLINE in menu.clients:
            table[DEADLINE] = menu.clients[DEADLINE]
    else:
        table = menu
    missing = [name for name in PRICES if name not in table]
    if missing:
        raise InputError(f"mechanism: the menu has no column {listing(missing)}")
    ids = game.population.ids
    absent = ids.difference(table.index)
    if len(absent):
        raise InputError(f"mechanism: the menu has no offer for client {listing(absent)}")
    offers = table.loc[ids, [*PRICES, DEADLINE] if DEADLINE in table else PRICES].astype(float)
    if DEADLINE in offers:
        offered = offers[PRICES].notna().all(axis=1).to_numpy()
        length = offers[DEADLINE].to_numpy()
        wrong = offered & ~((length > 0) & (length <= game.deadline * (1 + NOISE)))
        if wrong.any():
            k = int(wrong.argmax())
            raise InputError(
                f"mechanism: the menu's deadline for client {id_text(ids, k)} is {length[k]:.6g}; it must be above 0 and at "
                f"most the game's, {game.deadline:.6g}"
            )
    return offers
