"""What Hydra must know before it composes: the types, and the resolvers that conf/ uses."""

from __future__ import annotations

import datetime as dt
import secrets
import string
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import OmegaConf

from sweeps.config.identity import cell_name, identity
from sweeps.config.parse import parse
from sweeps.config.schema import register

if TYPE_CHECKING:
    from omegaconf import DictConfig


def prepare_hydra() -> None:
    """Registers the schema and the resolvers; calling it again changes nothing."""
    register()
    OmegaConf.register_new_resolver("fresh_name", _fresh_name, replace=True, use_cache=True)
    OmegaConf.register_new_resolver("cell_folder", _cell_folder, replace=True)


def _fresh_name() -> str:
    # Two commands in one second must not share a folder, hence the letters.
    letters = "".join(secrets.choice(string.ascii_lowercase) for _ in range(4))
    now = dt.datetime.now().astimezone()
    return f"{now:%Y-%m-%d_%H-%M-%S}-{letters}"


def _cell_folder(*, _root_: DictConfig) -> str:
    overrides = [str(override) for override in _root_.hydra.overrides.task]
    name = cell_name(overrides, identity(parse(_root_)))
    # The same cell may have been typed in other words before, such as without a default.
    same = sorted(Path(str(_root_.hydra.sweep.dir)).glob(f"*-{name.rsplit('-', 1)[1]}"))
    return same[0].name if same else name
