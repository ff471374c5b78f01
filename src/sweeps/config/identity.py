"""Identity comes from content: what determines a result is hashed, where it is kept is not."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from sweeps.config.config import NOT_IDENTITY, Component, RunConfig, TrackingConfig, Use, use_of
from sweeps.config.schema import BEFORE, BEFORE_IN_ALL, GROUPS, TARGETS
from sweeps.config.trust import find_targets

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def identity(config: RunConfig) -> str:
    """Returns the SHA-256, in hex, of everything in the config that determines the result."""
    plain = {each.name: getattr(config, each.name) for each in fields(RunConfig)}
    content = {
        key: _named(value.as_mapping(), f"{key}.") if isinstance(value, Component) else value
        for key, value in _named(plain).items()
        if use_of(key) is Use.RESULT
    }
    if content["data"]["_target_"] == "sweeps.data.sources.torchvision_dataset":
        # The archives are checked by torchvision: the folder they lie in changes nothing.
        content["data"] = {key: value for key, value in content["data"].items() if key != "root"}
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def describe(overrides: Iterable[str]) -> str:
    """Returns the overrides as a name: sorted, without those that only say where a run is kept."""
    kept = [
        override
        for override in overrides
        if re.split(r"[.=@]", override.lstrip("+~"))[0] not in (*NOT_IDENTITY, "hydra")
    ]
    return ",".join(sorted(kept)) or "defaults"


def cell_name(overrides: Iterable[str], run_identity: str) -> str:
    """Returns a cell's folder name: the same for the same cell, whatever the order of overrides."""
    readable = re.sub(r"[^\w.=,+-]", "_", describe(overrides))
    short = readable.encode()[:120].decode(errors="ignore")  # a folder's name has 255 bytes
    return f"{short}-{run_identity[:8]}"


def targets(config: RunConfig) -> list[str]:
    """Returns the classes and functions that a run is made of, nested ones too."""
    groups = {group: getattr(config, group).as_mapping() for group in GROUPS}
    return [str(t) for group, values in groups.items() for _, t in find_targets(values, group)]


def flatten(config: RunConfig) -> dict[str, Any]:
    """Returns as dotted keys and plain values what a person compares runs by."""
    flat: dict[str, Any] = {}
    for each in fields(RunConfig):
        value = getattr(config, each.name)
        if each.name == "name" or use_of(each.name) is Use.SCHEDULING:
            continue
        if value is None and each.name in BEFORE:
            continue
        if isinstance(value, Component):
            flat |= _dotted(each.name, value)
        elif isinstance(value, TrackingConfig):
            flat |= {f"{each.name}.{inner}": item for inner, item in vars(value).items()}
        else:
            flat[each.name] = value
    if flat.get("optimizer.lr") == config.lr:
        flat["optimizer.lr"] = config.lr  # 1.0 where lr=1 was typed: no axis of its own
    return flat


def _dotted(group: str, component: Component) -> dict[str, Any]:
    """Returns a component by dotted keys; a later key of one choice alone only where it tells."""
    flat = {f"{group}.{key}": value for key, value in component.as_mapping().items()}
    if component.target not in TARGETS:
        return flat
    rare = {key: value for key, value in BEFORE.items() if key not in BEFORE_IN_ALL}
    return {key: value for key, value in flat.items() if (key, value) not in rare.items()}


def _named(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns the values without the later keys that are what they were before."""
    if prefix not in ("", "optimizer.") and values.get("_target_") not in TARGETS:
        return values  # a person's own component may have an argument of that name
    later = BEFORE.items()
    return {key: value for key, value in values.items() if (f"{prefix}{key}", value) not in later}


def labels_of(overrides: Sequence[Sequence[str]]) -> list[str]:
    """Returns for each list of overrides those that not all have, as a person reads them."""
    common = set.intersection(*map(set, overrides)) if len(overrides) > 1 else set()
    return [" ".join(item for item in own if item not in common) for own in overrides]


def key_of(override: str) -> str:
    """Returns the setting that an override sets."""
    return re.split(r"[=@]", override.lstrip("+~"), maxsplit=1)[0]
