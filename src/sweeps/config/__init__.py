"""From what a person typed to a typed, checked config: the only room that knows the config's form."""

from sweeps.config.identity import cell_name, describe, identity
from sweeps.config.parse import from_mapping, parse
from sweeps.config.schema import Config, DataConfig, TrackingConfig

__all__ = [
    "Config",
    "DataConfig",
    "TrackingConfig",
    "cell_name",
    "describe",
    "from_mapping",
    "identity",
    "parse",
]
