"""How is any problem of hidden types posed and solved? ``Screening``: types, utility and cost as functions of a contract."""

from __future__ import annotations

import dataclasses
import types as python_types
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bcfl_opt.errors import InputError, listing
from bcfl_opt.solution import Quality, Solution, Status

if TYPE_CHECKING:
    import pyomo.environ as pyo

#: What a type may gain by another's contract, relative to the largest utility, before its pair is added.
GAIN = 1e-9


@dataclasses.dataclass(frozen=True, eq=False)
class Screening:
    """A principal posts one contract a type; agents of hidden type take the one they like best, or none.

        minimise    sum_k w_k C(k, x_k)
        subject to  U(k, x_k) >= U(k, x_j) for all k, j     and     U(k, x_k) >= u_k

    Parameters
    ----------
    types : id -> what ``utility`` and ``cost`` take as a type: a Series of numbers, a dict of anything, or a DataFrame, whose
        rows are then given as objects with its columns as attributes.
    weights : probability by id, or in the order of ``types``; divided by their sum.
    contract : the terms of a contract and the arguments of their ``pyo.Var``: ``{"quality": {"bounds": (0, None)}, ...}``.
    utility : function (type, contract) -> U, of plain arithmetic and functions that take both numbers and Pyomo's expressions
        (``pyo.sqrt``, ``pyo.log``, ...); ``contract.quality`` is a term. Who gives money, or work, counts it negative.
    cost : function (type, contract) -> C of the principal; a profit is a negative cost.
    outside : u_k, what a type has without a contract: a number or by id.

    Raises
    ------
    InputError : there is no type, ids appear twice, or weights are not probabilities.

    Examples
    --------
    Mussa and Rosen (1978) with two types: quality q for the price p, utility theta q - p, cost q^2 / 2 - p. The upper type gets
    its efficient quality theta, the lower one theta_L - (theta_H - theta_L) w_H / w_L = 1 - 0.2 x 0.5 / 0.5.

    >>> market = Screening(
    ...     types=pd.Series({"low": 1.0, "high": 1.2}),
    ...     weights=[0.5, 0.5],
    ...     contract={"quality": {"bounds": (0, None)}, "price": {}},
    ...     utility=lambda theta, x: theta * x.quality - x.price,
    ...     cost=lambda theta, x: x.quality**2 / 2 - x.price,
    ... )
    >>> market.solve().variables["quality"].round(6).to_dict()
    {'low': 0.8, 'high': 1.2}
    """

    types: pd.Series | pd.DataFrame | Mapping[Any, Any]
    weights: Any
    contract: Mapping[str, Mapping[str, Any]]
    utility: Callable[[Any, Any], Any]
    cost: Callable[[Any, Any], Any]
    outside: Mapping[Any, float] | float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "types", _by_id(self.types))
        object.__setattr__(self, "weights", _probabilities(self.weights, list(self.types)))

    def model(self, pairs: Iterable[tuple[Any, Any]] | None = None) -> pyo.ConcreteModel:
        """The programme in Pyomo, with these pairs (k, j) or all: see :mod:`bcfl_opt.models.screening_pyomo`."""
        from bcfl_opt.models import screening_pyomo

        return screening_pyomo.build(
            self.types, self.weights, self.contract, self.utility, self.cost, outside=self.outside, pairs=pairs
        )

    def gains(self, contracts: Mapping[str, pd.Series]) -> pd.DataFrame:
        """U(k, contract j) - U(k, contract k) for every pair (rows k, columns j); contracts : term -> its values by type."""
        ids = list(self.types)
        menu = [
            python_types.SimpleNamespace(**{term: float(contracts[term].loc[j]) for term in self.contract}) for j in ids
        ]
        value = np.array([[float(self.utility(self.types[k], contract)) for contract in menu] for k in ids])
        return pd.DataFrame(value - np.diag(value)[:, None], index=ids, columns=ids)

    def solve(self, *, starts: int = 1, seed: int = 0, **options: Any) -> Solution:
        """The best menu found, and proven to be the best (GLOBAL) where the programme is convex.

        Only neighbours' pairs are asked for at first; whoever turns out to envy somebody else's contract is added, until nobody
        does. A relaxation whose optimum satisfies what was left out has the optimum of the whole.

        Parameters
        ----------
        starts : how many starting points; beyond the first, terms are drawn around the given ones. seed : of the draws.
        options : passed to :func:`bcfl_opt.solve`.

        Returns
        -------
        Solution: ``variables`` holds each term by type; its objective is the expected cost; the certificate's primal residual
        covers all pairs. Where no start leads to an answer, the last failure.

        Raises
        ------
        InputError : starts is no whole number of at least 1.
        """
        if isinstance(starts, bool) or not isinstance(starts, int | np.integer) or starts < 1:
            raise InputError(f"starts: expected a whole number of at least 1, got {starts!r}")
        rng = np.random.default_rng(seed)
        found: list[Solution] = []
        for k in range(starts):
            found.append(self._solved_from(rng if k else None, options))
            if found[-1].quality is Quality.GLOBAL:
                return found[-1]
        solved = [solution for solution in found if solution.succeeded]
        return min(solved, key=lambda solution: solution.objective) if solved else found[-1]

    def _solved_from(self, rng: np.random.Generator | None, options: Mapping[str, Any]) -> Solution:
        from bcfl_opt.solving import solve

        ids = list(self.types)
        places = {k: place for place, k in enumerate(ids)}
        pairs = [(k, j) for k in ids for j in ids if abs(places[k] - places[j]) == 1]
        previous: Solution | None = None
        while True:
            model = self.model(pairs)
            for term in self.contract:
                for k, variable in model.component(term).items():
                    if previous is not None:
                        variable.set_value(float(previous.variables[term].loc[k]), skip_validation=True)
                    elif rng is not None:
                        start = 0.0 if variable.value is None else variable.value
                        drawn = start + (1.0 + abs(start)) * rng.normal()
                        low, high = variable.bounds
                        drawn = drawn if low is None else max(drawn, low)
                        variable.set_value(drawn if high is None else min(drawn, high), skip_validation=True)
            solution = solve(model, **options)
            if not solution.succeeded:
                return dataclasses.replace(solution, problem="screening")
            gains = self.gains(solution.variables)
            size = self._size(solution)
            envied = [(k, j) for k in ids for j in ids if gains.at[k, j] > GAIN * size and (k, j) not in pairs]
            if not envied:
                return self._judged(solution, float(gains.to_numpy().max()) / size)
            pairs += envied
            previous = solution

    def _size(self, solution: Solution) -> float:
        """The largest utility or cost in this menu, which gains are compared with."""
        sizes = []
        for k, type_ in self.types.items():
            contract = python_types.SimpleNamespace(
                **{term: float(solution.variables[term].loc[k]) for term in self.contract}
            )
            sizes += [abs(float(self.utility(type_, contract))), abs(float(self.cost(type_, contract)))]
        return max(sizes) or 1.0

    def _judged(self, solution: Solution, gain: float) -> Solution:
        """The solution of the relaxation as one of the whole: its certificate covers the pairs that were left out, too."""
        certificate = solution.certificate
        assert certificate is not None
        if gain > certificate.primal:
            certificate = dataclasses.replace(certificate, primal=gain)
        holds = certificate.holds()
        return dataclasses.replace(
            solution,
            problem="screening",
            certificate=certificate,
            status=solution.status if holds else Status.NOT_CERTIFIED,
            quality=solution.quality if holds else Quality.NONE,
        )


def _by_id(types: Any) -> dict[Any, Any]:
    if isinstance(types, pd.DataFrame):
        if types.index.has_duplicates:
            raise InputError(f"types: id {listing(types.index[types.index.duplicated()])} appears twice")
        rows = types.to_dict("records")
        found: dict[Any, Any] = {
            k: python_types.SimpleNamespace(**{str(name): cell for name, cell in row.items()})
            for k, row in zip(types.index, rows, strict=True)
        }
    elif isinstance(types, pd.Series):
        if types.index.has_duplicates:
            raise InputError(f"types: id {listing(types.index[types.index.duplicated()])} appears twice")
        found = types.to_dict()
    elif isinstance(types, Mapping):
        found = dict(types)
    else:
        raise InputError(f"types: expected a Series, a DataFrame or a dict by id, not {type(types).__name__}")
    if not found:
        raise InputError("types: there is none; a screening problem needs at least one")
    return found


def _probabilities(weights: Any, ids: list[Any]) -> dict[Any, float]:
    if isinstance(weights, pd.Series):
        weights = weights.to_dict()
    if isinstance(weights, Mapping):
        absent = [k for k in ids if k not in weights]
        if absent:
            raise InputError(f"weights: no value for type {listing(absent)}")
        weights = [weights[k] for k in ids]
    try:
        numbers = np.asarray(weights, dtype=float)
    except (TypeError, ValueError) as error:
        raise InputError(f"weights: {weights!r} are not numbers") from error
    if numbers.shape != (len(ids),):
        raise InputError(f"weights: shape {numbers.shape} does not match the {len(ids)} types")
    bad = ~(np.isfinite(numbers) & (numbers >= 0))
    if bad.any():
        k = int(bad.argmax())
        raise InputError(f"weights: {numbers[k]!r} of type {ids[k]!r} must be a finite number, at least 0")
    if not numbers.sum() > 0:
        raise InputError("weights: all are 0; give the types that occur a probability above 0")
    return dict(zip(ids, (numbers / numbers.sum()).tolist(), strict=True))
