"""Which variables follow from others? Rows of two variables that hold with equality leave one of them to choose.

Of a client that is paid by the minute and has until the deadline, t + s <= T holds with equality: s = T - t, and the solver
is given t alone, without the row. A row holds with equality

    where it says so, or
    where one of its two variables is in no other row, nothing bounds it in the direction in which the objective surely
    never rises (:func:`bcfl_opt.nlp.convexity.monotone`), and the row does: it may as well go as far as the row lets it.

What is left is smaller and has fewer rows, at best none, which pays where the programme is convex. Points and multipliers are
handed back for the programme as written, by which they are certified.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy.sparse as sparse

from bcfl_opt.nlp.convexity import monotone
from bcfl_opt.nlp.presolve import Multipliers, Presolved, tighten
from bcfl_opt.nlp.program import Family, Functions


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Rows of two variables that hold with equality: follower + the other one = side, each times its coefficient.

    rows : of the presolved programme. followers, others : columns. A follower is in one pair, and is nobody's other.
    """

    rows: np.ndarray
    followers: np.ndarray
    others: np.ndarray
    of_followers: np.ndarray
    of_others: np.ndarray
    sides: np.ndarray

    def where(self, keep: np.ndarray) -> Pairs:
        return Pairs(*(getattr(self, field.name)[keep] for field in dataclasses.fields(self)))

    @property
    def factor(self) -> np.ndarray:
        """follower = factor x other + shift."""
        return -self.of_others / self.of_followers

    @property
    def shift(self) -> np.ndarray:
        return self.sides / self.of_followers


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Eliminated:
    """The programme handed to the solver, and the way back: x = factor z[place] + shift with the solver's variables z.

    functions, lower, upper, x_lower, x_upper : of the solver's programme. presolved : the programme before.
    kept_rows, kept_columns : of that one, without the pairs' rows and followers.
    lower_source, upper_source : by variable z, the pair whose follower's bound its bound is, or -1.
    """

    presolved: Presolved
    pairs: Pairs
    functions: Functions
    lower: np.ndarray
    upper: np.ndarray
    x_lower: np.ndarray
    x_upper: np.ndarray
    kept_rows: np.ndarray
    kept_columns: np.ndarray
    place: np.ndarray
    factor: np.ndarray
    shift: np.ndarray
    lower_source: np.ndarray
    upper_source: np.ndarray

    def there(self, x: np.ndarray) -> np.ndarray:
        """The solver's point that belongs to one of the programme as written."""
        return x[self.kept_columns]

    def back(self, z: np.ndarray) -> np.ndarray:
        """The way back."""
        x = self.factor * z[self.place] + self.shift
        # Where a bound of z is its follower's, rounding may take that one across.
        return np.clip(x, self.presolved.x_lower, self.presolved.x_upper)

    def restore(self, z: np.ndarray, rows: np.ndarray, z_lower: np.ndarray, z_upper: np.ndarray) -> Multipliers:
        """Multipliers of the programme as written, from the solver's point and those of the programme as solved.

        A row taken out has the multiplier with which its follower is stationary.
        """
        x, whole = self.back(z), self.presolved.functions
        every = np.zeros(whole.rows)
        every[self.kept_rows] = rows
        x_lower, x_upper = np.zeros(whole.columns), np.zeros(whole.columns)
        x_lower[self.kept_columns] = np.where(self.lower_source < 0, z_lower, 0.0)
        x_upper[self.kept_columns] = np.where(self.upper_source < 0, z_upper, 0.0)
        for source, own, same, opposite in (
            (self.lower_source, z_lower, x_lower, x_upper),
            (self.upper_source, z_upper, x_upper, x_lower),
        ):
            of_pair = source >= 0
            follower = self.pairs.followers[source[of_pair]]
            factor, price = self.factor[follower], own[of_pair] / np.abs(self.factor[follower])
            same[follower] = np.where(factor > 0, price, same[follower])
            opposite[follower] = np.where(factor > 0, opposite[follower], price)
        pull = whole.gradient(x) + whole.jacobian_matrix(x).T @ every - x_lower + x_upper
        every[self.pairs.rows] = -pull[self.pairs.followers] / self.pairs.of_followers
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
            of_pair = source >= 0
            follower = self.pairs.followers[source[of_pair]]
            factor = self.factor[follower]
            own[of_pair] = np.abs(factor) * np.where(factor > 0, same[follower], opposite[follower])
            ends.append(own)
        return rows[self.kept_rows], ends[0], ends[1]


def eliminate(presolved: Presolved, x: np.ndarray) -> Presolved | Eliminated:
    """Without the variables that follow from others; as it is where there are none.

    x : a representative point. Of two variables the follower is the one whose part of the row is larger there: what is left of
    a difference between equals would have no digits.
    """
    functions = presolved.functions
    if not isinstance(functions, Functions):
        return presolved
    pairs = _pairs(presolved, x)
    pairs = pairs.where(~_together(functions, pairs)[pairs.others])
    pairs = pairs.where(_room(presolved, pairs)[pairs.others])
    if not pairs.rows.size:
        return presolved
    kept_rows = np.setdiff1d(np.arange(functions.rows), pairs.rows, assume_unique=True)
    kept_columns = np.setdiff1d(np.arange(functions.columns), pairs.followers, assume_unique=True)
    place = np.zeros(functions.columns, dtype=np.int64)
    place[kept_columns] = np.arange(len(kept_columns))
    place[pairs.followers] = place[pairs.others]
    factor, shift = np.ones(functions.columns), np.zeros(functions.columns)
    factor[pairs.followers], shift[pairs.followers] = pairs.factor, pairs.shift
    x_lower, x_upper, lower_source, upper_source = (each[kept_columns] for each in _bounds(presolved, pairs))
    return Eliminated(
        presolved,
        pairs,
        _substituted(functions, kept_rows, place, factor, shift),
        presolved.lower[kept_rows],
        presolved.upper[kept_rows],
        x_lower,
        x_upper,
        kept_rows,
        kept_columns,
        place,
        factor,
        shift,
        lower_source,
        upper_source,
    )


def _pairs(presolved: Presolved, x: np.ndarray) -> Pairs:
    """Rows of two free variables that hold with equality, and no follower twice."""
    functions, lower, upper = presolved.functions, presolved.lower, presolved.upper
    linear = functions.linear
    rows = np.flatnonzero(~functions.nonlinear_rows & (np.diff(linear.indptr) == 2))
    entries = linear.indptr[rows][:, None] + np.arange(2)
    columns, coefficients = linear.indices[entries], linear.data[entries]
    alone = np.bincount(functions.jacobian_columns, minlength=functions.columns) == 1
    rising, falling = monotone(functions, presolved.x_lower, presolved.x_upper)
    upwards = alone & falling & ~rising & (presolved.x_upper == np.inf)
    downwards = alone & rising & ~falling & (presolved.x_lower == -np.inf)
    up = np.where(coefficients > 0, upwards[columns], downwards[columns]).any(axis=1)
    down = np.where(coefficients > 0, downwards[columns], upwards[columns]).any(axis=1)
    at_upper = (lower[rows] == upper[rows]) | (up & np.isfinite(upper[rows]))
    at_lower = down & np.isfinite(lower[rows])
    sides = np.where(at_upper, upper[rows], lower[rows]) - functions.constant[rows]

    second = (np.diff(np.abs(coefficients * x[columns]), axis=1) >= 0).ravel()
    columns, coefficients = (np.where(second[:, None], each[:, ::-1], each) for each in (columns, coefficients))
    free = (presolved.x_lower < presolved.x_upper)[columns].all(axis=1)
    pairs = Pairs(rows, columns[:, 0], columns[:, 1], coefficients[:, 0], coefficients[:, 1], sides)
    pairs = pairs.where((at_upper | at_lower) & free)
    met = np.bincount(np.concatenate([pairs.followers, pairs.others]), minlength=functions.columns)
    return pairs.where(met[pairs.followers] == 1)


def _together(functions: Functions, pairs: Pairs) -> np.ndarray:
    """By column: would a term hold this variable twice, once as its follower?"""
    place = np.arange(functions.columns)
    place[pairs.followers] = pairs.others
    result = np.zeros(functions.columns, dtype=bool)
    for family in functions.families:
        if len(family.columns) > 1:
            columns = np.sort(place[family.columns], axis=0)
            result[columns[1:][columns[1:] == columns[:-1]]] = True
    return result


def _room(presolved: Presolved, pairs: Pairs) -> np.ndarray:
    """By column: do its own bounds and those of its followers leave more than one point?"""
    x_lower, x_upper, *_ = _bounds(presolved, pairs)
    return x_lower < x_upper


def _bounds(presolved: Presolved, pairs: Pairs) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """By column, bounds with those of its followers among them, and the pairs that these come from, or -1."""
    x_lower, x_upper = presolved.x_lower.copy(), presolved.x_upper.copy()
    lower_source, upper_source = np.full(len(x_lower), -1), np.full(len(x_lower), -1)
    factor, numbers = pairs.factor, np.arange(len(pairs.rows))
    low, high = ((bound[pairs.followers] - pairs.shift) / factor for bound in (presolved.x_lower, presolved.x_upper))
    low, high = np.where(factor > 0, low, high), np.where(factor > 0, high, low)
    tighten(x_lower, lower_source, pairs.others, low, numbers, 1.0)
    tighten(x_upper, upper_source, pairs.others, high, numbers, -1.0)
    return x_lower, x_upper, lower_source, upper_source


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
