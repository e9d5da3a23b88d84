"""Shapley values and reward shares against rational arithmetic, one another, and statistics."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import combinations, product
from math import comb

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bcfl_opt import shapley
from bcfl_opt.errors import InputError
from bcfl_opt.shapley_grids import COUNTED

EXACT = ("auto", "enumeration", "dynamic programming")
EXAMPLE = [1.0, 9.0, 10.0, 11.0]

whole = st.integers(0, 30).map(float)
decimals = st.integers(0, 300).map(lambda k: k / 10)
reals = st.floats(0.01, 100.0)
populations = st.one_of(*(st.lists(kind, min_size=1, max_size=7) for kind in (whole, decimals, reals)))
targets = st.one_of(whole, decimals, reals)


def worth(gaps: list[Fraction]) -> dict[frozenset[int], Fraction]:
    """Equation (5) for every coalition, W taken literally as the maximum over all of them."""
    clients = range(len(gaps))
    coalitions = [frozenset(c) for size in range(1, len(gaps) + 1) for c in combinations(clients, size)]
    distance = {c: abs(sum((gaps[i] for i in c), Fraction(0)) / len(c)) for c in coalitions}
    largest = max(distance.values())
    return {frozenset[int](): Fraction(0)} | {c: largest - distance[c] for c in coalitions}


def by_definition(cycles: list[float], target: float) -> list[Fraction]:
    """Equation (4), term by term, in rational numbers."""
    v = worth([Fraction(m) - Fraction(target) for m in cycles])
    n = len(cycles)
    return [
        sum(((v[c | {i}] - v[c]) / (n * comb(n - 1, len(c))) for c in v if i not in c), Fraction(0)) for i in range(n)
    ]


def floats(values: list[Fraction]) -> np.ndarray:
    return np.array([float(value) for value in values])


# ------------------------------------------------------------------ exact methods


def test_the_example_of_an_outlier() -> None:
    exact = by_definition(EXAMPLE, 10.0)
    assert exact == [Fraction(-35, 16), Fraction(389, 144), Fraction(151, 48), Fraction(445, 144)]
    for method in EXACT:
        found = shapley.shapley_values(EXAMPLE, 10.0, method=method)
        np.testing.assert_allclose(found.values, floats(exact), rtol=1e-14)
        assert found.exact and found.grand_value == 6.75 and not found.standard_errors.any()


@settings(max_examples=120, deadline=None)
@given(cycles=populations, target=targets)
def test_exact_methods_equal_the_definition(cycles: list[float], target: float) -> None:
    exact = by_definition(cycles, target)
    for method in EXACT:
        found = shapley.shapley_values(cycles, target, method=method)
        assert np.abs(found.values - floats(exact)).max() <= found.noise_floor
        assert found.grand_value == pytest.approx(float(sum(exact)), abs=found.noise_floor)


@settings(max_examples=60, deadline=None)
@given(cycles=populations, target=targets)
def test_grand_coalition_is_worthless_only_if_all_clients_are_alike(cycles: list[float], target: float) -> None:
    v = worth([Fraction(m) - Fraction(target) for m in cycles])
    assert (v[frozenset(range(len(cycles)))] == 0) == (len(set(cycles)) == 1)
    assert (shapley.shapley_values(cycles, target).grand_value == 0.0) == (len(set(cycles)) == 1)


@pytest.mark.parametrize(
    ("cycles", "target", "method"),
    [
        (np.full(50, 10.0), 10.0, "symmetry"),
        (np.full(50, 3.3), 10.0, "symmetry"),
        (np.linspace(0.1, 5.0, 50) ** 1.5, 12.0, "closed form"),
        (np.linspace(1.0, 20.0, 20) ** 1.5, 10.0, "enumeration"),
        (np.repeat([1.0, 2.0**0.5, 9.0], 50), 4.0, "enumeration"),
        (np.arange(100) % 21.0, 9.9, "dynamic programming"),
        (np.linspace(0.1, 5.0, 50) ** 1.5, 4.0, "sampling"),
    ],
)
def test_auto_takes_the_cheapest_exact_method(cycles: np.ndarray, target: float, method: str) -> None:
    found = shapley.shapley_values(cycles, target, samples=8)
    assert found.method == method and found.exact == (method != "sampling")
    assert found.values.sum() == pytest.approx(found.grand_value, abs=1e-12 * cycles.max())


@pytest.mark.parametrize(
    ("kinds", "counts", "target"),
    [
        (np.arange(22.0), 1, 9.7),
        ([0.0, 7.0, 12.0], 100, 6.3),
        ([0.1, 0.2, 0.3, 0.7], [40, 11, 30, 20], 0.25),
        ([2.0, 2.5, 4.0, 9.5, 10.0], [20, 3, 30, 7, 15], 5.125),
        ([5.0, 900.0], [150, 3], 20.0),
        ([1000.001, 1000.003, 1000.01], [30, 60, 15], 1000.004),
    ],
)
def test_dynamic_programming_equals_enumeration(kinds: list[float], counts: list[int], target: float) -> None:
    cycles = np.random.default_rng(3).permutation(np.repeat(kinds, counts))
    table = shapley.shapley_values(cycles, target, method="dynamic programming")
    every = shapley.shapley_values(cycles, target, method="enumeration")
    assert table.method == "dynamic programming" and every.method == "enumeration"  # so that two methods are compared
    # decimals around 1000 are on a grid only up to their rounding, which no method can undo
    rounding = 4 * np.spacing(cycles.max())
    np.testing.assert_allclose(table.values, every.values, rtol=1e-12, atol=1e-12 * every.values.max() + rounding)


@pytest.mark.parametrize(("size", "top", "target"), [(300, 20, 9.7), (301, 200, 104.3), (1000, 6, 3.0), (2000, 3, 1.4)])
def test_dynamic_programming_for_many_clients(size: int, top: int, target: float) -> None:
    cycles = np.random.default_rng(size).integers(0, top + 1, size).astype(float)
    table = shapley.shapley_values(cycles, target)
    assert table.method == "dynamic programming"
    assert table.values.sum() == pytest.approx(table.grand_value, rel=1e-12)
    sampled = shapley.shapley_values(cycles, target, method="sampling", samples=1500, seed=1)
    assert np.abs((sampled.values - table.values) / sampled.standard_errors).max() < 5.0
    assert np.median(sampled.standard_errors) < 0.05 * np.abs(table.values).mean()  # or the test would say nothing


@pytest.mark.parametrize(
    ("offsets", "counts", "target"),
    [
        ([0, 1, 4], [60, 50, 30], "1.3"),
        ([0, 7, 90], [75, 70, 5], "11"),
        ([0, 1], [149, 1], "0.02"),
        ([0, 1], [90, 61], "0.5"),
    ],
)
def test_between_counted_sizes_it_is_exact_to_rounding(offsets: list[int], counts: list[int], target: str) -> None:
    """More clients than have their sums counted, against whole numbers of coalitions, added up to sixty digits."""
    size, goal = sum(counts), mpmath.mpf(target)
    assert size > 2 * COUNTED
    with mpmath.workdps(60):
        far = max(abs(offset - goal) for offset in offsets)
        expected = []
        for kind in range(len(offsets)):
            rest = [count - (k == kind) for k, count in enumerate(counts)]
            total = mpmath.mpf(0)
            for taken in product(*(range(count + 1) for count in rest)):
                s, cycles = sum(taken), sum(t * x for t, x in zip(taken, offsets, strict=True))
                ways = math.prod(comb(count, t) for count, t in zip(rest, taken, strict=True))
                gain = far - abs((cycles + offsets[kind]) / mpmath.mpf(s + 1) - goal)
                gain -= far - abs(cycles / mpmath.mpf(s) - goal) if s else 0
                total += ways * gain / comb(size - 1, s)
            expected.append(float(total / size))
    found = shapley.shapley_values(
        np.repeat(offsets, counts).astype(float), float(target), method="dynamic programming"
    )
    assert found.method == "dynamic programming"
    firsts = np.cumsum(counts) - counts
    assert np.abs(found.values[firsts] - expected).max() < found.noise_floor


def test_dynamic_programming_does_not_fear_the_grids_fineness_or_its_clients() -> None:
    rng = np.random.default_rng(1)
    for size, step, top in ((300, 0.25, 200), (5000, 1.0, 20), (3000, 0.1, 30)):
        cycles = rng.integers(0, top + 1, size) * step
        found = shapley.shapley_values(cycles, float(cycles.mean()) + step)
        assert found.method == "dynamic programming"
        assert found.values.sum() == pytest.approx(found.grand_value, rel=1e-12)
        order = np.argsort(cycles)  # who brings the mean nearer to the target is worth more: values are unimodal
        steps = np.sign(np.round(np.diff(found.values[order]), 12))
        assert np.count_nonzero(np.diff(steps[steps != 0])) <= 1


def test_dynamic_programming_keeps_its_accuracy_for_many_clients() -> None:
    # 1,000 clients of three kinds: enumeration by kind (51 x 51 x 901 coalitions) shares no step with the table
    cycles = np.repeat([0.0, 4.0, 10.0], [50, 50, 900])
    table = shapley.shapley_values(cycles, 9.0, method="dynamic programming")
    every = shapley.shapley_values(cycles, 9.0, method="enumeration")
    assert np.abs(table.values - every.values).max() < table.noise_floor / 4


@pytest.mark.parametrize("method", [*EXACT, "sampling"])
def test_equal_clients_get_equal_values_wherever_they_stand(method: str) -> None:
    cycles = np.random.default_rng(0).permutation(np.repeat([0.5, 3.0, 7.5, 9.0], [3, 10, 6, 2]))
    found = shapley.shapley_values(cycles, 6.1, method=method, samples=50)
    for kind in np.unique(cycles):
        assert np.unique(found.values[cycles == kind]).size == 1
        assert np.unique(found.standard_errors[cycles == kind]).size == 1
    assert found.values.sum() == pytest.approx(found.grand_value, rel=1e-13)


@settings(max_examples=30, deadline=None)
@given(cycles=populations, target=targets, power=st.integers(-60, 60))
def test_values_scale_with_the_unit(cycles: list[float], target: float, power: int) -> None:
    unit = 2.0**power
    plain = shapley.shapley_values(cycles, target)
    scaled = shapley.shapley_values(np.array(cycles) * unit, target * unit)
    np.testing.assert_array_equal(scaled.values, plain.values * unit)
    np.testing.assert_array_equal(shapley.reward_shares(scaled).shares, shapley.reward_shares(plain).shares)


def test_a_far_target_costs_no_accuracy() -> None:
    near = shapley.shapley_values([1.0, 2.0, 4.5], 100.0)
    far = shapley.shapley_values([1.0, 2.0, 4.5], 1e18)  # mu - g alone could not tell the clients apart
    assert np.ptp(near.values) > 1.0
    np.testing.assert_allclose(far.values, near.values, rtol=1e-14)


def test_the_method_named_is_the_method_used() -> None:
    cycles = np.repeat([1.0, 2.0**0.5, 9.0], 20)  # no common grid: dynamic programming has to count by kind
    found = shapley.shapley_values(cycles, 4.0, method="dynamic programming")
    assert found.method == "enumeration"
    np.testing.assert_array_equal(found.values, shapley.shapley_values(cycles, 4.0).values)


@pytest.mark.parametrize("method", EXACT)
def test_the_smallest_numbers_are_numbers(method: str) -> None:
    found = shapley.shapley_values([0.0, 5e-324, 3e-310, 1e-300], 1e-309, method=method)
    assert np.isfinite(found.values).all() and shapley.reward_shares(found).shares.sum() == pytest.approx(1.0)


# ------------------------------------------------------------------ sampling


@pytest.mark.parametrize("shift", [0.0, 2.0])
def test_standard_errors_of_sampling_are_calibrated(shift: float) -> None:
    cycles = np.random.default_rng(12).lognormal(2.3, 0.6, 14)
    target = float(cycles.mean()) + shift
    exact = shapley.shapley_values(cycles, target, method="enumeration").values
    scores = []
    for seed in range(150):
        found = shapley.shapley_values(cycles, target, method="sampling", samples=200, seed=seed)
        assert found.values.sum() == pytest.approx(found.grand_value, rel=1e-12)
        scores.append((found.values - exact) / found.standard_errors)
    z = np.array(scores)
    # 150 independent seeds: a client's mean z is N(0, 1/150), its mean square has a standard deviation near 0.12
    assert np.abs(z.mean(axis=0)).max() < 4.0 / 150**0.5
    squares = (z**2).mean(axis=0)
    assert squares.min() > 0.6 and squares.max() < 1.5
    assert np.mean(np.abs(z) < 1.96) == pytest.approx(0.95, abs=0.03)


def test_intervals_of_hundreds_of_clients_cover_what_they_say() -> None:
    rng = np.random.default_rng(0)
    for cycles, target in ((rng.integers(0, 21, 500), 12.3), (np.round(rng.gamma(6.5, 1.5, 300), 1), 11.0)):
        exact = shapley.shapley_values(cycles, target, method="dynamic programming").values
        found = [shapley.shapley_values(cycles, target, method="sampling", samples=200, seed=s) for s in range(40)]
        z = np.array([(each.values - exact) / each.standard_errors for each in found])
        assert np.mean(np.abs(z) < 1.96) == pytest.approx(0.95, abs=0.03)
        assert np.abs(z.mean(axis=0)).max() < 5.0 / 40**0.5  # no client's estimate leans to one side


def test_sampling_repeats_itself_by_seed() -> None:
    cycles = np.random.default_rng(0).uniform(5.0, 15.0, 40)
    first, again, other = (shapley.shapley_values(cycles, 10.0, samples=101, seed=seed) for seed in (4, 4, 5))
    assert first.method == "sampling"
    assert first.values.tobytes() == again.values.tobytes()
    assert first.standard_errors.tobytes() == again.standard_errors.tobytes()
    assert (first.values != other.values).any()


def test_more_samples_give_smaller_errors() -> None:
    cycles = np.random.default_rng(0).uniform(5.0, 15.0, 40)
    few, many = (shapley.shapley_values(cycles, 10.0, samples=samples) for samples in (400, 6400))
    assert np.median(few.standard_errors / many.standard_errors) == pytest.approx(4.0, rel=0.25)


def test_sampling_of_ten_thousand_clients() -> None:
    cycles = np.random.default_rng(0).normal(10.0, 2.0, 10_000)
    found = shapley.shapley_values(cycles, 10.0, samples=64)
    assert found.method == "sampling"
    assert found.values.sum() == pytest.approx(found.grand_value, rel=1e-12)
    assert np.median(found.standard_errors) < 0.1 * np.abs(found.values).mean()


# ------------------------------------------------------------------ one coalition


@settings(max_examples=60, deadline=None)
@given(cycles=populations, target=targets, data=st.data())
def test_characteristic_is_equation_5(cycles: list[float], target: float, data: st.DataObject) -> None:
    members = data.draw(st.sets(st.integers(0, len(cycles) - 1)))
    expected = worth([Fraction(m) - Fraction(target) for m in cycles])[frozenset(members)]
    mask = np.isin(np.arange(len(cycles)), sorted(members))
    for chosen in (sorted(members), mask):
        assert shapley.characteristic(cycles, target, chosen) == pytest.approx(float(expected), abs=1e-12)


@pytest.mark.parametrize("members", [[4], [-1], [0, 0], [0.5], [[0]], [True], "ab"])
def test_unknown_members_are_refused(members: object) -> None:
    with pytest.raises(InputError, match="members"):
        shapley.characteristic(EXAMPLE, 10.0, members)  # type: ignore[arg-type]


# ------------------------------------------------------------------ shares


def test_a_negative_share_becomes_zero_and_the_budget_is_kept() -> None:
    values = shapley.shapley_values(EXAMPLE, 10.0)
    shares = shapley.reward_shares(values)
    assert shares.negative.tolist() == [True, False, False, False] and not shares.degenerate
    np.testing.assert_allclose(shares.shares, [0.0, *(values.values[1:] / values.values[1:].sum())], rtol=1e-15)
    assert shares.shares.sum() == pytest.approx(1.0, rel=1e-15)
    assert shares.note.startswith("1 of 4 clients") and shares.note.endswith(".")


def test_shares_without_anything_to_report() -> None:
    shares = shapley.reward_shares(shapley.shapley_values([9.0, 10.0, 11.0], 10.0))
    assert shares.note == "" and not shares.negative.any() and not shares.degenerate


@pytest.mark.parametrize("target", [10.0, 3.0, 10.1])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_alike_clients_share_alike(size: int, target: float) -> None:
    for method in ("auto", "dynamic programming", "sampling"):
        values = shapley.shapley_values(np.full(size, 10.1), target, method=method)
        shares = shapley.reward_shares(values)
        assert values.exact and values.grand_value == 0.0 and not values.values.any()
        assert shares.degenerate and "symmetry" in shares.note and not shares.negative.any()
        np.testing.assert_allclose(shares.shares, 1.0 / size, rtol=1e-15)


def test_clients_alike_up_to_rounding_share_alike() -> None:
    shares = shapley.reward_shares(shapley.shapley_values([0.1 + 0.2, 0.3, 0.3], 0.3))
    assert shares.degenerate
    np.testing.assert_allclose(shares.shares, 1.0 / 3.0, rtol=1e-15)


def test_worthless_grand_coalition_with_unequal_values_still_has_shares() -> None:
    # (5) never gives this (see above), but (6) would be x/0: the positive parts are what is shared
    values = shapley.ShapleyValues(np.array([3.0, -4.0, 1.0]), np.zeros(3), 0.0, "enumeration")
    shares = shapley.reward_shares(values)
    assert shares.shares.tolist() == [0.75, 0.0, 0.25] and shares.negative.tolist() == [False, True, False]


@settings(max_examples=100, deadline=None)
@given(target=st.floats(1.0, 100.0), gap=st.floats(1e-3, 0.3))
def test_rounding_never_makes_a_share_negative(target: float, gap: float) -> None:
    # for mu = (g + a, g - 3a): SV_2 = (|a| - |mean|) / 2 = 0 exactly
    values = shapley.shapley_values([target + gap, target - 3.0 * gap], target)
    shares = shapley.reward_shares(values)
    assert abs(values.values[1]) <= values.noise_floor
    assert shares.shares.tolist() == [1.0, 0.0] and not shares.negative.any()


def test_sampled_values_are_negative_if_the_estimate_is() -> None:
    values = shapley.ShapleyValues(np.array([1.0, -1e-9, 2.0]), np.array([0.1, 0.1, 0.1]), 3.0, "sampling")
    shares = shapley.reward_shares(values)
    assert shares.negative.tolist() == [False, True, False]
    assert "1 values are within two standard errors of 0" in shares.note


@settings(max_examples=60, deadline=None)
@given(cycles=populations, target=targets)
def test_shares_are_shares(cycles: list[float], target: float) -> None:
    values = shapley.shapley_values(cycles, target)
    shares = shapley.reward_shares(values)
    exact = by_definition(cycles, target)
    assert (shares.shares >= 0.0).all() and shares.shares.sum() == pytest.approx(1.0, rel=1e-14)
    certain = [abs(value) > 2 * values.noise_floor for value in exact]
    assert [n for n, sure in zip(shares.negative, certain, strict=True) if sure] == [
        value < 0 for value, sure in zip(exact, certain, strict=True) if sure
    ]


# ------------------------------------------------------------------ bad input, and results that stay as they are


@pytest.mark.parametrize(
    ("cycles", "target", "options", "text"),
    [
        ([], 10.0, {}, "one number for each client"),
        ([[1.0, 2.0]], 10.0, {}, "one number for each client"),
        ([1.0, np.nan, 2.0], 10.0, {}, "client 1 .*nan.*finite"),
        ([1.0, np.inf], 10.0, {}, "client 1 .*inf.*finite"),
        (["many", "few"], 10.0, {}, "expected numbers"),
        (EXAMPLE, np.nan, {}, "target.*finite"),
        (EXAMPLE, None, {}, "target.*expected numbers"),
        (EXAMPLE, 10.0, {"method": "exact"}, "(?s)method.*" + ".*".join(shapley.METHODS)),
        (EXAMPLE, 10.0, {"method": "symmetry"}, "equal training cycles"),
        (EXAMPLE, 10.0, {"method": "closed form"}, "one side of the target"),
        (EXAMPLE, 10.0, {"samples": 3}, "samples.*at least 4.*3"),
        (EXAMPLE, 10.0, {"samples": 10.5}, "samples.*whole number.*10.5"),
        (EXAMPLE, 10.0, {"seed": -1}, "seed.*at least 0.*-1"),
        (np.linspace(0, 20, 60) ** 1.3, 10.0, {"method": "enumeration"}, "60 clients.*use .sampling."),
        (
            np.linspace(0, 20, 60) ** 1.3,
            10.0,
            {"method": "dynamic programming"},
            "60 clients.*use .sampling.",
        ),
        (np.arange(3000.0), 1000.0, {"method": "dynamic programming"}, "coarse enough.*round"),
    ],
)
def test_bad_input_is_explained(cycles: object, target: object, options: dict[str, object], text: str) -> None:
    with pytest.raises(InputError, match=text):
        shapley.shapley_values(cycles, target, **options)  # type: ignore[arg-type]


def test_results_are_read_only_and_inputs_untouched() -> None:
    cycles = np.array(EXAMPLE)
    values = shapley.shapley_values(cycles, 10.0)
    np.testing.assert_array_equal(cycles, EXAMPLE)
    with pytest.raises(ValueError, match="read-only"):
        values.values[0] = 1.0
    with pytest.raises(ValueError, match="read-only"):
        shapley.reward_shares(values).shares[0] = 1.0
    mine = np.array([1.0, 2.0])
    shapley.ShapleyValues(mine, np.zeros(2), 3.0, "enumeration")
    mine[0] = 5.0  # the caller's array is copied, not frozen
    with pytest.raises(InputError, match="one number for each"):
        shapley.ShapleyValues(mine, np.zeros(3), 3.0, "enumeration")
