"""Whose code may run: where `_target_` may point, checked before anything is imported."""

from __future__ import annotations

import importlib.util
import inspect
from typing import TYPE_CHECKING, Any

from sweeps.config.schema import TARGETS
from sweeps.errors import BadInputError, did_you_mean, sentence

if TYPE_CHECKING:
    from collections.abc import Callable

PACKAGES = {
    "prodigyopt.": "prodigyopt",
    "pytorch_optimizer.": "pytorch-optimizer",
    "schedulefree.": "schedulefree",
}
"""Trusted for their optimizers alone, and what to install for them."""

TRUSTED_PREFIXES = (
    *PACKAGES,
    "sweeps.data.",
    "sweeps.losses.",
    "sweeps.models.",
    "sweeps.optimizers.",
    "sweeps.schedules.",
    "torch.nn.",
    "torch.optim.",
    "torchvision.models.",
    "torchvision.ops.",
)
"""Where `_target_` may point. Not all of torch: torch.load and torch.hub run code of a file."""

LIVES_IN = {
    "sweeps.losses.": "sweeps.training.losses.",
    "sweeps.models.": "sweeps.training.models.",
    "sweeps.optimizers.": "sweeps.training.muon.",
    "sweeps.schedules.": "sweeps.training.schedules.",
}
"""Canonical names and the files behind them. Targets are hashed into identities and stand in saved
configs, so the name of a component outlives the file it lives in."""


def canonical(target: str) -> str:
    """Returns the name by which a target is hashed and saved, wherever its file is."""
    for name, home in LIVES_IN.items():
        if target.startswith(home):
            return name + target.removeprefix(home)
    return target


def located(target: str) -> str:
    """Returns the name by which a target can be imported."""
    for name, home in LIVES_IN.items():
        if target.startswith(name):
            return home + target.removeprefix(name)
    return target


def with_targets(value: Any, rename: Callable[[str], str]) -> Any:
    """Returns nested values with every `_target_` renamed."""
    if isinstance(value, dict):
        return {
            key: rename(item)
            if key == "_target_" and isinstance(item, str)
            else with_targets(item, rename)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [with_targets(item, rename) for item in value]
    return value


def find_targets(value: Any, path: str) -> list[tuple[str, Any]]:
    """Returns every `_target_` in nested values, each with where it stands."""
    if isinstance(value, dict):
        own = [(f"{path}._target_", value["_target_"])] if "_target_" in value else []
        return own + [
            hit for key, item in value.items() for hit in find_targets(item, f"{path}.{key}")
        ]
    if isinstance(value, list):
        return [hit for i, item in enumerate(value) for hit in find_targets(item, f"{path}.{i}")]
    return []


def check_trusted(path: str, target: Any, trusted: tuple[str, ...]) -> None:
    """Refuses a target outside the trusted packages, by its name alone."""
    added = (prefix.rstrip(".") for prefix in trusted)
    prefixes = (*TRUSTED_PREFIXES, *(f"{prefix}." for prefix in added if prefix))
    if isinstance(target, str) and target.startswith(prefixes):
        return
    package = str(target).split(".", maxsplit=1)[0]
    known = did_you_mean(str(target), TARGETS)
    raise BadInputError(
        f"{path}={target} is not in a trusted package ({', '.join(p[:-1] for p in prefixes)}).{known}"
        f" If you trust its code, add 'trusted_targets=[{package}]'."
    )


def check_objects(path: str, values: Any, trusted: tuple[str, ...]) -> None:
    """Checks the target of a group, and every target nested in its arguments."""
    if isinstance(values, dict):
        if "_target_" in values:
            check_object(path, values["_target_"], trusted)
        for key, item in values.items():
            check_objects(f"{path}.{key}", item, trusted)
    if isinstance(values, list):
        for index, item in enumerate(values):
            check_objects(f"{path}.{index}", item, trusted)


def check_object(path: str, target: str, trusted: tuple[str, ...]) -> Any:
    """Resolves the target of a group, see `named_object`; of a library, what trains alone."""
    found, home = named_object(f"{path}._target_", target, trusted)
    own = tuple(f"{prefix.rstrip('.')}." for prefix in trusted if prefix.rstrip("."))
    if not home.startswith(own) and not _is_building_block(target, found):
        raise BadInputError(
            f"{path}._target_={target} is no module, optimizer, schedule or public function."
            " Other parts of a library can load files; choose a class such as torch.nn.Linear."
        )
    return found


def named_object(key: str, name: str, trusted: tuple[str, ...]) -> tuple[Any, str]:
    """Resolves a name; an alias that leads out of the trusted packages is refused.

    Args:
        key: Where the name was typed.
        name: Of a class or a function, with its module.
        trusted: Packages that are trusted besides ours.

    Returns:
        What it names, and the module where that is defined, with a dot at its end.
    """
    from hydra.errors import HydraException
    from hydra.utils import get_object

    prefixes = tuple(p.rstrip(".") for p in (*TRUSTED_PREFIXES, *trusted))
    try:
        found = get_object(located(name))
    except (ImportError, AttributeError, ValueError, HydraException) as error:
        if package := _to_install(name):
            raise BadInputError(
                f"{name} is in the package {package}, which is not installed. Type pip install"
                f" {package}, or choose another {key.removesuffix('._target_')}."
            ) from error
        reason = str(error).strip().splitlines()[-1]
        raise BadInputError(f"{key}={name} cannot be found: {sentence(reason)}") from error
    home = canonical(f"{getattr(found, '__module__', '')}.")
    if not callable(found) or not home.startswith(tuple(f"{prefix}." for prefix in prefixes)):
        raise BadInputError(
            f"{key}={name} leads to {home[:-1]}, outside the trusted packages"
            f" ({', '.join(prefixes)}). If you trust its code, add 'trusted_targets=[{home[:-1]}]'."
        )
    return found, home


def _to_install(target: str) -> str | None:
    """Returns the package that a target needs, where it is not there."""
    for prefix, package in PACKAGES.items():
        if target.startswith(prefix) and importlib.util.find_spec(prefix[:-1]) is None:
            return package
    return None


def _is_building_block(target: str, found: Any) -> bool:
    """Whether a library's object is a class to train with, or a public function, but no method.

    torchvision's Weights.get_state_dict, for one, downloads and unpickles what its argument says.
    """
    import torch  # late: a config is checked by its names long before anything is built

    if inspect.isclass(found):
        kinds = (torch.nn.Module, torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler)
        return issubclass(found, kinds)
    name = getattr(found, "__qualname__", ".")
    if target.startswith(tuple(PACKAGES)):
        return False
    return "." not in name and not any(part.startswith("_") for part in target.split("."))
