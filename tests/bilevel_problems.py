"""Small bilevel problems with answers derived by hand; tests run every method over them.

Each entry: a builder of the Pyomo model, the leader's best value, whether the follower's optimum there is unique, and which
methods can be asked. The derivations stand with the builders.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pyomo.environ as pyo

KKT = ("auto", "kkt", "fischer_burmeister")
ALL = (*KKT, "strong_duality")


@dataclasses.dataclass(frozen=True)
class Case:
    """build : the model. best : the leader's value. unique : is every follower's optimum, there? values : of variables."""

    build: Callable[[], pyo.ConcreteModel]
    best: float
    unique: bool = True
    methods: tuple[str, ...] = ALL
    values: dict[str, float] = dataclasses.field(default_factory=dict)


def leader(name: str, x: float, bounds: tuple[float | None, float | None] = (None, None)) -> tuple[Any, Any, Any]:
    """A model with one variable x of the leader and an empty follower."""
    m = pyo.ConcreteModel(name)
    m.x = pyo.Var(initialize=x, bounds=bounds)
    m.follower = pyo.Block()
    return m, m.x, m.follower


def tracking() -> pyo.ConcreteModel:
    """y = x, so (x - 3)^2 + (x - 5)^2: x = 4, value 2."""
    m, x, f = leader("tracking", 1.0, (0, 10))
    f.y = pyo.Var(bounds=(0, 10), initialize=1.0)
    f.cost = pyo.Objective(expr=(f.y - x) ** 2)
    m.cost = pyo.Objective(expr=(x - 3) ** 2 + (f.y - 5) ** 2)
    return m


def both_maximise() -> pyo.ConcreteModel:
    """The follower's max 2 x y - y^2 is at y = x; the leader's max 2 y - x^2 at x = y = 1, value 1."""
    m, x, f = leader("both maximise", 3.0)
    f.y = pyo.Var(initialize=0.0)
    f.gain = pyo.Objective(expr=2 * x * f.y - f.y**2, sense=pyo.maximize)
    m.gain = pyo.Objective(expr=2 * f.y - x**2, sense=pyo.maximize)
    return m


def clipped() -> pyo.ConcreteModel:
    """y = clip(x, x - 1, 2 - x / 2) by a range and a bound: y = x up to 4/3, then 2 - x/2.

    (x - 2)^2 + (y - 2)^2 is least at the kink x = y = 4/3, value 8/9: on the first branch it falls to x = 2 > 4/3; on the
    second, (x - 2)^2 + x^2 / 4 is least at x = 8/5 > 4/3 with 0.16 + 0.64 = 0.8 < 8/9. So x = 1.6, y = 1.2, value 0.8.
    """
    m, x, f = leader("clipped", 0.0, (-5, 5))
    f.y = pyo.Var(initialize=0.0)
    f.range = pyo.Constraint(expr=(-1, f.y - x, 4))
    f.cap = pyo.Constraint(expr=f.y <= 2 - x / 2)
    f.cost = pyo.Objective(expr=(f.y - x) ** 2)
    m.cost = pyo.Objective(expr=(x - 2) ** 2 + (f.y - 2) ** 2)
    return m


def shared_out() -> pyo.ConcreteModel:
    """min y1^2 + 2 y2^2 with y1 + y2 = x: y1 = 2x/3, y2 = x/3. (x - 3)^2 + 9 y1 y2 = (x - 3)^2 + 2 x^2: x = 1, value 6."""
    m, x, f = leader("shared out", 2.0)
    f.y = pyo.Var([1, 2], initialize=0.0)
    f.all = pyo.Constraint(expr=f.y[1] + f.y[2] == x)
    f.cost = pyo.Objective(expr=f.y[1] ** 2 + 2 * f.y[2] ** 2)
    m.cost = pyo.Objective(expr=(x - 3) ** 2 + 9 * f.y[1] * f.y[2])
    return m


def exponential() -> pyo.ConcreteModel:
    """min e^y - x y is at y = log x. The leader's y^2 - 2 y is least at y = 1, x = e, value -1."""
    m, x, f = leader("exponential", 1.0, (0.1, 20))
    f.y = pyo.Var(initialize=0.0)
    f.cost = pyo.Objective(expr=pyo.exp(f.y) - x * f.y)
    m.cost = pyo.Objective(expr=f.y**2 - 2 * f.y)
    return m


def hyperbolic() -> pyo.ConcreteModel:
    """min cosh y - x y is at y = asinh x; at most y <= 2. (y - 1)^2 + 0 is least at x = sinh 1, value 0; plus x / 10:
    with u = asinh x, (u - 1)^2 + sinh(u) / 10 has its least value where 2 (u - 1) + cosh(u) / 10 = 0: u = 0.9276836..."""
    m, x, f = leader("hyperbolic", 0.0, (-3, 3))
    f.y = pyo.Var(bounds=(None, 2.0), initialize=0.0)
    f.cost = pyo.Objective(expr=pyo.cosh(f.y) - x * f.y)
    m.cost = pyo.Objective(expr=(f.y - 1) ** 2 + x / 10)
    return m


def hyperbolic_best() -> float:
    """By bisection on the derivative."""
    low, high = 0.0, 1.0
    for _ in range(100):
        u = (low + high) / 2
        low, high = (u, high) if 2 * (u - 1) + math.cosh(u) / 10 < 0 else (low, u)
    return (low - 1) ** 2 + math.sinh(low) / 10


def disc() -> pyo.ConcreteModel:
    """The follower walks in direction (x, 1) to the edge of the unit disc: y = (x, 1) / sqrt(1 + x^2).

    The leader's y1 - y2 / sqrt(3) is the product of y with (1, -1/sqrt(3)), least at the angle 150 degrees: but y2 > 0, and
    y1 = -sqrt(3)/2, y2 = 1/2 is x = -sqrt(3); value -sqrt(3)/2 - 1/(2 sqrt(3)) = -2/sqrt(3).
    """
    m, x, f = leader("disc", 0.0, (-10, 10))
    f.y = pyo.Var([1, 2], initialize=0.5)
    f.disc = pyo.Constraint(expr=f.y[1] ** 2 + f.y[2] ** 2 <= 1)
    f.gain = pyo.Objective(expr=x * f.y[1] + f.y[2], sense=pyo.maximize)
    m.cost = pyo.Objective(expr=f.y[1] - f.y[2] / math.sqrt(3))
    return m


def energy() -> pyo.ConcreteModel:
    """A price per unit of time: max x y - 4 / y^2 with y <= 5 and x y >= 4 / y^2 has y = 5, if x >= 4/125.

    The leader pays x y and wants time: min x y - y: it pays as little as the follower takes, x = 4/125: 0.16 - 5 = -4.84.
    At that price the follower's feasible set is the single point y = 5.
    """
    m, x, f = leader("energy", 1.0, (0, None))
    f.y = pyo.Var(bounds=(0, 5), initialize=3.0)
    f.rational = pyo.Constraint(expr=x * f.y - 4 / f.y**2 >= 0)
    f.gain = pyo.Objective(expr=x * f.y - 4 / f.y**2, sense=pyo.maximize)
    m.cost = pyo.Objective(expr=x * f.y - f.y)
    return m


def quartic() -> pyo.ConcreteModel:
    """min (y - x)^4 + (y - x)^2, z >= y^2 least: y = x, z = x^2. x^2 - 2 x + z = 2 x^2 - 2 x: x = 1/2, value -1/2."""
    m, x, f = leader("quartic", 2.0, (-3, 3))
    f.y, f.z = pyo.Var(initialize=0.0), pyo.Var(initialize=1.0)
    f.above = pyo.Constraint(expr=f.z >= f.y**2)
    f.cost = pyo.Objective(expr=(f.y - x) ** 4 + (f.y - x) ** 2 + f.z - f.y * 2 * x + x**2)
    m.cost = pyo.Objective(expr=x**2 - 2 * x + f.z)
    return m


def two_followers() -> pyo.ConcreteModel:
    """y = x1, z = -x2, and the leader ties them: y + z = 1. min x1^2 + x2^2 with x1 - x2 = 1: (1/2, -1/2), value 1/2."""
    m = pyo.ConcreteModel("two followers")
    m.x = pyo.Var([1, 2], initialize=3.0)
    m.follower = pyo.Block([1, 2])
    for k in (1, 2):
        b = m.follower[k]
        b.y = pyo.Var(initialize=0.0)
        b.cost = pyo.Objective(expr=(b.y - (m.x[k] if k == 1 else -m.x[k])) ** 2)
    m.tied = pyo.Constraint(expr=m.follower[1].y + m.follower[2].y == 1)
    m.cost = pyo.Objective(expr=m.x[1] ** 2 + m.x[2] ** 2)
    return m


def bard_linear() -> pyo.ConcreteModel:
    """Bard 1984: min x + y, the follower min -y s.t. x + y <= ... ; the published optimum is 28/9.

    min_x x + y s.t. -x - y/2 <= -2, x/4 + ... : here as printed in Bard (Eur. J. Oper. Res. 1984):
    x >= 0; y minimises -5x - y over -x - y/2 <= -2, -x/4 + y <= 2, x + y/2 <= 8, x - 2y <= 4, y >= 0.
    y is as large as it can be: min(2 + x/4, 16 - 2x). The least x + y on -x - y/2 <= -2: with y = 2 + x/4,
    x + 1 + x/8 >= 2, so x >= 8/9, y = 20/9, sum 28/9.
    """
    m, x, f = leader("Bard 1984", 1.0, (0, None))
    f.y = pyo.Var(bounds=(0, None), initialize=1.0)
    f.rows = pyo.ConstraintList()
    for row in (-x - f.y / 2 <= -2, -x / 4 + f.y <= 2, x + f.y / 2 <= 8, x - 2 * f.y <= 4):
        f.rows.add(row)
    f.cost = pyo.Objective(expr=-5 * x - f.y)
    m.cost = pyo.Objective(expr=x + f.y)
    return m


def candler_townsley() -> pyo.ConcreteModel:
    """Candler and Townsley 1982; optimum -29.2 at x = (0, 0.9), y = (0, 0.6, 0.4) (Bard, Practical Bilevel Optimization)."""
    m = pyo.ConcreteModel("Candler and Townsley 1982")
    m.x = pyo.Var([1, 2], bounds=(0, None), initialize=1.0)
    m.follower = f = pyo.Block()
    f.y = pyo.Var([1, 2, 3], bounds=(0, None), initialize=1.0)
    x, y = m.x, f.y
    f.rows = pyo.ConstraintList()
    f.rows.add(-y[1] + y[2] + y[3] <= 1)
    f.rows.add(2 * x[1] - y[1] + 2 * y[2] - y[3] / 2 <= 1)
    f.rows.add(2 * x[2] + 2 * y[1] - y[2] - y[3] / 2 <= 1)
    f.cost = pyo.Objective(expr=x[1] + 2 * x[2] + y[1] + y[2] + 2 * y[3])
    m.cost = pyo.Objective(expr=-8 * x[1] - 4 * x[2] + 4 * y[1] - 40 * y[2] - 4 * y[3])
    return m


def bard_quadratic() -> pyo.ConcreteModel:
    """Bard 1988, example 1: optimum 17 at x = 1, y = 0.

    The follower's (y - 1)^2 - 3/2 x y wants y = 1 + 3x/4, within y <= 3x - 3, y <= 7 - x, y >= 2x - 8, y >= 0. From x = 1 on,
    y = 3x - 3 until 16/9, then 1 + 3x/4 until 24/7, then 7 - x, until x = 5. (x - 5)^2 + (2y + 1)^2 is 17 at x = 1,
    and 25 at the other end, x = 5, y = 2; the value grows along the first two branches.
    """
    m, x, f = leader("Bard 1988", 1.0, (0, None))
    f.y = pyo.Var(bounds=(0, None), initialize=1.0)
    f.rows = pyo.ConstraintList()
    for row in (-3 * x + f.y <= -3, x - f.y / 2 <= 4, x + f.y <= 7):
        f.rows.add(row)
    f.cost = pyo.Objective(expr=(f.y - 1) ** 2 - 1.5 * x * f.y)
    m.cost = pyo.Objective(expr=(x - 5) ** 2 + (2 * f.y + 1) ** 2)
    return m


def indifferent() -> pyo.ConcreteModel:
    """max x y over y in [0, 1], x >= 0: at x = 0 the follower is indifferent. min x - y: with goodwill -1 at x = 0 (y = 1;
    also x > 0 brings y = 1 and x - 1 > -1). With the worst tie, y = 0 at x = 0, the value there is 0."""
    m, x, f = leader("indifferent", 0.5, (0, 1))
    f.y = pyo.Var(bounds=(0, 1), initialize=0.5)
    f.gain = pyo.Objective(expr=x * f.y, sense=pyo.maximize)
    m.cost = pyo.Objective(expr=x - f.y)
    return m


CASES: dict[str, Case] = {
    "tracking": Case(tracking, 2.0, values={"x": 4.0, "follower.y": 4.0}),
    "both maximise": Case(both_maximise, 1.0, values={"x": 1.0}),
    "clipped": Case(clipped, 0.8, values={"x": 1.6, "follower.y": 1.2}),
    "shared out": Case(shared_out, 6.0, values={"x": 1.0}),
    "exponential": Case(exponential, -1.0, methods=KKT, values={"x": math.e, "follower.y": 1.0}),
    "hyperbolic": Case(hyperbolic, hyperbolic_best(), methods=KKT),
    "disc": Case(disc, -2 / math.sqrt(3), methods=KKT, values={"x": -math.sqrt(3)}),
    "energy": Case(energy, -4.84, values={"x": 0.032, "follower.y": 5.0}),
    "quartic": Case(quartic, -0.5, methods=KKT, values={"x": 0.5}),
    "two followers": Case(two_followers, 0.5),
    "Bard 1984": Case(bard_linear, 28 / 9, values={"x": 8 / 9, "follower.y": 20 / 9}),
    "Candler and Townsley": Case(candler_townsley, -29.2, methods=("auto", "kkt", "strong_duality")),
    "Bard 1988": Case(bard_quadratic, 17.0, methods=("auto",), values={"x": 1.0, "follower.y": 0.0}),
    "indifferent": Case(indifferent, -1.0, unique=False, values={"x": 0.0, "follower.y": 1.0}),
}
