"""What is played? ``Game``: a population and the parameters of one round; immutable and validated."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bcfl_opt import documents, interchange, shapley
from bcfl_opt.errors import InputError, choice, listing, shown
from bcfl_opt.layout import laid_out
from bcfl_opt.population import Population, id_text

#: f(sum of mu): the paper only says "monotonically increasing". It is constant in every decision of Problems 1-3.
PERFORMANCES: dict[str, Callable[[float], float]] = {
    "log": lambda cycles: float(np.log1p(cycles)),
    "sqrt": lambda cycles: float(np.sqrt(cycles)),
    "linear": float,
}
#: The paper's reward budget, 1500 for 50 clients, per client.
REWARD_BUDGET_PER_CLIENT = 30.0
#: Numbers with more digits than this before or after the point are refused: their products would leave the range of doubles.
DIGITS = 200
#: None until the game is made, a number from then on.
_FROM_THE_OTHERS: Any = None
#: What Shapley values depend on besides the training cycles.
_SHAPLEY_PARAMETERS = ("target", "shapley_method", "shapley_samples", "seed")


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Game:
    """One round of blockchain-based federated learning: who plays, and by which rules.

    Parameters (the paper's symbol; default)
    ----------
    population : the clients.
    mining_cycles : psi, cycles to mine one block, equal for all, > 0 (5; the paper does not state it) [speed x time].
    deadline : T, longest round, > 0 (15) [time].
    cost_weight : xi, weight of time and rewards in the owner's utility, > 0 (0.1).
    reward_budget : eta, all rewards of a round, > 0 (30 per client: the paper's 1500 for 50) [money].
    mining_cap : R_m, largest mining reward of a client, > 0 (5) [money].
    mining_budget : eta_m = N R_m, the same for all clients together; give this or ``mining_cap``.
    target : g, target performance of the Shapley game (10) [speed x time].
    performance : f, increasing function of the recruited clients' total mu: "log" (log(1 + x)), "sqrt", "linear" or a
        callable. The paper leaves it open; no decision of Problems 1-3 depends on it.
    negative_shares : what to do with a negative Shapley value: "zero" (that client is not paid for training; the rest
        is re-normalised so that the budget is kept) or "error".
    shapley_method, shapley_samples, seed : passed to :func:`bcfl_opt.shapley.shapley_values`.

    Raises
    ------
    InputError : naming the parameter, the value and what is allowed.

    Source: section 2 and Table 1; reward caps (3) and (6).
    """

    population: Population
    mining_cycles: float = 5.0
    deadline: float = 15.0
    cost_weight: float = 0.1
    reward_budget: float = _FROM_THE_OTHERS
    mining_cap: float = _FROM_THE_OTHERS
    mining_budget: float = _FROM_THE_OTHERS
    target: float = 10.0
    performance: str | Callable[[float], float] = "log"
    negative_shares: str = "zero"
    shapley_method: str = "auto"
    shapley_samples: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.population, Population):
            if not isinstance(self.population, pd.DataFrame):
                raise InputError(
                    f"population: expected a Population or a DataFrame, not {type(self.population).__name__}"
                )
            self._set("population", Population(self.population))
        n = len(self.population)
        if self.mining_cap is not None and self.mining_budget is not None:
            raise InputError("give mining_cap (per client) or mining_budget (all clients), not both")
        for name in ("mining_cycles", "deadline", "cost_weight"):
            self._set(name, _positive(name, getattr(self, name)))
        budget = REWARD_BUDGET_PER_CLIENT * n if self.reward_budget is None else self.reward_budget
        self._set("reward_budget", _positive("reward_budget", budget))
        if self.mining_budget is not None:
            self._set("mining_budget", _positive("mining_budget", self.mining_budget))
            self._set("mining_cap", self.mining_budget / n)
        else:
            self._set("mining_cap", _positive("mining_cap", 5.0 if self.mining_cap is None else self.mining_cap))
            self._set("mining_budget", self.mining_cap * n)
        if self.mining_budget >= self.reward_budget:
            raise InputError(
                f"mining_budget = mining_cap x {n} clients = {self.mining_budget:g} leaves nothing of reward_budget = "
                f"{self.reward_budget:g} for training; lower mining_cap or raise reward_budget"
            )
        self._set("target", _finite("target", self.target))
        self._refuse_what_doubles_cannot_hold()
        if not callable(self.performance):
            choice("performance", self.performance, PERFORMANCES)
        choice("negative_shares", self.negative_shares, ("zero", "error"))
        choice("shapley_method", self.shapley_method, shapley.METHODS)
        self._set("seed", _whole("seed", self.seed, 0))
        if self.shapley_samples is not None:
            self._set("shapley_samples", _whole("shapley_samples", self.shapley_samples, 4))

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)  # the one way to normalise a field of a frozen dataclass

    def _refuse_what_doubles_cannot_hold(self) -> None:
        """Energies rho mu^3 / T^2 that vanish or overflow would pass for free work, or for impossible work."""
        mu, rho = self.population.training_cycles, self.population.energy_coefficient
        for task, cycles in (("training_cycles", mu), ("mining_cycles", np.full(len(self), self.mining_cycles))):
            with np.errstate(all="ignore"):
                cubes = 3 * np.log10(cycles)
                energy = np.log10(rho) + cubes
                digits = np.abs([cubes, energy, energy - 2 * np.log10(self.deadline)]).max(axis=0)
            bad = np.flatnonzero(~(digits <= DIGITS))
            if bad.size:
                k = int(bad[0])
                raise InputError(
                    f"client {id_text(self.population.ids, k)}: {task} {float(cycles[k])!r} with energy_coefficient "
                    f"{float(rho[k])!r} and deadline {self.deadline!r} make energies of rho c^3 / T^2 around 10^"
                    f"{round(float(energy[k] - 2 * np.log10(self.deadline)))}, more than double precision can hold; give them "
                    "in other units, or leave out who does next to nothing"
                )

    # ------------------------------------------------------------------ reward caps

    @cached_property
    def shapley_values(self) -> shapley.ShapleyValues:
        """(4)-(5), computed on first use; see :mod:`bcfl_opt.shapley` for when they are exact."""
        return shapley.shapley_values(
            self.population.training_cycles,
            self.target,
            method=self.shapley_method,
            samples=self.shapley_samples,
            seed=self.seed,
        )

    @cached_property
    def shapley_shares(self) -> shapley.RewardShares:
        """Each client's share of the training budget, under the policy ``negative_shares``."""
        shares = shapley.reward_shares(self.shapley_values)
        if self.negative_shares == "error" and shares.negative.any():
            ids = self.population.ids[shares.negative]
            raise InputError(
                f"client {listing(ids)}: negative Shapley value (its training cycles pull the average away from the "
                f'target {self.target:g}); change target, or use negative_shares="zero" to leave such clients out'
            )
        return shares

    @property
    def caps(self) -> pd.DataFrame:
        """Largest rewards by client: ``shapley`` (SV_i, (4)), ``training_cap`` (R_t, (6)), ``mining_cap`` (R_m, (3)).

        Sampled Shapley values have a ``shapley_standard_error`` besides; ``attrs["note"]`` tells of negative shares.
        """
        return self._caps.copy()  # a game is immutable

    @cached_property
    def _caps(self) -> pd.DataFrame:
        values, shares = self.shapley_values, self.shapley_shares
        frame = pd.DataFrame(
            {
                "shapley": values.values,
                "training_cap": shares.shares * (self.reward_budget - self.mining_budget),
                "mining_cap": np.full(len(self), self.mining_cap),
            },
            index=self.population.ids,
        )
        if not values.exact:
            frame.insert(1, "shapley_standard_error", values.standard_errors)
        frame.attrs["note"] = shares.note
        return frame

    # ------------------------------------------------------------------ prices

    def prices(self, training: Any, mining: Any) -> pd.DataFrame:
        """Prices per unit of time, by client.

        Parameters
        ----------
        training, mining : p_t and p_m, >= 0 [money / time]: a number for all clients, an array of shape (N,) in the
            population's order, or a Series by client id.

        Returns
        -------
        DataFrame, index ``client``, columns ``training_price`` and ``mining_price``.
        """
        ids = self.population.ids
        columns = {"training_price": training, "mining_price": mining}
        return pd.DataFrame({name: self._by_client(name, values) for name, values in columns.items()}, index=ids)

    def checked_prices(self, prices: pd.DataFrame) -> pd.DataFrame:
        """``prices`` validated and in the population's order; :meth:`prices` makes such a frame.

        NaN in both columns is allowed and means: this client is offered nothing (as in :attr:`Solution.prices`).

        Raises
        ------
        InputError : no frame, a missing column or client, or a price that is negative or not finite.
        """
        if not isinstance(prices, pd.DataFrame):
            raise InputError(f"prices: expected game.prices(training=..., mining=...), not {type(prices).__name__}")
        names = ["training_price", "mining_price"]
        missing = [c for c in names if c not in prices]
        if missing:
            raise InputError(
                f"prices: missing column {listing(missing)}; make them with game.prices(training=..., mining=...)"
            )
        nothing = prices[names[0]].isna() & prices[names[1]].isna()
        if not nothing.any():
            return self.prices(prices["training_price"], prices["mining_price"])
        filled = prices[names].mask(nothing, 0.0)
        checked = self.prices(filled["training_price"], filled["mining_price"])
        return checked.mask(nothing.reindex(checked.index))

    def _by_client(self, name: str, values: Any) -> np.ndarray:
        ids = self.population.ids
        if isinstance(values, pd.Series) and not values.index.equals(ids):
            if values.index.has_duplicates:
                raise InputError(f"{name}: client {listing(values.index[values.index.duplicated()])} appears twice")
            absent = ids.difference(values.index, sort=False)
            if len(absent):
                raise InputError(f"{name}: no value for client {listing(absent)}")
            values = values.reindex(ids)
        if isinstance(values, pd.Series) and isinstance(values.dtype, np.dtype) and values.dtype.kind in "iuf":
            values = values.to_numpy()  # nothing but numbers: no cell needs a look
        cells = list(values) if isinstance(values, list | tuple | pd.Series) else []
        for k, cell in enumerate(cells[: len(ids)]):
            if isinstance(cell, str | bool | np.bool_):  # numpy would take them for numbers
                raise InputError(f"{name} of client {id_text(ids, k)}: {shown(cell)} is not a number")
        try:
            wrong = not cells and np.asarray(values).dtype.kind not in "iufO"
            array = np.asarray(values, dtype=float)
        except (TypeError, ValueError, OverflowError):
            wrong = True
        if wrong:
            raise InputError(f"{name}: {shown(values)} is not a number, an array or a Series of numbers")
        if array.ndim == 0:
            array = np.full(len(ids), float(array))
        if array.shape != (len(ids),):
            raise InputError(f"{name}: shape {array.shape} does not match the {len(ids)} clients")
        bad = ~np.isfinite(array) | (array < 0)
        if bad.any():
            k = int(np.flatnonzero(bad)[0])
            raise InputError(
                f"{name} of client {id_text(ids, k)}: {float(array[k])!r} must be a finite number, at least 0"
            )
        return array

    # ------------------------------------------------------------------ files

    def save(self, path: str | PathLike[str], *, overwrite: bool = False) -> None:
        """Write the game and its population to ``path``, a .json file; :meth:`read` gives them back bit by bit.

        The file also serves the command line: ``bcfl-opt solve --config game.json``.

        Raises
        ------
        InputError : the file exists and ``overwrite`` is not given; it cannot be written; an id, another column or a
            ``performance`` of your own cannot be held by a file.
        """
        path = Path(path)
        interchange.save(path, "game", self.content, formats=(".json",), overwrite=overwrite)

    @classmethod
    def read(cls, path: str | PathLike[str]) -> Game:
        """The game that :meth:`save` wrote to ``path``.

        Raises
        ------
        InputError : naming the file, and what is wrong with it or with the game in it.
        """
        path = Path(path)
        content = interchange.load(path, "game", formats=(".json",))
        with documents.reading(path.name):
            return cls.from_content(content, source=path.name)

    @property
    def parameters(self) -> dict[str, Any]:
        """Everything but the population, as :class:`Game` takes it; of mining_cap and mining_budget the one that gives both."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "population"}
        del values["mining_budget" if self.mining_cap * len(self) == self.mining_budget else "mining_cap"]
        return values

    @property
    def content(self) -> dict[str, Any]:
        """What a file holds of the game: ``game``, its parameters by name, and ``population``, a table."""
        if callable(self.performance):
            raise InputError(
                "performance: a function of your own cannot be written to a file; replace it by 'log', 'sqrt' or 'linear' first"
            )
        return {"game": self.parameters, "population": self.population.frame}

    @classmethod
    def from_content(cls, content: dict[str, Any], source: str) -> Game:
        """The game of :attr:`content`, validated; ``source`` is what messages call it."""
        given = content["game"]
        known = [f.name for f in dataclasses.fields(cls) if f.name != "population"]
        for name in given:
            choice("parameter of a game", name, known)
        return cls(Population(content["population"], source=source), **given)

    # ------------------------------------------------------------------ the rest

    def performance_value(self, recruited: np.ndarray | None = None, cycles: np.ndarray | None = None) -> float:
        """f(sum of mu over the recruited clients): who does no work trains nothing (2).

        recruited : boolean, one a client; by default all. cycles : in place of mu, one a client [cycles].
        """
        cycles = self.population.training_cycles if cycles is None else cycles
        total = float(cycles.sum() if recruited is None else cycles[np.asarray(recruited)].sum())
        function = self.performance if callable(self.performance) else PERFORMANCES[self.performance]
        return float(function(total))

    def replace(self, **changes: Any) -> Game:
        """A new game with these parameters changed (``mining_cap`` and ``mining_budget`` displace each other).

        changes : parameters of :class:`Game` by name. With a population of another size the reward budget
        keeps its share a client, unless it is given too.

        Raises
        ------
        InputError : an unknown parameter, or a value that :class:`Game` refuses.
        """
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        unknown = [name for name in changes if name not in fields]
        if unknown:
            raise InputError(f"unknown parameter {listing(unknown)}; known: {', '.join(fields)}")
        fields["mining_budget"] = None
        if changes.get("mining_budget") is not None:
            fields["mining_cap"] = None
        population = changes.get("population")
        if isinstance(population, Population | pd.DataFrame) and len(population) != len(self):
            fields["reward_budget"] = self.reward_budget / len(self) * len(population)
        game = Game(**{**fields, **changes})
        same = all(getattr(game, name) == getattr(self, name) for name in _SHAPLEY_PARAMETERS)
        same = same and np.array_equal(game.population.training_cycles, self.population.training_cycles)
        if same and "shapley_values" in self.__dict__:  # already computed, which can take seconds
            game.__dict__["shapley_values"] = self.shapley_values
        return game

    def __len__(self) -> int:
        return len(self.population)

    def __repr__(self) -> str:
        performance = self.performance if isinstance(self.performance, str) else "custom"
        text = (
            f"Game with {len(self)} client{'s' if len(self) > 1 else ''}: mining_cycles={self.mining_cycles:g}, "
            f"deadline={self.deadline:g}, cost_weight={self.cost_weight:g}, reward_budget={self.reward_budget:g}, "
            f"mining_cap={self.mining_cap:g}, target={self.target:g}, performance={performance!r}"
        )
        return laid_out([text])

    def _repr_html_(self) -> str:
        rows = [(f.name, getattr(self, f.name)) for f in dataclasses.fields(self) if f.name != "population"]
        table = pd.DataFrame(rows, columns=["parameter", "value"]).to_html(index=False)
        return f"<p>{self.population!r}</p>{table}"


def _whole(name: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise InputError(f"{name}: expected a whole number of at least {least}, got {shown(value)}")
    return int(value)


def _finite(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise InputError(f"{name}: {shown(value)} is not a number")
    try:
        number = float(value)
    except OverflowError:  # a whole number of more than 308 digits
        number = np.inf
    if not np.isfinite(number):
        raise InputError(f"{name}: {shown(value)} must be finite")
    return number


def _positive(name: str, value: Any) -> float:
    number = _finite(name, value)
    if number <= 0:
        raise InputError(f"{name}: {number!r} must be greater than 0")
    return number
