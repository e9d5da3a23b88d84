"""Is what section 5.2 says about the figures so? Every sentence that states a trend, measured and judged.

A verdict is computed from the figure's table: "holds", "does not hold", or "cannot be judged" where fewer than two points have
an answer. Points that violate a reward cap count (the paper sweeps its prices past the caps); points without an answer do not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from bcfl_opt.paper.experiments import INFORMATION, STRATEGIES, Setting, figure_2, figure_3, figure_4, figure_5

HOLDS, FAILS, UNKNOWN = "holds", "does not hold", "cannot be judged"
#: A change smaller than this share of the values is rounding.
NOISE = 1e-9
#: What counts as "significant", and its opposite as "not a lot": a change by a tenth of the value.
SIGNIFICANT = 0.1

Finding = tuple[str, str]
Tables = Mapping[str, pd.DataFrame]


@dataclasses.dataclass(frozen=True)
class Claim:
    """A sentence of section 5.2, and what to measure for it.

    figure : its number. text : the sentence, shortened. judge : table of that figure, one information case and one kind
    of strategies -> (what was found, verdict).
    """

    figure: int
    text: str
    judge: Callable[[pd.DataFrame], Finding]


def claims(setting: Setting | None = None) -> pd.DataFrame:
    """Section 5.2's claims, one row a claim and information case.

    Returns
    -------
    DataFrame: figure, claim, information, and what was found and the verdict under the paper's closed forms
    (``closed_forms_found``, ``closed_forms``) and under the optimal strategies (``optimum_found``, ``optimum``).
    """
    setting = setting or Setting()
    tables = {2: figure_2(setting), 3: figure_3(setting), 4: figure_4(setting), 5: figure_5(setting)}
    tables[6] = tables[4]  # Figure 6 shows the speeds of Figure 4's left half
    rows = []
    for claim in CLAIMS:
        for information in INFORMATION:
            row: dict[str, Any] = {"figure": claim.figure, "claim": claim.text, "information": information}
            for strategies in STRATEGIES:
                table = tables[claim.figure]
                mine = table[(table["information"] == information) & (table["strategies"] == strategies)]
                name = strategies.replace(" ", "_")
                row[f"{name}_found"], row[name] = claim.judge(mine)
            rows.append(row)
    frame = pd.DataFrame(rows)
    return frame[["figure", "claim", "information", "closed_forms", "optimum", "closed_forms_found", "optimum_found"]]


def choices(setting: Setting | None = None) -> dict[str, Setting]:
    """Every choice that the paper leaves open, made otherwise: one change at a time, by name."""
    base = setting or Setting()
    changes: dict[str, dict[str, Any]] = {
        "f = sqrt": {"performance": "sqrt"},
        "f = linear": {"performance": "linear"},
        "psi = 1": {"mining_cycles": 1.0},
        "psi = 10": {"mining_cycles": 10.0},
        "random speeds on the deadline": {"random_times": "on the deadline"},
        "another seed": {"seed": base.seed + 1},
    }
    return {name: dataclasses.replace(base, **change) for name, change in changes.items()}


def changed_verdicts(reference: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """Verdicts of ``other`` that differ from ``reference``, both from :func:`claims`.

    Returns
    -------
    DataFrame: figure, claim, information, strategies, verdict, instead_of; one row a changed verdict.
    """
    keys = ["figure", "claim", "information"]
    parts = []
    for strategies in STRATEGIES:
        column = strategies.replace(" ", "_")
        changed = (other[column] != reference[column]).to_numpy()
        part = other.loc[changed, keys].assign(strategies=strategies, verdict=other.loc[changed, column])
        parts.append(part.assign(instead_of=reference.loc[changed, column]))
    return pd.concat(parts, ignore_index=True)


def influence(setting: Setting | None = None, settings: Mapping[str, Setting] | None = None) -> pd.DataFrame:
    """Which verdicts change with what the paper does not state: f, psi, the law of the random strategies, the seed?

    settings : by name; by default :func:`choices`. Grids have at most 9 points here, for ``setting`` too.

    Returns
    -------
    DataFrame: choice, then as :func:`changed_verdicts`; a choice that changes nothing has one row, whose claim says so.
    """
    base = setting or Setting()
    settings = settings or choices(base)
    reference = claims(_coarse(base))
    parts = []
    for name, other in settings.items():
        changed = changed_verdicts(reference, claims(_coarse(other)))
        if changed.empty:
            changed = pd.DataFrame([{"claim": "no verdict changes"}])
        changed.insert(0, "choice", name)
        parts.append(changed)
    columns = ["choice", "figure", "claim", "information", "strategies", "verdict", "instead_of"]
    return pd.concat(parts, ignore_index=True).reindex(columns=columns).astype({"figure": "Int64"})


def _coarse(setting: Setting) -> Setting:
    return dataclasses.replace(setting, points=min(setting.points, 9))


# ---------------------------------------------------------------------- how a sentence is judged


def _beats_all(column: str) -> Callable[[pd.DataFrame], Finding]:
    """optimal x optimal above every other pair of strategies, by more than two standard errors of the difference."""

    def judge(table: pd.DataFrame) -> Finding:
        both = (table["owner"] == "optimal") & (table["clients"] == "optimal")
        best, others = table[both].iloc[0], table[~both]
        error = f"{column.removesuffix('_utility')}_standard_error"
        margin = 2 * np.hypot(best[error], others[error]) + NOISE * (others[column].abs() + abs(best[column]))
        above = best[column] > others[column] + margin
        top = others.loc[others[column].idxmax()]
        text = f"{best[column]:.4g}; owner {top['owner']}, clients {top['clients']}: {top[column]:.4g}"
        return text, HOLDS if above.all() else FAILS

    return judge


def _no_better_alone(who: str) -> Callable[[pd.DataFrame], Finding]:
    """Does a side gain by playing at random against the other's optimal strategy?"""
    other = "clients" if who == "owner" else "owner"
    column = "owner_utility" if who == "owner" else "client_utility"

    def judge(table: pd.DataFrame) -> Finding:
        against = table[table[other] == "optimal"].set_index(who)
        optimal, random = against.loc["optimal", column], against.loc["random", column]
        holds = optimal >= random - NOISE * (abs(optimal) + abs(random)) - NOISE
        return f"optimal {optimal:.4g}, random {random:.4g}", HOLDS if holds else FAILS

    return judge


def _trend(by: str, column: str, expected: str, **where: Any) -> Callable[[pd.DataFrame], Finding]:
    """Does ``column`` go the ``expected`` way along ``by`` (other swept columns held), at every step?

    expected : "rises", "falls", "does not rise"; "changes" and "hardly changes" compare the whole range with SIGNIFICANT.
    """

    def judge(table: pd.DataFrame) -> Finding:
        for name, value in where.items():
            table = table[table[name] == value]
        answered = table.dropna(subset=[column])
        held = [name for name in ("training_cycles", "mining_cycles") if name != by and _swept(table, name)]
        curves = [curve for _, curve in answered.groupby(held)] if held else [answered]
        curves = [curve.sort_values(by)[column].to_numpy() for curve in curves if len(curve) > 1]
        if not curves:
            return "no two points have an answer", UNKNOWN
        first, last = (np.array([curve[k] for curve in curves]) for k in (0, -1))
        k = int(np.abs(last - first).argmax())
        text = f"{_tidy(first[k])} to {_tidy(last[k])}" + (
            f" (the largest of {len(curves)} curves)" if len(curves) > 1 else ""
        )
        return text, HOLDS if all(_goes(curve, expected) for curve in curves) else FAILS

    return judge


def _swept(table: pd.DataFrame, name: str) -> bool:
    return name in table and table[name].nunique() > 1


def _goes(curve: np.ndarray, expected: str) -> bool:
    size = float(np.abs(curve).max())
    noise = NOISE * max(size, 1.0)
    steps = np.diff(curve)
    if expected == "rises":
        return bool((steps >= -noise).all() and curve[-1] - curve[0] > noise)
    if expected == "falls":
        return bool((steps <= noise).all() and curve[0] - curve[-1] > noise)
    if expected == "does not rise":
        return bool((steps <= noise).all())
    change = float(np.ptp(curve)) / size if size > noise else 0.0
    return change >= SIGNIFICANT if expected == "changes" else change < SIGNIFICANT


def _tidy(value: float) -> str:
    return f"{0.0 if abs(value) < 1e-12 else value:.4g}"


def _both(judges: Iterable[Callable[[pd.DataFrame], Finding]]) -> Callable[[pd.DataFrame], Finding]:
    def judge(table: pd.DataFrame) -> Finding:
        found = [one(table) for one in judges]
        verdicts = {verdict for _, verdict in found}
        verdict = FAILS if FAILS in verdicts else UNKNOWN if UNKNOWN in verdicts else HOLDS
        return "; ".join(text for text, _ in found), verdict

    return judge


CLAIMS = (
    Claim(
        2,
        "clients obtain higher utilities than with all other strategies when both sides choose the optimal ones",
        _beats_all("client_utility"),
    ),
    Claim(
        2,
        "the MO obtains higher utilities than with all other strategies when both sides choose the optimal ones",
        _beats_all("owner_utility"),
    ),
    Claim(
        2,
        "(what an equilibrium means) clients do no better at random against the optimal prices",
        _no_better_alone("clients"),
    ),
    Claim(
        2,
        "(what an equilibrium means) the MO does no better at random against optimal clients",
        _no_better_alone("owner"),
    ),
    Claim(
        3, "mu has a significant impact on the utility of the MO", _trend("training_cycles", "owner_utility", "changes")
    ),
    Claim(
        3, "psi has a significant impact on the utility of the MO", _trend("mining_cycles", "owner_utility", "changes")
    ),
    Claim(
        3,
        "higher CPU power will shorten the time in each round",
        _both((_trend("training_cycles", "round_time", "falls"), _trend("mining_cycles", "round_time", "falls"))),
    ),
    Claim(3, "and improve the performance of the global model", _trend("training_cycles", "performance", "rises")),
    Claim(
        3,
        "for clients, devoting more CPU cycles does not result in more utility",
        _both(
            (
                _trend("training_cycles", "client_utility", "does not rise"),
                _trend("mining_cycles", "client_utility", "does not rise"),
            )
        ),
    ),
    *(
        Claim(4, text, _trend(price, column, expected, swept=price))
        for price, text, column, expected in (
            (
                "training_price",
                "a higher p_t stimulates clients to provide more computing power",
                "training_speed",
                "rises",
            ),
            ("training_price", "which reduces the time cost", "round_time", "falls"),
            ("training_price", "so the MO utility will be improved", "owner_utility", "rises"),
            (
                "training_price",
                "the revenue of clients does not grow significantly with p_t",
                "client_utility",
                "hardly changes",
            ),
            ("mining_price", "when p_m increases, the utility of clients is improved", "client_utility", "rises"),
            ("mining_price", "when p_m increases, the utility of the MO is improved", "owner_utility", "rises"),
            ("mining_price", "with the increase of p_m clients devote more q_m", "mining_speed", "rises"),
            ("mining_price", "and the MO can reduce the time cost", "round_time", "falls"),
        )
    ),
    *(
        Claim(5, f"{text} ({reading})", _trend("training_cycles", column, expected, population=population))
        for population, reading in (("equal", "equal clients"), ("spread", "one population over the range"))
        for text, column, expected in (
            ("the unit price for training increases with mu", "training_price", "rises"),
            ("the CPU cycles per second for training increase with mu", "training_speed", "rises"),
            ("mu does not affect p_m a lot", "mining_price", "hardly changes"),
            ("mu does not affect q_m a lot", "mining_speed", "hardly changes"),
        )
    ),
    *(
        Claim(6, text, _trend("training_price", column, expected, swept="training_price"))
        for text, column, expected in (
            ("q_t has a positive relationship with p_t", "training_speed", "rises"),
            ("q_m decreases with the increase of p_t", "mining_speed", "falls"),
        )
    ),
)
