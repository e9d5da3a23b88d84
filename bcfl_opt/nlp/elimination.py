"""Which variables follow from others? Rows of two variables that hold with equality leave one of them to choose.

Of a client that is paid by the minute and has until the deadline, t + s <= T holds with equality: s = T - t, and the solver
is given t alone, without the row. A row holds with equality

    where it says so, or
    where one of its two variables is in no other row, nothing bounds it in the direction in which the objective surely
    never rises (:func:`bcfl_opt.nlp.convexity.monotone`), and the row does: it may as well go as far as the row lets it.

What is left is smaller and has fewer rows, at best none. Points and multipliers are handed back for the programme as written,
by which they are certified.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy.sparse as sparse

from bcfl_opt.nlp.convexity import monotone
from bcfl_opt.nlp.presolve import Multipliers, Presolved, tighten
from bcfl_opt.nlp.program import Family, Functions


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Eliminated:
    """The programme handed to the solver, and the way back: x = factor z[place] + shift with the solver's variables z.

    functions, lower, upper, x_lower, x_upper : of the solver's programme. presolved : the programme before.
    rows, columns : taken out of it, pair by pair. coefficients : of the columns in their rows.
    kept_rows, kept_columns : left in it. lower_source, upper_source : the pair whose column's bound a bound of z is, or -1.
    """

    presolved: Presolved
    functions: Functions
    lower: np.ndarray
    upper: np.ndarray
    x_lower: np.ndarray
    x_upper: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    coefficients: np.ndarray
    kept_rows: np.ndarray
    kept_columns: np.ndarray
    place: np.ndarray
    factor: np.ndarray
    shift: np.ndarray
    lower_source: np.ndarray
    upper_source: np.ndarray

    def inside(self, x: np.ndarray) -> np.ndarray:
        """The solver's point that belongs to one of the programme as written."""
        return x[self.kept_columns]

    def point(self, z: np.ndarray) -> np.ndarray:
        """The way back."""
        x = self.factor * z[self.place] + self.shift
        # Where a bound of z is another variable's, rounding may take that one across.
        return np.clip(x, self.presolved.x_lower, self.presolved.x_upper)

    def restore(self, z: np.ndarray, rows: np.ndarray, z_lower: np.ndarray, z_upper: np.ndarray) -> Multipliers:
        """Multipliers of the programme as written, from the solver's point and those of the programme as solved.

        A row taken out has the multiplier with which the variable taken out is stationary.
        """
        x, whole = self.point(z), self.presolved.functions
        every = np.zeros(whole.rows)
        every[self.kept_rows] = rows
        x_lower, x_upper = np.zeros(whole.columns), np.zeros(whole.columns)
        x_lower[self.kept_columns] = np.where(self.lower_source < 0, z_lower, 0.0)
        x_upper[self.kept_columns] = np.where(self.upper_source < 0, z_upper, 0.0)
        for source, own, same, opposite in (
            (self.lower_source, z_lower, x_lower, x_upper),
            (self.upper_source, z_upper, x_upper, x_lower),
        ):
            from_pair = source >= 0
            column = self.columns[source[from_pair]]
            factor, price = self.factor[column], own[from_pair] / np.abs(self.factor[column])
            same[column] = np.where(factor > 0, price, same[column])
            opposite[column] = np.where(factor > 0, opposite[column], price)
        pull = whole.gradient(x) + whole.jacobian_matrix(x).T @ every - x_lower + x_upper
        every[self.rows] = -pull[self.columns] / self.coefficients
        return self.presolved.restore(x, every, x_lower, x_upper)

    def reduce(self, multipliers: Multipliers) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The way there, for a warm start: multipliers of the programme as written to those as solved."""
        rows, x_lower, x_upper = self.presolved.reduce(multipliers)
        ends = []
        for source, same, opposite in (
            (self.lower_source, x_lower, x_upper),
            (self.upper_source, x_upper, x_lower),
        ):
            own = same[self.kept_columns]
            from_pair = source >= 0
            column = self.columns[source[from_pair]]
            factor = self.factor[column]
            own[from_pair] = np.abs(factor) * np.where(factor > 0, same[column], opposite[column])
            ends.append(own)
        return rows[self.kept_rows], ends[0], ends[1]


def eliminate(presolved: Presolved, x: np.ndarray) -> Presolved | Eliminated:
    """Without the variables that follow from others; as it is where there are none, or where that leaves no room.

    x : a representative point. Of two variables the one is taken out whose part of the row is larger there: what is left of a
    difference between equals would have no digits.
    """
    functions = presolved.functions
    if not isinstance(functions, Functions):
        return presolved
    rows, first, second, side = _tight(presolved)
    if not rows.size:
        return presolved
    entries = (
        functions.linear.data[functions.linear.indptr[rows]],
        functions.linear.data[functions.linear.indptr[rows] + 1],
    )
    swap = np.abs(entries[0] * x[first]) > np.abs(entries[1] * x[second])
    out, left = np.where(swap, first, second), np.where(swap, second, first)
    of_out, of_left = np.where(swap, *entries), np.where(swap, *entries[::-1])
    # One row a variable: it follows from one that stays.
    keep = np.bincount(np.concatenate([out, left]), minlength=functions.columns)[out] == 1
    place = np.arange(functions.columns)
    place[out[keep]] = left[keep]
    keep &= ~_together(functions, place)[left]
    rows, out, left, of_out, of_left, side = (each[keep] for each in (rows, out, left, of_out, of_left, side))
    if not rows.size:
        return presolved

    factor, shift = np.ones(functions.columns), np.zeros(functions.columns)
    factor[out], shift[out] = -of_left / of_out, (side - functions.constant[rows]) / of_out
    x_lower, x_upper, lower_source, upper_source = _bounds(presolved, out, left, factor[out], shift[out])
    if not np.all((x_lower < x_upper) | (presolved.x_lower == presolved.x_upper)[~_among(out, functions.columns)]):
        return presolved
    kept_rows = np.flatnonzero(~_among(rows, functions.rows))
    kept_columns = np.flatnonzero(~_among(out, functions.columns))
    place = np.arange(functions.columns)
    place[out] = left
    number = np.full(functions.columns, -1)
    number[kept_columns] = np.arange(len(kept_columns))
    place = number[place]
    return Eliminated(
        presolved,
        _substituted(functions, kept_rows, place, factor, shift),
        presolved.lower[kept_rows],
        presolved.upper[kept_rows],
        x_lower,
        x_upper,
        rows,
        out,
        of_out,
        kept_rows,
        kept_columns,
        place,
        factor,
        shift,
        lower_source,
        upper_source,
    )


def _among(some: np.ndarray, count: int) -> np.ndarray:
    result = np.zeros(count, dtype=bool)
    result[some] = True
    return result


def _tight(presolved: Presolved) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Rows of two variables that hold with equality, their two columns, and the side on which they hold."""
    functions, lower, upper = presolved.functions, presolved.lower, presolved.upper
    linear = functions.linear
    rows = np.flatnonzero(~functions.nonlinear_rows & (np.diff(linear.indptr) == 2))
    columns = linear.indices[linear.indptr[rows][:, None] + np.arange(2)]
    coefficients = linear.data[linear.indptr[rows][:, None] + np.arange(2)]
    alone = np.bincount(functions.jacobian_columns, minlength=functions.columns) == 1
    rising, falling = monotone(functions, presolved.x_lower, presolved.x_upper)
    upwards = alone & falling & ~rising & (presolved.x_upper == np.inf)
    downwards = alone & rising & ~falling & (presolved.x_lower == -np.inf)
    up = (upwards[columns] & (coefficients > 0)) | (downwards[columns] & (coefficients < 0))
    down = (upwards[columns] & (coefficients < 0)) | (downwards[columns] & (coefficients > 0))
    at_upper = (lower[rows] == upper[rows]) | (up.any(axis=1) & np.isfinite(upper[rows]))
    at_lower = down.any(axis=1) & np.isfinite(lower[rows])
    free = presolved.x_lower < presolved.x_upper
    tight = (at_upper | at_lower) & free[columns].all(axis=1)
    side = np.where(at_upper, upper[rows], lower[rows])
    return rows[tight], columns[tight, 0], columns[tight, 1], side[tight]


def _together(functions: Functions, place: np.ndarray) -> np.ndarray:
    """By column: would a term hold this variable twice, once as another that follows from it?"""
    result = np.zeros(functions.columns, dtype=bool)
    for family in functions.families:
        if len(family.columns) > 1:
            columns = np.sort(place[family.columns], axis=0)
            result[columns[1:][columns[1:] == columns[:-1]]] = True
    return result


def _bounds(
    presolved: Presolved, out: np.ndarray, left: np.ndarray, factor: np.ndarray, shift: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Bounds of the variables left, those of the variables taken out among them, and the pairs that these come from."""
    x_lower, x_upper = presolved.x_lower.copy(), presolved.x_upper.copy()
    lower_source, upper_source = np.full(len(x_lower), -1), np.full(len(x_lower), -1)
    low, high = (presolved.x_lower[out] - shift) / factor, (presolved.x_upper[out] - shift) / factor
    low, high = np.where(factor > 0, low, high), np.where(factor > 0, high, low)
    pairs = np.arange(len(out))
    tighten(x_lower, lower_source, left, low, pairs, 1.0)
    tighten(x_upper, upper_source, left, high, pairs, -1.0)
    stay = ~_among(out, len(x_lower))
    return x_lower[stay], x_upper[stay], lower_source[stay], upper_source[stay]


def _substituted(
    functions: Functions, kept_rows: np.ndarray, place: np.ndarray, factor: np.ndarray, shift: np.ndarray
) -> Functions:
    """The same objective and some of the rows, as functions of z."""
    count = int(place.max()) + 1
    columns = np.arange(functions.columns)
    expansion = sparse.csr_array((factor, (columns, place)), shape=(functions.columns, count))
    linear = functions.linear[kept_rows]
    row_number = np.full(functions.rows + 1, -1)  # the objective is row -1
    row_number[kept_rows] = np.arange(len(kept_rows))

    def substituted(family: Family) -> Family:
        own = family.select((family.rows < 0) | (row_number[family.rows] >= 0))
        sizes = factor[own.columns] if own.sizes is None else own.sizes * factor[own.columns]
        shifts = shift[own.columns] if own.sizes is None else own.sizes * shift[own.columns]
        return dataclasses.replace(
            own, rows=row_number[own.rows], columns=place[own.columns], sizes=sizes, shifts=shifts
        )

    substitute = sparse.csr_array(linear @ expansion)
    substitute.eliminate_zeros()
    return Functions(
        functions.objective_constant + float(functions.objective_linear @ shift),
        expansion.T @ functions.objective_linear,
        functions.constant[kept_rows] + linear @ shift,
        substitute,
        [substituted(family) for family in functions.families],
    )
