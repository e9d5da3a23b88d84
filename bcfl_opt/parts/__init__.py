"""Populations in parts: where they come from, what is asked of every part, how the answers add up, where tables go."""
