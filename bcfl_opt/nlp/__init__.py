"""How does a Pyomo model become a smooth programme that IPOPT solves, and is the answer one?"""
