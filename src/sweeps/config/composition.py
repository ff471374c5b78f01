"""Composes the cells of a sweep: by Hydra once for each set of choices, then by setting values.

Hydra reads and merges every YAML file again for each cell, about 0.1 s of CPU. Cells that choose the
same files differ in plain values alone, which are set on a copy of the first such cell in the same
way in which Hydra sets them.
"""

from __future__ import annotations

import functools
import pickle
from typing import TYPE_CHECKING, Any, cast

from hydra._internal.config_loader_impl import get_overrides_dirname
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from sweeps.config.defaults import keep_defaults

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hydra.core.config_loader import ConfigLoader
    from hydra.core.override_parser.types import Override


def composing(context: HydraContext, kept: Mapping[str, Any] | None = None) -> HydraContext:
    """Returns Hydra's context with a config loader that composes the cells of a sweep faster.

    Args:
        context: Hydra's own.
        kept: Defaults that the sweep keeps from its first start, by dotted key.
    """
    loader = cast("ConfigLoader", Composer(context.config_loader, kept))
    return HydraContext(config_loader=loader, callbacks=context.callbacks)


class Composer:
    """Hydra's config loader, with a way of its own to compose the cells of a sweep.

    Args:
        loader: Hydra's own.
        kept: Defaults that the sweep keeps from its first start, by dotted key.
        remembers: Whether a set of choices is composed once; in another process, where there is one
            cell, Hydra's loader does all of it.
    """

    def __init__(
        self,
        loader: ConfigLoader,
        kept: Mapping[str, Any] | None = None,
        *,
        remembers: bool = True,
    ) -> None:
        self._loader, self._kept, self._remembers = loader, kept or {}, remembers
        self._parser = OverridesParser.create(config_loader=loader)
        self._parsed: dict[str, Override] = {}
        self._templates: dict[tuple[str, ...], bytes] = {}

    def __getattr__(self, name: str) -> Any:  # the rest of the interface is Hydra's
        if name.startswith("__") or "_loader" not in vars(self):
            raise AttributeError(name)
        return getattr(self._loader, name)

    def __reduce__(self) -> tuple[Any, ...]:
        elsewhere = functools.partial(Composer, remembers=False)
        return elsewhere, (self._loader, self._kept)

    def load_sweep_config(
        self, master_config: DictConfig, sweep_overrides: list[str]
    ) -> DictConfig:
        """Returns the config of one cell."""
        if self._remembers:
            parsed = [self._parse(item) for item in sweep_overrides]
            config = self._compose(master_config, parsed, sweep_overrides)
        else:
            config = self._loader.load_sweep_config(master_config, list(sweep_overrides))
        keep_defaults(config, self._kept, sweep_overrides)
        return config

    def _parse(self, override: str) -> Override:
        if override not in self._parsed:
            self._parsed[override] = self._parser.parse_override(override)
        return self._parsed[override]

    def _compose(
        self, master: DictConfig, overrides: list[Override], words: list[str]
    ) -> DictConfig:
        is_value = [self._is_plain_value(override) for override in overrides]
        form = tuple(
            str(override.key_or_group) if plain else word
            for override, plain, word in zip(overrides, is_value, words, strict=True)
        )
        values = [override for override, plain in zip(overrides, is_value, strict=True) if plain]
        if form in self._templates:
            try:
                return self._from_template(self._templates[form], values, overrides)
            except OmegaConfBaseException:
                pass  # Hydra says better what is wrong with it
        config = self._loader.load_sweep_config(master, words)
        self._templates[form] = pickle.dumps(config)
        return config

    def _is_plain_value(self, override: Override) -> bool:
        plain = not (override.is_delete() or override.is_add() or override.is_force_add())
        key = str(override.key_or_group)
        return plain and "@" not in key and not self._loader.repository.group_exists(key)  # type: ignore[attr-defined]

    @staticmethod
    def _from_template(
        template: bytes, values: list[Override], overrides: list[Override]
    ) -> DictConfig:
        config: DictConfig = pickle.loads(template)  # noqa: S301 - ours
        for override in values:
            OmegaConf.update(config, str(override.key_or_group), override.value(), merge=True)
        task = [override for override in overrides if not override.is_hydra_override()]
        with read_write(config), open_dict(config):
            config.hydra.overrides.task = [override.input_line for override in task]
            dirname = config.hydra.job.config.override_dirname
            config.hydra.job.override_dirname = get_overrides_dirname(
                overrides=task,
                kv_sep=dirname.kv_sep,
                item_sep=dirname.item_sep,
                exclude_keys=dirname.exclude_keys,
            )
        return config
