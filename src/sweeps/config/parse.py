"""Turns a composed config into a checked `Config`, or says in one sentence what is wrong with it."""

from __future__ import annotations

import copy
import math
import re
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import (
    ConfigKeyError,
    InterpolationKeyError,
    MissingMandatoryValue,
    OmegaConfBaseException,
    ValidationError,
)

from sweeps.config.rates import parse_rate
from sweeps.config.rules import read_exclude, read_only, read_sentences, read_zip
from sweeps.config.schema import (
    GROUPS,
    TARGETS,
    Config,
    DataConfig,
    Schedule,
    SearchConfig,
    TrackingConfig,
)
from sweeps.errors import BadInputError, did_you_mean

TRUSTED_PREFIXES = (
    "sweeps.data.",
    "sweeps.losses.",
    "sweeps.models.",
    "sweeps.schedules.",
    "torch.nn.",
    "torch.optim.",
    "torchvision.models.",
    "torchvision.ops.",
)
"""Where `_target_` may point. Not all of torch: torch.load and torch.hub run code of a file."""

OBJECTIVES = ("val_accuracy", "val_loss", "test_accuracy", "test_loss", "train_loss")
PRECISIONS = ("fp32", "bf16")
BACKENDS = ("mlflow", "none")
ON_ERROR = ("continue", "stop")
SAMPLERS = ("tpe", "random", "grid", "gp", "qmc")
PRUNERS = ("none", "asha", "halving", "hyperband", "median")
MOST_THREADS = 1024


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
        values = OmegaConf.to_container(
            OmegaConf.masked_copy(cfg, [key for key in map(str, cfg) if key != "hydra"]),
            resolve=True,
            throw_on_missing=True,
        )
    except MissingMandatoryValue as error:
        key = str(error.full_key)
        raise BadInputError(f"{key} has no value. Type {key}=...{_hint(key)}") from None
    except InterpolationKeyError as error:
        raise BadInputError(f"{error.full_key} refers to a key that does not exist.") from None
    except OmegaConfBaseException as error:
        raise BadInputError(_first_line(error)) from None
    assert isinstance(values, dict)
    return from_mapping({str(key): value for key, value in values.items()})


def from_mapping(values: dict[str, Any]) -> Config:
    """Types and checks plain nested values, see `parse`."""
    for key in (*GROUPS, "tracking"):
        if not isinstance(values.get(key), dict):
            raise BadInputError(f"{key} must be a choice of its group; it is {values.get(key)!r}.")
    trusted = tuple(values.get("trusted_targets") or ())
    if parse_rate(values.get("lr")) is not None:
        raise BadInputError(
            f"lr={values['lr']} is worked out by a single run, or a sweep with hydra/sweeper=grid,"
            " before it trains. Type a number here, such as lr=0.01."
        )
    # First, so that a rate that is no number is called lr, and not by a group that refers to it.
    plain = {
        key: value for key, value in values.items() if key not in (*GROUPS, "tracking", "search")
    }
    typed = _typed(Config, plain, prefix="")
    groups = {group: _remembered(group, values[group], trusted) for group in GROUPS}
    groups["tracking"] = _remembered("tracking", values["tracking"], ())
    groups["search"] = _remembered("search", values.get("search") or {}, ())
    config = Config(**(typed | groups))
    _check_values(config)
    return config


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
    target = values.get("_target_")
    if not isinstance(target, str):
        raise BadInputError(f"{group}._target_ must name a class; it is {target!r}.")
    for path, nested in find_targets(values, group):
        _check_trusted(path, nested, trusted)
    schema = TARGETS.get(target)
    if schema is not None:
        return _typed(schema, values, prefix=f"{group}.")
    shared_types: dict[str, Any] = {"data": DataConfig, "schedule": Schedule}
    common = shared_types.get(group)
    if common is None:
        return values
    shared = {name: values[name] for name in common.__dataclass_fields__ if name in values}
    return values | _typed(common, shared, prefix=f"{group}.")


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


def _check_trusted(path: str, target: Any, trusted: tuple[str, ...]) -> None:
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


def _typed(schema: type, values: dict[str, Any], *, prefix: str) -> dict[str, Any]:
    """Returns `values` converted to the field types of `schema`."""
    try:
        merged = OmegaConf.merge(OmegaConf.structured(schema), values)
        container = OmegaConf.to_container(merged, throw_on_missing=True)
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
        raise BadInputError(_wrong_type(f"{prefix}{error.full_key}", _first_line(error))) from None
    assert isinstance(container, dict)
    typed = {str(key): value for key, value in container.items()}
    for key, value in typed.items():
        for number in value if isinstance(value, list) else [value]:
            # The rate has a message of its own.
            if key != "lr" and isinstance(number, float) and not math.isfinite(number):
                raise BadInputError(f"{prefix}{key}={number} must be a finite number.")
    return typed


def _wrong_type(key: str, reason: str) -> str:
    if match := re.match(
        r"Value '(.*?)' (?:of type '.*?' )?could not be converted to (\w+)", reason
    ):
        value, kind = match.groups()
        words = {"Float": "a number", "Integer": "a whole number", "Boolean": "true or false"}
        return f"{key}={value} must be {words.get(kind, kind)}."
    if "is not a ListConfig" in reason:
        return f"{key} must be a list, such as {key}=[64] or {key}=[128,64]."
    return f"{key}: {reason.rstrip('.')}."


def _check_values(config: Config) -> None:
    _positive("lr", config.lr)
    for key in ("batch_size", "epochs", "log_every"):
        if getattr(config, key) < 1:
            raise BadInputError(f"{key}={getattr(config, key)} must be 1 or more.")
    if config.threads is not None and not 1 <= config.threads <= MOST_THREADS:
        raise BadInputError(
            f"threads={config.threads} must be 1 or more, at most {MOST_THREADS}, or null."
        )
    if not 0 <= config.seed < 2**63:
        raise BadInputError(f"seed={config.seed} must be between 0 and 2**63 - 1.")
    _one_of("objective", config.objective, OBJECTIVES)
    _one_of("precision", config.precision, PRECISIONS)
    _one_of("tracking.backend", config.tracking["backend"], BACKENDS)
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", config.device):
        near = did_you_mean(config.device, ("auto", "cpu", "cuda", "mps"))
        raise BadInputError(
            f"device={config.device} is unknown.{near} Allowed: auto, cpu, cuda, cuda:N, mps."
        )
    if not re.fullmatch(r"[\w][\w.+=,-]*", config.name):
        raise BadInputError(
            f"name={config.name!r} becomes a folder: use letters, digits and . _ - + = , only."
        )
    if not config.output_dir.strip():
        raise BadInputError("output_dir is empty; type output_dir=FOLDER, such as outputs.")
    if (config.tracking["system_metrics_after_s"] or 0) < 0:
        raise BadInputError("tracking.system_metrics_after_s must be 0 or more seconds, or null.")
    _check_launch(config)
    _check_search(config)
    _check_bonds(config)
    _check_data(config)
    if config.data["_target_"] in TARGETS:
        _check_source(config.data)
    _check_schedule(config)
    _check_settings(config)


def _check_launch(config: Config) -> None:
    _one_of("on_error", config.on_error, ON_ERROR)
    _positive("checkpoint_every_s", config.checkpoint_every_s)
    if config.timeout_s is not None:
        _positive("timeout_s", config.timeout_s)
    if config.retries < 0:
        raise BadInputError(f"retries={config.retries} must be 0 or more.")
    if config.runs_per_gpu < 1:
        raise BadInputError(f"runs_per_gpu={config.runs_per_gpu} must be 1 or more.")
    workers = config.workers
    if workers != "auto" and (
        not isinstance(workers, int) or isinstance(workers, bool) or workers < 1
    ):
        raise BadInputError(f"workers={workers} must be auto, or 1 or more processes.")


def _check_search(config: Config) -> None:
    search = config.search
    _one_of("search.sampler", search["sampler"], SAMPLERS)
    _one_of("search.pruner", search["pruner"], PRUNERS)
    for key, least in (("factor", 2), ("first", 1), ("warmup", 0), ("seed", 0)):
        if search[key] < least:
            raise BadInputError(f"search.{key}={search[key]} must be {least} or more.")
    if config.report_every is not None and config.report_every < 1:
        raise BadInputError(f"report_every={config.report_every} must be 1 or more, or null.")
    trials = config.trials
    if trials != "auto" and (not isinstance(trials, int) or isinstance(trials, bool) or trials < 1):
        raise BadInputError(f"trials={trials} must be auto, or 1 or more runs.")


def _check_bonds(config: Config) -> None:
    """Checks what says which axes belong together for its form; the sweep knows its axes."""
    read_zip(config.zip)
    for sentence in read_sentences("exclude", config.exclude):
        read_exclude(sentence)
    for sentence in read_sentences("only", config.only):
        read_only(sentence)


def _check_settings(config: Config) -> None:
    """Checks the settings of shipped models, losses and optimizers; other classes check their own."""
    if config.optimizer["_target_"] in TARGETS:
        _positive("optimizer.lr", config.optimizer["lr"])
        if config.optimizer.get("nesterov") and not config.optimizer["momentum"] > 0:
            raise BadInputError(
                "optimizer.nesterov=true needs a momentum; add optimizer.momentum=0.9."
            )
        for key in ("momentum", "weight_decay"):
            if config.optimizer.get(key, 0) < 0:
                raise BadInputError(f"optimizer.{key}={config.optimizer[key]} must be 0 or more.")
    if config.loss["_target_"] in TARGETS and not 0 <= config.loss.get("label_smoothing", 0) <= 1:
        raise BadInputError(
            f"loss.label_smoothing={config.loss['label_smoothing']} must be between 0 and 1."
        )
    if config.model["_target_"] in TARGETS and min(config.model.get("hidden") or [1]) < 1:
        raise BadInputError(
            f"model.hidden={config.model['hidden']}: every layer needs a width of 1 or more."
        )


def _check_data(config: Config) -> None:
    data = config.data
    if not 0 <= data["val_fraction"] < 1:
        raise BadInputError(
            f"data.val_fraction={data['val_fraction']} must be at least 0 and below 1."
        )
    if data["limit"] is not None and data["limit"] < 1:
        raise BadInputError(f"data.limit={data['limit']} must be 1 or more, or null.")
    if data["crop"] < 0:
        raise BadInputError(f"data.crop={data['crop']} must be 0 or more pixels.")
    if data["val_fraction"] == 0 and config.objective.startswith("val_"):
        raise BadInputError(
            f"objective={config.objective} needs validation images, and data.val_fraction is 0."
            " Set data.val_fraction=0.1, or objective=test_accuracy to select on the test images."
        )
    if data["val_fraction"] > 0 and config.objective.startswith("test_"):
        raise BadInputError(
            f"objective={config.objective} is measured each epoch only where there are no validation"
            " images. Set objective=val_accuracy, or data.val_fraction=0 to select on test images."
        )


def _check_source(data: dict[str, Any]) -> None:
    """Checks the arguments of a shipped data set; a person's own function checks its own."""
    if not 0 < data.get("test_fraction", 0.5) < 1:
        raise BadInputError(f"data.test_fraction={data['test_fraction']} must be between 0 and 1.")
    for key in ("image_size", "samples", "test_samples", "channels"):
        if data.get(key, 1) < 1:
            raise BadInputError(f"data.{key}={data[key]} must be 1 or more.")
    if data.get("classes", 2) < 2:
        raise BadInputError(f"data.classes={data['classes']} must be 2 or more.")
    if data.get("noise", 0) < 0:
        raise BadInputError(f"data.noise={data['noise']} must be 0 or more.")
    if data.get("root") == "":
        raise BadInputError("data.root is empty; type data.root=FOLDER.")


def _check_schedule(config: Config) -> None:
    schedule = config.schedule
    if schedule.get("warmup_epochs", 0) < 0:
        raise BadInputError(
            f"schedule.warmup_epochs={schedule['warmup_epochs']} must be 0 or more."
        )
    if schedule.get("warmup_epochs", 0) >= config.epochs:
        raise BadInputError(
            f"schedule.warmup_epochs={schedule['warmup_epochs']} leaves nothing of"
            f" epochs={config.epochs}; make it smaller."
        )
    if schedule["_target_"] in TARGETS:
        _check_shape(schedule)


def _check_shape(schedule: dict[str, Any]) -> None:
    """Checks the settings of a shipped schedule; a person's own checks its own."""
    if schedule.get("patience_epochs", 0) < 0:
        raise BadInputError(
            f"schedule.patience_epochs={schedule['patience_epochs']} must be 0 or more."
        )
    for key in ("every_epochs", "gamma", "factor", "initial", "start"):
        if key in schedule:
            _positive(f"schedule.{key}", schedule[key])
    if not 0 < schedule.get("peak_fraction", 0.5) < 1:
        raise BadInputError(
            f"schedule.peak_fraction={schedule['peak_fraction']} must be between 0 and 1."
        )
    if schedule.get("final", 0) < 0:
        raise BadInputError(f"schedule.final={schedule['final']} must be 0 or more.")
    for key in ("factor", "start"):
        if not schedule.get(key, 0.5) < 1:
            raise BadInputError(f"schedule.{key}={schedule[key]} must be below 1.")
    if (schedule.get("steps") or 1) < 1:
        raise BadInputError(f"schedule.steps={schedule['steps']} must be 1 or more, or null.")


def _positive(key: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise BadInputError(f"{key}={value} must be a finite number above 0, such as {key}=0.01.")


def _one_of(key: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        near = did_you_mean(value, allowed)
        raise BadInputError(f"{key}={value} is unknown.{near} Allowed: {', '.join(allowed)}.")
