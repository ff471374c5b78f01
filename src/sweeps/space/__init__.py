"""The space of a sweep: its axes, which belong together, where each applies, what is left out."""

from sweeps.space.combinations import Space
from sweeps.space.dimensions import Dimension, Interval
from sweeps.space.typed import parse_space

__all__ = ["Dimension", "Interval", "Space", "parse_space"]
