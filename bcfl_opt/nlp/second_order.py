"""Is a stationary point a minimum? The Hessian of the Lagrangian on the directions that the active constraints leave."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import scipy.sparse as sparse
import scipy.sparse.linalg as sla
from scipy.sparse.csgraph import connected_components

from bcfl_opt.nlp.kkt import coefficient_sizes
from bcfl_opt.nlp.normal_form import MILLIONTH
from bcfl_opt.nlp.presolve import Multipliers
from bcfl_opt.nlp.program import Functions, Program

#: Blocks with more variables than this are looked at by Lanczos' method: dense linear algebra is cubic.
DENSE = 400
#: Numbers in the dense matrices that are handled at once.
CHUNK = 4_000_000
#: Curvature below minus this is not rounding; relative to the largest of its block, or to the objective's unit.
NOISE = 1e-7
#: A multiplier whose pull is a smaller share of what pulls at its variables holds nothing.
SLACK = 1e-8
#: Blocks whose most negative curvature is followed.
CANDIDATES = 100


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class SecondOrder:
    """curvature : the least eigenvalue of the reduced Hessian, relative to the largest entry of its block; None if the
    active constraints leave no direction, or if it could not be found. downhill : a direction in which the point is no
    local minimum; None if none was found."""

    curvature: float | None
    downhill: np.ndarray | None


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Active:
    """What the point leaves: the Hessian and the rows that hold, in variables scaled to their own size.

    size : of the Hessian's entries before they cancel. loose : rows that are active without a multiplier.
    """

    hessian: sparse.csr_array
    size: sparse.csr_array
    held: sparse.csr_array
    free: np.ndarray
    loose: np.ndarray
    at_lower: np.ndarray
    at_upper: np.ndarray
    jacobian: sparse.csr_array
    below: np.ndarray
    reach: np.ndarray
    floor: float


def second_order(
    program: Program,
    x: np.ndarray,
    multipliers: Multipliers,
    *,
    unit: float | np.ndarray = 1.0,
    sizes: np.ndarray | None = None,
    active: float = 1e-6,
) -> SecondOrder:
    """The curvature of the Lagrangian where the constraints leave room, and a way down if it is negative.

    In every block of variables that constraints or curvature connect: the least eigenvalue of Z'HZ, with H the Hessian of
    the Lagrangian, variables scaled to their own size, and Z a basis of the directions that keep all constraints active
    whose multiplier is not 0. Its eigenvector counts as a way down if it (or its negative) does not leave a constraint that
    is active with multiplier 0. That refutes a local minimum; the lack of one proves the second-order necessary
    conditions only, and no more where multipliers are 0. ``unit`` and ``sizes`` as in :func:`bcfl_opt.nlp.kkt.certify`.
    Source: Nocedal and Wright, Numerical Optimization, section 12.5.
    """
    point = _active(program, x, multipliers, unit, sizes, active)
    if point is None:
        return SecondOrder(None, None)
    found = sorted(_blocks(point), key=lambda block: block.curvature)
    if not found:
        return SecondOrder(None, None)
    for block in [block for block in found if block.direction is not None][:CANDIDATES]:
        direction = np.zeros(len(x))
        direction[block.columns] = block.direction
        for candidate in (direction, -direction):
            if _stays(point, candidate):
                return SecondOrder(block.curvature, candidate * point.reach)
    return SecondOrder(found[0].curvature, None)


def _active(
    program: Program,
    x: np.ndarray,
    multipliers: Multipliers,
    unit: float | np.ndarray,
    sizes: np.ndarray | None,
    active: float,
) -> _Active | None:
    functions = program.functions
    own: float | np.ndarray
    if isinstance(unit, np.ndarray):
        own, floor, least = MILLIONTH, float(unit.min(initial=1.0)), MILLIONTH
    elif unit == 1.0:
        own, floor, least = 1.0, min(float(coefficient_sizes(functions)[-1]), 1.0), 1.0
    else:
        own, floor, least = np.where(x != 0, np.abs(x), 1.0), unit, 1e-300
    reach = np.maximum(np.abs(x), own if sizes is None else sizes)
    with np.errstate(all="ignore"):
        g, gradient = functions.constraints(x), functions.gradient(x) * reach
        jacobian = sparse.csr_array(functions.jacobian_matrix(x) @ sparse.diags_array(reach))
        rows, z_lower, z_upper = multipliers.rows, multipliers.x_lower * reach, multipliers.x_upper * reach
        pulls = abs(jacobian).multiply(np.abs(rows)[:, None]).tocsr()
        terms = np.maximum(np.abs(gradient) + pulls.sum(axis=0) + z_lower + z_upper, floor)
        share = pulls.multiply(1.0 / terms[None, :]).max(axis=1).toarray().ravel() if pulls.nnz else np.zeros(len(rows))
    if not (np.isfinite(g).all() and np.isfinite(jacobian.data).all() and np.isfinite(terms).all()):
        return None
    room = active * np.maximum(abs(jacobian).sum(axis=1), least)
    near = np.minimum(np.abs(g - program.lower), np.abs(program.upper - g)) <= room
    held = near & (share > SLACK) | (program.lower == program.upper)
    at_lower, at_upper = x - program.x_lower <= active * reach, program.x_upper - x <= active * reach
    fixed = (at_lower & (z_lower > SLACK * terms)) | (at_upper & (z_upper > SLACK * terms))
    fixed |= program.x_lower == program.x_upper
    # What an inactive row's multiplier of 1e-10 bends is noise.
    hessian, size = _hessian(functions, x, np.where(held, rows, 0.0), reach)
    if not hessian.nnz or not np.isfinite(hessian.data).all():
        return None
    below = np.abs(g - program.lower) <= np.abs(program.upper - g)
    return _Active(
        hessian,
        size,
        jacobian[held],
        ~fixed,
        near & ~held,
        at_lower & ~fixed,
        at_upper & ~fixed,
        jacobian,
        below,
        reach,
        floor,
    )


def _hessian(
    functions: Functions, x: np.ndarray, rows: np.ndarray, reach: np.ndarray
) -> tuple[sparse.csr_array, sparse.csr_array]:
    """The Hessian of the Lagrangian in scaled variables, and the sizes of its entries before they cancel."""
    with np.errstate(all="ignore"):
        values = functions.hessian(x, rows, 1.0)
    place = (functions.hessian_rows, functions.hessian_columns)
    values = values * reach[place[0]] * reach[place[1]]
    both = []
    for entries in (values, np.abs(values)):
        lower = sparse.coo_array((entries, place), shape=(len(x), len(x))).tocsr()
        both.append(sparse.csr_array(lower + sparse.tril(lower, -1).T))
    return both[0], both[1]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Block:
    """curvature : least eigenvalue, relative. direction : on the columns; None where the curvature is not negative, or so
    little that rounding explains it or no one would notice."""

    curvature: float
    columns: np.ndarray
    direction: np.ndarray | None

    @classmethod
    def of(cls, least: float, vector: np.ndarray, columns: np.ndarray, largest: float, floor: float) -> _Block:
        negative = least < -NOISE * max(largest, floor)
        return cls(least / largest, columns, vector if negative else None)


def _blocks(point: _Active) -> Iterator[_Block]:
    """The least curvature of every block that has any."""
    columns = np.flatnonzero(point.free)
    if not columns.size:
        return
    rows = point.held[:, columns]
    rows = rows[np.diff(rows.indptr) > 0]
    hessian, size = point.hessian[columns][:, columns], point.size[columns][:, columns]
    links = sparse.block_array([[hessian, rows.T], [rows, None]]) if rows.shape[0] else hessian
    _, label = connected_components(abs(links), directed=False)
    label, row_label = label[: len(columns)], label[len(columns) :]
    count = int(max(label.max(), row_label.max(initial=0))) + 1
    wide, high = np.bincount(label, minlength=count), np.bincount(row_label, minlength=count)
    largest = np.zeros(count)
    np.maximum.at(largest, label, size.max(axis=1).toarray().ravel() if size.nnz else np.zeros(len(columns)))
    curved = largest > 0
    place, row_place = _places(label, wide), _places(row_label, high)
    for width, height in sorted({(int(w), int(h)) for w, h in zip(wide[curved], high[curved], strict=True)}):
        members = np.flatnonzero(curved & (wide == width) & (high == height))
        if width > DENSE:
            for member in members:
                yield from _by_lanczos(
                    columns[label == member],
                    hessian[label == member][:, label == member],
                    rows[row_label == member][:, label == member],
                    float(largest[member]),
                    point.floor,
                )
            continue
        step = max(1, CHUNK // width**2)
        for start in range(0, len(members), step):
            some = members[start : start + step]
            number = np.full(count, -1)
            number[some] = np.arange(len(some))
            h = _stacked(hessian, number[label], place, place, (len(some), width, width))
            a = _stacked(rows, number[row_label], row_place, place, (len(some), height, width))
            at = np.empty((len(some), width), dtype=np.int64)
            inside = number[label] >= 0
            at[number[label[inside]], place[inside]] = columns[inside]
            yield from _dense(h, a, largest[some], at, point.floor)


def _places(label: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The place of each member within its block."""
    order = np.argsort(label, kind="stable")
    result = np.empty(len(label), dtype=np.int64)
    result[order] = np.arange(len(label)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return result


def _stacked(
    matrix: sparse.csr_array, number: np.ndarray, row_place: np.ndarray, place: np.ndarray, shape: tuple[int, int, int]
) -> np.ndarray:
    """The blocks of a block-diagonal matrix as dense ones, stacked; rows of other blocks have number -1."""
    entries = matrix.tocoo()
    row, column = entries.coords
    inside = number[row] >= 0
    result = np.zeros(shape)
    np.add.at(result, (number[row[inside]], row_place[row[inside]], place[column[inside]]), entries.data[inside])
    return result


def _dense(h: np.ndarray, a: np.ndarray, largest: np.ndarray, columns: np.ndarray, floor: float) -> Iterator[_Block]:
    """P h P, with P the projection on what the rows a leave, and a positive number where they leave nothing."""
    width = h.shape[-1]
    eye = np.eye(width)
    rank = np.zeros(len(h), dtype=np.int64)
    kept = np.broadcast_to(eye, h.shape)
    if a.shape[1]:
        _, values, directions = np.linalg.svd(a / np.abs(a).max(axis=2, keepdims=True), full_matrices=False)
        says = values > values.max(axis=1, initial=0.0, keepdims=True) * width * np.finfo(float).eps * 8
        rank = says.sum(axis=1)
        spanned = directions * says[:, :, None]
        kept = eye - np.swapaxes(spanned, 1, 2) @ spanned
    away = 2.0 * np.abs(h).max(axis=(1, 2)) * width + 1.0
    values, vectors = np.linalg.eigh(kept @ h @ kept + away[:, None, None] * (eye - kept))
    least = np.where(rank < width, values[:, 0], np.inf)
    for k in np.flatnonzero(np.isfinite(least)):
        yield _Block.of(float(least[k]), vectors[k, :, 0], columns[k], float(largest[k]), floor)


def _by_lanczos(
    columns: np.ndarray, h: sparse.csr_array, a: sparse.csr_array, largest: float, floor: float
) -> Iterator[_Block]:
    """The same for a large block, without its dense matrices; nothing if the method does not converge."""
    n, m = len(columns), a.shape[0]
    scale = sparse.diags_array(1.0 / abs(a).max(axis=1).toarray().ravel()) if m else None
    rows = sparse.csr_array(scale @ a) if m else a
    solve = None
    if m:
        # v - a'(a a')^-1 a v is the first part of the solution of this system; the tiny number is for rows that repeat.
        system = sparse.block_array([[sparse.eye_array(n), rows.T], [rows, -1e-14 * sparse.eye_array(m)]], format="csc")
        solve = sla.splu(system).solve

    def project(v: np.ndarray) -> np.ndarray:
        return v if solve is None else solve(np.concatenate([v, np.zeros(m)]))[:n]

    away = 2.0 * float(abs(h).sum(axis=1).max())  # for what the rows leave nothing of, as in the dense way

    def apply(v: np.ndarray) -> np.ndarray:
        v = np.ravel(v)
        kept = project(v)
        return project(h @ kept) + away * (v - kept)

    start = project(np.cos(1.0 + np.arange(n)))  # any vector with all frequencies, the same every time
    if not np.linalg.norm(start) > 1e-9 * np.sqrt(n):
        return
    try:
        _, vectors = sla.eigsh(
            sla.LinearOperator((n, n), matvec=apply, dtype=float), k=1, which="SA", v0=start, tol=1e-3, maxiter=300
        )
    except sla.ArpackNoConvergence:
        return
    vector = project(vectors[:, 0])
    length = float(np.linalg.norm(vector))
    if length < 0.5:
        return  # the rows leave no direction, only the rounding of one
    vector /= length
    yield _Block.of(float(vector @ (h @ vector)), vector, columns, largest, floor)


def _stays(point: _Active, direction: np.ndarray) -> bool:
    """Does a small step in this direction stay within the constraints that are active without a multiplier?"""
    if np.any(direction[point.at_lower] < -1e-9) or np.any(direction[point.at_upper] > 1e-9):
        return False
    change = (point.jacobian @ direction)[point.loose]
    least = -1e-9 * np.maximum(abs(point.jacobian).max(axis=1).toarray().ravel()[point.loose], 1e-300)
    return not np.any(np.where(point.below[point.loose], change < least, change > -least))
