"""Which game does a command line mean? Options over a TOML file over defaults → ``Settings``, a game and its prices.

The TOML file has one flat rule: every option has a key of the same name, and every other parameter of
:class:`bcfl_opt.Game` is a key too::

    population = "clients.csv"   # .csv or .parquet, relative to this file; left out: the packaged sample
    deadline = 15.0
    reward_budget = 1500.0
    training_price = 0.05        # a number for all clients, a list in the population's order, or a table by client id
    mining_price = 0.05

A path in it may lead anywhere (``../clients.csv``, ``/data/clients.csv``): the file is read and nothing else, and where
results are written is said by ``--out`` alone. A game that ``game.save("game.json")`` wrote does instead of a TOML file.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from bcfl_opt.errors import InputError, listing, unknown_name
from bcfl_opt.files import read_bytes
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
        prices = {name: None if self.prices is None else self.prices[name].to_dict() for name in PRICES}
        return values | prices


def read_settings(config: Path | None, options: Mapping[str, Any]) -> Settings:
    """Read ``config`` (a TOML file, or None), lay ``options`` over it, and make the game and its prices.

    Parameters
    ----------
    config : path of the TOML file or of a saved game, or None.
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

    population = given.get("population")
    if not isinstance(population, Population):
        population = Population.sample() if population is None else Population.read(population)
    try:
        game = Game(population, **{name: given[name] for name in GAME_PARAMETERS if name in given})
        return Settings(game, _prices(game, given))
    except InputError as error:
        raise InputError(_located(str(error), origin)) from error


def _located(message: str, origin: Mapping[str, str]) -> str:
    """``message``, which begins with a parameter's name, with the place its value came from."""
    for name, place in origin.items():
        if message.startswith(f"unknown {name} "):
            return f"{place}: {message}"
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
    return game.prices(*(_by_id(game, name, given[name]) for name in PRICES))


def _by_id(game: Game, name: str, values: Any) -> Any:
    """A table of prices as a Series; its keys are text, and mean the ids that read the same."""
    if not isinstance(values, Mapping):
        return values
    ids = {str(i): i for i in game.population.ids}
    if len(ids) < len(game):
        raise InputError(
            f"{name}: some of the clients' ids read the same as text; give a list in the population's order"
        )
    strangers = [key for key in values if key not in ids]
    if strangers:
        raise InputError(f"{name}: there is no client {listing(strangers)} in {game.population.source}")
    return pd.Series({ids[key]: value for key, value in values.items()}, dtype=object)


def _read(path: Path) -> dict[str, Any]:
    """The file's keys, all known, with ``population`` made relative to the file; or those of a saved game."""
    if path.suffix.lower() == ".json":
        game = Game.read(path)
        return {"population": game.population, **game.parameters}
    data = read_bytes(path)
    try:
        given = tomllib.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        row = data[: error.start].count(b"\n") + 1
        raise InputError(f"{path.name}, row {row}: byte 0x{data[error.start]:02x} is not UTF-8") from error
    except RecursionError as error:
        raise InputError(f"{path.name}: is nested too deeply to be a configuration") from error
    except (
        ValueError
    ) as error:  # TOML's own end in "(at line 3, column 5)"; a number may have too many digits for Python
        raise InputError(f"{path.name}: TOML syntax error: {' '.join(str(error).split())}") from error
    for key in given:
        if key not in KEYS:
            raise InputError(f"{path.name}: {unknown_name('key', key, KEYS)}")
    if "population" in given:
        file = given["population"]
        if not isinstance(file, str):
            raise InputError(f"{path.name}: population: {file!r} is not the name of a .csv or .parquet file")
        given["population"] = path.parent / file
    return given
