"""From what a person typed to a typed, checked config: the only room that knows the config's form."""

from sweeps.config.config import Config, RunConfig, SearchConfig, SweepOptions, TrackingConfig
from sweeps.config.identity import cell_name, describe, identity
from sweeps.config.parse import from_mapping, parse

__all__ = [
    "Config",
    "RunConfig",
    "SearchConfig",
    "SweepOptions",
    "TrackingConfig",
    "cell_name",
    "describe",
    "from_mapping",
    "identity",
    "parse",
]
