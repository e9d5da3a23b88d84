"""A few problems of a published collection, and that its measure can tell an answer from none.

``python tests/bilevel_collection.py`` runs them all.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from bilevel_collection import CONFIRMED, NOT_CONVEX, SHARE, outcome, problems

QUICK = (
    "Bard1984a",  # linear
    "CandlerTownsley1982",
    "Bard1988Ex1",  # convex quadratic follower
    "Bard1988Ex3",
    "FalkLiu1995",
    "Outrata1990Ex1a",  # no bounds on the leader
    "SahinCiric1998Ex2",
    "ShimizuAiyoshi1981Ex2",
    "Yezza1996Ex41",
    "FloudasZlobec1998",
)
#: Followers with several local optima.
DECEPTIVE = ("MitsosBarton2006Ex310", "MitsosBarton2006Ex311", "MitsosBarton2006Ex317", "MitsosBarton2006Ex34")


@pytest.mark.parametrize("name", QUICK)
def test_solved_as_well_as_published(name: str) -> None:
    found = outcome(problems()[name], starts=4)
    assert found.verdict in ("hit", "better"), str(found)


@pytest.mark.parametrize("name", DECEPTIVE)
def test_a_kkt_point_that_is_not_the_followers_optimum_is_never_called_an_answer(name: str) -> None:
    found = outcome(problems(NOT_CONVEX)[name], starts=2)
    assert found.verdict != "WRONG", str(found)
    if found.verdict == "failed":
        assert found.solution.message


def test_the_whole_collection_is_there() -> None:
    """105 with convex followers, of which none may be left out of the share because it is hard."""
    every = problems()
    assert len(every) == 105 and len(problems(NOT_CONVEX)) == 28
    assert pytest.approx(0.85) == SHARE
    for problem in every.values():
        x, y = (np.array(values, dtype=float) for values in problem.start)
        assert np.isfinite(problem.published)
        rows = [*problem.leader_rows, *problem.follower_rows]
        assert problem.at([problem.leader, problem.follower, *rows], x, y).shape == (2 + len(rows),)


def test_a_problem_reads_as_it_is_written() -> None:
    """Bard1988Ex1 by hand: at x = 1, y = 0 the leader has 16 + 1 = 17, and the follower min (y - 1)^2 - 1.5 x y on [0, 0]."""
    problem = problems()["Bard1988Ex1"]
    x, y = np.array([1.0]), np.array([0.0])
    assert problem.at([problem.leader], x, y)[0] == pytest.approx(17.0)
    assert problem.shortfall(x, y) == 0.0
    assert abs(problem.better(x, y)) <= CONFIRMED
    # At x = 2 the rows leave y in [0, 3], where (y - 1)^2 - 3 y is least at y = 2.5 with -5.25; y = 0 has 1.
    assert problem.better(np.array([2.0]), y) == pytest.approx(6.25, rel=1e-6)
    assert problem.shortfall(np.array([0.0]), y) == pytest.approx(3.0)  # 3 x - y - 3


def test_the_measure_does_not_take_any_point_for_an_answer() -> None:
    """A published value out of reach is "worse", one that is beaten "better"; a wrong follower makes the answer WRONG."""
    problem = problems()["Bard1988Ex1"]
    assert outcome(dataclasses.replace(problem, published=16.0), starts=1).verdict == "worse"
    assert outcome(dataclasses.replace(problem, published=18.0), starts=1).verdict == "better"
    assert outcome(dataclasses.replace(problem, published=17.01), starts=1).verdict == "hit"

    # A leader who wants x = 2, y = 0, and whose model has a follower that agrees; the true one would choose y = 2.5.
    wanted = dataclasses.replace(problem, leader="(x - 2)**2 + y**2")

    class Misled(type(problem)):  # type: ignore[misc]
        def model(self):  # type: ignore[no-untyped-def]
            return dataclasses.replace(wanted, follower="y").model()

    found = outcome(
        Misled(**{field.name: getattr(wanted, field.name) for field in dataclasses.fields(wanted)}), starts=1
    )
    assert found.verdict == "WRONG" and "the follower could have" in found.note
