"""Populations in parts: the answers of the whole population, in memory that a chunk sets, with rows counted in the whole file."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from partitioned_clients import CAPS, PRICES, assert_same, read, some_clients, written

import bcfl_opt as bo
from bcfl_opt import partitioned
from bcfl_opt.parts import budget, question, totals


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return some_clients()


@pytest.fixture
def file(frame: pd.DataFrame, tmp_path: Path) -> Path:
    return written(frame, tmp_path)


# ---------------------------------------------------------------------- answers


@pytest.mark.parametrize("chunk", [1, 97, 300, 10_000])
def test_best_responses_are_those_of_the_whole_population(chunk: int, file: Path, tmp_path: Path) -> None:
    game = bo.Game(bo.Population.read(file), deadline=14.0, mining_cycles=4.0)
    single = bo.best_response(game, game.prices(0.05, 0.05))
    if chunk == 1:  # one client at a time, fewer of them
        pq.write_table(pq.read_table(file).slice(0, 40), file)
        game = bo.Game(bo.Population.read(file), deadline=14.0, mining_cycles=4.0)
        single = bo.best_response(game, game.prices(0.05, 0.05))
    out = tmp_path / "out.parquet"
    answer = partitioned.best_response(file, **PRICES, deadline=14.0, mining_cycles=4.0, out=out, chunk=chunk)
    assert_same(answer, single)
    assert 0 < answer.recruited < answer.clients
    absent = single.clients.loc[~single.clients["recruited"], "reason"].head(totals.NAMED)
    assert answer.absent == absent.to_dict()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clients.parquet", "out.parquet"]


def test_prices_by_client_come_from_columns(file: Path, frame: pd.DataFrame, tmp_path: Path) -> None:
    game = bo.Game(bo.Population.read(file))
    single = bo.best_response(game, frame[["training_price", "mining_price"]])
    assert_same(partitioned.best_response(file, chunk=100, out=tmp_path / "o.parquet"), single)
    single = bo.best_response(game, game.prices(frame["training_price"], 0.04))
    assert_same(partitioned.best_response(file, mining_price=0.04, out=tmp_path / "p.parquet"), single)
    offered = frame.copy()
    offered.loc[offered.index[3:5], ["training_price", "mining_price"]] = np.nan
    offered.to_parquet(file)
    answer = partitioned.best_response(file, out=tmp_path / "q.parquet")
    reasons = read(answer.out)["reason"]
    assert reasons.iloc[3:5].tolist() == ["is offered no prices"] * 2 and (reasons == "is offered no prices").sum() == 2


def capped(frame: pd.DataFrame, caps: pd.DataFrame | dict[str, float]) -> bo.Game:
    """A game in memory whose caps are these: by dividing budgets no such game can be had, so they are put in."""
    game = bo.Game(bo.Population(frame))
    given = pd.DataFrame(caps, index=frame.index) if isinstance(caps, dict) else caps
    return question.CappedGame(game.population, given_caps=given)


def test_reward_caps_are_data(file: Path, frame: pd.DataFrame, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    answer = partitioned.best_response(file, **PRICES, reward_caps=True, chunk=100, out=out)
    table = read(out)
    taken = table["recruited"]
    assert answer.recruited == taken.sum() > 100
    assert (table["training_reward"] <= frame["training_cap"] * (1 + 1e-12))[taken].all()
    assert np.isclose(table["training_reward"], frame["training_cap"])[taken].any(), "some caps bind"
    assert "cannot respond within its training cap 0" in table["reason"].iloc[0]
    # client by client, with Problem 1's own formula: t <= R_t / p_t, and s takes the rest up to its cap
    once = partitioned.best_response(file, **PRICES, chunk=100, out=tmp_path / "free.parquet")
    free = read(once.out)
    loose = (
        taken & free["recruited"] & (free["training_reward"] <= frame["training_cap"]) & (free["mining_reward"] <= 5.0)
    )
    assert loose.sum() > 10
    np.testing.assert_array_equal(table.loc[loose, "training_time"], free.loc[loose, "training_time"])


def test_the_equilibrium_with_caps_by_client_or_for_all(file: Path, frame: pd.DataFrame, tmp_path: Path) -> None:
    single = bo.equilibrium(capped(frame, frame[["training_cap", "mining_cap"]]))
    answer = partitioned.equilibrium(file, chunk=64, out=tmp_path / "out.parquet")
    assert_same(answer, single)
    assert "not recruited: Shapley share 0" in read(answer.out)["reason"].iloc[0]
    assert_same(partitioned.equilibrium(file, **CAPS, chunk=64), bo.equilibrium(capped(frame, CAPS)))
    # With no caps at all: both tasks at the speed (mu + psi) / T, paid rho (mu + psi)^3 / T^2 (theory 5.1).
    free = partitioned.equilibrium(file, training_cap=math.inf, mining_cap=math.inf, chunk=64)
    mu, rho, q = frame["training_cycles"], frame["energy_coefficient"], frame["max_speed"]
    assert ((mu + 5) / 15 <= q).sum() == free.recruited
    slow = (mu + 5) / 15 <= q
    assert free.sums["energy_cost"] == pytest.approx((rho * (mu + 5) ** 3 / 225)[slow].sum(), rel=1e-12)
    expected = math.log1p(mu[slow].sum()) - 0.1 * (15 * slow.sum() + (rho * (mu + 5) ** 3 / 225)[slow].sum())
    assert free.objective == pytest.approx(expected, rel=1e-12)


def test_the_caps_of_a_game_put_in_columns_give_its_equilibrium(frame: pd.DataFrame, tmp_path: Path) -> None:
    population = bo.Population(frame[["training_cycles", "energy_coefficient", "max_speed"]])
    game = bo.Game(population, target=3.0)
    table = population.frame.join(game.caps[["training_cap", "mining_cap"]])
    table.to_parquet(tmp_path / "clients.parquet")
    answer = partitioned.equilibrium(tmp_path / "clients.parquet", chunk=50, performance="sqrt", cost_weight=0.3)
    single = bo.equilibrium(game.replace(performance="sqrt", cost_weight=0.3))
    assert answer.objective == pytest.approx(single.objective, rel=1e-12)


@pytest.mark.parametrize("solver", ["ipopt", "clarabel"])
def test_solvers_answer_chunk_by_chunk(solver: str, file: Path, tmp_path: Path) -> None:
    pq.write_table(pq.read_table(file).slice(600, 60), file)
    exact = partitioned.best_response(file, **PRICES, out=tmp_path / "exact.parquet")
    answer = partitioned.best_response(file, **PRICES, solver=solver, chunk=25, out=tmp_path / "solver.parquet")
    assert answer.succeeded and answer.solver == solver and answer.quality is bo.Quality.GLOBAL
    assert answer.objective == pytest.approx(exact.objective, rel=1e-8)
    one, other = read(tmp_path / "exact.parquet"), read(tmp_path / "solver.parquet")
    np.testing.assert_allclose(one["training_time"], other["training_time"], rtol=1e-5)
    assert one["reason"].tolist() == other["reason"].tolist()
    second = partitioned.equilibrium(file, **CAPS, solver=solver, chunk=25)
    assert second.succeeded, second
    assert second.objective == pytest.approx(partitioned.equilibrium(file, **CAPS).objective, rel=1e-7)


def test_a_chunk_without_an_answer_is_told(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = question.exact.best_response

    def sometimes(game: bo.Game, *given: Any, **options: Any) -> bo.Solution:
        solution = original(game, *given, **options)
        if game.population.ids[0] != "client-400":
            return solution
        from dataclasses import replace

        return replace(solution, status=bo.Status.TIME_LIMIT, quality=bo.Quality.NONE, detail="at 3 s")

    monkeypatch.setattr(question.exact, "best_response", sometimes)
    answer = partitioned.best_response(file, **PRICES, chunk=100)
    assert answer.status is bo.Status.TIME_LIMIT and answer.quality is bo.Quality.NONE
    assert "1 chunks have no answer; clients.parquet, rows 400 to 499: time limit" in answer.message
    with pytest.raises(bo.NoSolutionError, match=r"was not solved by exact for clients.parquet"):
        answer.objective  # noqa: B018
    assert "time limit" in repr(answer)


def test_nobody_can_respond(file: Path) -> None:
    answer = partitioned.best_response(file, **PRICES, deadline=0.1)
    assert answer.status is bo.Status.NO_CLIENTS and answer.recruited == 0
    assert "0 of 700 recruited; 'client-000': cannot meet the deadline" in repr(answer)


# ---------------------------------------------------------------------- a shared budget


LOOSE = {"training_cap": math.inf, "mining_cap": math.inf}


@pytest.mark.parametrize("level", [1.0, 1.001, 1.3, 3.0, 50.0, 1e6])
@pytest.mark.parametrize("caps", [LOOSE, CAPS], ids=["loose", "capped"])
def test_a_shared_budget_is_divided_as_for_the_whole_population(
    caps: dict[str, float], level: float, file: Path, frame: pd.DataFrame, tmp_path: Path
) -> None:
    game = capped(frame, caps)
    least = bo.equilibrium(game).clients[["training_reward", "mining_reward"]].to_numpy().sum()
    single = bo.equilibrium(game, deadlines="chosen", payment_budget=level * least)
    asked: dict[str, Any] = {**caps, "deadlines": "chosen", "payment_budget": level * least}
    answer = partitioned.equilibrium(file, **asked, chunk=64, out=tmp_path / "out.parquet")
    assert answer.succeeded and answer.objective == pytest.approx(single.objective, rel=1e-12)
    shadow = single.shadow_prices["payment_budget"]
    if level > 1.0:  # at the least payments any larger price of money does the same
        assert answer.shadow_prices["payment_budget"] == pytest.approx(shadow, rel=1e-9, abs=1e-12)
    spent = answer.sums["training_reward"] + answer.sums["mining_reward"]
    assert spent <= level * least * (1 + 1e-12)
    if shadow > 0:
        assert spent == pytest.approx(level * least, rel=1e-12)
    table = read(answer.out)
    np.testing.assert_allclose(table["deadline"], single.clients["deadline"], rtol=1e-9)
    assert answer.certificate is not None and answer.certificate.worst[1] < 1e-9
    other = partitioned.equilibrium(file, **asked, chunk=700)
    assert other.objective == pytest.approx(answer.objective, rel=1e-13)


def test_a_budget_with_reservation_utilities_from_a_column(file: Path, frame: pd.DataFrame, tmp_path: Path) -> None:
    rents = pd.Series(np.linspace(0.0, 0.3, 700), index=frame.index)
    frame.assign(reservation_utility=rents).to_parquet(file, row_group_size=300)
    game = capped(frame, LOOSE)
    common = bo.equilibrium(game, reservation_utility=rents).clients
    enough = 1.2 * common[["training_reward", "mining_reward"]].to_numpy().sum()
    for deadlines, coins in (("common", None), ("chosen", None), ("chosen", enough)):
        single = bo.equilibrium(game, deadlines=deadlines, payment_budget=coins, reservation_utility=rents)
        answer = partitioned.equilibrium(
            file, **LOOSE, deadlines=deadlines, payment_budget=coins, reservation_utility=None, chunk=90
        )
        assert answer.status is single.status is bo.Status.SOLVED
        assert answer.objective == pytest.approx(single.objective, rel=1e-11)
    spent = answer.sums["training_reward"] + answer.sums["mining_reward"]
    assert spent == pytest.approx(enough, rel=1e-12) and answer.shadow_prices["payment_budget"] > 0


def test_a_budget_that_is_too_small_leaves_no_table(file: Path, frame: pd.DataFrame, tmp_path: Path) -> None:
    least = bo.equilibrium(capped(frame, LOOSE)).clients[["training_reward", "mining_reward"]].to_numpy().sum()
    for deadlines in ("common", "chosen"):
        for out in (tmp_path / "out.parquet", tmp_path / "out"):
            answer = partitioned.equilibrium(
                file, **LOOSE, deadlines=deadlines, payment_budget=0.99 * least, chunk=100, out=out
            )
            assert answer.status is bo.Status.INFEASIBLE and answer.clients == 700 and answer.out is None
            assert f"is less than the least possible payment {least:.6g}" in answer.message
        enough = partitioned.equilibrium(file, **LOOSE, deadlines=deadlines, payment_budget=1.01 * least, chunk=100)
        assert enough.succeeded
    assert [path.name for path in tmp_path.iterdir()] == ["clients.parquet"]


@given(
    st.lists(st.tuples(st.floats(0.01, 10), st.floats(1e-6, 1), st.floats(0, 1)), min_size=1, max_size=20),
    st.floats(0.0, 1.2),
)
def test_the_root_of_piecewise_linear_payments(pieces: list[tuple[float, float, float]], level: float) -> None:
    """Against the sum of clips itself, and against bisection."""
    c, low, width = np.array(pieces).T
    high = low + width
    passes = []

    def evaluate(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        passes.append(points)
        total, ends = budget.payments(c, low, high, points)
        expected = [math.fsum(c * np.clip(y, low, high)) for y in points]
        np.testing.assert_allclose(total, expected, rtol=1e-12)
        inside = [
            sum(((one < edge) & (edge < other)).sum() for edge in (low, high))
            for one, other in itertools.pairwise(points)
        ]
        assert ends.tolist() == inside
        return total, ends

    def spent(y: float) -> float:
        return math.fsum(c * np.clip(y, low, high))

    least, most = spent(0.0), spent(1.0)
    wanted = least + level * (most - least)
    nu, found = budget.multiplier(evaluate, wanted)
    assert found == pytest.approx(least, rel=1e-12)
    assert len(passes) <= 8
    if nu == 0.0:
        assert spent(1.0) <= wanted * (1 + 1e-12)
        return
    y = (1.0 + nu) ** (-2 / 3)
    assert 0 < y <= 1 and spent(y) == pytest.approx(wanted, rel=1e-11)
    assert budget.multiplier(evaluate, 0.9 * least) == (pytest.approx(math.nan, nan_ok=True), pytest.approx(least))
