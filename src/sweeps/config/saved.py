"""A saved config comes back as plain data: it may come from anybody, so it can refer only to itself.

What a run keeps in .hydra/config.yaml rebuilds it anywhere. What decides where a run is kept and
whose code is trusted (`NOT_IDENTITY`) belongs to the person who runs it now, and is not read.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import yaml
from omegaconf import OmegaConf

from sweeps.config.config import NOT_IDENTITY
from sweeps.config.locations import conf_dir
from sweeps.config.schema import BEFORE_IN_ALL, GROUPS
from sweeps.errors import BadInputError
from sweeps.files import read_bounded

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from omegaconf import DictConfig


MOST_BYTES = 256 * 1024
MOST_NODES = 5_000
MOST_DEPTH = 32
MOST_CHARACTERS = 4_096
"""Of one scalar."""
MOST_HOPS = 8

REFERENCE = re.compile(r"\$\{([A-Za-z_]\w*(?:\.\w+)*)\}")


def to_saved_yaml(cfg: DictConfig) -> str:
    """Returns a task config as it is saved: every interpolation resolved, except those like ${lr}.

    References stay, so that `lr=0.02` on top of the saved config reaches the optimizer; clocks,
    environment and files are read once, so that the run is the same anywhere.
    """
    plain = OmegaConf.masked_copy(cfg, [key for key in map(str, cfg) if key != "hydra"])
    written = OmegaConf.to_container(plain, resolve=False)
    resolved = OmegaConf.to_container(plain, resolve=True)
    return OmegaConf.to_yaml(OmegaConf.create(_with_references(written, resolved)))


def hydra_files(cfg: DictConfig, hydra_cfg: Any, overrides: Sequence[str]) -> dict[str, str]:
    """Returns the content of .hydra/, by file name.

    Args:
        cfg: The task config.
        hydra_cfg: Hydra's own.
        overrides: Of the run.
    """
    return {
        "config.yaml": to_saved_yaml(cfg),
        "hydra.yaml": OmegaConf.to_yaml(OmegaConf.create({"hydra": hydra_cfg})),
        "overrides.yaml": OmegaConf.to_yaml(list(overrides)),
    }


def choices(hydra_cfg: Any) -> dict[str, str]:
    """Returns the chosen file of each of our groups, such as {'optimizer': 'sgd'}."""
    return {
        str(group): str(choice)
        for group, choice in hydra_cfg.runtime.choices.items()
        if choice is not None and not str(group).startswith("hydra/")
    }


def read_saved(path: Path) -> dict[str, Any]:
    """Reads a saved config as plain values, without what belongs to the person.

    Raises:
        BadInputError: The file is missing, too large, no plain YAML, or refers outside itself.
    """
    text = read_bounded(path, MOST_BYTES, "A saved config").decode(errors="replace")
    try:
        _check_events(path, text)
        values = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = getattr(error, "problem", None) or str(error)
        raise BadInputError(f"{path} is not a saved config: {printable(reason)}.") from None
    if not isinstance(values, dict):
        raise BadInputError(f"{path} is not a saved config: it holds no keys.")
    kept = {str(key): value for key, value in values.items() if key not in (*NOT_IDENTITY, "hydra")}
    resolve_references(kept)  # refuses what it cannot resolve
    return kept


def resolve_references(values: dict[str, Any]) -> dict[str, Any]:
    """Returns the values with references such as ${lr} replaced.

    Raises:
        BadInputError: Something refers to the environment, a file, a resolver, or in a circle.
    """

    def resolve(value: Any, path: str, hops: int) -> Any:
        if isinstance(value, dict):
            return {key: resolve(item, f"{path}.{key}", hops) for key, item in value.items()}
        if isinstance(value, list):
            return [resolve(item, f"{path}.{i}", hops) for i, item in enumerate(value)]
        if not isinstance(value, str) or "${" not in value:
            return value
        found = REFERENCE.fullmatch(value)
        target = _look_up(values, found.group(1)) if found else values
        if hops >= MOST_HOPS or isinstance(target, dict | list):
            raise BadInputError(
                f"{printable(path)}={printable(value)} cannot be used: a saved config may refer to"
                " its own values alone, such as ${lr}, never to the environment, files or resolvers."
                " Replace it by its value."
            )
        return resolve(target, path, hops + 1)

    return {key: resolve(value, key, 0) for key, value in values.items()}


def with_defaults(values: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Returns a saved config complete: keys that are newer than it take what there was before them.

    Returns:
        The values, and the names of the keys that were added.
    """
    shipped = shipped_values()
    for path, value in BEFORE_IN_ALL.items():
        group, _, key = path.rpartition(".")
        (shipped[group] if group else shipped)[key] = value
    added = [key for key in shipped if key not in values and key not in NOT_IDENTITY]
    complete = {key: shipped[key] for key in added} | values
    for group in GROUPS:
        common, own = shipped.get(group), complete.get(group)
        if isinstance(common, dict) and isinstance(own, dict):
            added += [f"{group}.{key}" for key in common if key not in own]
            complete[group] = {**common, **own}
    return complete, added


def shipped_values() -> dict[str, Any]:
    """Returns the values of conf/config.yaml, without its list of choices and Hydra's own node."""
    loaded = yaml.load((conf_dir() / "config.yaml").read_text(), Loader=_Loader)  # noqa: S506
    return {key: value for key, value in loaded.items() if key not in ("defaults", "hydra")}


def printable(text: object, most: int = 200) -> str:
    """Returns a stranger's text without control characters, cut to a length."""
    clean = "".join(c if c.isprintable() else "?" for c in str(text)[: most + 1])
    return clean if len(clean) <= most else f"{clean[:most]}..."


class _Loader(yaml.SafeLoader):
    """Reads YAML as OmegaConf writes it: 1e-3 is a number, 2026-11-24 is text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in rules if not tag.endswith((":timestamp", ":float"))]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"[-+]?(?:[0-9][0-9_]*)\.[0-9_]*(?:[eE][-+]?[0-9]+)?$"
        r"|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+$|\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?$"
        r"|[-+]?\.(?:inf|Inf|INF)$|\.(?:nan|NaN|NAN)$"
    ),
    list("-+0123456789."),
)


def _check_events(path: Path, text: str) -> None:
    """Refuses what would grow when it is built: aliases, and more nodes or depth than a config has."""
    depth = 0
    for number, event in enumerate(yaml.parse(text, Loader=yaml.SafeLoader)):
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise BadInputError(f"{path} uses YAML aliases; a saved config has none.")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        long = isinstance(event, yaml.ScalarEvent) and len(event.value) > MOST_CHARACTERS
        if number > MOST_NODES or depth > MOST_DEPTH or long:
            raise BadInputError(
                f"{path} is larger than any config: at most {MOST_NODES} values, {MOST_DEPTH} levels"
                f" and {MOST_CHARACTERS} characters a value are read."
            )


def _look_up(values: dict[str, Any], dotted: str) -> Any:
    node: Any = values
    for part in dotted.split("."):
        if not isinstance(node, dict) or part not in node:
            return values  # a mapping: no value that a reference can have
        node = node[part]
    return node


def _with_references(written: Any, resolved: Any) -> Any:
    if isinstance(resolved, dict) and isinstance(written, dict):
        return {key: _with_references(written[key], value) for key, value in resolved.items()}
    if isinstance(resolved, list) and isinstance(written, list):
        return [_with_references(a, b) for a, b in zip(written, resolved, strict=True)]
    found = REFERENCE.fullmatch(written) if isinstance(written, str) else None
    kept = found is not None and found.group(1).split(".")[0] not in NOT_IDENTITY
    return written if kept and not isinstance(resolved, dict | list) else resolved
