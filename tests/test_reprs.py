"""What results say of themselves: at most eighty columns, no escape codes, and the same in a notebook as preformatted text."""

from __future__ import annotations

import functools
import re

import pandas as pd
import pyomo.environ as pyo
import pytest

import bcfl_opt as bo
from bcfl_opt.layout import laid_out
from bcfl_opt.models import problem1_cvxpy, problem1_pyomo, problem2_pyomo


@functools.cache
def results() -> dict[str, object]:
    frame = pd.DataFrame(
        {"client": ["a client with a name", "middling", "heavy"], "mu": [7.0, 10.0, 13.0], "rho": 0.01}
    )
    game = bo.Game(bo.Population(frame), mining_cycles=5.0, deadline=15.0)
    sample = bo.Game(bo.Population.sample(), deadline=15.0)
    prices = sample.prices(0.05, 0.05)
    model = problem1_pyomo.build(sample, prices)
    model.late = pyo.Constraint(model.clients, rule=lambda m, i: m.training_time[i] >= sample.deadline)
    failed = bo.solve(model)
    bilevel = bo.solve(problem2_pyomo.build(game), method="bilevel")
    return {
        "game": sample,
        "population": sample.population,
        "exact": bo.equilibrium(sample),
        "convex model": problem1_cvxpy.build(sample, prices),
        "clarabel": bo.solve(problem1_cvxpy.build(sample, prices)),
        "failed": failed,
        "explanation": bo.explain(failed),
        "audit": bo.audit(game),
        "menu": bo.design_menu(game, types=2),
        "cross-check": bo.cross_check(game),
        "bilevel": bilevel,
        "record": bilevel.bilevel,
        "certificate": bilevel.certificate,
    }


NAMES = (
    *(
        "game",
        "population",
        "exact",
        "convex model",
        "clarabel",
        "failed",
        "explanation",
        "audit",
        "menu",
        "cross-check",
    ),
    *("bilevel", "record", "certificate"),
)


@pytest.mark.parametrize("name", NAMES)
def test_what_a_result_says_fits_eighty_columns(name: str) -> None:
    text = repr(results()[name])
    assert max(map(len, text.splitlines())) <= 80
    assert "\x1b" not in text and text == text.rstrip()


@pytest.mark.parametrize(
    "name", ["game", "population", "exact", "failed", "audit", "menu", "cross-check", "explanation"]
)
def test_notebooks_get_a_table_or_text_of_html(name: str) -> None:
    html = results()[name]._repr_html_()  # type: ignore[attr-defined]
    assert re.search(r"<(table|pre|p)\b", html) and "\x1b" not in html


def test_nothing_is_lost_between_lines() -> None:
    words = "  objective    " + " ".join(f"word{k}" for k in range(60))
    told = laid_out(["a title", words])
    assert told.split() == ["a", "title", *words.split()]
    lines = told.splitlines()
    assert all(line.startswith(" " * 15) for line in lines[2:]) and len(lines) > 5
    assert max(map(len, laid_out(["x" * 200]).splitlines())) <= 80  # an id as long as that is cut, not left to run over
