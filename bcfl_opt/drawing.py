"""What do all pictures have in common? Colours, labels with units, axes to draw on, and words where nothing can be drawn."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from bcfl_opt.errors import InputError, SolverMissingError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Okabe and Ito's palette, which colour-blind readers can tell apart.
BLUE, ORANGE, GREEN, RED, PURPLE, SKY, YELLOW, BLACK = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
    "#F0E442",
    "#000000",
)
#: Shades of a field: even in brightness, so legible in grey too.
SHADES = "cividis"

#: Quantity -> what an axis says. Units are the paper's (GHz, minutes); any consistent system works.
LABELS = {
    "training_cycles": "training cycles µ [GHz·min]",
    "mining_cycles": "mining cycles ψ [GHz·min]",
    "energy_coefficient": "energy coefficient $\\rho$ [money / (GHz³·min)]",
    "max_speed": "largest speed q [GHz]",
    "training_time": "training time t [min]",
    "mining_time": "mining time s [min]",
    "training_price": "training price $p_t$ [money/min]",
    "mining_price": "mining price $p_m$ [money/min]",
    "training_speed": "training speed $q_t$ [GHz]",
    "mining_speed": "mining speed $q_m$ [GHz]",
    "training_reward": "training reward [money]",
    "mining_reward": "mining reward [money]",
    "energy_cost": "energy cost [money]",
    "client_utility": "client's utility [money]",
    "owner_utility": "owner's utility [money]",
    "deadline": "deadline T [min]",
    "cost_weight": "weight of time and pay ξ",
    "reward_budget": "reward budget η [money]",
    "mining_budget": "mining budget [money]",
    "training_cap": "training cap $R_t$ [money]",
    "mining_cap": "mining cap $R_m$ [money]",
    "target": "target g [GHz·min]",
    "shapley": "Shapley value [GHz·min]",
}


def label(name: str) -> str:
    """What an axis says about a column; its own name where nothing better is known."""
    return LABELS.get(name, name.replace("_", " "))


def axes_or_new(ax: Axes | None, size: tuple[float, float] = (6.4, 4.2)) -> Axes:
    """The axes to draw on: the caller's, or those of a new figure.

    Raises
    ------
    InputError : ``ax`` is no matplotlib axes. SolverMissingError : matplotlib is not installed.
    """
    try:
        import matplotlib.pyplot as plt
        from matplotlib.axes import Axes as MatplotlibAxes
    except ImportError as error:
        raise SolverMissingError("pictures need matplotlib: pip install 'bcfl_opt[plots]'") from error
    if ax is None:
        _, ax = plt.subplots(figsize=size, layout="constrained")
    elif not isinstance(ax, MatplotlibAxes):
        raise InputError(f"ax: expected matplotlib axes (fig, ax = plt.subplots()), not {type(ax).__name__}")
    return ax


def say(ax: Axes, text: str) -> Axes:
    """Words instead of a picture, where there is nothing to draw."""
    ax.text(0.5, 0.5, textwrap.fill(text, 48), ha="center", va="center", transform=ax.transAxes, fontsize=10, wrap=True)
    ax.set_axis_off()
    return ax


def finish(ax: Axes, x: str, y: str, title: str, *, legend: bool = True, **grid: Any) -> Axes:
    """Labels, title, light grid and a legend where there is more than one thing to tell apart."""
    from matplotlib.ticker import AutoLocator

    ax.set_xlabel(x)
    ax.set_ylabel(y)
    inches = ax.get_window_extent().width / ax.figure.dpi
    ax.set_title(textwrap.fill(title, max(24, int(12 * inches))), fontsize=11)
    ax.grid(alpha=0.25, **grid)
    ax.set_axisbelow(True)
    if type(ax.xaxis.get_major_locator()) is AutoLocator:
        ax.locator_params(axis="x", nbins=max(2, int(1.3 * inches)))  # on a phone more labels run into each other
    if legend and ax.get_legend_handles_labels()[0]:
        ax.legend(fontsize=9, framealpha=0.9)
    return ax
