"""Which parts of a programme have nothing to do with one another, and what is one of them by itself?"""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy.sparse as sparse
from scipy.sparse.csgraph import connected_components

from bcfl_opt.nlp.program import Functions, Program


def restricted(program: Program, rows: np.ndarray, columns: np.ndarray) -> Program:
    """The programme of these rows and columns alone.

    columns : all columns of these rows among them. Of the objective it keeps the constant and the terms in these columns.
    """
    functions = program.functions
    row_place, column_place = np.full(functions.rows, -1), np.full(functions.columns, -1)
    row_place[rows], column_place[columns] = np.arange(len(rows)), np.arange(len(columns))
    families = []
    for family in functions.families:
        inside = (column_place[family.columns] >= 0).all(axis=0)
        place = np.append(row_place, -1)[family.rows]  # the objective is row -1
        keep = inside & ((family.rows < 0) | (place >= 0))
        if keep.any():
            part = family.select(keep)
            families.append(dataclasses.replace(part, rows=place[keep], columns=column_place[part.columns]))
    return Program(
        program.model,
        program.sense,
        program.objective,
        Functions(
            functions.objective_constant,
            functions.objective_linear[columns],
            functions.constant[rows],
            functions.linear[rows][:, columns],
            families,
        ),
        [program.variables[k] for k in columns],
        program.x_lower[columns],
        program.x_upper[columns],
        [program.constraints[k] for k in rows],
        program.lower[rows],
        program.upper[rows],
    )


Links = tuple[np.ndarray, np.ndarray]


def part_numbers(functions: Functions, links: Links | None = None, shared: np.ndarray | None = None) -> np.ndarray:
    """Number of the part of each column, then of each row: of what no constraint and no term of the objective connects.

    links : two arrays of columns (from the number of columns on: rows) that belong together whatever the programme says.
    shared : columns that tie nothing together, such as parameters held fixed.
    """
    n, m = functions.columns, functions.rows
    first, second, nodes = [functions.jacobian_columns], [n + functions.jacobian_rows], n + m
    if links is not None:
        first.append(links[0])
        second.append(links[1])
    for family in functions.families:
        terms = np.flatnonzero(family.rows < 0)
        for columns in family.columns[:, terms] if len(family.columns) > 1 else ():
            first.append(columns)
            second.append(nodes + np.arange(len(terms)))
        nodes += len(terms)
    ends = np.concatenate(first), np.concatenate(second)
    if shared is not None and len(shared):
        common = np.zeros(nodes, dtype=bool)
        common[shared] = True
        keep = ~common[ends[0]] & ~common[ends[1]]
        ends = ends[0][keep], ends[1][keep]
    graph = sparse.coo_array((np.ones(len(ends[0]), dtype=np.int8), ends), shape=(nodes, nodes))
    return connected_components(graph, directed=False)[1][: n + m]


def objective_by_part(functions: Functions, labels: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Each part's share of the objective, which is minimised; without the constant. labels : of each column, then row."""
    count = int(labels.max(initial=-1)) + 1
    total = np.bincount(labels[: len(x)], weights=functions.objective_linear * x, minlength=count)
    for family in functions.families:
        here = family.rows < 0
        if len(family.columns):
            total += np.bincount(labels[family.columns[0, here]], weights=family.value(x)[here], minlength=count)
    return total


def independent_parts(program: Program, links: Links, shared: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """(rows, columns) of each part, in the order of their first columns; see :func:`part_numbers`.

    The columns in ``shared`` belong to every part.
    """
    n = program.functions.columns
    label = part_numbers(program.functions, links, shared)
    own = np.setdiff1d(np.arange(n), shared)
    _, where = np.unique(label[own], return_index=True)
    parts = []
    for part in label[own[np.sort(where)]].tolist():
        columns = own[label[own] == part]
        rows = np.flatnonzero(label[n:] == part)
        parts.append((rows, np.union1d(columns, shared)))
    return parts
