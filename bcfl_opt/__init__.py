"""Incentives for blockchain-based federated learning: how should the owner of a model pay, and what will clients do?

``import bcfl_opt as bo``, then ``bo.Population``, ``bo.Game``, ``bo.best_response``, ``bo.equilibrium``, ``bo.solve``,
``bo.solve_bilevel``, ``bo.cross_check``, ``bo.explain``, ``bo.sweep``, and the declarative models in
:mod:`bcfl_opt.models`. Importing the package loads no modelling language and no solver; each name is loaded when it is
first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from bcfl_opt._pyomo_registration import register_when_pyomo_loads

if TYPE_CHECKING:
    from bcfl_opt import closed_form as closed_form
    from bcfl_opt import paper as paper
    from bcfl_opt import partitioned as partitioned
    from bcfl_opt.bilevel import solve_bilevel as solve_bilevel
    from bcfl_opt.bilevel_record import BilevelRecord as BilevelRecord
    from bcfl_opt.certificate import Certificate as Certificate
    from bcfl_opt.diagnose import explain as explain
    from bcfl_opt.equilibria import equilibrium as equilibrium
    from bcfl_opt.errors import BcflOptError as BcflOptError
    from bcfl_opt.errors import InputError as InputError
    from bcfl_opt.errors import ModelError as ModelError
    from bcfl_opt.errors import NoSolutionError as NoSolutionError
    from bcfl_opt.errors import SolverMissingError as SolverMissingError
    from bcfl_opt.exact import best_response as best_response
    from bcfl_opt.game import Game as Game
    from bcfl_opt.incentives import Audit as Audit
    from bcfl_opt.incentives import audit as audit
    from bcfl_opt.judging import CrossCheck as CrossCheck
    from bcfl_opt.judging import cross_check as cross_check
    from bcfl_opt.menu_record import Menu as Menu
    from bcfl_opt.menus import design_menu as design_menu
    from bcfl_opt.model_files import show_model as show_model
    from bcfl_opt.model_files import write_model as write_model
    from bcfl_opt.population import Population as Population
    from bcfl_opt.reevaluation import Reevaluation as Reevaluation
    from bcfl_opt.reevaluation import reevaluate as reevaluate
    from bcfl_opt.screening import Screening as Screening
    from bcfl_opt.solution import Quality as Quality
    from bcfl_opt.solution import Solution as Solution
    from bcfl_opt.solution import Status as Status
    from bcfl_opt.solving import solve as solve
    from bcfl_opt.sweeping import sweep as sweep

__version__ = "0.1.0"

#: Public name -> the module that holds it. No module is named like a function it holds: importing the module would
#: hide the function.
_HOMES = {
    "BcflOptError": "errors",
    "InputError": "errors",
    "ModelError": "errors",
    "NoSolutionError": "errors",
    "SolverMissingError": "errors",
    "Population": "population",
    "Game": "game",
    "best_response": "exact",
    "equilibrium": "equilibria",
    "BilevelRecord": "bilevel_record",
    "Certificate": "certificate",
    "Solution": "solution",
    "Status": "solution",
    "Quality": "solution",
    "solve": "solving",
    "solve_bilevel": "bilevel",
    "explain": "diagnose",
    "show_model": "model_files",
    "write_model": "model_files",
    "CrossCheck": "judging",
    "cross_check": "judging",
    "Audit": "incentives",
    "audit": "incentives",
    "Menu": "menu_record",
    "design_menu": "menus",
    "Reevaluation": "reevaluation",
    "reevaluate": "reevaluation",
    "Screening": "screening",
    "sweep": "sweeping",
}
_MODULES = ("closed_form", "models", "paper", "partitioned", "shapley", "exact", "plots")

__all__ = [*sorted(_HOMES), "closed_form", "models", "paper", "partitioned"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(f"bcfl_opt.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    if name in _MODULES:
        return importlib.import_module(f"bcfl_opt.{name}")
    raise AttributeError(f"module 'bcfl_opt' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


register_when_pyomo_loads()
