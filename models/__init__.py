"""The declarative models: what is solved, and nothing about how.

One file per problem and language. Each docstring states its programme in full, each ``build(...)`` returns a native
Pyomo model or an open :class:`~bcfl_opt.context.ConvexModel` of CVXPY objects, to change as you like and hand to
:func:`bcfl_opt.solve`.

======================= ==================================================================
``problem1_pyomo``      the client's problem at given prices, in times or in speeds
``problem1_cvxpy``      the same in times: convex
``problem2_pyomo``      the owner's problem with complete information
``problem2_cvxpy``      the same, convex
``problem3_pyomo``      the owner's problem with individual rationality and incentive compatibility
``problem3_cvxpy``      the same, convex
``stackelberg_pyomo``   both stages in one model: the clients' own problems are followers of the owner's
======================= ==================================================================
"""

if __name__ != "bcfl_opt.models":
    raise ImportError("import these models as bcfl_opt.models, from the installed package (pip install .)")
