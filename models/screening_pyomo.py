"""Screening in Pyomo: which menu of contracts should a principal offer to agents whose type it cannot see?

Types k with probabilities w_k. The principal posts one contract x_k for each; an agent takes the contract it likes best, or
none. Variables: whatever a contract consists of, one component a term, indexed by type.

    minimise    cost                      sum_k w_k C(k, x_k)                                            [money]
    subject to  incentive_compatibility   U(k, x_k) >= U(k, x_j)        for all pairs (k, j), k other than j
                individual_rationality    U(k, x_k) >= u_k

Where an agent still has something to decide once it has a contract, U(k, x_j) on the right is a maximum: then ``best`` gives an
expression that is at least that maximum, with variables of its own, and the row of a type's own contract, (k, k), makes what
the contract tells it to do its true optimum. :mod:`bcfl_opt.models.menu_pyomo` is such a model.

Source: the revelation principle; Mussa and Rosen (1978), Maskin and Riley (1984), Baron and Myerson (1982) are of this form.
"""

from __future__ import annotations

import types as python_types
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any

import pyomo.environ as pyo

from bcfl_opt.models._owner import client_set

if __name__ != "bcfl_opt.models.screening_pyomo":
    raise ImportError(
        "import this model as bcfl_opt.models.screening_pyomo, from the installed package (pip install .)"
    )

Pair = tuple[Any, Any]


def build(
    types: Mapping[Any, Any],
    weights: Mapping[Any, float],
    contract: Mapping[str, Mapping[str, Any]],
    utility: Callable[[Any, Any], Any],
    cost: Callable[[Any, Any], Any],
    *,
    outside: Mapping[Any, float] | float = 0.0,
    pairs: Iterable[Pair] | None = None,
    best: Callable[[pyo.ConcreteModel, Any, Any], Any] | None = None,
) -> pyo.ConcreteModel:
    """The programme above as a Pyomo model.

    Parameters
    ----------
    types : id -> whatever ``utility`` and ``cost`` want to know of a type. weights : id -> probability.
    contract : term -> arguments of its ``pyo.Var``, for instance ``{"quality": {"bounds": (0, None)}, "price": {}}``.
    utility, cost : functions of (type, contract), where ``contract.quality`` is the term of one contract.
    outside : u_k, by id or the same for all.
    pairs : (k, j) with a row in ``incentive_compatibility``; by default all with k other than j.
    best : function of (model, k, j), see above.

    Returns
    -------
    Model with the terms as variables and ``contracts``: id -> contract, for constraints of your own.
    """
    m = pyo.ConcreteModel(name="screening")
    m.types = client_set(list(types))
    for term, arguments in contract.items():
        m.add_component(term, pyo.Var(m.types, **arguments))
    m.contracts = {k: python_types.SimpleNamespace(**{term: m.component(term)[k] for term in contract}) for k in types}
    reservation = outside if isinstance(outside, Mapping) else dict.fromkeys(types, outside)
    asked = [(k, j) for k in types for j in types if k != j] if pairs is None else list(pairs)
    m.pairs = pyo.Set(initialize=asked, dimen=2, ordered=True)

    def envied(m: pyo.ConcreteModel, k: Hashable, j: Hashable) -> Any:
        return utility(types[k], m.contracts[j]) if best is None else best(m, k, j)

    m.agent_utility = pyo.Expression(m.types, rule=lambda m, k: utility(types[k], m.contracts[k]))
    m.incentive_compatibility = pyo.Constraint(m.pairs, rule=lambda m, k, j: m.agent_utility[k] - envied(m, k, j) >= 0)
    m.individual_rationality = pyo.Constraint(m.types, rule=lambda m, k: m.agent_utility[k] >= reservation[k])
    m.cost = pyo.Objective(expr=pyo.quicksum(weights[k] * cost(types[k], m.contracts[k]) for k in types))
    return m
