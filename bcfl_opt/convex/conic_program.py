"""Is a point optimal for a conic programme? Residuals of our own, and the scaling under which a solver finds the point.

minimise x'Px / 2 + q'x   subject to   A x + s = b,  s in K                (primal)
P x + A'z + q = 0,  z in K*,  s'z = 0                                     (optimality)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as sla

from bcfl_opt.certificate import Certificate
from bcfl_opt.convex.cones import Cones

#: Residuals are compared with the size of the terms that should cancel, but with no less than this share of the
#: largest such size: a multiplier of 1e-12 that should be 0 is noise, not a relative error of 1.
FLOOR = 1e-4
#: A proof that there is no point, or no limit, must hold up to this, relative.
PROOF = 1e-6


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
        equal = sp.csr_array(self.A.tocsr()[: self.cones.zero])
        if not self.cones.zero or not self.q.any():
            return self, np.zeros(self.cones.zero)
        q, y = self.q, np.zeros(self.cones.zero)
        for _ in range(3):  # what the first pass leaves for want of digits, the next ones take
            y = y + sla.lsqr(equal.T, -q, atol=1e-15, btol=1e-15, iter_lim=50)[0]
            q = self.q + equal.T @ y
        rounding = 16 * np.finfo(float).eps * (np.abs(self.q) + abs(equal).T @ np.abs(y))
        return dataclasses.replace(self, q=np.where(np.abs(q) <= rounding, 0.0, q)), y

    @np.errstate(all="ignore")
    def certify(self, x: np.ndarray, z: np.ndarray, *, unit: float, names: Callable[[int], str]) -> Certificate:
        """Residuals of the point x with multipliers z; s is what the constraints leave.

        unit : what counts as small in this model: residuals are relative to the size of their terms, but to no less than
            this (1 for a model of unknown scale, the usual mix of absolute and relative).
        names : column of x -> how a person would call it.

        For every feasible y, f(y) >= f(x) - s'z - sum |r_j| |y_j - x_j| with r = P x + A'z + q: that is the duality gap,
        with |x_j| for |y_j - x_j|. Both s'z and r are counted with their absolute values, so nothing cancels.
        """
        cones, s = self.cones, self.slack(x)
        size = np.maximum(cones.largest(abs(self.A) @ np.abs(x) + np.abs(self.b)), unit)
        weight = cones.largest(np.abs(z)) * size
        terms = np.abs(self.q) + abs(self.P) @ np.abs(x) + abs(self.A).T @ np.abs(z)
        residual = np.abs(self.P @ x + self.A.T @ z + self.q)
        reach = np.where(x != 0, np.abs(x), 1.0)
        terms = np.maximum(terms * reach, max(FLOOR * float((terms * reach).max(initial=0.0)), unit))
        stationarity = residual * reach / terms
        products = np.abs(cones.total(s * z))
        scale = max(float(np.abs(self.q * x).sum() + np.abs(x * (self.P @ x)).sum()), unit)
        share = max(scale / max(len(x), 1), unit)
        return Certificate(
            primal=float((cones.violation(s) / size).max(initial=0.0)),
            dual=float((cones.dual_violation(z) * size).max(initial=0.0) / max(float(weight.max(initial=0.0)), 1e-300)),
            complementarity=float(products.max(initial=0.0)) / share,
            stationarity=float(stationarity.max(initial=0.0)),
            gap=(float(products.sum()) + float((residual * np.abs(x)).sum())) / scale,
            where={"stationarity": names(int(stationarity.argmax()))} if len(x) else {},
        )

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

    @np.errstate(all="ignore")
    def proves_infeasible(self, z: np.ndarray) -> bool:
        """Is z in K* with A'z = 0 and b'z < 0? For a feasible x, 0 <= s'z = b'z - x'A'z would be negative.

        A'z need not vanish for that: |A'z| <= PROOF |b'z| excludes every x within 1 / PROOF, a million times the usual
        size in a scaled programme. Rounding is counted against the proof.
        """
        size = np.abs(z)
        rounding = 4 * np.finfo(float).eps * float(np.abs(self.b) @ size + (abs(self.A).T @ size).sum())
        outside = float((self.cones.dual_violation(z) * self.cones.largest(np.abs(self.b))).sum())
        below = -float(self.b @ z) - rounding
        return bool(below > 0 and float(np.abs(self.A.T @ z).sum()) + outside + rounding <= PROOF * below)

    @np.errstate(all="ignore")
    def proves_unbounded(self, x: np.ndarray) -> bool:
        """Is x a direction with P x = 0, -A x in K and q'x < 0? From any feasible point, it improves without limit."""
        below = -float(self.q @ x)
        outside = float(self.cones.violation(-(self.A @ x)).sum())
        return bool(below > 0 and float(np.abs(self.P @ x).sum()) + outside <= PROOF * below)

    def scaled(self, passes: int = 20) -> tuple[ConicProgram, Scaling]:
        """The same programme with rows, columns, right-hand side and objective brought near 1.

        Geometric scaling of the matrix [[P, A', q], [A, 0, b]]: factors, one for all rows of a cone (so that it stays the
        same cone), that make its entries near 1 in the mean of their logarithms, by rows and columns in turn; rounded
        to powers of two, so that scaling rounds nothing. That makes the result independent of the units of money, time
        and cycles, which scaling by largest entries (Clarabel's own, on A and P) does not: a row (-1, 1e-8) looks fine to it.
        """
        A, P, cones = self.A.tocoo(), self.P.tocoo(), self.cones
        m, n = A.shape
        has_b, has_q = (self.b != 0).astype(float), (self.q != 0).astype(float)
        a, p = np.log2(np.abs(A.data)), np.log2(np.abs(P.data))
        b, q = (np.log2(np.abs(np.where(v != 0, v, 1.0))) for v in (self.b, self.q))
        rows, columns, point, objective = np.zeros(m), np.zeros(n), 0.0, 0.0
        in_rows = np.maximum(cones.total(np.bincount(A.row, minlength=m) + has_b), 1.0)
        in_columns = np.maximum(np.bincount(A.col, minlength=n) + np.bincount(P.col, minlength=n) + has_q, 1.0)
        for _ in range(passes):
            sums = np.bincount(A.row, a + columns[A.col], minlength=m) + has_b * (b + point)
            rows = -cones.spread(cones.total(sums) / in_rows)
            sums = np.bincount(A.col, a + rows[A.row], minlength=n) + has_q * (q + objective)
            sums += np.bincount(P.col, (p + columns[P.row] - columns[P.col] + objective - point) / 2, minlength=n)
            columns = -sums / in_columns
            point = -float((has_b * (b + rows)).sum() / max(has_b.sum(), 1.0))
            objective = -float((has_q * (q + columns)).sum() / max(has_q.sum(), 1.0))
        scaling = Scaling(*(np.exp2(np.round(factor)) for factor in (columns, rows, point, objective)))
        left, right = sp.diags_array(scaling.rows), sp.diags_array(scaling.columns)
        program = ConicProgram(
            sp.csc_array(right @ self.P @ right * (scaling.objective / scaling.point)),
            scaling.objective * scaling.columns * self.q,
            sp.csc_array(left @ self.A @ right),
            scaling.point * scaling.rows * self.b,
            cones,
        )
        return program, scaling


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Scaling:
    """x = columns * x_scaled / point, z = rows * z_scaled / objective."""

    columns: np.ndarray
    rows: np.ndarray
    point: np.ndarray
    objective: np.ndarray

    def back(self, x: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Point and multipliers of the scaled programme -> of the programme as given."""
        return self.columns * x / self.point, self.rows * z / self.objective
