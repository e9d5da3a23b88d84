"""Is a point in a cone, and how far out is it? The cones of a conic programme, in the order CVXPY and Clarabel use.

Zero, nonnegative, second-order, positive semidefinite (upper triangle by columns, off-diagonal x sqrt 2), exponential
{(x, y, z): y e^(x/y) <= z, y > 0}, power {(x, y, z): x^a y^(1-a) >= |z|}, and power of any dimension.
"""

from __future__ import annotations

import dataclasses
from functools import cached_property
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Cones:
    """A product of cones, by their sizes.

    zero, nonneg : dimensions. soc : dimension of each. psd : order of each matrix. exp : how many. power : exponent a of
    each three-dimensional one. powers : exponents of each of higher dimension (one entry more than exponents).
    """

    zero: int
    nonneg: int
    soc: tuple[int, ...] = ()
    psd: tuple[int, ...] = ()
    exp: int = 0
    power: tuple[float, ...] = ()
    powers: tuple[tuple[float, ...], ...] = ()

    @classmethod
    def of(cls, dims: Any) -> Cones:
        """From CVXPY's ``ConeDims``."""
        return cls(
            int(dims.zero),
            int(dims.nonneg),
            tuple(int(k) for k in dims.soc),
            tuple(int(k) for k in dims.psd),
            int(dims.exp),
            tuple(float(a) for a in dims.p3d),
            tuple(tuple(float(a) for a in alphas) for alphas in dims.pnd),
        )

    @cached_property
    def sizes(self) -> np.ndarray:
        """Rows of each cone; every row of the zero and the nonnegative cone is a cone of its own."""
        return np.array(
            [1] * (self.zero + self.nonneg)
            + list(self.soc)
            + [k * (k + 1) // 2 for k in self.psd]
            + [3] * (self.exp + len(self.power))
            + [len(alphas) + 1 for alphas in self.powers],
            dtype=np.int64,
        )

    @cached_property
    def starts(self) -> np.ndarray:
        """First row of each cone."""
        return np.concatenate([[0], np.cumsum(self.sizes)[:-1]]).astype(np.int64) if self.sizes.size else self.sizes

    def largest(self, rows: np.ndarray) -> np.ndarray:
        """Largest entry of ``rows`` within each cone."""
        return np.maximum.reduceat(rows, self.starts) if self.sizes.size else rows

    def total(self, rows: np.ndarray) -> np.ndarray:
        """Sum of the entries of ``rows`` within each cone."""
        return np.add.reduceat(rows, self.starts) if self.sizes.size else rows

    def spread(self, values: np.ndarray) -> np.ndarray:
        """One value per cone -> one per row."""
        return np.repeat(values, self.sizes)

    def violation(self, s: np.ndarray) -> np.ndarray:
        """By cone: how far ``s`` is outside, in the units of its entries; 0 inside."""
        return self._violation(s, dual=False)

    def dual_violation(self, z: np.ndarray) -> np.ndarray:
        """By cone: how far ``z`` is outside the dual cone; any value will do for the zero cone."""
        return self._violation(z, dual=True)

    def _violation(self, v: np.ndarray, *, dual: bool) -> np.ndarray:
        zero = np.zeros(self.zero) if dual else np.abs(v[: self.zero])
        flat = self.zero + self.nonneg
        nonneg = np.maximum(-v[self.zero : flat], 0.0)
        parts = [zero, nonneg, self._second_order(v)]
        offset = flat + sum(self.soc)
        for order in self.psd:
            count = order * (order + 1) // 2
            parts.append(
                np.array([max(0.0, -float(np.linalg.eigvalsh(_matrix(v[offset : offset + count], order))[0]))])
            )
            offset += count
        triples = v[offset : offset + 3 * self.exp].reshape(-1, 3)
        parts.append(_exponential_dual(triples) if dual else _exponential(triples))
        offset += 3 * self.exp
        for alphas in (*((a, 1.0 - a) for a in self.power), *self.powers):
            entries = v[offset : offset + len(alphas) + 1]
            parts.append(np.array([_power(entries, np.array(alphas), dual=dual)]))
            offset += len(alphas) + 1
        return np.concatenate(parts)

    def _second_order(self, v: np.ndarray) -> np.ndarray:
        if not self.soc:
            return np.zeros(0)
        flat = self.zero + self.nonneg
        rows = v[flat : flat + sum(self.soc)]
        starts = self.starts[flat : flat + len(self.soc)] - flat
        head = rows[starts]
        size = np.maximum(np.maximum.reduceat(np.abs(rows), starts), np.finfo(float).tiny)
        scaled = rows / np.repeat(size, self.soc)  # squares must neither overflow nor vanish
        scaled[starts] = 0.0
        return np.maximum(size * np.sqrt(np.add.reduceat(scaled * scaled, starts)) - head, 0.0)


def _matrix(entries: np.ndarray, order: int) -> np.ndarray:
    """The symmetric matrix of an upper triangle by columns with off-diagonal entries x sqrt 2."""
    matrix = np.zeros((order, order))
    row, column = np.tril_indices(order)  # the upper triangle by columns is the lower one by rows
    matrix[row, column] = matrix[column, row] = np.where(row == column, entries, entries / np.sqrt(2))
    return matrix


def _exponential(v: np.ndarray) -> np.ndarray:
    """y e^(x/y) <= z with y > 0, or x <= 0, y = 0, z >= 0; the smaller of the misses in z and in x."""
    x, y, z = v.T
    with np.errstate(all="ignore"):
        miss = np.maximum(y * np.exp(x / y) - z, 0.0)
        miss = np.where(z > 0, np.fmin(miss, np.maximum(x - y * np.log(z / y), 0.0)), miss)
    edge = np.maximum.reduce([np.abs(y), np.maximum(x, 0.0), np.maximum(-z, 0.0)])
    return np.where(y > 0, np.fmin(miss, edge), edge)


def _exponential_dual(v: np.ndarray) -> np.ndarray:
    """-x e^(y/x) <= e z with x < 0, or x = 0, y >= 0, z >= 0."""
    x, y, z = v.T
    with np.errstate(all="ignore"):
        miss = np.maximum(-x * np.exp(y / x - 1) - z, 0.0)
        miss = np.where(z > 0, np.fmin(miss, np.maximum(x * (1 + np.log(-z / x)) - y, 0.0)), miss)
    edge = np.maximum.reduce([np.abs(x), np.maximum(-y, 0.0), np.maximum(-z, 0.0)])
    return np.where(x < 0, np.fmin(miss, edge), edge)


def _power(v: np.ndarray, alphas: np.ndarray, *, dual: bool) -> float:
    """prod x_k^a_k >= |z|; in the dual cone x_k / a_k in place of x_k."""
    x, z = v[:-1] / alphas if dual else v[:-1], abs(float(v[-1]))
    mean = float(np.prod(np.maximum(x, 0.0) ** alphas))
    return max(0.0, float(np.max(-v[:-1])), z - mean)
