"""How does ``pyo.SolverFactory("bcfl_ipopt")`` know our solver, when importing this package must not import Pyomo?

The solver is registered as soon as both packages are there: at once if Pyomo is loaded, else right after it loads.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_PYOMO = "pyomo.environ"


def register_when_pyomo_loads() -> None:
    if _PYOMO in sys.modules:
        _register()
    elif not any(isinstance(finder, _AfterPyomo) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AfterPyomo())


def _register() -> None:
    importlib.import_module("bcfl_opt.pyomo_solver")  # registers its class with Pyomo's factories


class _AfterPyomo(importlib.abc.MetaPathFinder):
    """Steps aside for every import but that of ``pyomo.environ``, which it lets happen and then follows up on."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _PYOMO:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _ThenRegister(spec.loader)
        return spec


class _ThenRegister(importlib.abc.Loader):
    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        _register()
