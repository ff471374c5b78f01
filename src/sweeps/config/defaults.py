"""Defaults that a folder keeps: what began before there was a key goes on with what stood for it then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf, read_write

from sweeps.config.identity import key_of
from sweeps.config.saved import shipped_values
from sweeps.config.schema import BEFORE_IN_ALL

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from omegaconf import DictConfig


def present_defaults() -> dict[str, Any]:
    """Returns what the keys that are newer than some saved runs stand at today, for every choice."""
    shipped = OmegaConf.create(shipped_values())
    found = {key: OmegaConf.select(shipped, key) for key in BEFORE_IN_ALL}
    return {
        key: OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
        for key, value in found.items()
    }


def keep_defaults(cfg: DictConfig, kept: Mapping[str, Any], overrides: Iterable[str]) -> None:
    """Sets the keys that nobody has typed, and that stand at today's default, to what a folder keeps.

    Args:
        cfg: A composed config.
        kept: Value by dotted key.
        overrides: What was typed for it.
    """
    typed = set(map(key_of, overrides))
    present = present_defaults() if kept else {}
    with read_write(cfg):
        for key, value in present.items():
            before = kept.get(key, value)
            if key not in typed and OmegaConf.select(cfg, key) == value != before:
                OmegaConf.update(cfg, key, before)
