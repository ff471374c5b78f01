"""What Hydra must know before it composes: the types, and the resolvers that conf/ uses."""

from __future__ import annotations

import datetime as dt
import secrets
import string
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import OmegaConf

from sweeps.config.identity import cell_name, identity
from sweeps.config.parse import check, parse, typed_search_settings
from sweeps.config.schema import register
from sweeps.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from omegaconf import DictConfig


CELL_FOLDER = "${cell_folder:}"
"""How conf/ names the folder of a cell."""


def prepare_hydra() -> None:
    """Registers the schema and the resolvers; calling it again changes nothing."""
    register()
    OmegaConf.register_new_resolver("fresh_name", _fresh_name, replace=True, use_cache=True)
    OmegaConf.register_new_resolver("cell_folder", _cell_folder, replace=True)
    OmegaConf.register_new_resolver("checked_name", _checked_name, replace=True)


def _fresh_name() -> str:
    # Two commands in one second must not share a folder, hence the letters.
    letters = "".join(secrets.choice(string.ascii_lowercase) for _ in range(4))
    now = dt.datetime.now().astimezone()
    return f"{now:%Y-%m-%d_%H-%M-%S}-{letters}"


def _checked_name(*, _root_: DictConfig) -> str:
    """Returns the name of a single run that can start: Hydra makes its folder before it asks us."""
    check(_root_)
    _refuse_search(_root_)
    return str(_root_.name)


def _refuse_search(cfg: DictConfig) -> None:
    task = OmegaConf.to_container(cfg.hydra.overrides.task, resolve=False)
    typed = typed_search_settings(map(str, task))  # type: ignore[arg-type]
    if cfg.hydra.runtime.choices.get("hydra/sweeper") == "search":
        typed.insert(0, "hydra/sweeper=search")
    if typed:
        raise BadInputError(
            f"{typed[0]} has no effect on a single run. To search, add -m and hydra/sweeper=search."
        )


def cell_folder(overrides: Iterable[str], run_identity: str, there: Iterable[str]) -> str:
    """Returns the name of a cell's folder.

    Args:
        overrides: Of the cell.
        run_identity: The hash of its config.
        there: Names of folders that are there: the same cell may have been typed in other words
            before, such as without a default.
    """
    name = cell_name(overrides, run_identity)
    suffix = name[name.rindex("-") :]
    return next((known for known in there if known.endswith(suffix)), name)


def _cell_folder(*, _root_: DictConfig) -> str:
    overrides = [str(override) for override in _root_.hydra.overrides.task]
    folder = Path(str(_root_.hydra.sweep.dir))
    there = sorted(path.name for path in folder.glob("*-*"))
    return cell_folder(overrides, identity(parse(_root_)), there)
