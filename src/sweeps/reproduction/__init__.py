"""Repeats a run from what was saved of it, and proves that it is the same or says where it is not."""

from sweeps.reproduction.repeat import Options, reproduce

__all__ = ["Options", "reproduce"]
