"""Hydra's own way to run a saved config again: --config-dir RUN/.hydra --config-name config.

Composed as it stands, `config` would be the shipped conf/config.yaml, which Hydra searches first,
and Hydra's own settings would be missing: they are no part of a task config. So a saved run becomes
a primary config of its own: conf/config.yaml's settings for Hydra, the saved values on top.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from hydra.core.config_store import ConfigStore

from sweeps.config.saved import read_saved, shipped_values, with_defaults
from sweeps.config.schema import GROUPS
from sweeps.paths import conf_dir

if TYPE_CHECKING:
    from collections.abc import Sequence

PRIMARY = "saved_run"


def from_saved_run(arguments: Sequence[str]) -> list[str]:
    """Returns a command line that composes the saved run it names, or the same line where it names none.

    The name, the output folder, tracking and trusted packages come from the command line and
    conf/, not from the saved run: the repeat gets a folder of its own.

    Raises:
        BadInputError: The saved config cannot be used.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config-dir", "-cd", type=Path)
    parser.add_argument("--config-name", "-cn")
    known, others = parser.parse_known_args(list(arguments))
    folder = known.config_dir
    if folder is None or known.config_name not in ("config", "config.yaml"):
        return list(arguments)
    if not (folder / "config.yaml").is_file() or not (folder / "overrides.yaml").is_file():
        return list(arguments)
    chosen = {other.split("=")[0] for other in others} & set(GROUPS)
    ConfigStore.instance().store(name=PRIMARY, node=_primary(folder / "config.yaml", chosen))
    return ["--config-name", PRIMARY, *others]


def _primary(path: Path, chosen: set[str]) -> dict[str, Any]:
    """Returns the saved values on Hydra's settings; a group chosen anew forgets its saved values."""
    saved, _ = with_defaults(read_saved(path))
    shipped = shipped_values()
    values = shipped | saved | {group: shipped.get(group, {}) for group in chosen}
    conf = yaml.safe_load((conf_dir() / "config.yaml").read_text())
    defaults = [
        item
        for item in conf["defaults"]
        if not isinstance(item, dict) or not _is_group(item) or set(item) & {*chosen, "tracking"}
    ]
    # The saved values go over the schema, and under what the command line chooses anew.
    return {"defaults": defaults, "hydra": conf["hydra"], **values}


def _is_group(item: dict[str, Any]) -> bool:
    return next(iter(item)) in (*GROUPS, "tracking", "experiment")
