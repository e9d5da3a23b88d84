"""Pyomo's own contract tests of its solver interface, run with our solver in the list.

Pyomo ships them with the list of solvers written into the file, so the file is loaded with those lists replaced. Tests
for integer variables, SOS constraints and quadratic-only or persistent solvers do not concern a nonlinear solver.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
import types
from pathlib import Path

OURS = ("all_solvers", "nlp_solvers", "qcp_solvers", "qp_solvers", "dual_solvers")
NOT_OURS = ("mip_solvers", "miqcqp_solvers", "sos_solvers", "nl_solvers")


def _contract() -> types.ModuleType:
    import bcfl_opt  # noqa: F401  registers the solver when Pyomo loads

    name = "pyomo.contrib.solver.tests.solvers.test_solvers"
    spec = importlib.util.find_spec(name)
    assert spec is not None and spec.origin is not None
    tree = ast.parse(Path(spec.origin).read_text())
    replaced = set()
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            target = node.targets[0].id
            if target in OURS:
                node.value = ast.parse("[('bcfl_ipopt', BcflIpopt)]", mode="eval").body
                replaced.add(target)
            elif target in NOT_OURS:
                node.value = ast.parse("[]", mode="eval").body
                replaced.add(target)
        elif isinstance(node, ast.ClassDef):
            node.body = [item for item in node.body if not _concerns_others(item)]
    for node in ast.walk(tree):
        # Pyomo keeps a "_v2" after the names of solvers that also exist behind its older interface.
        if isinstance(node, ast.Constant) and node.value == "_v2":
            node.value = ""
    assert replaced == {*OURS, *NOT_OURS}, "Pyomo renamed a list of its contract tests"
    module = types.ModuleType("pyomo_contract")
    module.__file__ = spec.origin
    sys.modules["pyomo_contract"] = module
    import pyomo.environ  # noqa: F401

    from bcfl_opt.pyomo_solver import BcflIpopt

    module.__dict__["BcflIpopt"] = BcflIpopt
    exec(compile(ast.fix_missing_locations(tree), spec.origin, "exec"), module.__dict__)
    return module


def _concerns_others(item: ast.stmt) -> bool:
    decorators = item.decorator_list if isinstance(item, ast.FunctionDef) else []
    return any(isinstance(n, ast.Name) and n.id in NOT_OURS for d in decorators for n in ast.walk(d))


_module = _contract()
for _name, _item in vars(_module).items():
    if isinstance(_item, type) and issubclass(_item, _module.unittest.TestCase):
        globals()[_name] = _item
