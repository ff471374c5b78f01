"""The command line: what is typed, in the form that Hydra reads, and what is said of an error in it."""

from __future__ import annotations

import argparse
import errno
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from hydra.core.config_store import ConfigStore

from sweeps.config.hydra_errors import explain
from sweeps.config.locations import conf_dir
from sweeps.config.lr_values import as_typed
from sweeps.config.saved import read_saved, shipped_values, with_defaults
from sweeps.config.schema import GROUPS
from sweeps.errors import SweepsError

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


def command(name: str) -> str:
    """Returns the command line that continues the present one."""
    typed = [argument for argument in sys.argv[1:] if not argument.startswith("name=")]
    return shlex.join(["python", "-m", "sweeps.train", *as_typed(typed), f"name={name}"])


def help_text() -> str:
    """Returns what Hydra's --help prints, in a third of its time: nothing is composed."""
    conf = conf_dir()
    template = yaml.safe_load((conf / "hydra/help/sweeps.yaml").read_text())["template"]
    groups = sorted(
        folder for folder in conf.iterdir() if folder.is_dir() and folder.name != "hydra"
    )
    listed = "\n".join(
        f"  {group.name}: {', '.join(sorted(choice.stem for choice in group.glob('*.yaml')))}"
        for group in groups
    )
    return f"{template.replace('$APP_CONFIG_GROUPS', listed)}\n"


def explain_error(error: Exception) -> tuple[str | None, int]:
    """Returns what is said of an error, None where it is a fault of ours, and the exit code."""
    # OmegaConf wraps what a resolver raises.
    inner = error.__cause__ if isinstance(error.__cause__, SweepsError) else error
    if isinstance(inner, SweepsError):
        return str(inner), inner.exit_code
    if isinstance(error, OSError) and error.filename is not None:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        remedy = (
            "Free some space and type the same command: it continues."
            if full
            else "Choose another folder with output_dir=..."
        )
        return f"Cannot write {error.filename}: {error.strerror}. {remedy}", 2
    return explain(error), 2
