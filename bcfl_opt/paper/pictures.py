"""What do the recomputed Figures 2 to 6 look like? One function a figure: its table in, a matplotlib figure out.

Colours tell strategies and information apart (Okabe and Ito's palette, safe for colour-blind readers), line styles do it again
for print. The optimum is drawn once: it is the same under complete and incomplete information (theory 4.2).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bcfl_opt.drawing import BLUE, GREEN, LABELS, PURPLE, RED, SHADES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: (information, strategies) -> label, colour, line style.
CASES = {
    ("complete", "closed forms"): ("Theorems 3.1, 3.2 (complete)", RED, "--"),
    ("incomplete", "closed forms"): ("Theorems 3.1, 4.1 (incomplete)", GREEN, "-."),
    ("complete", "optimum"): ("true optimum (both)", BLUE, "-"),
}
#: Figures 4 and 6 post prices that differ by information, so the best responses do too.
RESPONSES = {
    ("complete", "closed forms"): ("Theorem 3.1, complete", RED, "--"),
    ("complete", "optimum"): ("best response, complete", BLUE, "-"),
    ("incomplete", "closed forms"): ("Theorem 3.1, incomplete", GREEN, "-."),
    ("incomplete", "optimum"): ("best response, incomplete", PURPLE, ":"),
}
SIDES = ("client_utility", "owner_utility")


def draw_figure_2(table: pd.DataFrame) -> Figure:
    """Bars: utilities of both sides for {optimal, random} x {optimal, random} strategies."""
    figure, axes = _canvas(1, 2, (9, 4.2))
    pairs = [(owner, clients) for owner in ("optimal", "random") for clients in ("optimal", "random")]
    width = 0.8 / len(CASES)
    for axis, side in zip(axes.flat, SIDES, strict=True):
        for k, ((information, strategies), (label, colour, _)) in enumerate(CASES.items()):
            mine = _case(table, information, strategies).set_index(["owner", "clients"]).loc[pairs]
            places = np.arange(len(pairs)) + (k - (len(CASES) - 1) / 2) * width
            error = 2 * mine[side.replace("utility", "standard_error")]
            axis.bar(places, mine[side], width, yerr=error, label=label, color=colour, edgecolor="white", capsize=2)
        axis.set_xticks(range(len(pairs)), [f"owner {o}\nclients {c}" for o, c in pairs], fontsize=8)
        axis.set_ylabel(LABELS[side])
        axis.axhline(0, color="black", linewidth=0.8)
        axis.set_yscale("symlog", linthresh=10)
    return _finished(figure, axes, "Optimal and random strategies (Figure 2; bars: mean, whiskers: 2 standard errors)")


def draw_figure_3(table: pd.DataFrame) -> Figure:
    """Filled contours: utilities of both sides over mu and psi."""
    figure, axes = _canvas(2, 3, (11, 6.2))
    for row, side in zip(axes, SIDES, strict=True):
        for axis, ((information, strategies), (label, _, _)) in zip(row, CASES.items(), strict=True):
            mine = _case(table, information, strategies)
            grid = mine.pivot(index="mining_cycles", columns="training_cycles", values=side)
            values = grid.to_numpy()
            if np.nanmax(np.abs(values)) < 1e-9:  # held to 0 up to rounding: contours of rounding errors say nothing
                values = np.where(np.isnan(values), np.nan, 0.0)
            flat = np.nanmax(values) - np.nanmin(values) == 0
            levels = np.nanmin(values) + np.array([-1.0, 1.0]) if flat else 9
            shades = axis.contourf(grid.columns, grid.index, values, levels=levels, cmap=SHADES)
            axis.set_title(f"{label}{': 0 everywhere' if flat else ''}", fontsize=9)
            axis.set_xlabel(LABELS["training_cycles"])
            axis.set_ylabel(LABELS["mining_cycles"])
            if not flat:
                bar = figure.colorbar(shades, ax=axis, label=LABELS[side], format="%.6g")
                bar.ax.tick_params(labelsize=8)
    return _finished(figure, axes, "Utilities against the work (Figure 3)", legend=False)


def draw_figure_4(table: pd.DataFrame) -> Figure:
    """Curves: utilities of both sides against either price."""
    figure, axes = _canvas(2, 2, (9, 6.4))
    for row, side in zip(axes, SIDES, strict=True):
        for axis, swept in zip(row, ("training_price", "mining_price"), strict=True):
            _curves(axis, table[table["swept"] == swept], swept, side, RESPONSES)
            axis.set_yscale("symlog", linthresh=1)
    return _finished(figure, axes, "Utilities against the prices (Figure 4)")


def draw_figure_5(table: pd.DataFrame) -> Figure:
    """Curves: prices and speeds against mu, for equal clients and for one population over the range."""
    figure, axes = _canvas(2, 4, (13, 6.2), sharey="col")
    for row, population in zip(axes, ("equal", "spread"), strict=True):
        mine = table[table["population"] == population]
        for axis, column in zip(row, ("training_price", "mining_price", "training_speed", "mining_speed"), strict=True):
            _curves(axis, mine, "training_cycles", column, CASES)
            axis.set_yscale("log")
            axis.set_xlim(left=0)
            axis.set_title("equal clients" if population == "equal" else "one population over the range", fontsize=9)
    return _finished(figure, axes, "Prices and speeds against the training work (Figure 5)")


def draw_figure_6(table: pd.DataFrame) -> Figure:
    """Curves: the clients' speeds against p_t."""
    figure, axes = _canvas(1, 2, (9, 3.8))
    for axis, column in zip(axes.flat, ("training_speed", "mining_speed"), strict=True):
        _curves(axis, table, "training_price", column, RESPONSES)
        axis.set_yscale("log")
    return _finished(figure, axes, "Speeds against the training price (Figure 6)")


# ---------------------------------------------------------------------- what they share


def _canvas(rows: int, columns: int, size: tuple[float, float], **options: Any) -> tuple[Figure, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Not pyplot: nothing to show or to close, no state that outlives the figure, no display needed.
    figure = Figure(figsize=size, layout="constrained", dpi=150)
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def _case(table: pd.DataFrame, information: str, strategies: str) -> pd.DataFrame:
    return table[(table["information"] == information) & (table["strategies"] == strategies)]


def _curves(
    axis: Axes, table: pd.DataFrame, x: str, y: str, cases: dict[tuple[str, str], tuple[str, str, str]]
) -> None:
    for (information, strategies), (label, colour, style) in cases.items():
        mine = _case(table, information, strategies).dropna(subset=[y]).sort_values(x)
        values = mine[y].where(mine[y].abs() > 1e-9, 0.0)  # rounding around 0
        axis.plot(mine[x], values, linestyle=style, color=colour, label=label, linewidth=1.8)
    axis.set_xlabel(LABELS[x])
    axis.set_ylabel(LABELS[y])
    axis.grid(alpha=0.3)


def _finished(figure: Figure, axes: Any, title: str, legend: bool = True) -> Figure:
    figure.suptitle(title)
    if legend:
        handles, labels = axes.flat[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 4), fontsize=9)
    return figure


def draw(tables: dict[int, pd.DataFrame]) -> Iterator[tuple[str, Figure]]:
    """Name and picture of every table, by the figure's number."""
    painters = {2: draw_figure_2, 3: draw_figure_3, 4: draw_figure_4, 5: draw_figure_5, 6: draw_figure_6}
    for number, table in tables.items():
        yield f"figure_{number}", painters[number](table)
