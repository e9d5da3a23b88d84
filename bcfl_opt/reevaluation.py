"""What are a solution's numbers worth at fifty digits? Its times and prices, judged again without a double in between.

The certificate of a solve is computed in double precision. For the closed-form parts of the game nothing forces that:
utilities, limits, the client's best response (the root of a falling function) and the least energy of a round are
computed here in multiple precision from the game's data and the solution's times and prices alone, by code that shares
nothing with the solvers, their certificates or the exact answers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from bcfl_opt.errors import InputError, require
from bcfl_opt.solution import Solution

if TYPE_CHECKING:
    from bcfl_opt.game import Game

#: Columns of the limits, each a relative excess: positive where the limit is violated.
LIMITS = (
    "deadline",
    "training_speed",
    "mining_speed",
    "training_rationality",
    "mining_rationality",
    "training_budget",
    "mining_budget",
)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Reevaluation:
    """A solution judged again in multiple precision.

    digits : decimal digits of the arithmetic.
    owner_utility : U_mo (2) at the solution's times and prices, as text of that many digits [utility].
    owner_rounding : how far the solution's own U_mo is off, relative to the terms it is made of.
    clients : DataFrame by recruited client. ``client_utility`` : U_n (1) [money]. ``rounding`` : how far the solution's
        own value is off, relative to its terms. ``deadline``, ``training_speed``, ``mining_speed`` ((6), (10)),
        ``training_rationality``, ``mining_rationality`` ((8), (9)), ``training_budget``, ``mining_budget`` ((7), (3)) :
        relative excess over the limit, negative with room. ``response_gain`` : what the client would gain by its
        best response to its prices, Problem 1, relative to its terms; NaN where these prices leave no feasible point
        at this precision (rounded optimal prices may leave one point, or miss it by a hair). ``owner_gain`` : what the
        owner would save on this client at the cheapest contract of Problems 2 and 3 (theory 5.1), relative to what it
        pays; NaN where the caps and speeds allow none. Limits that a model of your own dropped show as violated.
    """

    digits: int
    owner_utility: str
    owner_rounding: float
    clients: pd.DataFrame

    def worst(self) -> pd.Series:
        """The largest value of each column of residuals over the clients: NaN where no client has one."""
        return self.clients.drop(columns="client_utility").max()

    def __repr__(self) -> str:
        lines = [f"{name:<22} {value:.1e}" for name, value in self.worst().items()]
        return "\n  ".join(
            [
                f"{len(self.clients)} clients at {self.digits} digits; owner's utility {self.owner_utility[:24]}, "
                f"rounded by {self.owner_rounding:.1e}",
                *lines,
            ]
        )


def reevaluate(solution: Solution, digits: int = 50) -> Reevaluation:
    """Judge a solution of a game again, in ``digits`` decimal digits; see :class:`Reevaluation`.

    Parameters
    ----------
    solution : a success of any solver on any model that knows its game, changed by you or not.
    digits : at least 20; doubles have 16.

    Raises
    ------
    NoSolutionError : it has no values. InputError : it is of no game, or too few digits. SolverMissingError : no mpmath.

    >>> import bcfl_opt as bo
    >>> game = bo.Game(bo.Population.random(3, seed=1))
    >>> again = bo.reevaluate(bo.equilibrium(game))
    >>> bool(again.worst()["owner_gain"] < 1e-14)
    True
    """
    solution.raise_if_failed()
    if isinstance(digits, bool) or not isinstance(digits, int) or digits < 20:
        raise InputError(f"digits: {digits!r}; a whole number of at least 20 (doubles have 16)")
    if solution.game is None or solution.clients is None:
        raise InputError(f"{solution.problem} is of no game: there is nothing to evaluate again but its certificate")
    require("mpmath")
    import mpmath

    mp = mpmath.mp.clone()
    mp.dps = digits
    game, table = solution.game, solution.clients[solution.clients["recruited"]]
    population, caps = game.population.frame, game.caps
    rows = {
        name: _client(mp, _Numbers.of(mp, game, population.loc[name], caps.loc[name], row), row)
        for name, row in table.iterrows()
    }
    clients = pd.DataFrame.from_dict(rows, orient="index", columns=_COLUMNS).rename_axis("client")
    utility, terms = _owner(mp, game, solution, table)
    off = abs(mp.mpf(solution.owner_utility) - utility) / terms if terms else mp.zero
    return Reevaluation(digits, mp.nstr(utility, digits), float(off), clients)


_COLUMNS = ["client_utility", "rounding", *LIMITS, "response_gain", "owner_gain"]


@dataclasses.dataclass(frozen=True)
class _Numbers:
    """One client's data as multiple-precision numbers; its energies are training / t^2 and mining / s^2."""

    mu: Any
    psi: Any
    q: Any
    rho: Any
    training: Any
    mining: Any
    deadline: Any
    training_cap: Any
    mining_cap: Any

    @classmethod
    def of(cls, mp: Any, game: Game, client: pd.Series, caps: pd.Series, row: pd.Series) -> _Numbers:
        number: Callable[[Any], Any] = lambda value: mp.mpf(float(value))  # noqa: E731
        mu, psi = number(row.get("training_cycles", client["training_cycles"])), number(game.mining_cycles)
        rho = number(client["energy_coefficient"])
        return cls(
            mu,
            psi,
            number(client["max_speed"]),
            rho,
            rho * mu**3,
            rho * psi**3,
            number(row.get("deadline", game.deadline)),
            number(caps["training_cap"]),
            number(caps["mining_cap"]),
        )


def _client(mp: Any, c: _Numbers, row: pd.Series) -> list[float]:
    """One line of the table: see :data:`_COLUMNS`."""
    t, s, p_t, p_m = (
        mp.mpf(float(row[name])) for name in ("training_time", "mining_time", "training_price", "mining_price")
    )

    def energy(t: Any, s: Any) -> Any:
        return (c.training / t**2 if c.mu else mp.zero) + c.mining / s**2

    bonus = mp.mpf(float(row.get("bonus", 0.0)))
    pay_t, pay_m = p_t * t, p_m * s
    e_t, e_s = energy(t, mp.inf), c.mining / s**2
    utility, terms = pay_t + pay_m + bonus - e_t - e_s, pay_t + pay_m + bonus + e_t + e_s
    limits = [
        (t + s - c.deadline) / c.deadline,
        c.mu / (c.q * t) - 1 if c.mu else -mp.one,
        c.psi / (c.q * s) - 1,
        (e_t - pay_t) / e_t if e_t else -mp.one,
        (e_s - pay_m) / e_s,
        (pay_t - c.training_cap) / c.training_cap if c.training_cap else mp.mpf(0 if pay_t == 0 else mp.inf),
        (pay_m - c.mining_cap) / c.mining_cap,
    ]

    low = [mp.zero, mp.zero]
    for k, (cycles, price) in enumerate(((c.mu, p_t), (c.psi, p_m))):
        if cycles:
            low[k] = cycles * max(mp.cbrt(c.rho / price) if price else mp.inf, 1 / c.q)
    best = _split(mp, c, p_t - p_m, *low)
    answer = mp.nan if best is None else p_t * best[0] + p_m * best[1] + bonus - energy(*best) - utility

    low = [mp.zero, mp.zero]
    for k, (cycles, constant, cap) in enumerate(((c.mu, c.training, c.training_cap), (c.psi, c.mining, c.mining_cap))):
        if cycles:
            low[k] = max(mp.sqrt(constant / cap) if cap > 0 else mp.inf, cycles / c.q)
    cheapest = _split(mp, c, mp.zero, *low)
    saved = mp.nan if cheapest is None else pay_t + pay_m - energy(*cheapest)
    off = abs(mp.mpf(float(row["client_utility"])) - utility)
    values = [utility, off / terms, *limits, answer / terms, saved / (pay_t + pay_m) if pay_t + pay_m else mp.zero]
    return [float(value) for value in values]


def _split(mp: Any, c: _Numbers, favour: Any, low_t: Any, low_s: Any) -> tuple[Any, Any] | None:
    """The best times on t + s = T with favour = p_t - p_m, t >= low_t and s >= low_s; None where there are none.

    favour + 2 a / t^3 - 2 b / (T - t)^3 falls in t: its root is found by halving to the last digit.
    """
    low, high = low_t, c.deadline - low_s
    if not low <= high:
        return None
    if not c.training:
        return low, c.deadline - low

    def rises(t: Any) -> bool:
        rest = c.deadline - t
        return bool(rest > 0 and (not t or favour + 2 * c.training / t**3 > 2 * c.mining / rest**3))

    for _ in range(int(mp.prec)):
        middle = (low + high) / 2
        low, high = (middle, high) if rises(middle) else (low, middle)
    return low, c.deadline - low


def _owner(mp: Any, game: Game, solution: Solution, table: pd.DataFrame) -> tuple[Any, Any]:
    """U_mo (2), and the sum of the sizes of its terms."""
    functions: Mapping[str, Callable[[Any], Any]] = {"log": mp.log1p, "sqrt": mp.sqrt, "linear": lambda total: total}
    column = table if "training_cycles" in table else game.population.frame.loc[table.index]
    total = mp.fsum(map(float, column["training_cycles"]))
    # A function of the user's own is known in doubles alone.
    known = isinstance(game.performance, str)
    worth = functions[str(game.performance)](total) if known else mp.mpf(float(game.performance(float(total))))  # type: ignore[operator]
    cost = mp.zero
    for _, row in table.iterrows():
        t, s, p_t, p_m = (
            mp.mpf(float(row[name])) for name in ("training_time", "mining_time", "training_price", "mining_price")
        )
        cost += t + s + p_t * t + p_m * s + mp.mpf(float(row.get("bonus", 0.0)))
    cost *= mp.mpf(float(game.cost_weight))
    return worth - cost, abs(worth) + cost
