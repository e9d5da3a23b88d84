"""Several starting points: the best local optimum counts, part by part, and what each start led to is told."""

from __future__ import annotations

import random

import cvxpy as cp
import numpy as np
import pandas as pd
import pyomo.environ as pyo
import pytest

import bcfl_opt as bo
from bcfl_opt.models import problem1_pyomo, stackelberg_pyomo
from bcfl_opt.nlp.multistart import SAMPLES, draws, promising
from bcfl_opt.nlp.program import program


@pytest.fixture(scope="module")
def game() -> bo.Game:
    frame = pd.DataFrame({"mu": [8.0, 12, 9], "rho": [0.01, 0.02, 0.005], "q": [np.inf, 1.0, 2]})
    return bo.Game(frame, mining_cycles=6.0, deadline=20.0)


def camel(x: object, y: object) -> object:
    """The six-hump camel: six local minima, of three values."""
    return (4 - 2.1 * x**2 + x**4 / 3) * x**2 + x * y + (-4 + 4 * y**2) * y**2  # type: ignore[operator]


def six_humps() -> pyo.ConcreteModel:
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(-3, 3), initialize=1.6)
    m.y = pyo.Var(bounds=(-2, 2), initialize=-0.6)
    m.value = pyo.Objective(expr=camel(m.x, m.y))
    return m


def wells(count: int) -> pyo.ConcreteModel:
    """min sum_i (x_i^2 - 1)^2 + 0.3 x_i, from the worse well of each."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(count), initialize=1.0)
    m.value = pyo.Objective(expr=sum((m.x[i] ** 2 - 1) ** 2 + 0.3 * m.x[i] for i in m.x))
    return m


def test_the_best_of_several_starts_is_the_global_optimum_of_a_grid() -> None:
    x, y = np.meshgrid(np.linspace(-3, 3, 2001), np.linspace(-2, 2, 2001))
    lowest = float(np.min(camel(x, y)))
    m = six_humps()
    local = bo.solve(m).objective
    assert local > lowest + 0.5

    m = six_humps()
    solution = bo.solve(m, starts=8)
    assert solution.succeeded and solution.quality is bo.Quality.LOCAL  # a best of eight is no proof
    assert lowest - 1e-4 < solution.objective <= lowest
    assert pyo.value(m.value) == solution.objective
    told = solution.provenance["starts"]
    assert [one["start"] for one in told] == list(range(8))
    assert told[0]["objective"] == pytest.approx(local, abs=1e-9)
    assert min(one["objective"] for one in told) == pytest.approx(solution.objective, abs=1e-12)


def test_pyomos_own_multistart_runs_on_our_solver() -> None:
    """Pyomo draws its starts from the generator of the standard library; one set of five in twenty misses the best humps."""
    random.seed(0)
    m = six_humps()
    pyo.SolverFactory("multistart").solve(m, solver="bcfl_ipopt", iterations=5)
    assert pyo.value(m.value) == pytest.approx(bo.solve(six_humps(), starts=8).objective, abs=1e-8)


def test_maximising_takes_the_greatest() -> None:
    m = six_humps()
    m.value.deactivate()
    m.negative = pyo.Objective(expr=-camel(m.x, m.y), sense=pyo.maximize)
    assert bo.solve(m, starts=8).objective == pytest.approx(-bo.solve(six_humps(), starts=8).objective, abs=1e-9)


def test_independent_parts_choose_apart() -> None:
    """Ten wells have 1024 local optima; sixteen starts of all at once would hardly meet the best."""
    grid = np.linspace(-1.2, -0.9, 300_001)
    lowest = float(np.min((grid**2 - 1) ** 2 + 0.3 * grid))
    solution = bo.solve(wells(10), starts=16)
    assert solution.objective == pytest.approx(10 * lowest, abs=1e-8)
    assert min(one["objective"] for one in solution.provenance["starts"]) > 10 * lowest + 0.5
    assert solution.certificate is not None and solution.certificate.holds()
    assert (solution.variables["x"] < -0.9).all()


def test_the_same_seed_is_the_same_answer_bit_by_bit() -> None:
    first, second, other = (bo.solve(wells(3), starts=4, seed=seed) for seed in (5, 5, 6))
    assert first.provenance["starts"] == second.provenance["starts"]
    assert first.variables["x"].equals(second.variables["x"])
    assert [one["objective"] for one in other.provenance["starts"]] != [
        one["objective"] for one in first.provenance["starts"]
    ]


def test_a_proven_optimum_needs_no_other_start(game: bo.Game) -> None:
    solution = bo.solve(problem1_pyomo.build(game, game.prices(training=2.0, mining=2.0)), starts=8)
    assert solution.quality is bo.Quality.GLOBAL and len(solution.provenance["starts"]) == 1


def test_one_start_tells_nothing_of_starts() -> None:
    assert "starts" not in bo.solve(six_humps()).provenance


def test_a_model_without_a_point_says_so_after_all_starts() -> None:
    m = pyo.ConcreteModel()
    m.x = pyo.Var(initialize=2.0)
    m.never = pyo.Constraint(expr=m.x**4 - 2 * m.x**2 == -3)  # the left side is at least -1
    m.value = pyo.Objective(expr=m.x)
    solution = bo.solve(m, starts=3)
    assert solution.status is bo.Status.LOCALLY_INFEASIBLE
    assert all(one["objective"] is None for one in solution.provenance["starts"])
    assert m.x.value == 2.0


def test_an_objective_without_limit_from_another_start_is_told() -> None:
    """x^2 - x^4 has a local minimum at 0, and falls for ever beyond 0.71."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(initialize=0.1)
    m.value = pyo.Objective(expr=m.x**2 - m.x**4)
    assert bo.solve(m).succeeded
    m.x.set_value(0.1)
    solution = bo.solve(m, starts=8)
    assert solution.status is bo.Status.UNBOUNDED and m.x.value == 0.1
    assert solution.provenance["starts"][-1]["status"] == "UNBOUNDED"


def test_clients_with_an_answer_keep_it_where_one_has_none(game: bo.Game) -> None:
    def model() -> pyo.ConcreteModel:
        m = problem1_pyomo.build(game, game.prices(training=2.0, mining=2.0), form="speed")
        m.too_slow = pyo.Constraint(expr=m.training_speed[0] <= 0.1)  # 8 cycles take 80 units of time, and 20 are there
        return m

    alone, several = bo.solve(model()), bo.solve(model(), starts=3)
    assert alone.status is several.status is bo.Status.PARTLY_SOLVED
    assert alone.clients is not None and several.clients is not None
    np.testing.assert_allclose(several.clients["client_utility"], alone.clients["client_utility"], rtol=1e-7, atol=1e-9)


def test_bilevel_takes_starts_too(game: bo.Game) -> None:
    m = stackelberg_pyomo.build(game)
    solution = bo.solve(m, method="bilevel", starts=3, seed=3)
    assert solution.bilevel is not None
    tried = ["the model's values", "the leader's choice for all", "random decision 1"]
    assert solution.bilevel.starts["start"].unique().tolist() == tried


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"starts": 0}, "starts is a whole number of at least 1, not 0"),
        ({"starts": 2.5}, "not 2.5"),
        ({"starts": True}, "not True"),
        ({"starts": 2, "seed": -1}, "seed is a whole number of at least 0, not -1"),
    ],
)
def test_arguments_that_make_no_sense(arguments: dict[str, object], said: str) -> None:
    with pytest.raises(bo.InputError, match=said):
        bo.solve(six_humps(), **arguments)  # type: ignore[arg-type]


def test_a_cvxpy_model_starts_from_its_values() -> None:
    x = cp.Variable()
    with pytest.raises(bo.InputError, match="starts=2 belongs to Pyomo models"):
        bo.solve(cp.Problem(cp.Minimize((x - 1) ** 2)), starts=2)


def test_points_are_within_bounds_and_the_promising_ones_the_lowest_well_apart() -> None:
    read = program(six_humps())
    points = draws(read, read.start(), seed=0)
    assert points.shape == (SAMPLES, 2)
    assert (points >= read.x_lower).all() and (points <= read.x_upper).all()
    chosen = promising(read, points, 5)
    values = [read.functions.objective(x) for x in chosen]
    assert values == sorted(values) and values[0] == min(read.functions.objective(x) for x in points)
    span = np.ptp(points, axis=0)
    for k, one in enumerate(chosen):
        assert all(np.abs((one - other) / span).max() > 0.1 for other in chosen[:k])
