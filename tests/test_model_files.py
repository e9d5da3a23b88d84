"""Models as files: NL that another reader understands as Pyomo does, LaTeX that says what the model is now."""

from __future__ import annotations

import importlib
import pkgutil
import re
from pathlib import Path
from typing import Any

import casadi
import cvxpy as cp
import numpy as np
import pyomo.environ as pyo
import pytest

import bcfl_opt as bo
import bcfl_opt.models
from bcfl_opt import model_files
from bcfl_opt.models import problem1_cvxpy, problem1_pyomo, problem2_pyomo, problem3_pyomo, stackelberg_pyomo


def game() -> bo.Game:
    return bo.Game(bo.Population.random(3, seed=1))


def models() -> dict[str, Any]:
    g = game()
    prices = g.prices(0.05, 0.06)
    return {
        "Problem 1 in times": problem1_pyomo.build(g, prices),
        "Problem 1 in speeds": problem1_pyomo.build(g, prices, form="speed"),
        "Problem 2": problem2_pyomo.build(g),
        "Problem 2, theorem's response": problem2_pyomo.build(g, response="theorem", budgets="exhausted"),
        "Problem 3": problem3_pyomo.build(g),
    }


def changed(model: Any) -> Any:
    """A constraint less, a constraint more, a variable more, another objective."""
    model.deadline.deactivate()
    model.bonus = pyo.Var(bounds=(-1.5, 2), initialize=0.25)
    model.bonus_cap = pyo.Constraint(expr=model.bonus * sum(model.training_time[i] for i in model.clients) <= 7.25)
    model.utility.deactivate()
    model.fairness = pyo.Objective(expr=sum(pyo.log(model.training_time[i]) for i in model.clients) - model.bonus**2)
    model.fairness.sense = pyo.maximize
    return model


# ---------------------------------------------------------------------- NL


@pytest.mark.parametrize("change", [lambda model: model, changed], ids=["as built", "changed"])
@pytest.mark.parametrize("name", list(models()))
def test_another_reader_understands_the_nl_file_as_pyomo_does(name: str, change: Any, tmp_path: Path) -> None:
    """CasADi reads it; objective, rows and limits are compared with Pyomo's own at a random point."""
    model = change(models()[name])
    bo.write_model(model, tmp_path / "model.nl")
    columns, rows = ((tmp_path / f"model.{ending}").read_text().splitlines() for ending in ("col", "row"))
    builder = casadi.NlpBuilder()
    builder.import_nl(str(tmp_path / "model.nl"))
    assert len(builder.x) == len(columns) and len(builder.g) + 1 == len(rows)

    rng = np.random.default_rng(3)
    variables = [model.find_component(column) for column in columns]
    for variable in variables:
        variable.set_value(float(rng.uniform(1.0, 6.0)), skip_validation=True)
    point = casadi.DM([pyo.value(variable) for variable in variables])
    evaluate = casadi.Function("evaluate", [casadi.vertcat(*builder.x)], [builder.f, casadi.vertcat(*builder.g)])
    objective, bodies = evaluate(point)
    active = next(model.component_data_objects(pyo.Objective, active=True))
    assert rows[-1] == active.name
    assert float(objective) == pytest.approx(active.sense * pyo.value(active), rel=1e-13)
    for k, row in enumerate(rows[:-1]):
        constraint = model.find_component(row)
        assert constraint.active
        low, body, high = constraint.to_bounded_expression(evaluate_bounds=True)
        low, high = (np.array([-np.inf if low is None else low, np.inf if high is None else high])).tolist()
        # The writer may move a constant from the body to the limits.
        moved = pyo.value(body) - float(bodies[k])
        assert (builder.g_lb[k] + moved, builder.g_ub[k] + moved) == pytest.approx((low, high), rel=1e-12, abs=1e-12)
    assert sorted(rows[:-1]) == sorted(c.name for c in model.component_data_objects(pyo.Constraint, active=True))
    for k, variable in enumerate(variables):
        limits = (-np.inf if variable.lb is None else variable.lb, np.inf if variable.ub is None else variable.ub)
        assert (builder.x_lb[k], builder.x_ub[k]) == limits


def test_nothing_is_presolved_or_scaled_away(tmp_path: Path) -> None:
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var(), pyo.Var()
    m.link = pyo.Constraint(expr=m.x == 2 * m.y)
    m.cost = pyo.Objective(expr=m.x**2 + (m.y - 1) ** 2)
    m.scaling_factor = pyo.Suffix(direction=pyo.Suffix.EXPORT)
    m.scaling_factor[m.x] = 1e3
    bo.write_model(m, tmp_path / "m.nl")
    assert (tmp_path / "m.col").read_text().split() == ["x", "y"]
    segments = (tmp_path / "m.nl").read_text().splitlines()[10:]  # after the header, which explains itself
    assert segments and not any("#" in line for line in segments)


# ---------------------------------------------------------------------- LaTeX


def formulas(path: Path) -> dict[str, str]:
    """Component name -> formula."""
    body = re.search(r"\\begin{align\*}\n(.*)\n\\end{align\*}", path.read_text(encoding="utf-8"), re.DOTALL)
    assert body is not None
    rows = body.group(1).replace("\\\\\n & \\quad ", "").split(" \\\\\n")
    found = {}
    for row in rows:
        _, formula, _, name = re.split(r"(?<!\\)&", row)
        found.setdefault(re.sub(r"\\text{\\texttt{(.*)}}", r"\1", name.strip()).replace("\\_", "_"), formula.strip())
    return found


@pytest.mark.parametrize(
    ("write", "expected"),
    [
        (lambda x, y: x * (-y), r"- \mathit{x}\,\mathit{y}"),
        (lambda x, y: (x**2) ** 3, r"\mathit{x}^{6}"),
        (lambda x, y: (-3) ** x, r"\left(-3\right)^{\mathit{x}}"),
        (lambda x, y: (-x) ** 3, r"- \mathit{x}^{3}"),
        (lambda x, y: -((x + y) ** 2), r"- \left(\mathit{x} + \mathit{y}\right)^{2}"),
        (lambda x, y: x / (y / 3), r"\frac{3\,\mathit{x}}{\mathit{y}}"),
        (lambda x, y: 1e-7 * x, r"1.0 \cdot 10^{-7}\,\mathit{x}"),
        (lambda x, y: pyo.asin(x), r"\operatorname{asin}{\left(\mathit{x} \right)}"),
        (lambda x, y: x * y / 3, r"\frac{\mathit{x}\,\mathit{y}}{3}"),
        (lambda x, y: 15.0 * x + y * (1 / 3), r"15\,\mathit{x} + 0.333333\,\mathit{y}"),
    ],
)
def test_signs_and_powers_read_as_they_are_meant(write: Any, expected: str, tmp_path: Path) -> None:
    """Pyomo's own printer gives "x -y" for the first and a double superscript for the second."""
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var(), pyo.Var()
    m.cost = pyo.Objective(expr=write(m.x, m.y))
    bo.write_model(m, tmp_path / "m.tex")
    assert formulas(tmp_path / "m.tex")["cost"] == expected


def test_a_leader_s_programme_comes_before_its_followers(tmp_path: Path) -> None:
    """Four objectives in one list would read as one problem with four of them."""
    m = stackelberg_pyomo.build(game())
    ids = list(m.clients)
    m.client[ids[0]].nap = pyo.Constraint(expr=m.client[ids[0]].mining_time >= 4)
    m.treat = pyo.Constraint(expr=m.training_price[ids[0]] >= 0.02)
    text = bo.show_model(m).latex
    own, *followers = text.split(r"\text{where the follower }")
    assert own.count(r"\max\quad") == 1 and len(followers) == len(ids)
    assert r"\texttt{treat}" in own and "nap" not in own and "deadline" not in own and r"training\_budget" in own
    for name, follower in zip(ids, followers, strict=True):
        assert f"client[{name}]}}}}\\text{{ solves}}" in follower and follower.count(r"\max\quad") == 1
        assert f"client[{name}].deadline" in follower.replace("\\_", "_")
    assert f"client[{ids[0]}].nap" in followers[0] and "nap" not in followers[1]
    bo.write_model(m, tmp_path / "m.tex")
    assert text in (tmp_path / "m.tex").read_text(encoding="utf-8")


def test_every_model_of_the_package_can_be_shown_with_its_changes() -> None:
    g = game()
    arguments: dict[str, tuple[Any, ...]] = {
        "problem1_pyomo": (g.prices(0.05, 0.06),),
        "variant_energy_exponent": (2.5,),
        "variant_fair_utilities": (30.0,),
        "variant_participation_bonus": (0.01,),
        "variant_shared_budget": (30.0,),
    }
    shown = 0
    for info in pkgutil.iter_modules(bcfl_opt.models.__path__):
        if info.name.startswith("_") or info.name.endswith("_cvxpy") or info.name == "screening_pyomo":
            continue
        m = importlib.import_module(f"bcfl_opt.models.{info.name}").build(g, *arguments.get(info.name, ()))
        m.added = pyo.Constraint(m.clients, rule=lambda m, i: m.training_time[i] <= 14)
        text = bo.show_model(m)
        assert text.latex.count(r"\texttt{added[") == len(m.clients), info.name
        assert text.latex.count("{") == text.latex.count("}"), info.name
        math = text._repr_latex_()
        assert (
            math.startswith("$$") and r"\text{\texttt" not in math and r"\_" not in re.sub(r"\\mathit{.*?}", "", math)
        )
        shown += 1
    assert shown >= 13


@pytest.mark.parametrize("name", list(models()))
def test_latex_says_what_the_model_is_now(name: str, tmp_path: Path) -> None:
    model = models()[name]
    bo.write_model(model, tmp_path / "before.tex")
    before = formulas(tmp_path / "before.tex")
    assert any(row.startswith("deadline[") for row in before) and "utility" in before
    bo.write_model(changed(model), tmp_path / "after.tex")
    after = formulas(tmp_path / "after.tex")
    assert not any(row.startswith("deadline[") for row in after) and "utility" not in after
    assert after["bonus"] == r"-1.5 \le \mathit{bonus} \le 2" and r"\le 7.25" in after["bonus_cap"]
    assert r"\log{\left(" in after["fairness"]
    constraints = {c.name for c in model.component_data_objects(pyo.Constraint, active=True)}
    assert constraints <= set(after)
    text = (tmp_path / "after.tex").read_text(encoding="utf-8")
    assert text.count("{") == text.count("}") and r"\max\quad" in text and "**" not in text


def test_names_that_latex_would_obey(tmp_path: Path) -> None:
    m = pyo.ConcreteModel()
    m.clients = pyo.Set(initialize=["50%_x", r"\input{/etc/passwd}", "a^b~c#$&{}"])
    m.t = pyo.Var(m.clients, bounds=(0, None))
    m.cost = pyo.Objective(expr=sum(m.t[i] for i in m.clients))
    m.fixed = pyo.Var(initialize=2.5)
    m.fixed.fix()
    bo.write_model(m, tmp_path / "50%_off.tex")
    text = (tmp_path / "50%_off.tex").read_text(encoding="utf-8")
    assert r"50\%\_x" in text and r"\input{" not in text and r"\textbackslash{}input" in text
    assert r"\textasciicircum{}" in text and r"\section*{50\%\_off: unknown}" in text
    assert r"\mathit{fixed} = 2.5" in text


# ---------------------------------------------------------------------- refusals


def test_what_cannot_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    g = game()
    model = problem1_pyomo.build(g, g.prices(0.05, 0.05))
    convex = problem1_cvxpy.build(g, g.prices(0.05, 0.05))
    for wrong in (convex, convex.problem()):
        for name in ("m.nl", "m.tex"):
            with pytest.raises(
                bo.InputError, match="CVXPY models cannot be written as NL or LaTeX: no library does that"
            ):
                bo.write_model(wrong, tmp_path / name)  # type: ignore[arg-type]
    with pytest.raises(bo.InputError, match="write_model takes a Pyomo model, not 3"):
        bo.write_model(3, tmp_path / "m.nl")
    with pytest.raises(bo.InputError, match=r"unknown ending of a model's file '.lp'"):
        bo.write_model(model, tmp_path / "m.lp")
    monkeypatch.setattr(model_files, "READABLE", 5)
    with pytest.raises(bo.InputError, match="LaTeX is for people, who read at most 5"):
        bo.write_model(model, tmp_path / "m.tex")
    assert list(tmp_path.iterdir()) == []
    bo.write_model(model, tmp_path / "m.nl")
    (tmp_path / "m.nl").unlink()
    with pytest.raises(bo.InputError, match=r"m\.row: exists already"):
        bo.write_model(model, tmp_path / "m.nl")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.col", "m.row"], "all three files, or none"
    bo.write_model(model, tmp_path / "m.nl", overwrite=True)


def test_a_component_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    m = pyo.ConcreteModel("odd")
    m.x = pyo.Var(bounds=(0, 1))
    m.outside = pyo.ExternalFunction(lambda x: x)
    m.choice = pyo.Constraint(expr=pyo.Expr_if(m.x >= 0.5, m.x, 2 * m.x) <= 1)
    m.foreign = pyo.Constraint(expr=m.outside(m.x) <= 1)
    m.cost = pyo.Objective(expr=m.x)
    with pytest.raises(bo.ModelError, match=r"(choice|foreign) cannot be written as LaTeX"):
        bo.write_model(m, tmp_path / "m.tex")
    m.either = pyo.BooleanVar()
    m.logic = pyo.LogicalConstraint(expr=m.either.implies(m.either))
    with pytest.raises(bo.ModelError, match=r"Pyomo cannot write odd as NL: .*LogicalConstraint"):
        bo.write_model(m, tmp_path / "m.nl")
    assert list(tmp_path.iterdir()) == []


def test_cvxpy_problems_stay_what_they_are() -> None:
    assert type(cp.Problem(cp.Minimize(cp.Variable()))).__module__.startswith("cvxpy")
