"""Which game does a command line mean? Options over a TOML file over defaults → ``Settings``, a game and its prices.

The TOML file has one flat rule: every option has a key of the same name, and every other parameter of
:class:`bcfl_opt.Game` is a key too::

    population = "clients.csv"   # .csv or .parquet, relative to this file; left out: the packaged sample
    deadline = 15.0
    reward_budget = 1500.0
    training_price = 0.05        # a number for all clients, a list in the population's order, or a table by client id
    mining_price = 0.05
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from bcfl_opt.errors import InputError, unknown_name
from bcfl_opt.game import Game
from bcfl_opt.population import Population

GAME_PARAMETERS = tuple(field.name for field in dataclasses.fields(Game) if field.name != "population")
PRICES = ("training_price", "mining_price")
KEYS = ("population", *GAME_PARAMETERS, *PRICES)
#: Two ways to say the same thing: the one said last (an option) displaces the other (in the file).
RIVALS = {"mining_cap": "mining_budget", "mining_budget": "mining_cap"}


@dataclasses.dataclass(frozen=True, eq=False)
class Settings:
    """What a command works on. ``prices`` is None where none were given."""

    game: Game
    prices: pd.DataFrame | None

    @property
    def parameters(self) -> dict[str, Any]:
        """Everything that was decided, by name, for a report."""
        values: dict[str, Any] = {"population": self.game.population.source, "clients": len(self.game)}
        values |= {name: getattr(self.game, name) for name in GAME_PARAMETERS}
        return values | {name: None if self.prices is None else self.prices[name] for name in PRICES}


def read_settings(config: Path | None, options: Mapping[str, Any]) -> Settings:
    """Read ``config`` (a TOML file, or None), lay ``options`` over it, and make the game and its prices.

    Parameters
    ----------
    config : path of the TOML file, or None.
    options : values by key, None where the option was not given.

    Raises
    ------
    InputError : naming the file and, where it can be told, the line or the key.
    """
    given = {} if config is None else _read(config)
    origin = {} if config is None else dict.fromkeys(given, config.name)
    for name, value in options.items():
        if value is not None:
            rival = RIVALS.get(name)
            if rival is not None and options.get(rival) is None:
                given.pop(rival, None)
            given[name] = value
            origin[name] = f"--{name.replace('_', '-')}"

    population = Population.read(given["population"]) if "population" in given else Population.sample()
    try:
        game = Game(population, **{name: given[name] for name in GAME_PARAMETERS if name in given})
        return Settings(game, _prices(game, given))
    except InputError as error:
        raise InputError(_located(str(error), origin)) from error


def _located(message: str, origin: Mapping[str, str]) -> str:
    """``message``, which begins with a parameter's name, with the place its value came from."""
    for name, place in origin.items():
        if message.startswith(name):
            return place + message.removeprefix(name) if place.startswith("--") else f"{place}: {message}"
    return message


def _prices(game: Game, given: Mapping[str, Any]) -> pd.DataFrame | None:
    named = [name for name in PRICES if name in given]
    if not named:
        return None
    if len(named) == 1:
        (absent,) = set(PRICES) - set(named)
        raise InputError(f"{named[0]} is given and {absent} is not; give both prices or neither")
    values = (pd.Series(given[name]) if isinstance(given[name], dict) else given[name] for name in PRICES)
    return game.prices(*values)


def _read(path: Path) -> dict[str, Any]:
    """The file's keys, all known, with ``population`` made relative to the file."""
    if not path.is_file():
        raise InputError(f"{path.name}: no such file at {path}")
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"{path.name}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path.name}: is not a text file in UTF-8 (byte {error.start})") from error
    except tomllib.TOMLDecodeError as error:  # its text ends in "(at line 3, column 5)"
        raise InputError(f"{path.name}: TOML syntax error: {error}") from error
    for key in given:
        if key not in KEYS:
            raise InputError(f"{path.name}: {unknown_name('key', key, KEYS)}")
    if "population" in given:
        file = given["population"]
        if not isinstance(file, str):
            raise InputError(f"{path.name}: population: {file!r} is not the name of a .csv or .parquet file")
        given["population"] = path.parent / file
    return given
