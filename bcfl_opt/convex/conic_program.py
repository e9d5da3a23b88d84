"""Is a point optimal for a conic programme? Residuals of our own, and the scaling under which a solver finds the point.

minimise x'Px / 2 + q'x   subject to   A x + s = b,  s in K                (primal)
P x + A'z + q = 0,  z in K*,  s'z = 0                                     (optimality)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as sla
from scipy.sparse.csgraph import connected_components

from bcfl_opt.certificate import TOLERANCE, Certificate
from bcfl_opt.convex.cones import Cones
from bcfl_opt.fixed_cost import without_fixed_cost

#: Residuals are compared with the size of the terms that should cancel, but with no less than this share of the
#: largest such size: a multiplier of 1e-12 that should be 0 is noise, not a relative error of 1.
FLOOR = 1e-4
#: Parts whose units of money differ by less than this, as a power of two, share one.
ALIKE = 7.0
#: Factors of a scaling that move by no more than this in a pass, as powers of two, stay: they are rounded to whole powers.
SETTLED = 0.2
#: Share of a least violation that may be lost to rounding.
LOST = 0.01
#: A proof that there is no point, or no limit, must hold up to this, relative to what cancels in it.
PROOF = 1e-9


@dataclasses.dataclass(frozen=True, eq=False)
class ConicProgram:
    """The programme above: P (n, n) and A (m, n) sparse, q (n,), b (m,), and the cones of the m rows."""

    P: sp.csc_array
    q: np.ndarray
    A: sp.csc_array
    b: np.ndarray
    cones: Cones

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> ConicProgram:
        """From what ``cvxpy.Problem.get_problem_data`` returns for Clarabel."""
        q = np.asarray(data["c"], dtype=float)
        P = data.get("P")
        P = sp.csc_array((q.size, q.size)) if P is None else sp.csc_array(P)
        A = sp.csc_array(data["A"])
        A.eliminate_zeros()
        return cls(P, q, A, np.asarray(data["b"], dtype=float), Cones.of(data["dims"]))

    @property
    def finite(self) -> bool:
        """Are all numbers finite?"""
        return all(bool(np.isfinite(v).all()) for v in (self.P.data, self.q, self.A.data, self.b))

    def slack(self, x: np.ndarray) -> np.ndarray:
        """s = b - A x."""
        return self.b - self.A @ x

    def without_empty_rows(self) -> tuple[ConicProgram, np.ndarray]:
        """Leave out inequalities that say nothing, 0 <= b or a <= inf; and which rows are kept.

        An interior-point method would look for a slack strictly inside, and where b = 0 there is none.
        """
        says = np.zeros(len(self.b), dtype=bool)
        says[self.A.indices] = True
        flat = np.arange(len(self.b))
        inequality = (flat >= self.cones.zero) & (flat < self.cones.zero + self.cones.nonneg)
        kept = ~(inequality & ((~says & (self.b >= 0)) | (self.b == np.inf)))
        if kept.all():
            return self, kept
        cones = dataclasses.replace(self.cones, nonneg=self.cones.nonneg - int((~kept).sum()))
        return ConicProgram(self.P, self.q, sp.csc_array(self.A.tocsr()[kept]), self.b[kept], cones), kept

    def without_constant_cost(self) -> tuple[ConicProgram, np.ndarray]:
        """The same programme with the objective's part that the equalities fix taken out, q + A_e'y; and that y.

        Equality rows A_e x = b_e make y'A_e x a constant, and adding it to the objective changes nothing but their
        multipliers, by -y. Where clients use the whole deadline, their time costs the owner the same whatever they do;
        left in, it can be a million times the payments that are to be minimised, and drown them. y is the least-squares one.
        """
        if not self.cones.zero or not self.q.any():
            return self, np.zeros(self.cones.zero)
        q, y = without_fixed_cost(self.q, sp.csr_array(self.A.tocsr()[: self.cones.zero]))
        return dataclasses.replace(self, q=q), y

    @np.errstate(all="ignore")
    def certify(
        self,
        x: np.ndarray,
        z: np.ndarray,
        *,
        unit: float,
        names: Callable[[int], str],
        owners: np.ndarray | None = None,
    ) -> Certificate:
        """Residuals of the point x with multipliers z; s is what the constraints leave.

        unit : what counts as small in this model: residuals are relative to the size of their terms, but to no less than
            this (1 for a model of unknown scale, the usual mix of absolute and relative).
        names : column of x -> how a person would call it.
        owners : number of each column's owner, such as a client, -1 where it has none.

        For every feasible y, f(y) >= f(x) - s'z - sum |r_j| |y_j - x_j| with r = P x + A'z + q: that is the duality gap,
        with |x_j| for |y_j - x_j|. Both s'z and r are counted with their absolute values, so nothing cancels. Parts that
        nothing connects have gaps of their own, and the largest, relative to its part's objective, counts; so have parts that
        only a constraint shared by several owners connects.
        """
        cones, s = self.cones, self.slack(x)
        size = np.maximum(cones.largest(abs(self.A) @ np.abs(x) + np.abs(self.b)), unit)
        weight = cones.largest(np.abs(z)) * size
        terms = np.abs(self.q) + abs(self.P) @ np.abs(x) + abs(self.A).T @ np.abs(z)
        residual = np.abs(self.P @ x + self.A.T @ z + self.q)
        size_of_x = np.where(x != 0, np.abs(x), 1.0)
        least = max(FLOOR * float((terms * size_of_x).max(initial=0.0)), unit)
        stationarity = residual * size_of_x / np.maximum(terms * size_of_x, least)
        products = np.abs(cones.total(s * z))
        complementarity, gap = self._gap(self.parts, x, products, residual, unit)
        alone = None if owners is None else self._within_one_owner(owners)
        if alone is not None and not alone.all():
            # What they share may weigh more than an owner's own objective, which counts however small it is.
            own = self._gap(self._parts(alone), x, products, residual, 0.0)
            complementarity, gap = max(complementarity, own[0]), max(gap, own[1])
        return Certificate(
            primal=float((cones.violation(s) / size).max(initial=0.0)),
            dual=float((cones.dual_violation(z) * size).max(initial=0.0) / max(float(weight.max(initial=0.0)), 1e-300)),
            complementarity=complementarity,
            stationarity=float(stationarity.max(initial=0.0)),
            gap=gap,
            where={"stationarity": names(int(stationarity.argmax()))} if len(x) else {},
        )

    def _gap(
        self,
        parts: tuple[np.ndarray, np.ndarray],
        x: np.ndarray,
        products: np.ndarray,
        residual: np.ndarray,
        floor: float,
    ) -> tuple[float, float]:
        """Largest s'z of a cone and largest gap of a part, relative to the part's objective.

        floor : no less than this counts as an objective. A part that has none is compared with the largest.
        """
        columns, rows = parts
        of_cone = rows[self.cones.starts]
        count = int(max(columns.max(initial=-1), rows.max(initial=-1))) + 1
        scale = np.bincount(columns, np.abs(self.q * x) + np.abs(x * (self.P @ x)), minlength=count)
        scale = np.maximum(scale, floor)
        scale = np.where(scale > 0, scale, float(scale.max(initial=0.0)) or 1.0)
        share = np.maximum(scale / np.maximum(np.bincount(columns, minlength=count), 1), floor)
        gap = np.bincount(of_cone, products, minlength=count)
        gap += np.bincount(columns, residual * np.abs(x), minlength=count)
        return float((products / share[of_cone]).max(initial=0.0)), float((gap / scale).max(initial=0.0))

    @np.errstate(all="ignore")
    def unscaled(self, x: np.ndarray, z: np.ndarray) -> dict[str, float]:
        """The same residuals in this programme's own units."""
        cones, s = self.cones, self.slack(x)
        products = np.abs(cones.total(s * z))
        residual = np.abs(self.P @ x + self.A.T @ z + self.q)
        return {
            "primal": float(cones.violation(s).max(initial=0.0)),
            "dual": float(cones.dual_violation(z).max(initial=0.0)),
            "complementarity": float(products.max(initial=0.0)),
            "stationarity": float(residual.max(initial=0.0)),
            "gap": float(products.sum()) + float((residual * np.abs(x)).sum()),
        }

    def proof_of_infeasibility(self, z: np.ndarray) -> np.ndarray | None:
        """z in K* with A'z = 0 and b'z < 0, of the parts where it is so; None where it is so nowhere.

        For a feasible x, 0 <= s'z = b'z - x'A'z would be negative; as long as A'z is only nearly 0, that excludes no x that
        is large enough. So z is corrected by the least relative change that makes A'z vanish, and each entry of A'z must be 0
        relative to the terms that cancel in it: a relative change of A's numbers by as much would make the proof exact. With
        and without z's least entries, which may be noise. One part without a point leaves the whole without
        one; its z comes back with b'z = -1.
        """
        largest = np.abs(z).max(initial=0.0)
        tried = (self._proven(np.where(np.abs(z) > share * largest, z, 0.0)) for share in (1e-8, 1e-12, 0.0))
        return next((proof for proof in tried if proof is not None), None)

    @np.errstate(all="ignore")
    def _proven(self, z: np.ndarray) -> np.ndarray | None:
        transposed = sp.csr_array(self.A.T)
        for _ in range(3):
            weighted = transposed @ sp.diags_array(np.abs(z))
            z = z * (1 - np.sign(z) * sla.lsqr(weighted, transposed @ z, atol=1e-15, btol=1e-15, iter_lim=200)[0])
        columns, rows = self.parts
        count = int(max(columns.max(initial=-1), rows.max(initial=-1))) + 1
        below = -np.bincount(rows, self.b * z, minlength=count)
        proven = below > PROOF * np.bincount(rows, np.abs(self.b * z), minlength=count)
        left = np.abs(transposed @ z) > PROOF * (abs(transposed) @ np.abs(z))
        outside = self.cones.dual_violation(z) > PROOF * self.cones.largest(np.abs(z))
        proven[columns[left]] = False
        proven[rows[self.cones.spread(outside)]] = False
        return np.where(proven[rows], z / np.where(proven, below, 1.0)[rows], 0.0) if proven.any() else None

    @np.errstate(all="ignore")
    def proves_unbounded(self, x: np.ndarray) -> bool:
        """Is x a direction with P x = 0, -A x in K and q'x < 0? From any feasible point, it improves without limit."""
        x = np.where(np.abs(x) > PROOF * np.abs(x).max(initial=0.0), x, 0.0)
        curved = np.abs(self.P @ x) > PROOF * (abs(self.P) @ np.abs(x))
        outside = self.cones.violation(-(self.A @ x)) > PROOF * self.cones.largest(abs(self.A) @ np.abs(x))
        return bool(-(self.q @ x) > PROOF * (np.abs(self.q) @ np.abs(x)) and not curved.any() and not outside.any())

    @np.errstate(all="ignore")
    def proves_cost(self, x: np.ndarray, z: np.ndarray, reach: float) -> bool:
        """Is an objective that is never negative surely positive in every part in which it is not (next to) 0 at x?

        By the bound of :meth:`certify`, for every feasible y with |y_j - x_j| <= max(|x_j|, reach): where scaling has failed,
        a residual of nothing and a variable that has far to go make up for an objective of next to nothing. And however far
        y is, where each residual is nothing beside the terms that cancel in it: a change of A's numbers by as much would
        make it 0. A multiplier that should be 0 is noise; its residual only has to be nothing within the reach.
        """
        columns, rows = self.parts
        count = int(max(columns.max(initial=-1), rows.max(initial=-1))) + 1
        value = np.bincount(columns, x * (self.q + self.P @ x / 2), minlength=count)
        residual = np.abs(self.P @ x + self.A.T @ z + self.q)
        terms = abs(self.P) @ np.abs(x) + abs(self.A).T @ np.abs(z) + np.abs(self.q)
        near = np.where(x != 0, np.abs(x), 1.0)
        far = np.maximum(near, reach)
        noise = FLOOR * float((terms * near).max(initial=0.0))
        lost = np.bincount(rows[self.cones.starts], np.abs(self.cones.total(self.slack(x) * z)), minlength=count)
        lost += np.bincount(columns, residual * far, minlength=count)
        proven = (value <= TOLERANCE * value.max(initial=0.0)) | (lost <= LOST * value)
        return bool(proven.all() and (residual * far <= TOLERANCE * np.maximum(terms * far, noise)).all())

    @cached_property
    def parts(self) -> tuple[np.ndarray, np.ndarray]:
        """Number of the part of each column and of each row: what neither A, P nor a cone connects are different parts."""
        return self._parts(np.ones(len(self.b), dtype=bool))

    def _within_one_owner(self, owners: np.ndarray) -> np.ndarray:
        """By row: is its cone on the columns of one owner at most?"""
        A, cones = self.A.tocoo(), self.cones
        owned = owners[A.col] >= 0
        cone, owner = np.repeat(np.arange(len(cones.sizes)), cones.sizes)[A.row[owned]], owners[A.col[owned]]
        least, most = np.full(len(cones.sizes), len(owners)), np.full(len(cones.sizes), -1)
        np.minimum.at(least, cone, owner)
        np.maximum.at(most, cone, owner)
        return cones.spread(least >= most)

    def _parts(self, connects: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """connects : which rows connect their columns; whole cones."""
        A, P, cones = self.A.tocoo(), self.P.tocoo(), self.cones
        m, n = A.shape
        entry = connects[A.row]
        first = np.concatenate([A.col[entry], P.col, n + np.arange(m)])
        second = np.concatenate([n + A.row[entry], P.row, n + cones.spread(cones.starts)])
        graph = sp.coo_array((np.ones(len(first), dtype=np.int8), (first, second)), shape=(n + m, n + m))
        label = connected_components(graph, directed=False)[1]
        return label[:n], label[n:]

    def scaled(self, passes: int = 20) -> tuple[ConicProgram, Scaling]:
        """The same programme with rows, columns, right-hand side and objective brought near 1.

        Geometric scaling of the matrix [[P, A', q], [A, 0, b]]: factors, one for all rows of a cone (so that it stays the
        same cone), and for q and b one for each part, that make its entries near 1 in the mean of their logarithms, by rows
        and columns in turn; rounded to powers of two, so that scaling rounds nothing. That makes the result independent of
        the units of money, time and cycles, which scaling by largest entries (Clarabel's own, on A and P) does not: a row
        (-1, 1e-8) looks fine to it. And it makes clients that lie millions apart, each a part, alike.
        """
        column_part, row_part = self.parts
        rows, columns, point, objective = self._factors(column_part, row_part, passes)
        stakes = (objective + point)[np.unique(column_part[(self.q != 0) | (self.P.diagonal() != 0)])]
        if not stakes.size or np.ptp(stakes) <= ALIKE:  # one unit of money for all
            column_part, row_part = np.zeros_like(column_part), np.zeros_like(row_part)
            rows, columns, point, objective = self._factors(column_part, row_part, passes)
        rows, columns, point, objective = (np.exp2(np.round(factor)) for factor in (rows, columns, point, objective))
        money = 1.0 / float(objective[0] * point[0]) if len(objective) == 1 else np.nan
        left, right = sp.diags_array(rows), sp.diags_array(columns)
        of_cost = sp.diags_array((objective / point)[column_part])
        program = ConicProgram(
            sp.csc_array(of_cost @ right @ self.P @ right),
            objective[column_part] * columns * self.q,
            sp.csc_array(left @ self.A @ right),
            point[row_part] * rows * self.b,
            self.cones,
        )
        return program, Scaling(columns / point[column_part], rows / objective[row_part], money)

    def _factors(self, column_part: np.ndarray, row_part: np.ndarray, passes: int) -> tuple[np.ndarray, ...]:
        """Binary logarithms of the factors of rows, columns, b by part, and the objective by part."""
        A, P, cones = self.A.tocoo(), self.P.tocoo(), self.cones
        m, n = A.shape
        count = int(max(column_part.max(initial=0), row_part.max(initial=0))) + 1
        has_b, has_q = (self.b != 0).astype(float), (self.q != 0).astype(float)
        a, p = np.log2(np.abs(A.data)), np.log2(np.abs(P.data))
        b, q = (np.log2(np.abs(np.where(v != 0, v, 1.0))) for v in (self.b, self.q))
        rows, columns, point, objective = np.zeros(m), np.zeros(n), np.zeros(count), np.zeros(count)
        in_rows = np.maximum(cones.total(np.bincount(A.row, minlength=m) + has_b), 1.0)
        in_columns = np.maximum(np.bincount(A.col, minlength=n) + np.bincount(P.col, minlength=n) + has_q, 1.0)
        of_p = column_part[P.col]
        in_b = np.maximum(np.bincount(row_part, has_b, minlength=count), 1.0)
        in_cost = np.bincount(column_part, has_q, minlength=count) + np.bincount(of_p, minlength=count)
        in_cost = np.maximum(in_cost, 1.0)
        for _ in range(passes):
            before = rows, columns, point, objective
            sums = np.bincount(A.row, a + columns[A.col], minlength=m) + has_b * (b + point[row_part])
            rows = -cones.spread(cones.total(sums) / in_rows)
            sums = np.bincount(A.col, a + rows[A.row], minlength=n) + has_q * (q + objective[column_part])
            factor = (objective - point)[of_p]
            sums += np.bincount(P.col, (p + columns[P.row] - columns[P.col] + factor) / 2, minlength=n)
            columns = -sums / in_columns
            point = -np.bincount(row_part, has_b * (b + rows), minlength=count) / in_b
            sums = np.bincount(column_part, has_q * (q + columns), minlength=count)
            sums += np.bincount(of_p, p + columns[P.row] + columns[P.col] - point[of_p], minlength=count)
            objective = -sums / in_cost
            after = rows, columns, point, objective
            if all(np.abs(new - old).max(initial=0.0) <= SETTLED for new, old in zip(after, before, strict=True)):
                break
        return rows, columns, point, objective


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Scaling:
    """x = columns * x_scaled, z = rows * z_scaled, objective = money * scaled objective (NaN where parts have their own)."""

    columns: np.ndarray
    rows: np.ndarray
    money: float

    def back(self, x: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Point and multipliers of the scaled programme -> of the programme as given."""
        return self.columns * x, self.rows * z
