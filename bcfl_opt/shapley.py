"""What is each client's fair share of the training reward budget? Equations (4)-(6).

The game is v(S) = W - |mean_{i in S} mu_i - g| with W = max_i |mu_i - g|, and v(empty) = 0, which (5) leaves
open and we declare. Two facts make its Shapley values cheap and accurate:

1. With ``side`` the sign of mean(mu) - g, v = linear - 2 overshoot. linear(S) = W - side (mean_S - g) has a
   Shapley value in closed form. overshoot(S) = max(0, -side (mean_S - g)) is 0 for all clients together,
   and 0 for every coalition if all clients lie on one side of g.
2. A game r with r(all) = 0 has SV_i = sum_{s=1}^{N-1} (C_s - B_s(i)) / s, where B_s(i) is the mean of r over
   the coalitions of size s without i, and C_s that over all of size s: probabilities, no huge counts.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bcfl_opt.errors import InputError, choice
from bcfl_opt.shapley_grids import Grid

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

METHODS = ("auto", "symmetry", "closed form", "enumeration", "dynamic programming", "sampling")

ENUMERATION_BITS = 22  # at most 2^22 coalitions are enumerated: about 0.2 GB and half a second
ENUMERATION_CLIENTS = 1000  # above, binomial coefficients leave the range of floats
GRID_WORK = 3e9  # "auto" takes dynamic programming up to this much work: some ten seconds
GRID_WORK_ASKED = 3e10  # and by name it may take some minutes
GRID_CELLS = 5e7  # and no table grows beyond this: 8 bytes each
SAMPLING_WORK = 2e8  # default of clients x samples x sizes visited: a few seconds
EPSILON = float(np.finfo(np.float64).eps)
NOISE = 64.0 * EPSILON  # bounds the rounding of exact values, relative to max mu - min mu
BLOCK = 2**15  # numbers worked on at a time, so that they stay in the processor's cache
LARGEST = 1e100  # beyond, sums of cycles may overflow


@dataclass(frozen=True, slots=True, eq=False)
class ShapleyValues:
    """Shapley values (4) by client, shape (N,) [cycles], and how they were found."""

    values: FloatArray  # SV_i; they sum to grand_value
    standard_errors: FloatArray  # zeros where exact
    grand_value: float  # v(N), the worth of all clients together
    method: str  # one of METHODS, never "auto"
    noise_floor: float = 0.0  # an exact value this close to 0 has no sign; 0 if sampled

    def __post_init__(self) -> None:
        for name in ("values", "standard_errors"):
            array = np.array(getattr(self, name), dtype=np.float64)
            array.flags.writeable = False
            object.__setattr__(self, name, array)  # the one way to normalise a field of a frozen dataclass
        if self.values.ndim != 1 or not self.values.size or self.values.shape != self.standard_errors.shape:
            raise InputError("values and standard_errors: expected one number for each of one or more clients")

    @property
    def exact(self) -> bool:
        """True if the values are exact up to rounding, False if they are estimates."""
        return self.method != "sampling"


@dataclass(frozen=True, slots=True, eq=False)
class RewardShares:
    """Shares of the training budget (6) under the policy "a negative share becomes 0"."""

    shares: FloatArray  # >= 0, shape (N,), sums to 1
    negative: NDArray[np.bool_]  # True where the Shapley value is negative: that share was set to 0
    degenerate: bool  # v is 0 for every coalition, (6) is 0/0: shares are 1/N by symmetry
    note: str  # one sentence for people, empty if there is nothing to report

    def __post_init__(self) -> None:
        self.shares.flags.writeable = self.negative.flags.writeable = False


class _Split(NamedTuple):
    """v = linear - 2 overshoot; ``points`` are the distinct values of -side (mu - g), ascending."""

    linear: FloatArray  # Shapley values of the linear part, by client
    grand_value: float
    spread: float  # max mu - min mu
    magnitude: float  # max |mu|: its rounding limits what can be told apart
    points: FloatArray
    counts: IntArray  # clients at each point
    inverse: IntArray  # client -> position of its point


def characteristic(training_cycles: ArrayLike, target: float, members: ArrayLike) -> float:
    """Worth of one coalition.

    v(S) = W - |mean_{i in S} mu_i - g|, W = max over S of |mean_{i in S} mu_i - g| = max_i |mu_i - g|.

    training_cycles : mu, shape (N,) [cycles]. target : g [cycles].
    members : S, positions of clients, or a boolean mask of shape (N,). v(empty) = 0 is a declared convention.

    Errors: InputError for empty, non-finite or huge numbers, and unknown or repeated members. Source: (5).

    >>> characteristic([1, 9, 10, 11], 10, [1, 2])
    8.5
    """
    cycles, goal = _checked(training_cycles, target)
    chosen = np.asarray(members)
    if chosen.dtype == np.bool_ and chosen.shape == cycles.shape:
        chosen = np.flatnonzero(chosen)
    if not chosen.size:
        return 0.0
    if chosen.ndim != 1 or chosen.dtype.kind not in "iu" or not np.isin(chosen, np.arange(cycles.size)).all():
        raise InputError(f"members: expected positions below {cycles.size}, or a mask of {cycles.size} booleans")
    if np.unique(chosen).size < chosen.size:
        raise InputError("members: a client is listed twice; give each position once")
    gaps = cycles - goal
    return float(np.abs(gaps).max() - abs(gaps[chosen].mean()))


def shapley_values(
    training_cycles: ArrayLike,
    target: float,
    *,
    method: str = "auto",
    samples: int | None = None,
    seed: int = 0,
) -> ShapleyValues:
    """Shapley value of every client.

    SV_i = sum over S without i of |S|! (N - |S| - 1)! / N! (v(S + i) - v(S)), v as in :func:`characteristic`.

    training_cycles : mu, shape (N,) [cycles]. target : g [cycles].
    method : "auto" is the first of these that applies; the others can be asked for by name.
        "symmetry" : all mu equal, v = 0; always taken then.
        "closed form" : all mu on one side of g; O(N).
        "enumeration" : all coalitions, equal clients counted together; up to 2^22 of them (22 clients,
        or more with equal mu) and N = 1000.
        "dynamic programming" over (size, sum) : mu on a common grid, such as whole numbers or decimals;
        "auto" takes it where it needs some ten seconds at most (a hundred thousand clients on 0, 1, .., 20; 20,000 on
        0, 1, .., 100), by name where it needs minutes. Without such a grid it enumerates.
        "sampling" : random permutations; a standard error for every client.
    samples : number of permutations, at least 4, rounded up to even; ignored by exact methods. By default
        N x samples x log2(N) is near 2e8, within 32 and 65,536 samples.
    seed : of the sampling; the same seed gives the same bits.

    Clients with equal mu get equal values to the last bit, and the values sum to v(N) up to rounding, always.

    Errors: InputError for bad numbers, an unknown method, or a method that cannot do this population.
    Source: (4), (5).

    >>> shapley_values([1, 9, 10, 11], 10).values.round(2).tolist()
    [-2.19, 2.7, 3.15, 3.09]
    """
    cycles, goal = _checked(training_cycles, target)
    choice("method", method, METHODS)
    for name, value, least in (("samples", 4 if samples is None else samples, 4), ("seed", seed, 0)):
        if not isinstance(value, int | np.integer) or value < least:
            raise InputError(f"{name}: expected a whole number of at least {least}, got {value!r}")
    game = _split(cycles, goal)
    one_sided = bool(game.points[-1] <= 0.0)
    grid = Grid.of(game.points, game.counts, game.magnitude) if method in ("auto", "dynamic programming") else None
    if grid is not None and (grid.cells > GRID_CELLS or grid.work > GRID_WORK_ASKED):
        grid = None
    if game.spread == 0.0:
        method = "symmetry"
    elif method == "auto" and one_sided:
        method = "closed form"
    elif method == "auto" and _enumerable(game):
        method = "enumeration"
    elif method == "auto":
        method = "dynamic programming" if grid is not None and grid.work <= GRID_WORK else "sampling"
    elif method == "symmetry":
        raise InputError('method "symmetry" needs equal training cycles for all clients; use "auto"')
    elif method == "closed form" and not one_sided:
        raise InputError('method "closed form" needs all training cycles on one side of the target; use "auto"')
    excess, errors = np.zeros((2, game.points.size))
    if method in ("symmetry", "closed form"):
        pass  # nothing overshoots
    elif method == "sampling":
        excess, errors = _sample(game, samples, seed)
    elif method == "dynamic programming" and grid is not None:
        excess = grid.excess()
    elif _enumerable(game):
        method, excess = "enumeration", _enumerate(game)
    else:
        raise InputError(
            f'method "{method}" is too large for {cycles.size} clients with {game.points.size} distinct '
            'training_cycles (without a common grid coarse enough); round training_cycles, or use "sampling"'
        )
    for _ in range(2):  # the second time takes out the rounding of the first
        excess = excess - excess @ game.counts / cycles.size
    values, errors = game.linear - excess[game.inverse], errors[game.inverse]
    noise = 0.0 if method == "sampling" else NOISE * max(game.spread, game.magnitude / 8.0)
    return ShapleyValues(values, errors, game.grand_value, method, noise)


def reward_shares(values: ShapleyValues) -> RewardShares:
    """Shares of the training budget.

    share_i = max(SV_i, 0) / sum_j max(SV_j, 0), and 1/N if v = 0; R_t,i = share_i (eta - eta_m).

    This keeps the budget; (6) alone gives negative rewards, and 0/0 if all clients are alike. Exact values
    within ``noise_floor`` of 0 count as 0, so that rounding decides nothing: it is 64 machine epsilons times
    max mu - min mu (at most 2 W), or max |mu| / 8 if that is larger. Sampled values are negative if < 0.

    Source: (6) with the policy ``negative_shares="zero"``.

    >>> reward_shares(shapley_values([10, 10], 10)).shares.tolist()
    [0.5, 0.5]
    """
    number, size = values.values, values.values.size
    kept = np.where(number > values.noise_floor, number, 0.0)
    if not kept.any():  # the values sum to v(N) >= 0, so that none is negative either
        note = "All clients are alike (up to rounding) and every coalition is worth 0: equal shares, by symmetry."
        return RewardShares(np.full(size, 1.0 / size), np.zeros(size, dtype=np.bool_), True, note)
    negative = number < -values.noise_floor
    note = ""
    if negative.any():
        unsure = np.count_nonzero(np.abs(number) < 2.0 * values.standard_errors)
        note = (
            f"{np.count_nonzero(negative)} of {size} clients have a negative Shapley value and get no "
            "training reward; the others share the whole budget"
            + (f" ({unsure} values are within two standard errors of 0)." if unsure else ".")
        )
    kept /= kept.max()  # a tiny or huge unit must not underflow or overflow the sum
    return RewardShares(kept / kept.sum(), negative, False, note)


def _checked(training_cycles: ArrayLike, target: float) -> tuple[FloatArray, float]:
    try:
        cycles, goal = np.asarray(training_cycles, dtype=np.float64), float(target)
    except (TypeError, ValueError) as error:
        raise InputError(f"training_cycles and target: expected numbers ({error})") from error
    if cycles.ndim != 1 or not cycles.size:
        raise InputError(f"training_cycles: expected one number for each client, got shape {cycles.shape}")
    bad = np.flatnonzero(~(np.abs(cycles) <= LARGEST))
    if bad.size:
        found = f"client {bad[0]} (counted from 0) has {cycles[bad[0]]}"
        raise InputError(f"training_cycles: {found}; expected finite numbers below {LARGEST:g}")
    if not abs(goal) <= LARGEST:
        raise InputError(f"target: expected a finite number below {LARGEST:g}, got {target!r}")
    return cycles, goal


def _split(cycles: FloatArray, goal: float) -> _Split:
    size, gaps = cycles.size, cycles - goal
    side = 1.0 if gaps.mean() >= 0.0 else -1.0
    far = int(np.abs(gaps).argmax())
    # linear({i}) = W - side (mu_i - g) >= 0, without g where it cancels
    alone = np.abs(cycles[far] - cycles) if gaps[far] * side > 0.0 else abs(gaps[far]) - side * gaps
    others = (alone.sum() - alone) / max(size - 1, 1)
    harmonic = float(np.sum(1.0 / np.arange(1, size + 1)))
    points, inverse, counts = np.unique(-side * gaps, return_inverse=True, return_counts=True)
    linear = (harmonic * alone - (harmonic - 1.0) * others) / size
    magnitude = float(np.abs(cycles).max())
    return _Split(linear, float(alone.mean()), float(np.ptp(cycles)), magnitude, points, counts, inverse)


def _enumerable(game: _Split) -> bool:
    bits = np.log2(game.counts + 1.0).sum()
    return bool(bits <= ENUMERATION_BITS and game.counts.sum() <= ENUMERATION_CLIENTS)


def _enumerate(game: _Split) -> FloatArray:
    """Shapley values of 2 overshoot up to a constant, from all (c_1, .., c_K), c_k clients of kind k each."""
    size, kinds = int(game.counts.sum()), game.counts.size
    taken, sums, ways = np.zeros(1, dtype=np.int64), np.zeros(1), np.ones(1)
    for point, count in zip(game.points, game.counts.tolist(), strict=True):
        each = np.arange(count + 1)
        taken = np.add.outer(taken, each).ravel()
        sums = np.add.outer(sums, each * point).ravel()
        ways = np.multiply.outer(ways, _binomials(count)).ravel()
    s = np.arange(1.0, size)
    weight = np.zeros(size + 1)  # the empty coalition and that of all have overshoot 0
    weight[1:-1] = 2.0 * size / (_binomials(size)[1:-1] * (size - s) * s**2)
    terms = np.maximum(sums, 0.0) * weight[taken] * ways
    moments = np.zeros(kinds)  # sum of terms * c_k
    for kind, count in enumerate(game.counts.tolist()):
        folded = terms.reshape(count + 1, -1)  # long sums along the last axis, where numpy adds pairwise
        moments[kind] = folded.sum(axis=1) @ np.arange(count + 1)
        terms = folded.sum(axis=0)
    return moments / game.counts


def _binomials(n: int) -> FloatArray:
    return np.array([float(math.comb(n, k)) for k in range(n + 1)])  # whole numbers first: exact to rounding


def _sample(game: _Split, samples: int | None, seed: int) -> tuple[FloatArray, FloatArray]:
    """Shapley values of 2 overshoot up to a constant, with standard errors, from random permutations.

    The first s of a permutation from which i is deleted are a uniformly random coalition of size s without i,
    so that one permutation gives every client a marginal contribution at every size. Sizes are stratified:
    one at random from each of [1, 2), [2, 4), [4, 8), .. stands for them all; size 0 is exact. A permutation
    goes with its mirror image (ranks by training cycles reversed), which overshoots where the other does not.
    These pairs are independent and unbiased for all clients at once, also after a shift to sum 0, the sum of
    the true values; the errors are those of the mean of pairs, blind to what was too rare to occur.
    """
    ordered = np.repeat(game.points, game.counts)
    size, place = ordered.size, np.arange(ordered.size)
    firsts = np.cumsum(game.counts) - game.counts
    edges = [*(2**k for k in range((size - 1).bit_length())), size]
    if samples is None:
        samples = int(min(max(SAMPLING_WORK / (size * len(edges)), 32), 65_536))
    pairs, done, generator = (samples + 1) // 2, 0, np.random.default_rng(seed)
    mean, squares = np.zeros(game.points.size), np.zeros(game.points.size)
    while done < pairs:
        batch = min(max(BLOCK // size, 1), pairs - done)
        ranks = generator.permuted(np.broadcast_to(place, (batch, size)), axis=1)
        ranks = np.concatenate([ranks, size - 1 - ranks])
        own = ordered[ranks]
        sums = np.cumsum(own, axis=1)
        gains = np.maximum(own, 0.0)
        for low, high in itertools.pairwise(edges):
            s = np.tile(generator.integers(low, high, size=batch), 2)[:, None]
            inner, outer = (np.take_along_axis(sums, last, axis=1) for last in (s - 1, s))
            before = outer - own  # of the first s + 1, if i is among them; otherwise of the first s
            np.copyto(before, inner, where=place >= s)
            gains -= np.maximum(before, 0.0) * ((high - low) / s)
            before += own
            gains += np.maximum(before, 0.0, out=before) * ((high - low) / (s + 1))
        estimates = np.empty_like(gains)
        np.put_along_axis(estimates, ranks, gains, axis=1)
        estimates = (estimates[:batch] + estimates[batch:]) / size  # the mean of two, times 2 / N
        estimates -= estimates.mean(axis=1, keepdims=True)
        estimates = np.add.reduceat(estimates, firsts, axis=1) / game.counts  # by kind
        # Chan's update of mean and squared deviations: nothing cancels and no estimate is kept
        centre = estimates.mean(axis=0)
        change, done = centre - mean, done + batch
        mean += change * (batch / done)
        squares += ((estimates - centre) ** 2).sum(axis=0) + change**2 * (batch * (done - batch) / done)
    return mean, np.sqrt(squares / (pairs - 1) / pairs)
