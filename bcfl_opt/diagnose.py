"""Why is there no answer? Clients' own limits first, then rules, terms without a value, conflicts, and what runs away."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bcfl_opt.conflict import Conflict
from bcfl_opt.context import Context, ConvexModel
from bcfl_opt.errors import BcflOptError, InputError
from bcfl_opt.layout import laid_out
from bcfl_opt.solution import Solution, Status

if TYPE_CHECKING:
    import cvxpy as cp
    from pyomo.core.base.block import BlockData

#: Parts of a direction, and amounts of a relaxation, told one by one.
SHOWN = 8


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Explanation:
    """Why a model has no answer, or that nothing was found against it.

    sentences : the explanation, most telling first.
    clients : reason by client id, for clients that can have no answer whatever the solver (theory 1.2, 5.1).
    rules : of CVXPY problems, which sub-expression breaks which rule of disciplined convex programming.
    undefined : terms that have no finite value or derivative at the model's present point (of a failed solve: where it
        stopped), with constraint, client and point.
    relaxation : constraint name -> violation, in the constraint's own units; the least ones that together make room for
        a point, relative to the sizes of the constraints. Empty if there is room already, or if it was not looked for.
    conflict : names of constraints and of variables' bounds ("x.upper") that cannot hold together, none of which can be
        left out.
    alone : its members -> how much each would have to give if the others stand.
    direction : variable (with its index) -> its part of a direction along which the objective improves without limit,
        the largest being 1; of the variables that matter.
    """

    sentences: tuple[str, ...]
    clients: pd.Series
    rules: tuple[str, ...]
    undefined: tuple[str, ...]
    relaxation: pd.Series
    conflict: tuple[str, ...]
    alone: pd.Series
    direction: pd.Series

    def __repr__(self) -> str:
        return laid_out(self.sentences)

    def _repr_html_(self) -> str:
        from html import escape

        return "".join(f"<p>{escape(sentence)}</p>" for sentence in self.sentences)


def explain(subject: BlockData | ConvexModel | cp.Problem | Solution) -> Explanation:
    """Say why a model or a failed solve has no answer.

    Parameters
    ----------
    subject : a Pyomo model, a CVXPY problem, a model of :mod:`bcfl_opt.models`, or a Solution of one of them.

    Returns
    -------
    Explanation: for a model of a game, every client's limits with what would mend them; for every model, broken rules
    (CVXPY), terms without a value, the least violations that make room (an elastic relaxation), an irreducible set of
    conflicting constraints by name with what each would have to give, or the direction in which the objective runs
    away. A model is solved for that, and keeps its values.

    Raises
    ------
    InputError : ``subject`` is none of these.
    """
    solution = subject if isinstance(subject, Solution) else None
    model = solution._model if solution is not None else subject
    context = _context(subject)
    clients = pd.Series(dict(context.excluded) if context else {}, dtype=object, name="reason")
    if context is not None:
        clients = _client_reasons(context)
    found = _Findings()
    solved = solution is not None and solution.status is Status.SOLVED
    if model is not None and not solved and (context is None or len(context.clients)):
        found = _of_cvxpy(model, solution) if _is_cvxpy(model) else _of_pyomo(model, solution)
    if solution is not None and solution.status is Status.PARTLY_SOLVED and solution.clients is not None:
        told = solution.clients.loc[~solution.clients["recruited"], "reason"]
        told = told.str.replace("^no answer: ", "has no answer: ", regex=True)
        clients = pd.Series({**told.to_dict(), **clients.to_dict()}, dtype=object, name="reason")
    sentences = [] if solution is None else [solution.message]
    sentences += _of_clients(clients)
    sentences += [*found.rules, *found.undefined, *_told(found.conflict, found.trouble), *_runs_away(found.direction)]
    if not sentences:
        sentences = ["nothing speaks against this model: every client has room and all constraints can hold together"]
    return Explanation(
        tuple(sentences),
        clients,
        found.rules,
        found.undefined,
        pd.Series(dict(found.conflict.relaxation), dtype=float),
        found.conflict.members,
        pd.Series(dict(found.conflict.alone), dtype=float),
        found.direction,
    )


@dataclasses.dataclass(frozen=True, slots=True)
class _Findings:
    """trouble : why a solve that has room for a point stopped without one."""

    rules: tuple[str, ...] = ()
    undefined: tuple[str, ...] = ()
    conflict: Conflict = dataclasses.field(default_factory=Conflict)
    direction: pd.Series = dataclasses.field(default_factory=lambda: pd.Series(dtype=float))
    trouble: str = ""


# ---------------------------------------------------------------------------------- the game's clients


def _is_cvxpy(model: Any) -> bool:
    return isinstance(model, ConvexModel) or any(k.__module__.split(".")[0] == "cvxpy" for k in type(model).__mro__)


def _context(subject: Any) -> Context | None:
    if isinstance(subject, Solution):
        return _context(subject._model) if subject._model is not None else _of_table(subject)
    if isinstance(subject, ConvexModel):
        return subject.context
    if not any(kind.__module__.split(".")[0] in ("pyomo", "cvxpy") for kind in type(subject).__mro__):
        raise InputError(
            "explain takes a Pyomo model, a CVXPY problem, a model of bcfl_opt.models or a Solution, not "
            f"{type(subject).__name__}"
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


# ---------------------------------------------------------------------------------- any model


def _of_pyomo(model: BlockData, solution: Solution | None) -> _Findings:
    from bcfl_opt.nlp.conflict import find_conflict
    from bcfl_opt.nlp.nonlinear import solve_program
    from bcfl_opt.nlp.program import program
    from bcfl_opt.nlp.unbounded import direction
    from bcfl_opt.nlp.undefined import undefined_terms

    if solution is not None and solution.status is Status.UNBOUNDED:
        return _Findings(direction=_flat(solution._direction))
    answer = None if solution is None else solution._warm_start
    if answer is not None and answer.failures:
        answer = answer.failures[0]  # the parts that are solved have nothing to explain
        if answer.status is Status.UNBOUNDED:
            return _Findings(direction=_flat(direction(answer.program, answer.x)))
    read = program(model) if answer is None else answer.program
    undefined = tuple(undefined_terms(read, read.start() if answer is None else answer.x))
    conflict = find_conflict(read)
    if solution is not None or undefined or conflict.members:
        return _Findings(undefined=undefined, conflict=conflict)
    context = getattr(model, "bcfl", None)
    answer = solve_program(model, unit=context.unit if isinstance(context, Context) else 1.0)
    if answer.status is Status.UNBOUNDED:
        return _Findings(direction=_flat(direction(answer.program, answer.x)))
    if answer.status is Status.SOLVED:
        return _Findings()
    return _Findings(conflict=conflict, trouble=f"{answer.status.value}: {answer.detail}")


def _of_cvxpy(model: ConvexModel | cp.Problem, solution: Solution | None) -> _Findings:
    from bcfl_opt.conic import solve_convex, solve_elastic
    from bcfl_opt.convex.conflict import find_conflict
    from bcfl_opt.convex.convex_problem import ConvexProblem, restore
    from bcfl_opt.convex.rules import DCP, DNLP, broken_rules
    from bcfl_opt.convex.undefined import undefined_terms

    if solution is not None and solution.status is Status.UNBOUNDED:
        return _Findings(direction=_flat(solution._direction))
    problem = ConvexProblem.of(model)
    # What is not convex can still be solved by IPOPT: that rules are broken explains a refusal, not a failure.
    by_ipopt = solution is not None and solution.solver == "ipopt"
    rules = tuple(broken_rules(problem, DNLP if by_ipopt else DCP))
    undefined = tuple(undefined_terms(problem))
    impossible = problem.impossible()
    if impossible:
        return _Findings(rules, undefined, trouble=f"{impossible} asks for an infinite value")
    conflict = find_conflict(problem, solve_elastic)
    if solution is not None or rules or undefined or conflict.members:
        return _Findings(rules, undefined, conflict)
    saved = problem.saved(duals=True)
    try:
        again = solve_convex(model)
    except BcflOptError as error:
        return _Findings(trouble=str(error))
    finally:
        restore(saved)
    if again.status is Status.UNBOUNDED:
        return _Findings(direction=_flat(again._direction))
    return _Findings() if again.succeeded else _Findings(conflict=conflict, trouble=again.message)


def _flat(direction: Mapping[str, Any]) -> pd.Series:
    """Entries of a direction by "x[index]", the largest first, without what moves a thousand times less."""
    parts: dict[str, float] = {}
    for name, values in direction.items():
        if isinstance(values, pd.Series):
            parts |= {f"{name}[{index}]": float(value) for index, value in values.items()}
        elif np.ndim(values):
            for place in np.ndindex(np.shape(values)):
                parts[f"{name}[{', '.join(map(str, place))}]"] = float(values[place])
        else:
            parts[name] = float(values)
    series = pd.Series({name: part for name, part in parts.items() if abs(part) > 1e-3}, dtype=float)
    return series.sort_values(key=abs, ascending=False, kind="stable")


def _told(conflict: Conflict, trouble: str) -> Iterator[str]:
    """A conflict in words."""
    if not conflict.decided:
        yield "whether the constraints can hold together could not be decided from the model's present point"

    def called(name: str) -> str:
        text = conflict.texts.get(name)
        return f"{name} ({text})" if text else name

    if len(conflict.members) > SHOWN:
        yield f"these {len(conflict.members)} cannot hold together: {', '.join(map(_counted, _families(conflict.members)))}"
    elif conflict.members:
        yield f"these cannot hold together: {', '.join(map(called, conflict.members))}"
    if not conflict.irreducible:
        yield "whether each of them is needed for that could not be told everywhere"
    if len(conflict.alone) > SHOWN:
        for family in _families(conflict.alone):
            amounts = [conflict.alone[name] for name in family]
            yield f"if the others stand, {_counted(family)} has to give way {_span(amounts)}"
    else:
        for name, amount in conflict.alone.items():
            if math.isfinite(amount):
                yield f"if the others stand, {name} has to give way by {amount:.6g}"
            else:
                yield f"if the others stand, {name} can give way as much as it likes and there is still no room"
    if conflict.relaxation and list(conflict.relaxation) != list(conflict.alone)[:1]:
        if len(conflict.relaxation) > SHOWN:
            parts = [
                f"{_counted(family)} {_span([conflict.relaxation[name] for name in family])}"
                for family in _families(conflict.relaxation)
            ]
        else:
            parts = [f"{name} by {amount:.6g}" for name, amount in conflict.relaxation.items()]
        yield f"the whole model has room for a point if these give way: {', '.join(parts)}"
    if trouble:
        yield trouble


def _families(names: Iterable[str]) -> list[list[str]]:
    """Names that differ in their index alone, together: "deadline[a]" and "deadline[b]", "x[1].upper" and "x[2].upper"."""
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(re.sub(r"\[.*\]", "", name), []).append(name)
    return list(found.values())


def _counted(family: list[str]) -> str:
    name = re.sub(r"\[.*\]", "", family[0])
    return family[0] if len(family) == 1 else f"{name} ({len(family)} of them, such as {family[0]})"


def _span(amounts: list[float]) -> str:
    if not all(map(math.isfinite, amounts)):
        return "by more than there is"
    low, high = min(amounts), max(amounts)
    return f"by {high:.6g}" if f"{low:.6g}" == f"{high:.6g}" else f"by {low:.6g} to {high:.6g}"


def _of_clients(reasons: pd.Series) -> Iterator[str]:
    """A sentence a client; of many clients the first, and how many others there are with such a reason."""
    alike: dict[str, list[Any]] = {}
    for client, reason in reasons.items():
        # What a reason says before its first number is what it has in common with others.
        alike.setdefault(re.split(r"[:,;(\d]", reason, maxsplit=1)[0].strip(), []).append(client)
    for kind, clients in alike.items():
        few = clients if len(reasons) <= SHOWN else clients[:1]
        yield from (f"client {client!r} {reasons.loc[client]}" for client in few)
        if len(clients) > len(few):
            more = len(clients) - len(few)
            yield f"and {more} more client{'s' if more > 1 else ''}: {kind}; explanation.clients has them all"


def _runs_away(direction: pd.Series) -> Iterator[str]:
    if len(direction):
        parts = [f"{name} {part:+.4g}" for name, part in direction.head(SHOWN).items()]
        more = f" and {len(direction) - SHOWN} more" if len(direction) > SHOWN else ""
        yield (
            f"the objective improves without limit in this direction: {', '.join(parts)}{more}; bound these variables, or "
            "look for a sign that is wrong or a constraint that is missing"
        )
