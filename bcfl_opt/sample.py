"""Where does the packaged sample come from? 50 heterogeneous clients built from real phones, assumption by assumption.

``bcfl_opt/data/phones.csv`` holds facts: phones, their processors and their AI Benchmark scores. Everything else is a
modelling assumption, and all of them stand here. ``build(phones)`` turns the one into ``bcfl_opt/data/sample.csv``,
without any random number, so that it is the same everywhere::

    build(pd.read_csv("phones.csv")).to_csv("sample.csv", index=False)

Units: speeds in GHz, time in minutes, cycles in GHz-minutes (1 is 6e10 cycles).

1. Who. Phones of 2018 and later, sorted by floating-point CPU score; of 50 groups of equal size the middle phone of
   each. The sample thus has the scores of the list, which counts models, not phones in use.
2. max_speed = 3 x score / (median score of the sample). The score is a throughput over all cores, not a clock; the
   unit is "GHz of the median phone", whose clock is taken as 3. A cycle is the work that phone does in one of its own
   cycles, so training the same data costs the same cycles on every phone. All of a phone may be used: nothing else
   runs on it.
3. energy_coefficient = 0.01 x (3 / max_speed)^2: at full speed all phones spend the same energy on a unit of work,
   and at any speed they share, the faster phone spends less. The exponent is a judgement between two extremes: with 0
   a fast phone would be a slow one clocked higher, and with 3 all phones would draw the same power at full speed,
   while real slow phones draw less than fast ones. 0.01, at 3 GHz, is the paper's value for all clients.
4. data_size: FEMNIST's published samples per client (mean 226.8, standard deviation 88.9) as a gamma distribution, at
   its 50 middle quantiles, in whole samples, at least 10. Data and phone are independent: quantiles go to phones in
   the order of the fractional parts of k x golden ratio, k = 1 ... 50, which spreads large and small over slow and
   fast.
5. iterations = 5 and cycles_per_sample = 0.00882 (5.3e8 cycles) for all clients, who train the same network. The mean
   of training_cycles = iterations x cycles_per_sample x data_size is then the paper's 10.

What is not modelled: memory, battery, heat, network, and the fact that a phone's owner may want to use it.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import gamma

CLIENTS = 50
FIRST_YEAR = 2018
MEDIAN_SPEED = 3.0
MEDIAN_ENERGY_COEFFICIENT = 0.01
ENERGY_EXPONENT = 2
SAMPLES_MEAN, SAMPLES_DEVIATION, SAMPLES_LEAST = 226.8, 88.9, 10
ITERATIONS = 5
CYCLES_PER_SAMPLE = 0.00882
GOLDEN_RATIO = (1 + 5**0.5) / 2


def build(phones: pd.DataFrame) -> pd.DataFrame:
    """The packaged sample from the table of phones, by the assumptions above.

    Parameters
    ----------
    phones : one row a model: columns model, cpu, year, cpu_float_score; at least 50 rows of 2018 and later.

    Returns
    -------
    DataFrame of 50 rows, slowest phone first: client, model, cpu, year, cpu_float_score, iterations, cycles_per_sample,
    data_size, energy_coefficient, max_speed; as ``Population`` takes it.
    """
    recent = phones[phones["year"] >= FIRST_YEAR].sort_values(["cpu_float_score", "model"])
    middle = (np.arange(CLIENTS) + 0.5) / CLIENTS
    chosen = recent.iloc[(middle * len(recent)).astype(int)]
    score = chosen["cpu_float_score"].to_numpy(dtype=float)
    speed = MEDIAN_SPEED * score / np.median(score)
    return pd.DataFrame(
        {
            "client": [f"phone-{k:02d}" for k in range(1, CLIENTS + 1)],
            "model": chosen["model"].to_numpy(),
            "cpu": chosen["cpu"].to_numpy(),
            "year": chosen["year"].to_numpy(),
            "cpu_float_score": chosen["cpu_float_score"].to_numpy(),
            "iterations": ITERATIONS,
            "cycles_per_sample": CYCLES_PER_SAMPLE,
            "data_size": _data_sizes(middle),
            "energy_coefficient": np.round(MEDIAN_ENERGY_COEFFICIENT * (MEDIAN_SPEED / speed) ** ENERGY_EXPONENT, 5),
            "max_speed": np.round(speed, 3),
        }
    )


def _data_sizes(probabilities: np.ndarray) -> np.ndarray:
    """Samples of each client: the gamma quantiles at these probabilities, in golden-ratio order."""
    shape = (SAMPLES_MEAN / SAMPLES_DEVIATION) ** 2
    sizes: np.ndarray = gamma.ppf(probabilities, shape, scale=SAMPLES_MEAN / shape)
    ranks = np.argsort(np.argsort(np.arange(1, len(sizes) + 1) * GOLDEN_RATIO % 1))
    samples: np.ndarray = np.maximum(np.round(sizes[ranks]), SAMPLES_LEAST).astype(int)
    return samples
