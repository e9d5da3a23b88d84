"""What would the leader reach if it also decided for the followers?

Dropping the followers' optimality leaves an ordinary programme (the high-point relaxation). Where it is convex its optimum
bounds every bilevel answer, and where the followers, asked again, would do just that, it is one: theory 5.3 is that case.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TextIO

import pyomo.environ as pyo
from pyomo.common.modeling import unique_component_name
from pyomo.core.base.block import BlockData

from bcfl_opt.nlp.nonlinear import Answer, solve_program
from bcfl_opt.reformulations.continuation import Clock
from bcfl_opt.reformulations.followers import Follower


@contextlib.contextmanager
def inactive(components: Sequence[Any]) -> Iterator[None]:
    """These components deactivated, for a while."""
    at_work = [component for component in components if component.active]
    for component in at_work:
        component.deactivate()
    try:
        yield
    finally:
        for component in at_work:
            component.activate()


@contextlib.contextmanager
def active(components: Sequence[Any]) -> Iterator[None]:
    """These components activated, for a while."""
    idle = [component for component in components if not component.active]
    for component in idle:
        component.activate()
    try:
        yield
    finally:
        for component in idle:
            component.deactivate()


@contextlib.contextmanager
def temporary(leader: BlockData, name: str) -> Iterator[BlockData]:
    """A Block in the model, for a while."""
    block = pyo.Block(concrete=True)
    name = unique_component_name(leader, name)
    leader.add_component(name, block)
    try:
        yield block
    finally:
        leader.del_component(name)


def solve_single_level(
    leader: BlockData,
    followers: Sequence[Follower],
    *,
    unit: float,
    options: Mapping[str, Any],
    clock: Clock,
    streams: Sequence[TextIO] = (),
) -> Answer:
    """The leader's programme without the followers' optimality, from the present values."""
    with inactive([follower.objective for follower in followers]):
        return solve_program(leader, options=options, unit=unit, time_limit=clock.left, streams=streams)
