"""Pictures: what is drawn is what the numbers say, axes are labelled with units, and nothing to draw is said in words."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator

import matplotlib
import numpy as np
import pandas as pd
import pytest
import xarray as xr

matplotlib.use("Agg")  # before pyplot: no display is needed

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.contour import QuadContourSet

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


# ---------------------------------------------------------------------- menus and sweeps


@pytest.fixture(scope="module")
def types() -> bo.Game:
    frame = pd.DataFrame({"client": ["light", "middling", "heavy"], "mu": [7.0, 10.0, 13.0], "rho": 0.01})
    return bo.Game(bo.Population(frame), mining_cycles=5.0, deadline=15.0, mining_cap=5.0)


@pytest.fixture(scope="module")
def menu(types: bo.Game) -> bo.Menu:
    return bo.design_menu(types, [0.5, 0.3, 0.2])


def sides(ax: Axes, at: tuple[float, float]) -> list[bool]:
    """For every line of indifference: does the point lie on it or on the cheaper side of it?"""
    found = []
    for contour in ax.collections:
        if isinstance(contour, QuadContourSet):
            line = contour.get_paths()[0].vertices
            line = line[line[:, 0].argsort()]
            found.append(bool(at[1] <= np.interp(at[0], line[:, 0], line[:, 1]) * 1.01))
    return found


def test_no_type_of_a_menu_has_a_better_contract_above_its_line(menu: bo.Menu) -> None:
    ax = plots.menu(menu)
    dots = [tuple(dot.get_offsets()[0]) for dot in ax.collections if isinstance(dot, PathCollection)]
    assert dots == [tuple(row) for row in menu.contracts[["training_price", "mining_price"]].to_numpy()]
    assert all(sides(ax, dot) == [True] * 3 for dot in dots)
    # Both prices higher by a tenth: everybody would rather have it.
    assert sides(ax, (dots[2][0] * 1.1, dots[2][1] * 1.1)) == [False] * 3
    assert {text.get_text() for text in ax.get_legend().get_texts()} == {"light", "middling", "heavy"}


def test_a_menu_of_deadlines_names_them_and_many_contracts_have_no_lines(types: bo.Game) -> None:
    chosen = bo.design_menu(types, deadlines="chosen")
    texts = [text.get_text() for text in plots.menu(chosen).get_legend().get_texts()]
    assert [text.partition(", ")[2] for text in texts] == [f"{T:.3g} min" for T in chosen.contracts["deadline"]]
    eight = dataclasses.replace(chosen, contracts=pd.concat([chosen.contracts * f for f in (1, 1.01, 1.02)]))
    assert plots.menu(eight).get_legend() is None


def test_energy_and_rent_make_up_the_payment(menu: bo.Menu) -> None:
    ax = plots.rents(menu)
    tops = np.zeros(3)
    for k, bar in enumerate(ax.patches):
        tops[k % 3] += bar.get_height()
    order = [text.get_text() for text in ax.get_xticklabels()]
    assert order == ["light", "middling", "heavy"]  # at one deadline more work costs more
    assert tops == pytest.approx(menu.contracts.loc[order, "payment"].to_numpy())
    assert ax.get_ylim()[1] > tops.max()


def test_a_menu_that_was_not_found_says_so(types: bo.Game) -> None:
    late = bo.Game(bo.Population(types.population.frame.assign(max_speed=0.5)), mining_cycles=5.0, deadline=15.0)
    nobody = bo.design_menu(late)
    for draw in (plots.menu, plots.rents):
        assert "no client can take part" in text_of(draw(nobody))


@pytest.fixture(scope="module")
def swept(types: bo.Game) -> xr.Dataset:
    grid = {"deadline": [8.0, 15.0, 20.0], "mining_cycles": [1.0, 5.0]}
    return bo.sweep(bo.equilibrium, grid, game=types, progress=False)


def test_a_line_for_each_value_of_another_parameter(swept: xr.Dataset) -> None:
    ax = plots.sweep(swept)
    assert ax.get_xlabel() == "deadline T [min]" and ax.get_ylabel() == "objective"
    assert ax.get_legend().get_title().get_text() == "mining cycles ψ [GHz·min]"
    for line, cycles in zip(ax.lines, (1.0, 5.0), strict=True):
        assert line.get_xdata().tolist() == [8.0, 15.0, 20.0]
        assert line.get_ydata() == pytest.approx(swept["objective"].sel(mining_cycles=cycles).to_numpy())
    (turned,) = plots.sweep(swept, along="mining_cycles", deadline=14.0).lines  # 15 is the nearest
    assert turned.get_ydata() == pytest.approx(swept["objective"].sel(deadline=15.0).to_numpy())
    by_client = plots.sweep(swept, "training_price", "client", "deadline", mining_cycles=5)
    assert [text.get_text() for text in by_client.get_xticklabels()] == ["light", "middling", "heavy"]
    assert by_client.get_title() == "equilibrium; mining cycles 5" and len(by_client.lines) == 3


def test_cells_that_failed_leave_gaps_and_are_counted(types: bo.Game) -> None:
    def only_short(game: bo.Game) -> float:
        if game.deadline > 10:
            raise bo.InputError("too long")
        return game.deadline

    grid = {"deadline": [8.0, 12.0]}
    ax = plots.sweep(bo.sweep(only_short, grid, game=types, progress=False), "only_short")
    assert "1 of 2 cells have no value" in ax.get_title()
    assert np.isnan(ax.lines[0].get_ydata()).tolist() == [False, True]
    nothing = bo.sweep(only_short, {"deadline": [12.0, 14.0]}, game=types, progress=False).assign(
        only_short=("deadline", [np.nan, np.nan])
    )
    assert "No cell has a finite only short: too long" in text_of(plots.sweep(nothing, "only_short"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"quantity": "objectiv"}, "did you mean 'objective'"),
        ({"quantity": "reason"}, "unknown quantity 'reason'"),
        ({"along": "dead_line"}, "did you mean 'deadline'"),
        ({"along": "deadline", "lines": "deadline"}, "along and lines are both 'deadline'"),
        ({"deadline": 8, "mining_cycles": 5}, "is a single number here"),
        ({"deadline": 30}, "outside of the sweep, which goes from 8 to 20"),
        ({"client": "light"}, "unknown dimension 'client'"),
        ({"quantity": "training_price", "client": "big"}, "unknown client 'big'"),
        ({"quantity": "training_price"}, "give a value, for example client='light'"),
    ],
)
def test_what_a_sweep_does_not_hold(swept: xr.Dataset, arguments: dict[str, object], words: str) -> None:
    with pytest.raises(bo.InputError, match=words):
        plots.sweep(swept, **arguments)


def test_more_lines_than_can_be_told_apart(types: bo.Game) -> None:
    many = bo.sweep(bo.equilibrium, {"deadline": [14.0, 15.0], "mining_cycles": np.linspace(1, 2, 8)}, game=types)
    with pytest.raises(bo.InputError, match="mining_cycles has 8 values"):
        plots.sweep(many)


def test_audits_are_drawn_client_by_client(types: bo.Game) -> None:
    found = bo.audit(types)
    ax = plots.audit(found, ["heavy"])
    mine = found.table[found.table["client"] == "heavy"].sort_values("report")
    assert ax.lines[0].get_ydata() == pytest.approx(mine["gain"].to_numpy())
    assert ax.get_ylabel() == "gain [money]"


def test_on_a_phone_names_stand_inside_and_titles_are_folded(check: bo.CrossCheck, types: bo.Game) -> None:
    figure, ax = plt.subplots(figsize=(3.6, 3.0), layout="constrained")
    plots.cross_check(check, ax)
    plots.audit(bo.audit(types), ax=plt.subplots(figsize=(3.6, 3.0), layout="constrained")[1])
    for axes in (ax, plt.gca()):
        axes.figure.canvas.draw()
        title = axes.title.get_window_extent()
        assert axes.figure.bbox.x0 <= title.x0 and title.x1 <= axes.figure.bbox.x1
    assert ax.bbox.width > 0.7 * figure.bbox.width
    assert all(text.get_window_extent().x0 >= ax.bbox.x0 for text in ax.get_yticklabels())


def test_labels_on_a_phone_do_not_run_into_each_other(menu: bo.Menu, swept: xr.Dataset, game: bo.Game) -> None:
    drawn = {
        "menu": lambda ax: plots.menu(menu, ax),
        "rents": lambda ax: plots.rents(menu, ax),
        "sweep": lambda ax: plots.sweep(swept, ax=ax),
        "client_problem": lambda ax: plots.client_problem(game, game.prices(0.05, 0.05), ax=ax),
        "response_curves": lambda ax: plots.response_curves(game, ax=ax),
        "utilities": lambda ax: plots.utilities(game, points=9, ax=ax),
        "population": lambda ax: plots.population(game, ax=ax),
    }
    for name, draw in drawn.items():
        figure, ax = plt.subplots(figsize=(3.6, 3.0), layout="constrained")
        draw(ax)
        figure.canvas.draw()
        boxes = [text.get_window_extent() for text in ax.get_xticklabels() if text.get_text() and text.get_visible()]
        inside = [box for box in boxes if ax.bbox.x0 - 1 <= (box.x0 + box.x1) / 2 <= ax.bbox.x1 + 1]
        assert all(a.x1 <= b.x0 for a, b in itertools.pairwise(sorted(inside, key=lambda box: box.x0))), name
