"""How do the clients of an owner's model become followers? Each client's own problem, at the prices a / t and b / s.

The single-level models of Problems 2 and 3 with ``response="optimal"`` drop the clients' optimality (theory 5.3). Here it
comes back: prices p_t, p_m become the owner's variables, each client gets times of its own, and the client's utility and
its own constraints - those named in :data:`OWN`, as they stand in the model, changed or not - become its problem, with
t p_t for the payment a and s p_m for b. Whatever else is in the model, the user's constraints too, is the owner's.

Two variants are other games. Where the owner chooses deadlines (a column ``deadline`` of the clients' table), the client keeps
to the one it is given, T_i, and what bounds T_i is the owner's. Where prices are per cycle (a column
``training_price_per_cycle``), a and b themselves are posted: they do not grow with the time that a client takes.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import pyomo.environ as pyo
from pyomo.core.base.block import BlockData
from pyomo.core.base.constraint import ConstraintData
from pyomo.core.expr.numvalue import value
from pyomo.core.expr.visitor import ExpressionReplacementVisitor

from bcfl_opt.context import Context
from bcfl_opt.errors import ModelError
from bcfl_opt.reformulations.single_level import inactive, temporary

#: What a client decides, what it is paid, and what it wants: names the model must keep.
NEEDED = ("training_time", "mining_time", "training_payment", "mining_payment", "client_utility")
#: Constraints that are the client's own.
OWN = ("training_rationality", "mining_rationality", "deadline", "training_speed_limit", "mining_speed_limit")


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class ClientFollowers:
    """blocks : the followers. complete : sets prices and the clients' times from the model's own variables."""

    blocks: list[BlockData]
    complete: Callable[[], None]


@contextlib.contextmanager
def clients_as_followers(model: Any, context: Context) -> Iterator[ClientFollowers]:
    """The model with its clients as followers, for a while.

    Raises
    ------
    ModelError : the model no longer has what a client's problem is made of.
    """
    for name in NEEDED:
        if model.component(name) is None:
            raise ModelError(
                f"the model has no {name!r}, so its clients' problems cannot be stated; keep that name, or state the "
                "game with stackelberg_pyomo, where every client's problem stands in the model"
            )
    moved: list[Any] = []
    by_cycle = "training_price_per_cycle" in context.columns
    given = model.component(context.columns["deadline"]) if "deadline" in context.columns else None
    with temporary(model, "clients_as_followers") as block:
        t, s, a, b = (model.component(name) for name in NEEDED[:4])
        ids = list(context.clients)
        block.training_price = pyo.Var(ids, domain=pyo.NonNegativeReals)
        block.mining_price = pyo.Var(ids, domain=pyo.NonNegativeReals)
        block.client = pyo.Block(ids)
        block.same_training_time, block.same_mining_time = pyo.Constraint(ids), pyo.Constraint(ids)
        block.training_reward, block.mining_reward = pyo.Constraint(ids), pyo.Constraint(ids)
        if given is not None:
            block.deadline = pyo.Var(ids, domain=pyo.NonNegativeReals)
            block.given_deadline = pyo.Constraint(ids, rule=lambda _, i: block.deadline[i] == given[i])
        for i in ids:
            client, p_t, p_m = block.client[i], block.training_price[i], block.mining_price[i]
            client.training_time = pyo.Var(domain=pyo.NonNegativeReals)
            client.mining_time = pyo.Var(domain=pyo.NonNegativeReals)
            own_t, own_s = client.training_time, client.mining_time
            substitute = {id(t[i]): own_t, id(s[i]): own_s}
            if not by_cycle:
                substitute |= {id(a[i]): p_t * own_t, id(b[i]): p_m * own_s}
            visitor = ExpressionReplacementVisitor(substitute=substitute, remove_named_expressions=True)
            client.utility = pyo.Objective(
                expr=visitor.walk_expression(model.client_utility[i].expr), sense=pyo.maximize
            )
            for name in OWN:
                constraint = _own(model, name, i)
                if name == "deadline" and given is not None:
                    client.deadline = pyo.Constraint(expr=own_t + own_s <= block.deadline[i])
                elif constraint is not None:
                    client.add_component(name, _constraint(visitor, name, constraint))
                    moved.append(constraint)
            block.same_training_time[i] = t[i] == own_t
            block.same_mining_time[i] = s[i] == own_s
            block.training_reward[i] = a[i] == p_t * own_t
            block.mining_reward[i] = b[i] == p_m * own_s

        def complete() -> None:
            for i in ids:
                client = block.client[i]
                client.training_time.set_value(t[i].value, skip_validation=True)
                client.mining_time.set_value(s[i].value, skip_validation=True)
                for price, payment, time in ((block.training_price, a, t), (block.mining_price, b, s)):
                    known = None not in (payment[i].value, time[i].value) and time[i].value != 0
                    price[i].set_value(payment[i].value / time[i].value if known else None, skip_validation=True)
                if given is not None:
                    block.deadline[i].set_value(value(given[i], exception=False), skip_validation=True)

        complete()
        with inactive(moved):
            yield ClientFollowers(list(block.client.values()), complete)


def _own(model: Any, name: str, client: Any) -> ConstraintData | None:
    component = model.component(name)
    if component is None or component.ctype is not pyo.Constraint or not component.is_indexed():
        return None
    return component[client] if client in component and component[client].active else None


def _constraint(visitor: ExpressionReplacementVisitor, name: str, constraint: ConstraintData) -> pyo.Constraint:
    low, body, high = constraint.to_bounded_expression(evaluate_bounds=True)
    if name == "deadline" and low is not None and low == high:
        low = None  # the client may stop earlier (10); that it does not is its own choice
    return pyo.Constraint(expr=(low, visitor.walk_expression(body), high))


def client_value(component: Any, client: Any) -> float:
    """A client's number, of a variable or an expression; NaN where there is none."""
    number = value(component[client], exception=False)
    return float("nan") if number is None else float(number)
