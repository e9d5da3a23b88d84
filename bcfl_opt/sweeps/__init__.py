"""Grids of games: which cells there are, what is kept of each, and where."""
