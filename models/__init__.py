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

Variants, each with a known answer (theory.md 5.2 to 5.11). ``build`` gives Pyomo, ``build_convex`` CVXPY.

================================ =========================================================
``variant_chosen_deadlines``     the owner also chooses each client's deadline
``variant_shared_budget``        one budget for the payments to all clients
``variant_energy_exponent``      energy rho x cycles x speed^k with another k than 2
``variant_participation_bonus``  a lump sum to every client that takes part
``variant_prices_per_cycle``     pay by the cycle instead of by the minute
``variant_one_price``            one pair of prices for all clients (followers; Pyomo)
``variant_fair_utilities``       the owner shares a budget fairly among the clients
``variant_chosen_data``          clients choose how much data to train on
================================ =========================================================
"""

if __name__ != "bcfl_opt.models":
    raise ImportError("import these models as bcfl_opt.models, from the installed package (pip install .)")
