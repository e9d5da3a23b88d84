"""Which Blocks are followers, what do they decide, and can they be followers at all?"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from pyomo.core.base.block import Block, BlockData
from pyomo.core.base.constraint import ConstraintData
from pyomo.core.base.objective import Objective, ObjectiveData
from pyomo.core.base.var import Var, VarData

from bcfl_opt.errors import InputError, ModelError, listing
from bcfl_opt.nlp.program import Program, program

#: Operators of a shape without a derivative somewhere (see :mod:`bcfl_opt.nlp.shapes`), in the user's words.
_KINKS = {"abs": "abs", "min": "min", "max": "max", "if<=": "Expr_if", "if<": "Expr_if", "if==": "Expr_if"}


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Follower:
    """One follower: min sense x objective over its decisions, subject to its constraints, given its parameters.

    decisions : unfixed variables declared in the Block. parameters : the other unfixed variables of its problem, the
    leader's. constraints : active, in the programme's order. program : its problem, columns for both kinds of variables.
    """

    name: str
    block: BlockData
    objective: ObjectiveData
    sense: int
    decisions: tuple[VarData, ...]
    parameters: tuple[VarData, ...]
    constraints: tuple[ConstraintData, ...]
    program: Program


def find_followers(leader: BlockData, chosen: Any) -> list[Follower]:
    """The followers of a leader's model, checked.

    chosen : a Block, an indexed Block, a list of these, the name they have in the leader's model, or None for every Block
        of the leader's model with an active objective of its own.

    Raises
    ------
    InputError : what was chosen is no Block of the leader's model.
    ModelError : a follower without an objective or with several, without a decision of its own, with integer variables
        or expressions that have no derivative everywhere, which shares a decision with the leader or depends on
        another follower; by name.
    """
    blocks = _blocks(leader, chosen)
    _refuse_overlap(leader, blocks)
    followers = [_follower(block) for block in blocks]
    _refuse_dependence(followers)
    return followers


# ---------------------------------------------------------------------------------- which Blocks


def _blocks(leader: BlockData, chosen: Any) -> list[BlockData]:
    if chosen is None:
        found = list(with_objectives(leader))
        if not found:
            raise ModelError(
                f"model {leader.name} has no follower: no Block of it has an active objective of its own; declare each "
                "follower's variables, constraints and objective in a Block"
            )
        return found
    if isinstance(chosen, str):
        component = leader.find_component(chosen)
        if component is None:
            raise InputError(f"follower={chosen!r}: model {leader.name} has no component of that name")
        chosen = component
    items = list(chosen) if isinstance(chosen, list | tuple) else [chosen]
    result: list[BlockData] = []
    for item in items:
        kind = getattr(item, "ctype", None)
        if kind is not Block:
            raise InputError(f"a follower is a Pyomo Block (or several, or the name of one), not {item!r}")
        members = list(item.values()) if item.is_indexed() else [item]
        for member in members:
            if not member.active:
                if item.is_indexed():
                    continue
                raise ModelError(f"follower {member.name} is deactivated; activate it, or leave it out")
            if not _inside(member, leader) or member is leader:
                raise InputError(
                    f"follower {member.name} is not a Block of the leader's model {leader.name}; add it to the model, "
                    "so that its expressions can hold the leader's variables"
                )
            result.append(member)
    if not result:
        raise ModelError("there is no active Block among the followers")
    return result


def with_objectives(block: BlockData) -> Iterator[BlockData]:
    """The outermost active Blocks that have an active objective somewhere inside."""
    for child in block.component_data_objects(Block, active=True, descend_into=False):
        if any(True for _ in child.component_data_objects(Objective, active=True, descend_into=True)):
            yield child


def _inside(component: Any, block: BlockData) -> bool:
    """Is it a part of this Block, at any depth (or the Block itself)?"""
    while component is not None:
        if component is block:
            return True
        component = component.parent_block()
    return False


def _refuse_overlap(leader: BlockData, blocks: Sequence[BlockData]) -> None:
    for k, block in enumerate(blocks):
        for other in blocks[:k]:
            if other is block:
                raise InputError(f"follower {block.name} is given twice")
            for inner, outer in ((block, other), (other, block)):
                if _inside(inner, outer):
                    raise ModelError(
                        f"follower {inner.name} lies inside follower {outer.name}; followers stand side by side"
                    )


# ---------------------------------------------------------------------------------- one follower


def _follower(block: BlockData) -> Follower:
    name = block.name
    objectives = list(block.component_data_objects(Objective, active=True, descend_into=True))
    if not objectives:
        raise ModelError(f"follower {name} has no active objective; without one it has nothing to optimise")
    if len(objectives) > 1:
        names = ", ".join(objective.name for objective in objectives)
        raise ModelError(f"follower {name} has {len(objectives)} active objectives ({names}); deactivate all but one")
    for component in block.component_objects(Var, active=True, descend_into=True):
        for variable in component.values():
            if not _inside(variable, block):
                raise ModelError(
                    f"follower {name} shares a decision with the leader: {component.name} refers to {variable.name}, which is "
                    "declared outside; a variable belongs to the Block it is declared in"
                )
    try:
        read = program(block)
    except ModelError as error:
        raise ModelError(f"follower {name}: {error}") from error
    _refuse_kinks(name, read)
    items = {id(item): item for item in block.component_data_objects(Var, active=True, descend_into=True)}
    declared = tuple(variable for variable in items.values() if not variable.fixed)  # a Reference names some twice
    for variable in declared:
        if not variable.is_continuous():
            raise ModelError(
                f"follower {name}: variable {variable.name} is {variable.domain.name}; a follower's decisions must be "
                "continuous, because its optimality is told by derivatives"
            )
    own = {id(variable) for variable in declared}
    used = {id(variable) for variable in read.variables}
    if not own & used:
        raise ModelError(
            f"follower {name} decides nothing: its objective and constraints hold no unfixed variable declared in the Block"
            f"{_only_outside(read)}"
        )
    parameters = tuple(variable for variable in read.variables if id(variable) not in own)
    constraints = tuple(read.constraints)
    return Follower(name, block, objectives[0], read.sense, declared, parameters, constraints, read)


def _only_outside(read: Program) -> str:
    names = [variable.name for variable in read.variables]
    return f" ({listing(names)} belong to the leader)" if names else ""


def _refuse_kinks(name: str, read: Program) -> None:
    for family in read.functions.families:
        kinks = sorted({_KINKS[operator] for operator in _operators(family.shape) if operator in _KINKS})
        if kinks:
            row = int(family.rows[0])
            place = read.constraints[row].name if row >= 0 else getattr(read.objective, "name", "")
            raise ModelError(
                f"follower {name} is not smooth: {place} uses {kinks[0]}, which has no derivative everywhere; write it with "
                "smooth expressions and further variables or constraints"
            )


def _operators(shape: Any) -> Iterator[str]:
    stack = [shape]
    while stack:
        node = stack.pop()
        if isinstance(node, tuple) and node[0] not in ("v", "p"):
            yield node[0]
            stack.extend(node[1:])


def _refuse_dependence(followers: Sequence[Follower]) -> None:
    owner = {id(variable): follower for follower in followers for variable in follower.decisions}
    for follower in followers:
        for variable in follower.parameters:
            other = owner.get(id(variable))
            if other is not None:
                raise ModelError(
                    f"follower {follower.name} depends on {variable.name}, a decision of follower {other.name}: followers that "
                    "play against one another have an equilibrium of their own, which is not solved here"
                )
