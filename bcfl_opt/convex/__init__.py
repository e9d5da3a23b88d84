"""How does a CVXPY problem become a cone programme or a smooth one, and is the answer one?"""
