"""What can be settled before the solver is called? Constant rows, rows that are bounds, rows written twice.

An interior-point method needs an interior: a bound written as a constraint costs a slack, and the same body bounded
twice, once as an equality, leaves no interior at all. Multipliers are handed back to the rows they belong to.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from bcfl_opt.nlp.program import Functions, Program

#: Rows that are constant, and bounds that cross, are forgiven this much, relative: rounding in the user's own data.
ROUNDING = 1e-12


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Multipliers:
    """Of min f s.t. lower <= g <= upper, x_lower <= x <= x_upper: grad f + J' rows - x_lower + x_upper = 0.

    rows : positive where the upper side binds, negative where the lower side does. x_lower, x_upper : at least 0.
    """

    rows: np.ndarray
    x_lower: np.ndarray
    x_upper: np.ndarray


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Presolved:
    """The programme handed to the solver, and the way back.

    conflict : why there can be no feasible point, the first reason found; "" if there is none.
    broken_rows, broken_columns : all rows and variables of such reasons.
    """

    program: Program
    functions: Functions
    kept: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    x_lower: np.ndarray
    x_upper: np.ndarray
    lower_source: np.ndarray
    upper_source: np.ndarray
    twin_lower: np.ndarray
    twin_upper: np.ndarray
    conflict: str
    broken_rows: np.ndarray
    broken_columns: np.ndarray

    def there(self, x: np.ndarray) -> np.ndarray:
        """The solver's point that belongs to one of the programme as written."""
        return x

    def back(self, x: np.ndarray) -> np.ndarray:
        """The way back."""
        return x

    def restore(self, x: np.ndarray, rows: np.ndarray, x_lower: np.ndarray, x_upper: np.ndarray) -> Multipliers:
        """Multipliers of the programme as written, from the solver's point and those of the programme as solved."""
        full = np.zeros(len(self.program.constraints))
        # A merged row's multiplier goes to the twin whose side is the tighter one.
        np.add.at(full, self.twin_upper, np.maximum(rows, 0.0))
        np.add.at(full, self.twin_lower, np.minimum(rows, 0.0))
        x_lower, x_upper = x_lower.copy(), x_upper.copy()
        linear = self.program.functions.linear
        for source, own, sign in ((self.lower_source, x_lower, -1.0), (self.upper_source, x_upper, 1.0)):
            columns = np.flatnonzero(source >= 0)
            rows_of = source[columns]
            coefficients = linear.data[linear.indptr[rows_of]]
            full[rows_of] += sign * own[columns] / coefficients
            own[columns] = 0.0
        # A side that does not exist has no price. What is lost with a solver's noise there, stationarity will tell.
        program = self.program
        full = np.where(np.isfinite(program.upper), full, np.minimum(full, 0.0))
        full = np.where(np.isfinite(program.lower), full, np.maximum(full, 0.0))
        x_lower = np.where(np.isfinite(program.x_lower), np.maximum(x_lower, 0.0), 0.0)
        x_upper = np.where(np.isfinite(program.x_upper), np.maximum(x_upper, 0.0), 0.0)
        return Multipliers(full, x_lower, x_upper)

    def reduce(self, multipliers: Multipliers) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The way there, for a warm start: multipliers of the programme as written to those as solved."""
        x_lower, x_upper = multipliers.x_lower.copy(), multipliers.x_upper.copy()
        linear = self.program.functions.linear
        for source, own, sign in ((self.lower_source, x_lower, -1.0), (self.upper_source, x_upper, 1.0)):
            columns = np.flatnonzero(source >= 0)
            rows_of = source[columns]
            own[columns] = np.maximum(sign * multipliers.rows[rows_of] * linear.data[linear.indptr[rows_of]], 0.0)
        twins = multipliers.rows[self.twin_upper] + np.where(
            self.twin_lower != self.twin_upper, multipliers.rows[self.twin_lower], 0.0
        )
        return twins, x_lower, x_upper


def presolve(program: Program) -> Presolved:
    """Settle constant rows, bounds written as rows, and twins (where the terms of rows are known, and not only their values)."""
    functions, rows = program.functions, len(program.constraints)
    linear, nonlinear = functions.linear, functions.nonlinear_rows
    entries = np.diff(linear.indptr)
    empty, single = ~nonlinear & (entries == 0), ~nonlinear & (entries == 1)
    broken = _constant_conflicts(program, np.flatnonzero(empty))
    conflicts = [_constant_sentence(program, int(row)) for row in broken[:1]]

    x_lower, x_upper = program.x_lower.copy(), program.x_upper.copy()
    lower_source, upper_source = np.full(len(x_lower), -1), np.full(len(x_lower), -1)
    which = np.flatnonzero(single)
    if which.size:
        columns, coefficients = linear.indices[linear.indptr[which]], linear.data[linear.indptr[which]]
        low = (program.lower[which] - functions.constant[which]) / coefficients
        high = (program.upper[which] - functions.constant[which]) / coefficients
        low, high = np.where(coefficients > 0, low, high), np.where(coefficients > 0, high, low)
        tighten(x_lower, lower_source, columns, low, which, 1.0)
        tighten(x_upper, upper_source, columns, high, which, -1.0)
    crossed = _crossed(x_lower, x_upper)
    for j in crossed[:1].tolist():
        sources = int(lower_source[j]), int(upper_source[j])
        conflicts.append(_bound_sentence(program, j, x_lower[j], x_upper[j], *sources))
    np.maximum(x_lower, x_upper, out=x_upper)  # crossed by rounding at most: one point

    kept = np.flatnonzero(~empty & ~single)
    if isinstance(functions, Functions):
        kept, lower, upper, twin_lower, twin_upper = _merge_twins(program, kept)
    else:
        lower, upper, twin_lower, twin_upper = program.lower[kept], program.upper[kept], kept, kept
    twins = _crossed(lower, upper)
    for k in twins[:1].tolist():
        conflicts.append(_twin_sentence(program, int(twin_lower[k]), int(twin_upper[k]), lower[k], upper[k]))
    np.maximum(lower, upper, out=upper)
    return Presolved(
        program,
        functions.of_rows(kept) if len(kept) < rows else functions,
        kept,
        lower,
        upper,
        x_lower,
        x_upper,
        lower_source,
        upper_source,
        twin_lower,
        twin_upper,
        next(iter(conflicts), ""),
        np.concatenate([broken, kept[twins]]),
        crossed,
    )


def tighten(
    bound: np.ndarray, source: np.ndarray, columns: np.ndarray, values: np.ndarray, rows: np.ndarray, sign: float
) -> None:
    """bound = max(bound, values) by column (sign 1) or min (sign -1); source remembers the row that decided.

    rows : ascending. Of equals, the variable's own bound decides, then the row written first.
    """
    tightest = np.full(len(bound), -np.inf)
    np.maximum.at(tightest, columns, sign * values)
    better = (sign * values == tightest[columns]) & (tightest > sign * bound)[columns]
    columns, values, rows = (each[better][::-1] for each in (columns, values, rows))
    bound[columns], source[columns] = values, rows


def _merge_twins(
    program: Program, kept: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Rows with the same body become one with the tighter sides. Only bitwise equal bodies have equal fingerprints."""
    functions = program.functions
    first = _fingerprints(functions, kept, 0)
    order = np.argsort(first)
    if np.all(first[order][1:] != first[order][:-1]):
        return kept, program.lower[kept], program.upper[kept], kept, kept
    second = _fingerprints(functions, kept, 1)
    order = np.lexsort((second, first))
    same = (first[order][1:] == first[order][:-1]) & (second[order][1:] == second[order][:-1])
    shift = functions.constant
    lower, upper = program.lower - shift, program.upper - shift
    twin_lower, twin_upper = np.arange(functions.rows), np.arange(functions.rows)
    dropped = np.zeros(functions.rows, dtype=bool)
    representative = -1
    for place in np.flatnonzero(same):
        here, there = kept[order[place]], kept[order[place + 1]]
        if place == 0 or not same[place - 1]:
            representative = here
        dropped[there] = True
        if lower[there] > lower[representative]:
            lower[representative], twin_lower[representative] = lower[there], there
        if upper[there] < upper[representative]:
            upper[representative], twin_upper[representative] = upper[there], there
    kept = kept[~dropped[kept]]
    own = np.arange(functions.rows)
    lower = np.where(twin_lower == own, program.lower, lower + shift)
    upper = np.where(twin_upper == own, program.upper, upper + shift)
    return kept, lower[kept], upper[kept], twin_lower[kept], twin_upper[kept]


def _fingerprints(functions: Functions, rows: np.ndarray, seed: int) -> np.ndarray:
    """A 64-bit number per row that depends on every bit of its linear entries and its terms, but not on their order."""
    salts = np.random.default_rng(seed).integers(
        2**63, size=functions.columns + len(functions.families) + 1, dtype=np.uint64
    )
    linear = functions.linear[rows].tocoo()
    place = np.full(functions.rows + 1, -1)  # the objective is row -1
    place[rows] = np.arange(len(rows))
    result = np.zeros(len(rows), dtype=np.uint64)
    np.add.at(result, linear.coords[0], _mixed(salts[linear.coords[1]], linear.data))
    for family, salt in zip(functions.families, salts[functions.columns :], strict=False):
        here = place[family.rows] >= 0
        term = np.full(int(here.sum()), salt)
        for columns in family.columns[:, here]:
            term = _mixed(term ^ salts[columns], 0.0)
        for constants in family.constants[:, here]:
            term = _mixed(term, constants)
        np.add.at(result, place[family.rows[here]], term)
    return result


def _mixed(bits: np.ndarray, values: np.ndarray | float) -> np.ndarray:
    """One more number mixed into each hash: the finaliser of splitmix64."""
    mixed = bits + np.uint64(0x9E3779B97F4A7C15) + np.atleast_1d(np.asarray(values, dtype=float) + 0.0).view(np.uint64)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _constant_conflicts(program: Program, rows: np.ndarray) -> np.ndarray:
    """Those of the rows without a variable that do not hold."""
    value = program.functions.constant[rows]
    size = ROUNDING * (1.0 + np.abs(value))
    return rows[(value < program.lower[rows] - size) | (value > program.upper[rows] + size) | np.isnan(value)]


def _crossed(lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """Where lower is above upper by more than rounding."""
    with np.errstate(invalid="ignore"):
        slack = ROUNDING * np.maximum(np.abs(lower), np.abs(upper))
        return np.flatnonzero(lower > upper + np.where(np.isfinite(slack), slack, 0.0))


def _constant_sentence(program: Program, row: int) -> str:
    middle = _between(program.lower[row], program.upper[row], f"{program.functions.constant[row]:g}")
    return f"constraint {program.constraints[row].name} holds no free variable and is violated: {middle}"


def _bound_sentence(program: Program, column: int, low: float, high: float, lower_row: int, upper_row: int) -> str:
    """lower_row, upper_row : the constraint that a bound comes from, or -1."""

    def origin(row: int) -> str:
        return f"constraint {program.constraints[row].name}" if row >= 0 else "its own bound"

    return (
        f"variable {program.variables[column].name} must be at least {low:g} ({origin(lower_row)}) and at most {high:g} "
        f"({origin(upper_row)})"
    )


def _twin_sentence(program: Program, first: int, second: int, low: float, high: float) -> str:
    one, other = program.constraints[first].name, program.constraints[second].name
    return f"constraints {one} and {other} bound the same expression by at least {low:g} and at most {high:g}"


def _between(low: float, high: float, middle: str) -> str:
    left = f"{low:g} <= " if np.isfinite(low) else ""
    right = f" <= {high:g}" if np.isfinite(high) else ""
    return f"{left}{middle}{right}"
