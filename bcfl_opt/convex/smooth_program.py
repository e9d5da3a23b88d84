"""What is CVXPY's smooth form of a problem? Rows, bounds, functions and derivatives as IPOPT takes them, and the way back.

CVXPY rewrites a smooth (DNLP) problem as min f(x), cl <= g(x) <= cu, with auxiliary variables z = an inner expression, and
has an engine for f, g and their derivatives. A denominator whose sign CVXPY cannot tell is taken to be positive.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import cvxpy as cp
import numpy as np
import scipy.sparse as sp
from cvxpy.atoms.elementwise.power import Power
from cvxpy.constraints import Equality, Inequality, NonNeg, NonPos, Zero
from cvxpy.constraints.constraint import Constraint
from cvxpy.expressions.expression import Expression
from cvxpy.reductions.cvx_attr2constr import CvxAttr2Constr, lower_value
from cvxpy.reductions.dnlp2smooth.dnlp2smooth import Dnlp2Smooth
from cvxpy.reductions.flip_objective import FlipObjective
from cvxpy.reductions.solvers.nlp_solvers.ipopt_nlpif import IPOPT
from cvxpy.reductions.solvers.nlp_solvers.nlp_solver import Oracles
from cvxpy.reductions.solvers.solving_chain import SolvingChain
from scipy.sparse.csgraph import connected_components

from bcfl_opt.convex.convex_problem import ConvexProblem, Duals
from bcfl_opt.errors import ModelError
from bcfl_opt.nlp.normal_form import NormalForm, SomeRows, Told
from bcfl_opt.nlp.presolve import Multipliers, Presolved, presolve
from bcfl_opt.nlp.program import Program

#: Name of a constraint, the constraint, and what it is as <= or ==.
Row = tuple[str, Constraint, Constraint]
#: A variable, the side that is bounded, and the bound as a constraint.
Bound = tuple[cp.Variable, str, Constraint]


def two_sided(problem: ConvexProblem) -> list[Row]:
    """Name, constraint, and the constraint as <= or ==: CVXPY's smooth form drops all other kinds without a word."""
    result = []
    for name, constraint in problem.constraints.items():
        if not constraint.size:
            continue
        if isinstance(constraint, Inequality | Equality):
            result.append((name, constraint, constraint))
        elif isinstance(constraint, NonNeg):
            result.append((name, constraint, constraint.args[0] >= 0))
        elif isinstance(constraint, NonPos):
            result.append((name, constraint, constraint.args[0] <= 0))
        elif isinstance(constraint, Zero):
            result.append((name, constraint, constraint.args[0] == 0))
        else:
            raise ModelError(
                f"constraint {name!r}: IPOPT cannot be given a {type(constraint).__name__}; write it with <=, >= or =="
            )
    return result


def odd_power_domains(problem: ConvexProblem) -> list[Row]:
    """x >= 0 for every x^3, x^5, ...: their domain in a DCP problem, which CVXPY's smooth form forgets."""
    result: list[Row] = []
    stack: list[Any] = [
        problem.problem.objective.expr,
        *(side for c in problem.constraints.values() for side in c.args),
    ]
    seen: set[int] = set()
    while stack:
        node = stack.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        stack.extend(node.args)
        if isinstance(node, Power) and node.p_used is not None and node.p_used > 1 and node.p_used % 2 == 1:
            row = node.args[0] >= 0
            result.append((f"the domain of {node.name()}", row, row))
    return result


def expression_bounds(problem: ConvexProblem) -> list[Bound]:
    """Bounds of variables that are expressions (of parameters), as constraints: CVXPY's smooth form forgets them."""
    return [
        (variable, side, variable >= bound if side == "lower" else variable <= bound)
        for variable in problem.problem.variables()
        for side, bound in zip(("lower", "upper"), variable.attributes["bounds"] or (), strict=False)
        if isinstance(bound, Expression)
    ]


def _applied(chain: SolvingChain, problem: cp.Problem) -> tuple[Any, list[Any]]:
    """``chain.apply``, with the start handed on to the shorter variables that symmetric ones become."""
    current, inverse = problem, []
    for reduction in chain.reductions:
        current, back = reduction.apply(current)
        inverse.append(back)
        if isinstance(reduction, CvxAttr2Constr) and back:
            for key, variable in back[1].items():
                shorter = back[0][key]
                if shorter.value is None and variable.value is not None:
                    shorter.save_value(np.reshape(lower_value(variable), shorter.shape, order="F"))
    return current, inverse


class _Functions:
    """f, g and their derivatives by CVXPY's engine, as :class:`bcfl_opt.nlp.program.Functions` has them.

    The engine's derivatives are those of its last forward pass, so every call makes sure that was at the same point.
    """

    families: tuple[()] = ()

    def __init__(self, oracles: Oracles, x: np.ndarray, rows: int) -> None:
        self._oracles, self._x = oracles, np.full_like(x, np.nan)
        self.rows, self.columns = rows, len(x)
        self.jacobian_rows, self.jacobian_columns = oracles.jacobianstructure()
        self.hessian_rows, self.hessian_columns = oracles.hessianstructure()
        # What counts as a coefficient, for judging what is small: the derivatives at the start.
        self.objective_linear, self.linear = self.gradient(x), self.jacobian_matrix(x)
        self.linear.eliminate_zeros()
        away = np.cos(np.arange(len(x)))
        elsewhere = np.where(x == 0, 0.4 + 0.3 * away, x * (1.25 + 0.5 * away))
        self.linear_cost = np.where(self.gradient(elsewhere) == self.objective_linear, self.objective_linear, 0.0)
        self.nonlinear_rows = np.diff(sp.csr_array(self.jacobian_matrix(elsewhere) != self.linear).indptr) > 0
        with np.errstate(all="ignore"):
            at_zero, rest = self.constraints(np.zeros(len(x))), self.constraints(x) - self.linear @ x
        # Exact at 0, unless a term that is multiplied by 0 has no value there.
        self.constant = np.where(self.nonlinear_rows, 0.0, np.where(np.isnan(at_zero), rest, at_zero))

    def of_rows(self, kept: np.ndarray) -> SomeRows:
        """The same objective, and these rows alone."""
        return SomeRows(self, kept)

    def _forward(self, x: np.ndarray) -> None:
        if not np.array_equal(x, self._x):
            self._x = np.array(x, dtype=float)
            self._f = float(self._oracles.objective(self._x))
            self._g = np.array(self._oracles.constraints(self._x), dtype=float) if self.rows else np.zeros(0)

    def objective(self, x: np.ndarray) -> float:
        self._forward(x)
        return self._f

    def objective_size(self, x: np.ndarray) -> float:
        return float(np.abs(self.gradient(x)) @ np.abs(x))

    def gradient(self, x: np.ndarray) -> np.ndarray:
        self._forward(x)
        return np.array(self._oracles.gradient(self._x), dtype=float)

    def constraints(self, x: np.ndarray) -> np.ndarray:
        self._forward(x)
        return self._g.copy()

    def jacobian(self, x: np.ndarray) -> np.ndarray:
        self._forward(x)
        return np.array(self._oracles.jacobian(self._x), dtype=float)

    def jacobian_matrix(self, x: np.ndarray) -> sp.csr_array:
        entries = (self.jacobian(x), (self.jacobian_rows, self.jacobian_columns))
        return sp.coo_array(entries, shape=(self.rows, self.columns)).tocsr()

    def hessian(self, x: np.ndarray, multipliers: np.ndarray, objective_factor: float) -> np.ndarray:
        self._forward(x)
        return np.array(
            self._oracles.hessian(self._x, np.array(multipliers, dtype=float), objective_factor), dtype=float
        )


def _shorter(variable: cp.Variable) -> bool:
    """Does IPOPT see fewer entries of it than the user?"""
    return bool(variable.sparse_idx is not None or variable.attributes["symmetric"] or variable.attributes["diag"])


class _Named(Sequence[Any]):
    """Names of rows or columns, as things with a name, made when asked for."""

    def __init__(self, parts: Sequence[tuple[str, int]]) -> None:
        self._names = [name for name, _ in parts]
        self._ends = np.cumsum([size for _, size in parts]) if parts else np.zeros(1, dtype=int)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, k: Any) -> Any:
        part = int(np.searchsorted(self._ends, k, side="right"))
        return SimpleNamespace(name=self._names[part])


def _groups(functions: _Functions, together: np.ndarray) -> np.ndarray:
    """together : by row, how many entries its constraint has. What a scalar constraint connects are still different groups."""
    n, m = functions.columns, functions.rows
    counted = (together == together.max(initial=1))[functions.jacobian_rows]
    links = (functions.jacobian_columns[counted], n + functions.jacobian_rows[counted])
    graph = sp.coo_array((np.ones(len(links[0]), dtype=np.int8), links), shape=(n + m, n + m))
    return connected_components(graph, directed=False)[1][:n]


def _as_it_is(program: SimpleNamespace) -> Presolved:
    """Presolved, without anything to settle."""
    presolved = SimpleNamespace(
        **vars(program),
        program=program,
        kept=np.arange(len(program.lower)),
        there=lambda x: x,
        back=lambda x: x,
        restore=lambda x, rows, x_lower, x_upper: Multipliers(rows, x_lower, x_upper),
        reduce=lambda multipliers: (multipliers.rows, multipliers.x_lower, multipliers.x_upper),
    )
    return cast(Presolved, presolved)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class SmoothProgram:
    """A CVXPY problem in IPOPT's form, and the way back.

    program : duck-types :class:`bcfl_opt.nlp.program.Program`, presolved :class:`bcfl_opt.nlp.presolve.Presolved`. x : the start.
    places : (the user's constraint, first row, sign) with multiplier in CVXPY's convention = sign x IPOPT's.
    variables : (the user's variable, first column). bounds : those that are rows here. groups : number of each column's group,
    of columns that rows of vector constraints connect, a client's for instance.
    """

    problem: cp.Problem
    chain: SolvingChain
    inverse: Any
    program: Program
    presolved: Presolved
    x: np.ndarray
    places: list[tuple[Constraint, int, int]]
    variables: list[tuple[cp.Variable, int]]
    bounds: list[Bound]
    groups: np.ndarray

    @classmethod
    def of(cls, twin: cp.Problem, rows: list[Row], bounds_as_rows: list[Bound]) -> SmoothProgram:
        flip = [FlipObjective()] if isinstance(twin.objective, cp.Maximize) else []
        chain = SolvingChain(reductions=[*flip, CvxAttr2Constr(reduce_bounds=False), Dnlp2Smooth(), IPOPT()])
        with warnings.catch_warnings():
            # A denominator whose sign CVXPY cannot tell is taken to be positive; the module's docstring says so.
            warnings.filterwarnings("ignore", message="CVXPY \\(DNLP\\) could not verify", category=UserWarning)
            data, inverse = _applied(chain, twin)
        x = np.asarray(data["x0"], dtype=float)
        bounds = data["_bounds"]
        oracles = Oracles(bounds.new_problem, verbose=False)
        functions = _Functions(oracles, x, len(data["cl"]))

        ids = {}
        for name, original, row in rows:
            key = row.id
            for step in inverse:  # CvxAttr2Constr keeps its map in a tuple, the others in an object
                key = (step[2] if isinstance(step, tuple) and step else getattr(step, "cons_id_map", {})).get(key, key)
            ids[key] = (name, original)
        places, parts, first = [], [], 0
        for constraint in bounds.problem.constraints:
            name, original = ids.get(constraint.id, ("an auxiliary equation of CVXPY", None))
            if original is not None:
                places.append((original, first, 1 if isinstance(constraint, Equality) else -1))
            parts.append((name, int(constraint.size)))
            first += int(constraint.size)
        mine = {variable.id: variable.name() for variable in twin.variables()}
        columns = [(mine.get(v.id, "an auxiliary variable of CVXPY"), int(v.size)) for v in bounds.main_var]
        renewed: dict[int, cp.Variable] = next((step[0] for step in inverse if isinstance(step, tuple) and step), {})
        own = {renewed.get(variable.id, variable).id: variable for variable in twin.variables()}
        starts = np.cumsum([0, *(size for _, size in columns)]).tolist()
        variables = [(own[v.id], start) for v, start in zip(bounds.main_var, starts, strict=False) if v.id in own]
        program = SimpleNamespace(
            functions=functions,
            variables=_Named(columns),
            constraints=_Named(parts),
            lower=data["cl"],
            upper=data["cu"],
            x_lower=data["lb"],
            x_upper=data["ub"],
        )
        return cls(
            twin,
            chain,
            inverse,
            cast(Program, program),
            _as_it_is(program),
            x,
            places,
            variables,
            bounds_as_rows,
            _groups(functions, np.repeat([size for _, size in parts], [size for _, size in parts])),
        )

    def in_own_units(self) -> tuple[SmoothProgram, NormalForm]:
        """The same in the sizes that its terms have at the start, presolved; see :mod:`bcfl_opt.nlp.normal_form`."""
        form = NormalForm.of(self.program, self.x, separable=False)
        functions = Told(self.program.functions, form)
        program = SimpleNamespace(**{**vars(self.program), "functions": functions, **form.limits(self.program)})
        told = dataclasses.replace(
            self, program=cast(Program, program), presolved=presolve(cast(Program, program)), x=self.x / form.sizes
        )
        return told, form

    def load(self, x: np.ndarray) -> None:
        """Set the user's variables."""
        solution = self.chain.invert({"status": 0, "x": x, "obj_val": 0.0}, self.inverse)
        for variable in self.problem.variables():
            variable.save_value(solution.primal_vars[variable.id])

    def direction(self, problem: ConvexProblem, move: np.ndarray) -> dict[str, Any]:
        """Variable name -> its part of a move of all columns."""
        return problem.direction({v.id: move[first : first + v.size] for v, first in self.variables if not _shorter(v)})

    def duals(self, multipliers: Multipliers) -> Duals:
        """In CVXPY's convention. IPOPT's g is lhs - rhs for ==, and rhs - lhs >= 0 for <=."""
        constraints = {}
        for original, first, sign in self.places:
            values = sign * multipliers.rows[first : first + original.size] + 0.0
            constraints[original.id] = values.reshape(original.shape, order="F")
        sides: dict[str, dict[int, np.ndarray]] = {"lower": {}, "upper": {}}
        for side, bounds, values in (
            ("lower", self.program.x_lower, multipliers.x_lower),
            ("upper", self.program.x_upper, multipliers.x_upper),
        ):
            for variable, first in self.variables:
                if _shorter(variable):
                    continue  # IPOPT sees fewer entries than the user: whose price is it?
                part = slice(first, first + variable.size)
                if np.isfinite(bounds[part]).any():
                    sides[side][variable.id] = values[part].reshape(variable.shape, order="F")
        for variable, side, row in self.bounds:
            values = constraints.pop(row.id)
            sides[side][variable.id] = sides[side].get(variable.id, 0.0) + values
        return Duals(constraints, **sides)
