"""Turns a composed config into a checked `Config`, or says in one sentence what is wrong with it."""

from __future__ import annotations

import copy
import functools
import math
from typing import TYPE_CHECKING, Any

from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import (
    ConfigKeyError,
    InterpolationKeyError,
    MissingMandatoryValue,
    OmegaConfBaseException,
    ValidationError,
)

from sweeps.config.checks import check_growth, check_search, check_values
from sweeps.config.config import (
    Component,
    Config,
    DataComponent,
    GrowthConfig,
    OptimizerComponent,
    OptimizerSettings,
    ScheduleComponent,
    SearchConfig,
    TrackingConfig,
)
from sweeps.config.conversions import wrong_type
from sweeps.config.lr_values import parse_rate
from sweeps.config.schema import (
    GROUPS,
    TARGETS,
    DataConfig,
    Flat,
    LaterOptimizer,
    Optimizer,
    Schedule,
)
from sweeps.config.trust import canonical, check_trusted, find_targets, with_targets
from sweeps.errors import BadInputError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable


def parse(cfg: DictConfig) -> Config:
    """Types and checks a composed (or saved) config.

    Args:
        cfg: The task config, with or without Hydra's own node.

    Returns:
        The config with every interpolation resolved and every group typed.

    Raises:
        BadInputError: A value is missing, of the wrong type, out of range, or not trusted.
    """
    try:
        # Groups last, so that a rate that cannot be read is called lr, not by a group's reference.
        keys = sorted((key for key in cfg if key != "hydra"), key=lambda key: key in GROUPS)
        values = {str(key): _resolved(cfg, key) for key in keys}
    except MissingMandatoryValue as error:
        key = str(error.full_key)
        raise BadInputError(f"{key} has no value. Type {key}=...{_hint(key)}") from None
    except InterpolationKeyError as error:
        raise BadInputError(f"{error.full_key} refers to a key that does not exist.") from None
    except OmegaConfBaseException as error:
        reason = _first_line(error).replace("KeyError raised while resolving interpolation: ", "")
        raise BadInputError(f"{error.full_key}: {reason.rstrip('.')}. Type a value.") from None
    return from_mapping(values)


def check(cfg: DictConfig) -> None:
    """Checks a composed config before anything is made for its run; lr may still be a word.

    Raises:
        BadInputError: See `parse`.
    """
    raw = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(raw, dict)
    if parse_rate(raw.get("lr")) is not None:
        cfg = copy.deepcopy(cfg)
        cfg.lr = 1.0  # any: the range test chooses
    parse(cfg)


def _resolved(cfg: DictConfig, key: Any) -> Any:
    value = cfg[key]
    if not OmegaConf.is_config(value):
        return value
    return OmegaConf.to_container(value, resolve=True, throw_on_missing=True)


def from_mapping(values: dict[str, Any]) -> Config:
    """Types and checks plain nested values, see `parse`."""
    for key in (*GROUPS, "tracking", "search"):
        if not isinstance(values.get(key, {} if key == "search" else None), dict):
            raise BadInputError(f"{key} must be a choice of its group; it is {values.get(key)!r}.")
    trusted = tuple(values.get("trusted_targets") or ())
    if (rate := parse_rate(values.get("lr"))) is not None:
        alone = "" if rate.center == "space" else "a single run, or "
        raise BadInputError(
            f"lr={values['lr']} is worked out by {alone}a sweep with hydra/sweeper=grid, before it"
            " trains. Type a number here, such as lr=0.01, or in a search an interval, such as"
            " lr='tag(log, interval(1e-4, 1e-2))'."
        )
    # First, so that a rate that is no number is called lr, and not by a group that refers to it.
    plain = {
        key: value for key, value in values.items() if key not in (*GROUPS, "tracking", "search")
    }
    typed = _typed(Flat, plain, prefix="")
    components = {
        group: COMPONENTS.get(group, Component).of(_remembered(group, values[group], trusted))
        for group in GROUPS
    }
    typed["tracking"] = TrackingConfig(**_remembered("tracking", values["tracking"], ()))
    typed["search"] = SearchConfig(**_remembered("search", values.get("search") or {}, ()))
    config = Config(**(typed | components))
    check_values(config)
    return config


COMPONENTS: dict[str, type[Component]] = {
    "data": DataComponent,
    "optimizer": OptimizerComponent,
    "schedule": ScheduleComponent,
}

SHARED: dict[str, Any] = {
    "data": DataConfig,
    "optimizer": OptimizerSettings,
    "schedule": Schedule,
}
"""What the components of a group have in common, whoever wrote them."""

_typed_groups: dict[tuple[str, str, tuple[str, ...]], dict[str, Any]] = {}


def _remembered(group: str, values: dict[str, Any], trusted: tuple[str, ...]) -> dict[str, Any]:
    """Types a group once: the cells of a sweep share most of theirs, and it takes milliseconds."""
    key = (group, repr(values), trusted)
    if key not in _typed_groups:
        schema = {"tracking": TrackingConfig, "search": SearchConfig}.get(group)
        _typed_groups[key] = (
            _typed(schema, values, prefix=f"{group}.")
            if schema is not None
            else _typed_group(group, values, trusted)
        )
    return copy.deepcopy(_typed_groups[key])


def typed_search_settings(words: Iterable[str]) -> list[str]:
    """Returns those of some overrides that only a search can use."""
    return [word for word in words if word.startswith(("search=", "search.", "trials="))]


def search_settings(master: DictConfig) -> tuple[SearchConfig, int | str]:
    """Returns the settings of a search and its number of trials: they belong to the whole sweep.

    Raises:
        BadInputError: One is of the wrong type or out of range.
    """
    values = OmegaConf.to_container(master.search, resolve=True)
    assert isinstance(values, dict)
    typed = _remembered("search", {str(key): value for key, value in values.items()}, ())
    search = SearchConfig(**typed)
    check_search(search, master.trials)
    return search, master.trials


def growth_settings(master: DictConfig) -> GrowthConfig:
    """Returns what a grid may add to itself: this belongs to the whole sweep.

    Raises:
        BadInputError: One is of the wrong type or out of range.
    """
    check_growth(master.extend, master.seeds, master.max_cells)
    growth = GrowthConfig(master.extend == "auto", master.seeds == "auto", master.max_cells)
    if growth.max_cells is not None and not growth.some:
        raise BadInputError(
            f"max_cells={growth.max_cells} has no effect alone: add extend=auto, seeds=auto, or both."
        )
    return growth


def _hint(key: str) -> str:
    hints = {
        "data.root": " with the folder of your images.",
        "model._target_": " with the class, such as torchvision.models.mobilenet_v3_small.",
        "optimizer._target_": " with the class, such as torch.optim.NAdam.",
    }
    return hints.get(key, "")


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


def _typed_group(group: str, values: dict[str, Any], trusted: tuple[str, ...]) -> dict[str, Any]:
    values = with_targets(values, canonical)
    if group == "optimizer":  # its space says what may be tried, not what a run is
        values = {key: value for key, value in values.items() if key != "space"}
    target = values.get("_target_")
    if not isinstance(target, str):
        raise BadInputError(f"{group}._target_ must name a class; it is {target!r}.")
    for path, nested in find_targets(values, group):
        check_trusted(path, nested, trusted)
    schema = TARGETS.get(target)
    if schema is not None and issubclass(schema, Optimizer):
        return _typed_optimizer(schema, values)
    if schema is not None:
        return _typed(schema, values, prefix=f"{group}.")
    common = SHARED.get(group)
    if common is None:
        return values
    shared = {name: values[name] for name in common.__dataclass_fields__ if name in values}
    return values | _typed(common, shared, prefix=f"{group}.")


def _typed_optimizer(schema: type[Optimizer], values: dict[str, Any]) -> dict[str, Any]:
    """Returns the settings of an optimizer; those that are not listed are its class's to judge."""
    if "lr" not in values:
        raise BadInputError("optimizer.lr has no value. Type optimizer.lr=...")
    listed = {name: values[name] for name in schema.__dataclass_fields__ if name in values}
    typed = _typed(schema, listed, prefix="optimizer.", complete=False)
    if issubclass(schema, LaterOptimizer):
        typed |= {key: value for key, value in listed.items() if value == typed[key]}
    return values | typed


def _typed(
    schema: type, values: dict[str, Any], *, prefix: str, complete: bool = True
) -> dict[str, Any]:
    """Returns `values` converted to the field types of `schema`, all of which a complete one has."""
    merged = _merged(schema, values, prefix=prefix, complete=complete)
    typed = {str(key): value for key, value in merged.items() if value != MISSING}
    for key, value in typed.items():
        for number in value if isinstance(value, list) else [value]:
            # The rate has a message of its own.
            if key != "lr" and isinstance(number, float) and not math.isfinite(number):
                raise BadInputError(f"{prefix}{key}={number} must be a finite number.")
    return typed


def _merged(schema: type, values: dict[str, Any], *, prefix: str, complete: bool) -> dict[Any, Any]:
    try:
        merged = OmegaConf.merge(_fields(schema), values)
        container = OmegaConf.to_container(merged, throw_on_missing=complete)
    except ConfigKeyError as error:
        key = str(error.key)
        options = schema.__dataclass_fields__  # type: ignore[attr-defined]
        near = did_you_mean(key, options)
        allowed = ", ".join(name for name in options if name != "_target_") or "no settings"
        raise BadInputError(f"Unknown key {prefix}{key}.{near} Allowed: {allowed}.") from None
    except MissingMandatoryValue as error:
        key = f"{prefix}{error.full_key}"
        raise BadInputError(f"{key} has no value. Type {key}=...{_hint(key)}") from None
    except ValidationError as error:
        raise BadInputError(_unfit(f"{prefix}{error.full_key}", _first_line(error))) from None
    assert isinstance(container, dict)
    return container


@functools.cache
def _fields(schema: type) -> DictConfig:
    fields: DictConfig = OmegaConf.structured(schema)
    return fields


def _unfit(key: str, reason: str) -> str:
    if message := wrong_type(key, reason):
        return message
    if "is not a ListConfig" in reason:
        return f"{key} must be a list, such as {key}=[64] or {key}=[128,64]."
    return f"{key}: {reason.rstrip('.')}."
