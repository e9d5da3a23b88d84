"""Pictures: what is drawn is what the numbers say, axes are labelled with units, and nothing to draw is said in words."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import matplotlib
import numpy as np
import pytest

matplotlib.use("Agg")  # before pyplot: no display is needed

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

import bcfl_opt as bo
from bcfl_opt import plots
from bcfl_opt.models import problem1_pyomo


@pytest.fixture(autouse=True)
def close_figures() -> Iterator[None]:
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def game() -> bo.Game:
    return bo.Game(bo.Population.random(8, seed=3), deadline=15.0)


@pytest.fixture(scope="module")
def solution(game: bo.Game) -> bo.Solution:
    return bo.solve(problem1_pyomo.build(game, game.prices(0.05, 0.05)))


@pytest.fixture(scope="module")
def check(game: bo.Game) -> bo.CrossCheck:
    return bo.cross_check(game)


def every_plot(game: bo.Game, solution: bo.Solution, check: bo.CrossCheck) -> dict[str, Callable[[Axes | None], Axes]]:
    prices = game.prices(0.05, 0.05)
    return {
        "client_problem": lambda ax: plots.client_problem(game, prices, ax=ax),
        "response_curves": lambda ax: plots.response_curves(game, ax=ax),
        "response_curves, mining": lambda ax: plots.response_curves(game, price="mining_price", ax=ax),
        "utilities, owner": lambda ax: plots.utilities(game, points=9, ax=ax),
        "utilities, client": lambda ax: plots.utilities(game, "client", points=9, ax=ax),
        "population": lambda ax: plots.population(game, ax=ax),
        "times": lambda ax: plots.times(solution, ax=ax),
        "distribution": lambda ax: plots.distribution(solution, ax=ax),
        "cross_check": lambda ax: plots.cross_check(check, ax=ax),
        "convergence": lambda ax: plots.convergence(solution, ax=ax),
    }


def test_each_draws_on_given_axes_or_on_new_ones(game: bo.Game, solution: bo.Solution, check: bo.CrossCheck) -> None:
    for name, draw in every_plot(game, solution, check).items():
        _, ax = plt.subplots()
        assert draw(ax) is ax, name
        fresh = draw(None)
        assert fresh is not ax, name
        for axes in (ax, fresh):
            assert axes.get_title() and axes.get_xlabel(), name
            assert axes.has_data(), name
        fresh.figure.canvas.draw()
        plt.close("all")


def text_of(ax: Axes) -> str:
    return " ".join(text.get_text().replace("\n", " ") for text in ax.texts)


def test_the_points_in_the_client_s_problem_are_the_computed_ones(game: bo.Game) -> None:
    prices = game.prices(0.05, 0.05)
    ax = plots.client_problem(game, prices, "client-2")
    marks = {
        line.get_label().partition(":")[0]: line.get_xydata()[0] for line in ax.lines if len(line.get_xdata()) == 1
    }
    best = bo.best_response(game, prices).clients.loc["client-2"]
    theorem = bo.closed_form.theorem_3_1(game, prices).loc["client-2"]
    assert marks["optimum"] == pytest.approx([best["training_time"], best["mining_time"]])
    assert marks["Theorem 3.1"] == pytest.approx([theorem["training_time"], theorem["mining_time"]])


def test_response_curves_are_best_responses(game: bo.Game) -> None:
    ax = plots.response_curves(game, "client-1", values=[0.03, 0.06], other=0.04)
    curves = {line.get_label(): line.get_ydata() for line in ax.lines}
    for k, price in enumerate((0.03, 0.06)):
        best = bo.best_response(game, game.prices(price, 0.04)).clients.loc["client-1"]
        assert curves["training, best response"][k] == pytest.approx(best["training_speed"])
        assert curves["mining, best response"][k] == pytest.approx(best["mining_speed"])


def test_times_add_up_to_the_deadline(solution: bo.Solution) -> None:
    ax = plots.times(solution)
    tops = {round(bar.get_x(), 6): 0.0 for bar in ax.patches}
    for bar in ax.patches:
        tops[round(bar.get_x(), 6)] += bar.get_height()
    assert len(tops) == 8 and list(tops.values()) == pytest.approx([15.0] * 8)
    assert len({bar.get_x() for bar in plots.times(solution, most=5).patches}) == 5


def test_the_distribution_ends_at_one_and_the_histogram_counts_everybody(game: bo.Game, solution: bo.Solution) -> None:
    (curve,) = plots.distribution(solution, "training_speed").lines
    assert curve.get_ydata()[-1] == 1.0
    assert curve.get_xdata() == pytest.approx(np.sort(solution.clients["training_speed"]))
    assert sum(bar.get_height() for bar in plots.population(game).patches) == 8


def test_gaps_are_the_table_s(check: bo.CrossCheck) -> None:
    ax = plots.cross_check(check)
    names = [text.get_text() for text in ax.get_yticklabels()]
    assert names[-1] == "Theorem 3.1: Problem 1 as printed"
    widths = [bar.get_width() for bar in ax.patches]
    assert len(widths) == len(names)
    assert widths[-1] == pytest.approx(abs(check.table["gap"].iloc[0]))


# ---------------------------------------------------------------------- nothing to draw


def test_a_failed_solve_says_so_and_shows_its_iterations(solution: bo.Solution) -> None:
    clients = solution.clients.assign(recruited=False)
    failed = dataclasses.replace(solution, status=bo.Status.ITERATION_LIMIT, quality=bo.Quality.NONE, clients=clients)
    for draw in (plots.times, plots.distribution):
        assert "iteration limit" in text_of(draw(failed))
    assert "iteration limit" in plots.convergence(failed).get_title()


def test_no_history_no_clients_and_nobody_to_recruit(game: bo.Game) -> None:
    exact = bo.best_response(game, game.prices(0.05, 0.05))
    assert "keeps no record" in text_of(plots.convergence(exact))
    hopeless = game.replace(deadline=1e-3, mining_cap=1e-6)
    assert "cannot meet the deadline" in text_of(plots.utilities(hopeless))
    assert "cannot meet the deadline" in text_of(plots.client_problem(hopeless, hopeless.prices(0.05, 0.05)))
    assert "cannot" in text_of(plots.response_curves(hopeless, values=[0.01], other=0.01))
    nobody = bo.best_response(hopeless, hopeless.prices(0.05, 0.05))
    assert "no client can take part" in text_of(plots.times(nobody))
    assert "no client has a finite max speed" in text_of(plots.population(game, "max_speed")).lower()


def test_unknown_names_are_told_the_known_ones(game: bo.Game, solution: bo.Solution) -> None:
    with pytest.raises(bo.InputError, match="did you mean 'training_cycles'"):
        plots.population(game, "training_cycle")
    with pytest.raises(bo.InputError, match="unknown column 'reason'"):
        plots.distribution(solution, "reason")
    with pytest.raises(bo.InputError, match="unknown client 'client-9'"):
        plots.client_problem(game, game.prices(0.05, 0.05), "client-9")
    with pytest.raises(bo.InputError, match="price"):
        plots.response_curves(game, price="price")
    with pytest.raises(bo.InputError, match="side"):
        plots.utilities(game, "miner")
    with pytest.raises(bo.InputError, match="expected matplotlib axes"):
        plots.times(solution, ax="here")


def test_without_matplotlib_one_sentence(monkeypatch: pytest.MonkeyPatch, game: bo.Game) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(bo.SolverMissingError, match=r"pip install 'bcfl_opt\[plots\]'"):
        plots.population(game)
