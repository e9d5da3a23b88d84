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


def independent_parts(
    program: Program, links: tuple[np.ndarray, np.ndarray], shared: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """(rows, columns) of each part that shares no variable with another, in the order of their first columns.

    links : two arrays of columns that belong together whatever the programme says. shared : columns that tie nothing
    together, such as parameters held fixed; they belong to every part.
    """
    functions = program.functions
    n, m = functions.columns, functions.rows
    # Nodes: columns, then rows, then each term of the objective.
    left, right = [functions.jacobian_columns, links[0]], [n + functions.jacobian_rows, links[1]]
    offset = n + m
    for family in functions.families:
        terms = np.flatnonzero(family.rows < 0)
        for columns in family.columns[:, terms]:
            left.append(columns)
            right.append(offset + np.arange(len(terms)))
        offset += len(terms)
    first, second = np.concatenate(left), np.concatenate(right)
    common = np.zeros(offset, dtype=bool)
    common[shared] = True
    keep = ~common[first] & ~common[second]
    graph = sparse.coo_array((np.ones(int(keep.sum())), (first[keep], second[keep])), shape=(offset, offset))
    _, label = connected_components(graph, directed=False)
    own = np.setdiff1d(np.arange(n), shared)
    _, where = np.unique(label[own], return_index=True)
    parts = []
    for part in label[own[np.sort(where)]].tolist():
        columns = own[label[own] == part]
        rows = np.flatnonzero(label[n : n + m] == part)
        parts.append((rows, np.union1d(columns, shared)))
    return parts
