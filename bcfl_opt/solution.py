"""What do we hold after a solve? ``Status`` (why it stopped), ``Quality`` (what the point is worth), ``Solution``."""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bcfl_opt import documents, interchange
from bcfl_opt.certificate import Certificate
from bcfl_opt.errors import InputError, NoSolutionError
from bcfl_opt.game import Game
from bcfl_opt.layout import laid_out
from bcfl_opt.population import id_text

if TYPE_CHECKING:
    from bcfl_opt.bilevel_record import BilevelRecord


class Status(enum.Enum):
    """Why the solve stopped; the value is the sentence a person reads."""

    SOLVED = "solved, and the recomputed residuals hold"
    PARTLY_SOLVED = "solved in part: not every client has an answer"
    INFEASIBLE = "proven infeasible: no point satisfies all constraints"
    LOCALLY_INFEASIBLE = "stopped at a point of local infeasibility: no feasible point was found near the start"
    UNBOUNDED = "unbounded: the objective improves without limit"
    ITERATION_LIMIT = "iteration limit reached before the tolerance"
    TIME_LIMIT = "time limit reached before the tolerance"
    EVALUATION_ERROR = "a function could not be evaluated at a point the solver needed"
    NUMERICAL_FAILURE = "the solver gave up for numerical reasons"
    NOT_CERTIFIED = "the solver reports success, but the recomputed residuals do not hold"
    FOLLOWER_NOT_OPTIMAL = "the followers' own problems, solved again at this point, have another answer"
    SADDLE = "stationary, but no local optimum: the objective improves in a direction that the constraints allow"
    NO_CLIENTS = "no client can take part; the table of clients says why"
    NO_FREEDOM = "more equality constraints than free variables"
    INTERRUPTED = "interrupted by the user"
    UNKNOWN = "the solver stopped for a reason it does not name"


#: Stops that are the user's wish, whatever the point is worth, and no trouble of the model.
WISHED = (Status.TIME_LIMIT, Status.INTERRUPTED)


class Quality(enum.Enum):
    """What the point is worth."""

    GLOBAL = "globally optimal: exact, or convex with a closed duality gap"
    LOCAL = "locally optimal: the first-order (KKT) conditions hold"
    FEASIBLE = "feasible: all constraints hold, and how good the point is is not known"
    NONE = "no solution"


#: Columns of :attr:`Solution.history`, in order.
HISTORY_COLUMNS = (
    "iteration",
    "objective",
    "primal_infeasibility",
    "dual_infeasibility",
    "barrier",
    "step_length",
)

#: Columns of :attr:`Solution.clients`, in order.
CLIENT_COLUMNS = (
    "training_time",
    "mining_time",
    "training_speed",
    "mining_speed",
    "training_price",
    "mining_price",
    "training_reward",
    "mining_reward",
    "energy_cost",
    "client_utility",
    "recruited",
    "reason",
)


def clients_table(
    game: Game,
    training_time: np.ndarray,
    mining_time: np.ndarray,
    training_price: np.ndarray,
    mining_price: np.ndarray,
    recruited: np.ndarray,
    reason: np.ndarray | pd.Series,
) -> pd.DataFrame:
    """The table of :attr:`Solution.clients` from times and prices, arrays of shape (N,) in the population's order.

    Who is not recruited does no work: rewards, cost and utility 0, times, speeds and prices NaN.
    Rewards t p_t and s p_m, energy rho mu^3 / t^2 + rho psi^3 / s^2, utility (1).
    """
    recruited = np.asarray(recruited, dtype=bool)
    mu, rho, psi = game.population.training_cycles, game.population.energy_coefficient, game.mining_cycles

    def worked(values: np.ndarray) -> np.ndarray:
        return np.where(recruited, values, np.nan)

    t, s, p_t, p_m = (worked(values) for values in (training_time, mining_time, training_price, mining_price))
    with np.errstate(divide="ignore"):  # a client may choose to train nothing
        q_t, q_m = mu / t, psi / s
    r_t, r_m = t * p_t, s * p_m
    energy = rho * (mu * q_t**2 + psi * q_m**2)
    columns: dict[str, Any] = {
        "training_time": t,
        "mining_time": s,
        "training_speed": q_t,
        "mining_speed": q_m,
        "training_price": p_t,
        "mining_price": p_m,
        "training_reward": np.where(recruited, r_t, 0.0),
        "mining_reward": np.where(recruited, r_m, 0.0),
        "energy_cost": np.where(recruited, energy, 0.0),
        "client_utility": np.where(recruited, r_t + r_m - energy, 0.0),
        "recruited": recruited,
        "reason": pd.Series(reason, index=game.population.ids, dtype="str"),
    }
    return pd.DataFrame(columns, index=game.population.ids, copy=False)


def owner_utility(game: Game, clients: pd.DataFrame) -> float:
    """U_mo (2) of a table of clients: f(sum mu) - xi sum(t + s + t p_t + s p_m) over recruited clients [utility].

    Columns ``training_cycles`` (chosen by the clients) and ``bonus`` (paid besides) count where the table has them.
    """
    recruited = clients["recruited"].to_numpy(dtype=bool)
    names = [
        "training_time",
        "mining_time",
        "training_reward",
        "mining_reward",
        *(["bonus"] if "bonus" in clients else []),
    ]
    cost = sum(float(clients[name].to_numpy()[recruited].sum()) for name in names)
    cycles = clients["training_cycles"].to_numpy() if "training_cycles" in clients else None
    return game.performance_value(recruited, cycles) - game.cost_weight * cost


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class SolvedPart:
    """What is known of the independent parts that have an answer, where others have none."""

    objective: float
    certificate: Certificate | None
    variables: Mapping[str, Any]
    shadow_prices: Mapping[str, Any]
    multipliers: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Solution:
    """The result of a solve. Values of a failed solve are not handed out: they raise, or are NaN in the table.

    Where clients whom nothing couples with the others have no answer, the status is PARTLY_SOLVED, which is no success: the
    table of clients holds the answers of the others, and the reason beside those who have none. Everything else is in
    :attr:`solved_part`, for who asks for it; so are the independent parts of a model without a game.

    Attributes
    ----------
    problem : what was solved, in words.
    solver : which engine answered ("ipopt", "clarabel", "exact").
    status : :class:`Status`, why it stopped. quality : :class:`Quality`, what the point is worth.
    succeeded : the status is SOLVED, which includes that the certificate holds.
    message : the status in a sentence, with the detail that matters.
    objective : the model's objective at the point, in the user's own sense. Raises NoSolutionError if not succeeded.
    clients : DataFrame by client (see CLIENT_COLUMNS); None for a model that knows no game.
    variables : name -> value (Series by index, or float) of every variable of the model.
    shadow_prices : constraint name -> Series by index (or float): d objective* / d right-hand side, in the user's own
        sense of objective, for <=, >=, == and ranges; and "x.lower", "x.upper" -> the same of the bounds that variable x
        has, d objective* / d bound. Raising the side that binds by one unit changes the optimum by that much. What does
        not bind is worth 0. Where some of the limits that bind could be left out, prices are not unique and the effects
        of moving one up and down differ; of a bound and constraints that say the same of a variable, the bound has the
        whole price, else the constraint written first.
    multipliers : the raw multipliers by the same names, of the minimised objective (minus it where the user maximises).
        Pyomo: L = f + row (body - side), so positive where an upper side binds, negative where a lower one does; bounds'
        are never negative. CVXPY: ``constraint.dual_value``, which a success also sets; cones have theirs here, too.
    certificate : residuals recomputed from the model and the point.
    timing : seconds by stage. iterations : of the solver. log : the solver's own output.
    provenance : versions, options and attempts.
    bilevel : of :func:`bcfl_opt.solve_bilevel`: starts and their outcomes, what the followers say, ties; else None.
    """

    problem: str
    solver: str
    status: Status
    quality: Quality
    certificate: Certificate | None
    detail: str = ""
    game: Game | None = None
    clients: pd.DataFrame | None = None
    timing: Mapping[str, float] = dataclasses.field(default_factory=dict)
    iterations: int | None = None
    log: str = ""
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    bilevel: BilevelRecord | None = None
    _history: Sequence[tuple[float, ...]] = ()
    _objective: float = np.nan
    _variables: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    _shadow_prices: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    _multipliers: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    _warm_start: Any = None
    _model: Any = None
    _direction: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    _part: SolvedPart | None = None

    def __post_init__(self) -> None:
        if self.succeeded and not np.isfinite(self._objective):
            raise AssertionError(f"a solved {self.problem} with objective {self._objective!r}")

    @property
    def succeeded(self) -> bool:
        """Is the status SOLVED, which includes that the certificate holds?"""
        return self.status is Status.SOLVED

    @property
    def solved_part(self) -> Solution:
        """What a solve holds of the independent parts that have an answer, as a solution of these; itself if it succeeded.

        Its objective, owner's utility and certificate leave out the clients without an answer, who are not recruited; their
        variables and shadow prices are NaN. Raises NoSolutionError where nothing is solved.
        """
        if self._part is None:
            return self.raise_if_failed()
        certificate = self.certificate if self.status is Status.PARTLY_SOLVED else self._part.certificate
        return dataclasses.replace(
            self,
            problem=f"{self.problem}, the part that has an answer",
            status=Status.SOLVED,
            quality=Quality.GLOBAL if certificate is not None and certificate.closes_gap else Quality.LOCAL,
            certificate=certificate,
            detail="",
            _objective=self._part.objective,
            _variables=self._part.variables,
            _shadow_prices=self._part.shadow_prices,
            _multipliers=self._part.multipliers,
            _part=None,
        )

    @property
    def message(self) -> str:
        """The status in a sentence, with the detail that matters."""
        return f"{self.status.value}{': ' if self.detail else ''}{self.detail}"

    @property
    def objective(self) -> float:
        """The model's objective at the point, in the user's own sense; raises NoSolutionError if not succeeded."""
        return self._held(self._objective, "objective")

    @property
    def variables(self) -> Mapping[str, Any]:
        """Name -> value of every variable: a Series by index, or a float; raises NoSolutionError if not succeeded."""
        return self._held(self._variables, "variables")

    @property
    def shadow_prices(self) -> Mapping[str, Any]:
        """Constraint name -> d objective* / d right-hand side, a Series by index or a float, in the user's sense; raises too."""
        return self._held(self._shadow_prices, "shadow prices")

    @property
    def multipliers(self) -> Mapping[str, Any]:
        """The raw multipliers, by constraint; raises NoSolutionError if not succeeded."""
        return self._held(self._multipliers, "multipliers")

    @property
    def history(self) -> pd.DataFrame:
        """The solver's iterates, also of a failed solve (see HISTORY_COLUMNS); the objective is in the user's own sense.

        Of the last run where there were several. IPOPT's infeasibilities are absolute, Clarabel's relative; barrier is the
        parameter mu. Empty where nothing was iterated.
        """
        return pd.DataFrame(list(self._history), columns=list(HISTORY_COLUMNS)).astype({"iteration": int})

    @property
    def owner_utility(self) -> float:
        """U_mo (2) at this point [utility]; for any model that knows its game."""
        game, clients = self._with_game("owner's utility")
        return self._held(owner_utility(game, clients), "owner's utility")

    @property
    def prices(self) -> pd.DataFrame:
        """The prices by client (NaN where not recruited), as :func:`bcfl_opt.best_response` and Problem 1 take them."""
        _, clients = self._with_game("prices")
        return self._held(clients[["training_price", "mining_price"]].copy(), "prices")

    def raise_if_failed(self) -> Solution:
        """Return itself, or raise :class:`NoSolutionError` with the message."""
        if not self.succeeded:
            raise NoSolutionError(f"{self.problem} was not solved by {self.solver}: {self.message}{self._hint}")
        return self

    @property
    def _hint(self) -> str:
        return " (solution.solved_part holds what is solved)" if self._part is not None else ""

    # ------------------------------------------------------------------ files

    def save(self, path: str | PathLike[str], *, overwrite: bool = False) -> None:
        """Write the solution to ``path``, in the format that its ending names.

        .json, .nc : all of it, with its game: what :meth:`read` gives back bit by bit. .nc (NetCDF) needs xarray.
        .parquet, .csv : the clients' table; everything else but the other tables is in the Parquet file's metadata, under
            the key "bcfl_opt", or beside NAME.csv in NAME.csv-metadata.json.

        Of a failed solve: why it failed and the clients' reasons, no values; of one solved in part, the values of that part.

        Raises
        ------
        InputError : the file exists and ``overwrite`` is not given; it cannot be written; the format cannot hold an id.
        """
        path = Path(path)
        formats = (".json", ".nc", ".parquet", ".csv")
        interchange.save(path, "solution", self.content, formats=formats, table="clients", overwrite=overwrite)

    @classmethod
    def read(cls, path: str | PathLike[str]) -> Solution:
        """The solution that :meth:`save` wrote to ``path``, .json or .nc.

        Nothing is solved or checked again: status and certificate are as recorded, and ``provenance["files"]`` says which
        file they come from and which versions wrote it.

        Raises
        ------
        InputError : naming the file, and what is wrong with it.
        """
        path = Path(path)
        if path.suffix.lower() in (".csv", ".parquet"):
            raise InputError(
                f"{path.name}: holds the table of clients alone; a whole solution is in .json or .nc files"
            )
        content = interchange.load(path, "solution", formats=(".json", ".nc"))
        with documents.reading(path.name):
            return cls._of_content(content, path.name)

    @property
    def content(self) -> dict[str, Any]:
        """What a file holds of the solution, by name; values that a failed solve does not hand out are None or left out."""
        solved, certificate = self.succeeded, self.certificate
        part = self._part
        return {
            "problem": self.problem,
            "solver": self.solver,
            "succeeded": solved,
            "status": self.status,
            "message": self.message,
            "detail": self.detail,
            "quality": self.quality,
            "objective": self._objective if solved else None,
            "owner_utility": self.owner_utility if solved and self.clients is not None else None,
            "certificate": _certificate_content(certificate),
            "iterations": self.iterations,
            "timing": self.timing,
            "provenance": self.provenance,
            "clients": self.clients,
            "variables": self._variables if solved else {},
            "shadow_prices": self._shadow_prices if solved else {},
            **({} if part is None else {"solved_part": _part_content(part)}),
            "history": self._history,
            "log": self.log,
            **({"game": None, "population": None} if self.game is None else self.game.content),
        }

    @classmethod
    def _of_content(cls, content: Mapping[str, Any], name: str) -> Solution:
        certificate = _certificate_of(content["certificate"])
        game = None if content["game"] is None else Game.from_content(dict(content), source=name)
        clients = content["clients"]
        if clients is not None and (
            tuple(clients) != CLIENT_COLUMNS or game is None or not clients.index.equals(game.population.ids)
        ):
            raise InputError("the table of clients does not belong to the game")
        status, objective = Status[content["status"]], documents.number(content["objective"])
        solved = status is Status.SOLVED
        if solved and not (math.isfinite(objective) and (certificate is None or certificate.holds())):
            raise InputError("says that it is solved, without an objective or with a certificate that does not hold")
        read = {"file": name, "schema_version": content["schema_version"], "versions": content["versions"]}
        files = [*content["provenance"].get("files", []), read]
        return cls(
            problem=str(content["problem"]),
            solver=str(content["solver"]),
            status=status,
            quality=Quality[content["quality"]],
            certificate=certificate,
            detail=str(content["detail"]),
            game=game,
            clients=clients,
            timing={key: documents.number(value) for key, value in content["timing"].items()},
            iterations=None if content["iterations"] is None else int(content["iterations"]),
            log=str(content["log"]),
            provenance={**content["provenance"], "files": files},
            _history=tuple(tuple(documents.number(value) for value in row) for row in content["history"]),
            _objective=objective,
            _variables={key: documents.labelled(value) for key, value in content["variables"].items()},
            _shadow_prices={key: documents.labelled(value) for key, value in content["shadow_prices"].items()},
            _part=None if "solved_part" not in content else _part_of(content["solved_part"]),
        )

    def _held(self, value: Any, what: str) -> Any:
        if not self.succeeded:
            why = f"{self.problem} was not solved by {self.solver}: {self.message}{self._hint}"
            raise NoSolutionError(f"no {what}: {why}")
        return value

    def _with_game(self, what: str) -> tuple[Game, pd.DataFrame]:
        if self.game is None or self.clients is None:
            raise NoSolutionError(f"no {what}: this model knows no game; build it with bcfl_opt.models")
        return self.game, self.clients

    def __repr__(self) -> str:
        lines = [f"{self.problem} by {self.solver}: {self.message}"]
        if self.succeeded:
            lines.append(f"  objective    {self._objective:.10g}   ({self.quality.value})")
        if self.clients is not None:
            recruited = self.clients["recruited"].to_numpy(dtype=bool)
            line = f"  clients      {int(recruited.sum())} of {len(recruited)} recruited"
            if not recruited.all():
                first = self.clients.loc[~recruited].iloc[0]
                line += f"; {id_text(self.clients.index, int(recruited.argmin()))}: {first['reason']}"
            lines.append(line)
        if self.certificate is not None:
            lines.append(f"  certificate  {self.certificate.text}")
        saved = self.provenance.get("iterations_saved")
        more = "" if saved is None else f" ({saved} saved by the warm start)"
        effort = [f"{self.iterations} iterations{more}"] if self.iterations is not None else []
        if self.timing:
            effort.append(f"{sum(self.timing.values()):.3g} s")
        if effort:
            lines.append(f"  effort       {', '.join(effort)}")
        if "files" in self.provenance:
            lines.append(f"  read from    {self.provenance['files'][-1]['file']}; as recorded there, not checked again")
        return laid_out(lines)

    def _repr_html_(self) -> str:
        from html import escape

        table = "" if self.clients is None else self.clients.to_html(max_rows=10, float_format="%.6g")
        return f"<pre>{escape(repr(self))}</pre>{table}"


# ---------------------------------------------------------------------- what files hold


def _certificate_content(certificate: Certificate | None) -> dict[str, Any] | None:
    if certificate is None:
        return None
    return {
        **certificate.residuals,
        "holds": certificate.holds(),
        "where": certificate.where,
        "unscaled": certificate.unscaled,
        "curvature": certificate.curvature,
    }


def _certificate_of(content: Mapping[str, Any] | None) -> Certificate | None:
    if content is None:
        return None
    told = ("holds", "where", "unscaled", "curvature")
    residuals: dict[str, Any] = {k: documents.number(v) for k, v in content.items() if k not in told}
    curvature = content["curvature"]
    return Certificate(
        **residuals,
        where=content["where"],
        unscaled={key: documents.number(value) for key, value in content["unscaled"].items()},
        curvature=None if curvature is None else documents.number(curvature),
    )


def _part_content(part: SolvedPart) -> dict[str, Any]:
    return {
        "objective": part.objective,
        "certificate": _certificate_content(part.certificate),
        "variables": part.variables,
        "shadow_prices": part.shadow_prices,
    }


def _part_of(content: Mapping[str, Any]) -> SolvedPart:
    part = SolvedPart(
        documents.number(content["objective"]),
        _certificate_of(content["certificate"]),
        {key: documents.labelled(value) for key, value in content["variables"].items()},
        {key: documents.labelled(value) for key, value in content["shadow_prices"].items()},
    )
    if not math.isfinite(part.objective) or part.certificate is None or not part.certificate.holds():
        raise InputError("says that a part is solved, without an objective or with a certificate that does not hold")
    return part
