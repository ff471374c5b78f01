"""The space of a sweep: its axes, which belong together, where each applies, what is left out."""

from sweeps.space.combinations import Space, bare
from sweeps.space.dimensions import Dimension, Interval
from sweeps.space.typed import parse_space

__all__ = ["Dimension", "Interval", "Space", "bare", "parse_space"]
