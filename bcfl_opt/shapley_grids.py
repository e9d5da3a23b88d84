"""What are the exact Shapley values of thousands of clients whose training cycles lie on a grid?

Wanted is the excess of client i, up to what all clients share: -2 sum_{s=1}^{N-1} E max(0, Y) / s^2, Y the sum over s random
clients other than i of the points x = x_0 + step * offset (see :mod:`bcfl_opt.shapley`).

Small coalitions, and those that leave few clients out, have their sums counted, one kind of clients after another. For all
sizes between, max(0, y) = (y + |y|) / 2, E Y is known, and |y| is a triangular wave of some even period W that is longer than
the sums spread, whose Fourier series on the whole numbers is W/4 - (2/W) sum of cos(2 pi l y / W) / sin(pi l / W)^2 over odd
l < W/2. So all that is needed are characteristic functions at these frequencies w. If every client joins with probability p,
those of all sizes come together in

    F(theta, w) = prod_j (1 - p + p e^{i (theta + w x_j)}) = sum_s b_s e^{i theta s} E e^{i w Y_s},   b_s binomial,

without client i one divides by its factor, and a discrete Fourier transform in theta takes the sizes apart, some sqrt(N)
of them at a time, around p N. A sum of many clients has a characteristic function that vanishes except at a few dozen
frequencies, however fine the grid and large the population: that makes it fast.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.fft import next_fast_len

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

EPSILON = float(np.finfo(np.float64).eps)
#: Coalitions up to this size, and their complements, have their sums counted.
COUNTED = 48
#: -log of the probability of what is left out, and of the characteristic functions' values that are.
TAIL = math.log(2e22)
#: Sizes of a band lie within so many standard deviations of p N: what is further is divided by a small b_s.
BAND = 3.0
#: Complex numbers worked on at a time.
BLOCK = 1 << 16


@dataclasses.dataclass(frozen=True, eq=False)
class Grid:
    """points = first + step * offsets, ``counts`` clients at each."""

    first: float
    step: float
    offsets: IntArray
    counts: IntArray

    @classmethod
    def of(cls, points: FloatArray, counts: IntArray, magnitude: float) -> Grid | None:
        """The coarsest common step of the points, ascending, up to the rounding of the input; None if there is none.

        magnitude : largest number the points were made from.
        """
        heights, tolerance = points - points[0], 4.0 * EPSILON * magnitude
        rises = np.diff(points)
        smallest = float(rises[rises > tolerance].min(initial=np.inf))
        finest = 0.01 * smallest / max(tolerance, 1e-300)  # a step near the rounding would fit any numbers
        if points.size > 10_000 or not 1.0 <= finest < np.inf:
            return None
        for divisor in range(1, int(min(finest, 1000.0)) + 1):
            offsets = np.rint(heights * (divisor / smallest))
            step = float(heights[-1] / offsets[-1])
            if np.abs(offsets * step - heights).max() <= tolerance:
                return cls(float(points[0]), step, offsets.astype(np.int64), counts)
        return None

    @cached_property
    def size(self) -> int:
        """N."""
        return int(self.counts.sum())

    @cached_property
    def rows(self) -> int:
        """Sizes 0 .. rows - 1 are counted, and their complements."""
        return min((self.size + 1) // 2, COUNTED)

    @cached_property
    def mean(self) -> float:
        return float(self.offsets @ self.counts) / self.size

    @cached_property
    def zero(self) -> float:
        """The offset of x = 0, at least the mean: all clients together do not overshoot."""
        return max(-self.first / self.step, self.mean)

    @cached_property
    def _moments(self) -> tuple[FloatArray, FloatArray]:
        deviations = self.offsets - self.mean
        slopes = np.geomspace(1e-4, 1.0, 400) * (TAIL / np.abs(deviations).max())
        powers = np.multiply.outer(slopes, deviations)
        both = [np.log(np.exp(sign * powers) @ self.counts / self.size) for sign in (1.0, -1.0)]
        return slopes, np.maximum(*both)

    def spread(self, s: int) -> float:
        """Sums of s clients lie within this of s * mean, but for a probability of 1e-22 (Chernoff; Hoeffding 1963, theorem 4)."""
        slopes, moments = self._moments
        drawn = min(s, self.size - s)  # the others' sum is as far from its mean
        bound = float(((drawn * moments + TAIL) / slopes).min())
        return min(bound, drawn * float(np.abs(self.offsets - self.mean).max()))

    @cached_property
    def work(self) -> float:
        """About how many numbers are touched: a second for every 3e8."""
        width, kinds = 2.0 * self.spread(self.rows) + 1.0, self.counts.size
        counted = float(np.minimum(self.counts, self.rows).sum()) * self.rows * width + 6.0 * kinds * self.rows * width
        between = 0.0
        for band in _bands(self):
            between += float(band.frequencies.size * band.turns)
            if between * kinds > 1e12:
                break
        return counted + 5.0 * kinds * between

    @property
    def cells(self) -> float:
        """Numbers held at a time while sums are counted."""
        return 2.0 * self.rows * (2.0 * self.spread(self.rows) + 1.0)

    def excess(self) -> FloatArray:
        """By kind, up to a constant."""
        return _counted(self) + _between(self)


# ---------------------------------------------------------------------- few clients, or all but few


def _counted(grid: Grid) -> FloatArray:
    """The terms of sizes below ``rows``, and of their complements.

    After some kinds, table[s, .] = (ways to choose s clients of these kinds with that sum) / C(N, s): no huge numbers, and at
    the end probabilities. Without one client, P(sum of s others = J) = (P_s(J) - s/N Q_{s-1}(J - offset)) / (1 - s/N),
    which multiplies errors by s / (N - s) < 1. Row s starts at the sum s * level - radius.
    """
    size, rows, largest = grid.size, grid.rows, int(grid.offsets[-1])
    level = math.floor(grid.mean)
    radius = math.ceil(grid.spread(rows)) + rows + 2 * largest + 4
    width = 2 * radius + 1
    table = np.zeros((rows, width))
    table[0, radius] = 1.0
    s = np.arange(rows, dtype=np.float64)
    for offset, count in zip(grid.offsets.tolist(), grid.counts.tolist(), strict=True):
        old, weight = table.copy(), np.ones(rows)
        for j in range(1, min(count, rows - 1) + 1):
            # C(c, j) C(N, s - j) / C(N, s)
            weight = weight * ((count - j + 1.0) * (s - j + 1.0) / (j * (size - s + j)))
            shift = j * (offset - level)
            if abs(shift) >= width:
                break
            to, start = (
                (slice(shift, None), slice(None, -shift or None))
                if shift >= 0
                else (slice(None, shift), slice(-shift, None))
            )
            table[j:, to] += weight[j:, None] * old[:-j, start]
    table /= table.sum(axis=1, keepdims=True)  # takes out the rounding that a row's cells share
    place = np.arange(width, dtype=np.float64)

    def above(row: FloatArray, edge: float) -> float:
        """step * E max(J - edge, 0), J counted from the row's low end."""
        first = min(max(math.floor(edge) + 1, 0), width)
        return grid.step * float(row[first:] @ (place[first:] - edge))

    points = grid.first + grid.step * grid.offsets
    total = float(points @ grid.counts)
    excess = np.zeros(grid.counts.size)
    for kind, offset in enumerate(grid.offsets.tolist()):
        rest, row = total - float(points[kind]), table[0]
        shift = offset - level
        for chosen in range(rows):
            low = chosen * level - radius
            if chosen:
                shifted = np.zeros(width)
                if shift >= 0:
                    shifted[shift:] = row[: width - shift]
                else:
                    shifted[:shift] = row[-shift:]
                row = (table[chosen] - chosen / size * shifted) / (1.0 - chosen / size)
                excess[kind] -= 2.0 * above(row, -chosen * grid.first / grid.step - low) / chosen**2
            if (others := size - 1 - chosen) >= rows:  # they overshoot if those left out sum to little
                edge = (rest - chosen * grid.first) / grid.step - low
                excess[kind] -= 2.0 * above(row[::-1], width - 1 - edge) / others**2
    return excess


# ---------------------------------------------------------------------- all sizes between


@dataclasses.dataclass(frozen=True, eq=False)
class _Band:
    """Neighbouring sizes, and the nodes that give their characteristic functions.

    chance : p. weights : b_s of the sizes. turns : nodes in theta. period : W. frequencies : the odd l that count.
    """

    sizes: IntArray
    chance: float
    weights: FloatArray
    turns: int
    period: int
    frequencies: IntArray


def _bands(grid: Grid) -> Iterator[_Band]:
    """Of the sizes rows .. N - 1 - rows, those at which a coalition can overshoot at all."""
    n, first, final = grid.size - 1, grid.rows, grid.size - 1 - grid.rows
    largest, above = int(grid.offsets[-1]), grid.zero - grid.mean
    while first <= final:
        # p such that first = n p - BAND sqrt(n p (1 - p))
        a, b = n * n + BAND**2 * n, 2.0 * n * first + BAND**2 * n
        chance = min((b + math.sqrt(max(b * b - 4.0 * a * first * first, 0.0))) / (2.0 * a), 1.0 - 1e-9)
        if abs(chance - 0.5) < 2e-3:
            chance = 0.502  # at 1/2 a factor of F can be 0
        last = min(math.floor(n * chance + BAND * math.sqrt(n * chance * (1.0 - chance))), final)
        spread = grid.spread(
            grid.size // 2 if first < grid.size // 2 < last else min((first, last), key=lambda s: abs(2 * s - n))
        )
        sizes = np.arange(first, last + 1)
        sizes = sizes[sizes * above <= spread + 2 * largest]
        first = last + 1
        if sizes.size == 0:
            if last >= grid.size // 2 or n * chance > grid.size / 2:
                return  # larger ones spread less and must rise further
            continue
        low, weights = _binomial(n, chance)
        reach = spread + float(sizes[-1]) * above + largest + 2.0
        period = 4 * next_fast_len(math.ceil(reach / 2.0))
        turns = int(max(low + weights.size - sizes[0], sizes[-1] - low)) + 1
        yield _Band(sizes, chance, weights[sizes - low], min(turns, n + 1), period, _frequencies(grid, chance, period))


def _binomial(n: int, p: float) -> tuple[int, FloatArray]:
    """b_s from some s on, all that are above 1e-20 of the largest."""
    mode, reach = math.floor((n + 1) * p), math.ceil(12.0 * math.sqrt(n * p * (1.0 - p)) + 30.0)
    up = np.arange(mode, min(mode + reach, n), dtype=np.float64)
    down = np.arange(mode, max(mode - reach, 0), -1, dtype=np.float64)
    odds = p / (1.0 - p)
    right, left = np.cumprod((n - up) / (up + 1.0) * odds), np.cumprod(down / (n - down + 1.0) / odds)
    weights = np.concatenate([left[::-1], [1.0], right])
    kept = np.flatnonzero(weights > 1e-20)
    weights = weights / weights.sum()
    return int(mode - left.size + kept[0]), weights[kept[0] : kept[-1] + 1]


def _frequencies(grid: Grid, chance: float, period: int) -> IntArray:
    """The odd l < W/2 where |F| <= exp(-N p (1 - p) (1 - |phi|)) is not negligible; phi is one client's function."""
    histogram = np.bincount(grid.offsets % period, weights=grid.counts, minlength=period) / grid.size
    size = np.abs(np.fft.rfft(histogram))[1 : period // 2 : 2]
    kept = grid.size * chance * (1.0 - chance) * (1.0 - size) <= TAIL + 4.0
    return 2 * np.flatnonzero(kept) + 1


def _between(grid: Grid) -> FloatArray:
    """The terms of all other sizes: - sum over s of (E Y + E |Y|) / s^2, less what is the same for all kinds."""
    points = grid.first + grid.step * grid.offsets
    others = (points @ grid.counts - points) / (grid.size - 1)  # mean without one client of this kind
    excess = np.zeros(grid.counts.size)
    for band in _bands(grid):
        excess -= others * float((1.0 / band.sizes).sum())
        part = max(BLOCK // band.turns, 1)
        for start in range(0, band.frequencies.size, part):
            excess -= _absolute(grid, band, band.frequencies[start : start + part])
    return excess


def _absolute(grid: Grid, band: _Band, frequencies: IntArray) -> FloatArray:
    """Sum over the band's sizes of E |Y| / s^2 by kind: these frequencies' part of it."""
    angle = 2.0 * np.pi * frequencies / band.period
    # |y| between two grid points is linear: the threshold's whole part and its fraction
    threshold = band.sizes * grid.zero
    whole = np.floor(threshold)
    fraction = threshold - whole
    series = -(2.0 / band.period) / np.sin(angle / 2.0) ** 2
    phases = np.exp(-1j * np.multiply.outer(angle, whole - band.sizes * grid.mean))
    phases *= 1.0 - fraction + np.multiply.outer(np.exp(-1j * angle), fraction)
    phases *= 1.0 / (band.weights * band.sizes.astype(np.float64) ** 2)
    kernel = np.zeros((frequencies.size, band.turns), dtype=np.complex128)
    kernel[:, band.sizes % band.turns] = phases
    kernel = np.fft.fft(kernel, axis=1) * (series[:, None] * (grid.step / band.turns))
    turn = band.chance * np.exp(2j * np.pi * np.arange(band.turns) / band.turns)
    rotation = np.exp(1j * np.multiply.outer(grid.offsets - grid.mean, angle))

    def factor(kind: int) -> NDArray[np.complex128]:
        found = np.multiply.outer(rotation[kind], turn)
        found += 1.0 - band.chance
        return found

    # the product with powers, by squaring: binary digits of the counts, highest first
    product = np.ones_like(kernel)
    for digit in range(int(grid.counts.max()).bit_length() - 1, -1, -1):
        product *= product
        for kind in np.flatnonzero((grid.counts >> digit) & 1):
            product *= factor(int(kind))
    product *= kernel
    return np.array([float((product / factor(kind)).real.sum()) for kind in range(grid.counts.size)])
