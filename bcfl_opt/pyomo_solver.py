"""How does any Pyomo user call our IPOPT? ``pyo.SolverFactory("bcfl_ipopt")``, in Pyomo's current solver interface.

Registered with both of Pyomo's factories, the current one and the one behind ``pyo.SolverFactory``.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Mapping, Sequence
from typing import Any

from pyomo.common.collections import ComponentMap
from pyomo.common.config import ConfigValue, In, document_configdict
from pyomo.common.timing import HierarchicalTimer
from pyomo.contrib.solver.common.base import Availability, LegacySolverWrapper, SolverBase
from pyomo.contrib.solver.common.config import SolverConfig
from pyomo.contrib.solver.common.factory import SolverFactory
from pyomo.contrib.solver.common.results import Results, SolutionStatus, TerminationCondition
from pyomo.contrib.solver.common.solution_loader import SolutionLoader
from pyomo.contrib.solver.common.util import (
    IncompatibleModelError,
    NoDualsError,
    NoOptimalSolutionError,
    NoReducedCostsError,
    NoSolutionError,
)
from pyomo.core.base.block import BlockData
from pyomo.core.base.constraint import ConstraintData
from pyomo.core.base.var import VarData
from pyomo.core.staleflag import StaleFlagManager

from bcfl_opt.certificate import TOLERANCE
from bcfl_opt.context import Context
from bcfl_opt.errors import ModelError, missing, require
from bcfl_opt.solution import Status

_CONDITIONS = {
    Status.SOLVED: TerminationCondition.convergenceCriteriaSatisfied,
    Status.INFEASIBLE: TerminationCondition.provenInfeasible,
    Status.LOCALLY_INFEASIBLE: TerminationCondition.locallyInfeasible,
    Status.UNBOUNDED: TerminationCondition.unbounded,
    Status.ITERATION_LIMIT: TerminationCondition.iterationLimit,
    Status.TIME_LIMIT: TerminationCondition.maxTimeLimit,
    Status.INTERRUPTED: TerminationCondition.interrupted,
    Status.NUMERICAL_FAILURE: TerminationCondition.error,
    Status.EVALUATION_ERROR: TerminationCondition.error,
    Status.NO_FREEDOM: TerminationCondition.error,
    Status.NOT_CERTIFIED: TerminationCondition.unknown,
    Status.SADDLE: TerminationCondition.unknown,
    Status.UNKNOWN: TerminationCondition.unknown,
}


@document_configdict()
class BcflIpoptConfig(SolverConfig):
    """Pyomo's common configuration; IPOPT's own options go into ``solver_options``."""

    def __init__(
        self,
        description: str | None = None,
        doc: str | None = None,
        implicit: bool = False,
        implicit_domain: Any = None,
        visibility: int = 0,
    ) -> None:
        super().__init__(
            description=description, doc=doc, implicit=implicit, implicit_domain=implicit_domain, visibility=visibility
        )
        self.warm_start: bool = self.declare(
            "warm_start",
            ConfigValue(
                domain=bool,
                default=False,
                description="Start from the multipliers of this solver's last answer to the same model, too.",
            ),
        )
        self.engine: str = self.declare(
            "engine",
            ConfigValue(
                domain=In(("cyipopt", "casadi")),
                default="cyipopt",
                description="Whose IPOPT: cyipopt's, or the one inside CasADi's wheel.",
            ),
        )


class AnswerLoader(SolutionLoader):
    """Values and multipliers of one answer. Duals and reduced costs are d objective / d right-hand side and / d bound."""

    def __init__(self, model: BlockData, answer: Any) -> None:
        self._pyomo_model, self._answer = model, answer

    def get_number_of_solutions(self) -> int:
        return 1

    def get_vars(self, vars_to_load: Sequence[VarData] | None = None) -> Mapping[VarData, float]:
        return _chosen(self._answer.program.variables, self._answer.x.tolist(), vars_to_load)

    def get_duals(self, cons_to_load: Sequence[ConstraintData] | None = None) -> dict[ConstraintData, float]:
        answer = self._answer
        duals = (-answer.program.sense * answer.multipliers.rows + 0.0).tolist()
        chosen = _chosen(answer.program.constraints, duals, cons_to_load)
        return dict(chosen.items())

    def get_reduced_costs(self, vars_to_load: Sequence[VarData] | None = None) -> Mapping[VarData, float]:
        answer = self._answer
        multipliers = answer.multipliers
        costs = (answer.program.sense * (multipliers.x_lower - multipliers.x_upper)).tolist()
        return _chosen(answer.program.variables, costs, vars_to_load)


class NoAnswerLoader(SolutionLoader):
    """Says why there is nothing to load, whatever is asked."""

    def __init__(self, model: BlockData, message: str) -> None:
        self._pyomo_model, self._message = model, message

    def get_number_of_solutions(self) -> int:
        return 0

    def get_vars(self, vars_to_load: Sequence[VarData] | None = None) -> Mapping[VarData, float]:
        raise NoSolutionError(f"{NoSolutionError.default_message} ({self._message})")

    def get_duals(self, cons_to_load: Sequence[ConstraintData] | None = None) -> dict[ConstraintData, float]:
        raise NoDualsError(f"{NoDualsError.default_message} ({self._message})")

    def get_reduced_costs(self, vars_to_load: Sequence[VarData] | None = None) -> Mapping[VarData, float]:
        raise NoReducedCostsError(f"{NoReducedCostsError.default_message} ({self._message})")


class LeftAlone(NoAnswerLoader):
    """Loads nothing, and does not complain when a caller tries on its own account."""

    def load_import_suffixes(self, solution_id: Any = None) -> None:
        pass


def _chosen(items: Sequence[Any], numbers: Sequence[float], wanted: Sequence[Any] | None) -> Mapping[Any, float]:
    pairs = ComponentMap(zip(items, numbers, strict=True))
    if wanted is None:
        return pairs
    return ComponentMap((item, pairs[item]) for item in wanted if item in pairs)


class BcflIpopt(SolverBase):
    """IPOPT for any Pyomo model: ``pyo.SolverFactory("bcfl_ipopt").solve(model)``.

    A result is called optimal only if the residuals recomputed from the model and the point hold; IPOPT proves local
    optimality, so Pyomo's word "optimal" means that here. ``results.extra_info`` carries ``iteration_count``, ``message``,
    ``certificate``, ``quality``, ``provenance`` and ``history`` (rows of :data:`bcfl_opt.solution.HISTORY_COLUMNS`).
    """

    CONFIG = BcflIpoptConfig()
    #: Is the last point of a failed solve loaded where the caller asked for loading, and not to raise?
    _loads_failures = True

    def __init__(self, **options: Any) -> None:
        options.setdefault("name", "bcfl_ipopt")
        super().__init__(**options)
        self._previous: Any = None

    def available(self) -> Availability:
        return Availability.NotFound if missing(("casadi", "cyipopt")) else Availability.FullLicense

    def version(self) -> tuple[int, ...]:
        from bcfl_opt import ipopt

        return tuple(int(part) for part in ipopt.version().split("."))

    def solve(self, model: BlockData, **keywords: Any) -> Results:
        """Solve ``model``; keywords are those of Pyomo's solver configuration."""
        require("casadi", "cyipopt")
        from bcfl_opt.nlp.decomposition import solve_by_parts

        begin = time.perf_counter()
        results = Results()
        results.timing_info.start_timestamp = datetime.datetime.now(datetime.UTC)
        config = self.config(value=keywords, preserve_implicit=True)
        timer = config.timer if config.timer is not None else HierarchicalTimer()
        StaleFlagManager.mark_all_as_stale()
        previous = self._previous if config.warm_start else None
        context = getattr(model, "bcfl", None)  # a model of this package knows what is small in it
        try:
            answer = solve_by_parts(
                model,
                options=config.solver_options.value(),
                warm_start=previous,
                time_limit=config.time_limit,
                streams=config.tee,
                unit=context.unit if isinstance(context, Context) and len(context.clients) else 1.0,
                engine=config.engine,
            )
        except ModelError as error:
            raise IncompatibleModelError(str(error)) from error
        self._previous = answer

        results.solver_name, results.solver_version = self.name, self.version()
        results.solver_log = answer.log
        results.extra_info.iteration_count = answer.iterations or 0
        results.extra_info.message = f"{answer.status.value}{': ' if answer.detail else ''}{answer.detail}"
        results.extra_info.quality = answer.quality.name
        results.extra_info.certificate = {} if answer.certificate is None else answer.certificate.residuals
        results.extra_info.provenance = answer.provenance
        results.extra_info.history = answer.history
        # A model with a part that has no answer has none: what ails the part ails the whole.
        status = answer.failures[0].status if answer.failures else answer.status
        results.termination_condition = _CONDITIONS[status]
        if not answer.program.variables:
            _without_variables(results, answer)
        elif answer.status is Status.SOLVED:
            results.solution_status = SolutionStatus.optimal
        elif answer.status in (Status.INFEASIBLE, Status.PARTLY_SOLVED) or answer.certificate is None:
            results.solution_status = SolutionStatus.noSolution
        elif answer.certificate.primal <= TOLERANCE:
            results.solution_status = SolutionStatus.feasible
        else:
            results.solution_status = SolutionStatus.infeasible
        held = results.solution_status is not SolutionStatus.noSolution
        message = results.extra_info.message
        results.solution_loader = AnswerLoader(model, answer) if held else NoAnswerLoader(model, message)

        if config.raise_exception_on_nonoptimal_result and results.solution_status is not SolutionStatus.optimal:
            raise NoOptimalSolutionError(f"{NoOptimalSolutionError.default_message} ({message})")
        optimal = results.solution_status is SolutionStatus.optimal
        if config.load_solutions and (optimal or self._loads_failures):
            if not held:
                raise NoSolutionError(f"{NoSolutionError.default_message} ({message})")
            results.solution_loader.load_solution()
        elif config.load_solutions:
            results.solution_loader = LeftAlone(model, message)
        if answer.program.objective is not None and results.solution_status in (
            SolutionStatus.feasible,
            SolutionStatus.optimal,
        ):
            results.incumbent_objective = answer.objective
        results.solver_config = config
        results.timing_info.timer = timer
        results.timing_info.update(dict(answer.timing))
        results.timing_info.wall_time = time.perf_counter() - begin
        return results


class LegacyBcflIpopt(LegacySolverWrapper, BcflIpopt):
    """What ``pyo.SolverFactory`` hands out: Pyomo's older interface, where a failed solve does not raise.

    Its results say how it ended (``results.solver.termination_condition``, ``results.solver.termination_message``), and
    the model keeps the values it had: there is no mistaking the last iterate of a failure for an answer.
    """

    _loads_failures = False

    def _map_results(self, model: BlockData, results: Results) -> Any:
        legacy_results, legacy_solution = super()._map_results(model, results)
        legacy_results.solver.termination_message = results.extra_info.message
        return legacy_results, legacy_solution


SolverFactory.register("bcfl_ipopt", doc="IPOPT through cyipopt, derivatives by CasADi; no executable, no ASL")(
    BcflIpopt, LegacyBcflIpopt
)


def _without_variables(results: Results, answer: Any) -> None:
    """No free variable in use: a point without coordinates, right if the constraints hold, and if there are any."""
    if answer.status is Status.SOLVED and answer.program.constraints:
        results.solution_status = SolutionStatus.optimal
    elif answer.status is Status.SOLVED:
        results.termination_condition = TerminationCondition.emptyModel
