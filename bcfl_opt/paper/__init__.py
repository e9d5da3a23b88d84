"""What do the paper's experiments show? Its Figures 2 to 6 and section 5.2's sentences, recomputed and judged.

``paper.figure_2(setting)`` to ``paper.figure_6(setting)`` give the numbers, ``paper.claims(setting)`` the verdicts,
``paper.influence(setting)`` what the choices behind them change; ``bcfl_opt.paper.pictures`` draws.
"""

from __future__ import annotations

from bcfl_opt.paper.experiments import Setting as Setting
from bcfl_opt.paper.experiments import figure_2 as figure_2
from bcfl_opt.paper.experiments import figure_3 as figure_3
from bcfl_opt.paper.experiments import figure_4 as figure_4
from bcfl_opt.paper.experiments import figure_5 as figure_5
from bcfl_opt.paper.experiments import figure_6 as figure_6
from bcfl_opt.paper.verdicts import claims as claims
from bcfl_opt.paper.verdicts import influence as influence
