"""Why is there no answer? Clients' own limits first, then conflicting constraints by name, then terms without a value."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bcfl_opt.certificate import TOLERANCE
from bcfl_opt.context import Context, ConvexModel
from bcfl_opt.errors import InputError
from bcfl_opt.solution import Solution, Status

if TYPE_CHECKING:
    from pyomo.core.base.block import BlockData

    from bcfl_opt.nlp.program import Program

#: Constraints a conflicting set is searched among, at most: every one of them costs a solve.
CANDIDATES = 60


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Explanation:
    """Why a model has no answer, or that nothing was found against it.

    sentences : the explanation, most telling first.
    clients : reason by client id, for clients that can have no answer whatever the solver (theory 1.2, 5.1).
    relaxation : constraint name -> the least violation, in the constraint's own units, that would make room for a point;
        empty if there is room already, or if it was not looked for.
    conflict : names of constraints that cannot hold together, none of which can be left out; bounds of variables count
        as given.
    undefined : terms that have no finite value at the model's present point, by constraint.
    """

    sentences: tuple[str, ...]
    clients: pd.Series
    relaxation: pd.Series
    conflict: tuple[str, ...]
    undefined: tuple[str, ...]

    def __repr__(self) -> str:
        return "\n".join(self.sentences)

    def _repr_html_(self) -> str:
        from html import escape

        return "".join(f"<p>{escape(sentence)}</p>" for sentence in self.sentences)


def explain(subject: BlockData | ConvexModel | Solution) -> Explanation:
    """Say why a model or a failed solve has no answer.

    Parameters
    ----------
    subject : a Pyomo model, a model of :mod:`bcfl_opt.models`, or a Solution of one of them.

    Returns
    -------
    Explanation: for a model of a game, every client's limits with what would mend them; for any Pyomo model, the least
    violations that make room (an elastic relaxation: min sum of slacks, solved by IPOPT), an irreducible set of
    conflicting constraints by name, and terms without a finite value at the model's present point.

    Raises
    ------
    InputError : ``subject`` is none of these.
    """
    sentences: list[str] = []
    context = _context(subject)
    clients = pd.Series(dict(context.excluded) if context else {}, dtype=object, name="reason")
    if context is not None:
        clients = _client_reasons(context)
        sentences += [f"client {client!r} {reason}" for client, reason in clients.items()]
    relaxation = pd.Series(dtype=float)
    conflict: tuple[str, ...] = ()
    undefined: tuple[str, ...] = ()
    if isinstance(subject, Solution):
        sentences.insert(0, subject.message)
        model = subject._warm_start.program.model if subject._warm_start is not None else None
        if subject.status is Status.SOLVED:
            model = None
    else:
        model = subject
    if isinstance(model, ConvexModel):
        model = None
    if model is not None:
        undefined = _undefined(model)
        sentences += list(undefined)
        relaxation, conflict = _conflict(model)
        if conflict:
            sentences.append(f"these cannot hold together: {', '.join(conflict)}")
        for name, amount in relaxation.items():
            sentences.append(f"relaxing {name} by {amount:.6g} would make room for a point")
    if not sentences:
        sentences = ["nothing speaks against this model: every client has room and all constraints can hold together"]
    return Explanation(tuple(sentences), clients, relaxation, conflict, undefined)


def _context(subject: Any) -> Context | None:
    if isinstance(subject, ConvexModel):
        return subject.context
    if isinstance(subject, Solution):
        answer = subject._warm_start
        return getattr(answer.program.model, "bcfl", None) if answer is not None else _of_table(subject)
    if not any(kind.__module__.startswith("pyomo") for kind in type(subject).__mro__):
        raise InputError(
            f"explain takes a Pyomo model, a model of bcfl_opt.models or a Solution, not {type(subject).__name__}"
        )
    return getattr(subject, "bcfl", None)


def _of_table(solution: Solution) -> Context | None:
    if solution.game is None or solution.clients is None:
        return None
    out = solution.clients[~solution.clients["recruited"]]
    return Context(solution.game, solution.problem, solution.clients.index, out["reason"].to_dict())


def _client_reasons(context: Context) -> pd.Series:
    """Reasons of the clients that were left out, and of those that were kept although they can have no answer."""
    from bcfl_opt import participation

    reasons = dict(context.excluded)
    if context.prices is not None:
        screened = participation.screen_response(context.game, context.prices)
    else:
        screened = participation.screen_recruitment(context.game)
    for client, reason in screened[screened != ""].items():
        reasons.setdefault(client, reason)
    order = [client for client in context.game.population.ids if client in reasons]
    return pd.Series([reasons[client] for client in order], index=order, dtype=object, name="reason")


# ---------------------------------------------------------------------------------- any Pyomo model


def _conflict(model: BlockData) -> tuple[pd.Series, tuple[str, ...]]:
    """Least violations by constraint, and an irreducible conflicting set (deletion filter over the violated and binding)."""
    from bcfl_opt.nlp.program import program

    read = program(model)
    names = [str(constraint.name) for constraint in read.constraints]
    violation, weight = _elastic(read, range(len(names)))
    if violation is None or not violation.max(initial=0.0) > 0:
        return pd.Series(dtype=float), ()
    relaxation = pd.Series({names[k]: float(violation[k]) for k in np.flatnonzero(violation > 0)}, dtype=float)
    members = [k for k in range(len(names)) if weight[k] or violation[k] > 0]
    if len(members) > CANDIDATES:
        return relaxation, ()
    for candidate in list(members):
        rest = [k for k in members if k != candidate]
        least, _ = _elastic(read, rest)
        if least is not None and least.max(initial=0.0) > 0:
            members = rest  # still in conflict without it
    return relaxation, tuple(names[k] for k in members)


def _elastic(read: Program, rows: Sequence[int]) -> tuple[np.ndarray | None, np.ndarray]:
    """min sum of slacks s.t. these rows, each violated by its own slack at most, and the variables' bounds.

    Returns the violation by row (0 within the tolerance) and whether the row's multiplier counts; None without an answer.
    """
    import pyomo.environ as pyo

    from bcfl_opt.nlp.nonlinear import solve_program

    m = pyo.ConcreteModel()
    m.rows = pyo.Set(initialize=list(rows))
    m.over = pyo.Var(m.rows, domain=pyo.NonNegativeReals, initialize=1.0)
    m.under = pyo.Var(m.rows, domain=pyo.NonNegativeReals, initialize=1.0)
    scale = {k: max(1.0, *(abs(b) for b in (read.lower[k], read.upper[k]) if np.isfinite(b))) for k in rows}

    def relaxed(_: Any, k: int) -> Any:
        _, body, _ = read.constraints[k].to_bounded_expression()
        low = read.lower[k] if np.isfinite(read.lower[k]) else None
        high = read.upper[k] if np.isfinite(read.upper[k]) else None
        return (low, body + scale[k] * (m.under[k] - m.over[k]), high)

    m.relaxed = pyo.Constraint(m.rows, rule=relaxed)
    m.slack = pyo.Objective(expr=pyo.quicksum(m.over[k] + m.under[k] for k in m.rows))
    answer = solve_program(m)
    total = len(read.constraints)
    weight = np.zeros(total, dtype=bool)
    if answer.status is not Status.SOLVED:
        return None, weight
    found = {id(v): number for v, number in zip(answer.program.variables, answer.x.tolist(), strict=True)}
    violation = np.zeros(total)
    for k in rows:
        slack = found.get(id(m.over[k]), 0.0) + found.get(id(m.under[k]), 0.0)
        violation[k] = slack * scale[k] if slack > TOLERANCE else 0.0
    prices: Mapping[Any, float] = dict(answer.shadow_prices().get("relaxed", {}))
    for k, price in prices.items():
        weight[k] = abs(price) > TOLERANCE
    return violation, weight


def _undefined(model: BlockData) -> tuple[str, ...]:
    """Terms without a finite value at the model's present point: which constraint, which variables, at which values."""
    from bcfl_opt.nlp.program import program

    read = program(model)
    x = read.start()
    sentences = []
    with np.errstate(all="ignore"):
        for family in read.functions.families:
            for k in np.flatnonzero(~np.isfinite(family.value(x)))[:5]:
                row = int(family.rows[k])
                place = f"constraint {read.constraints[row].name}" if row >= 0 else "the objective"
                at = ", ".join(f"{read.variables[c].name} = {x[c]:.6g}" for c in family.columns[:, k])
                sentences.append(
                    f"{place} has a term without a finite value at {at}; start elsewhere or bound the variable"
                )
    return tuple(sentences)
