"""What a typed config must fulfil besides its types: ranges, known words, settings that go together."""

from __future__ import annotations

import math
import re
import unicodedata
from typing import TYPE_CHECKING, Any

from sweeps.config.conditions import read_exclude, read_only, read_sentences, read_zip
from sweeps.config.schema import TARGETS
from sweeps.errors import BadInputError, did_you_mean

if TYPE_CHECKING:
    from sweeps.config.config import Config, SearchConfig


OBJECTIVES = ("val_accuracy", "val_loss", "test_accuracy", "test_loss", "train_loss")
PICKS = ("best", "last")
DECAYS = ("all", "matrices")
VAL_SPLITS = ("stratified", "random")
PRECISIONS = ("fp32", "bf16")
BACKENDS = ("mlflow", "none")
GROWING = ("null", "auto")
ON_ERROR = ("continue", "stop")
SAMPLERS = ("tpe", "random", "grid", "gp", "qmc")
PRUNERS = ("none", "asha", "halving", "hyperband", "median")
RISING = ("sweeps.schedules.one_cycle", "sweeps.schedules.range_test")
"""Schedules that begin with a way up of their own."""
RESIZES = ("squash", "crop", "pad")
MOST_THREADS = 1024
MOST = 2**31 - 1
"""Of what is counted: epochs, steps, images."""
MOST_NAME_BYTES = 255
"""Of a folder's name, on the file systems that people have."""


def check_values(config: Config) -> None:
    """Checks everything that can be checked without building anything.

    Raises:
        BadInputError: A value is out of range, or two do not go together.
    """
    _positive("lr", config.lr)
    for key in ("batch_size", "epochs", "log_every", "report_every"):
        value = getattr(config, key)
        if value is not None and value < 1:
            raise BadInputError(f"{key}={value} must be 1 or more.")
        if value is not None and value > MOST:
            raise BadInputError(f"{key}={value} must be at most {MOST}.")
    _check_steps(config)
    if config.threads is not None and not 1 <= config.threads <= MOST_THREADS:
        raise BadInputError(
            f"threads={config.threads} must be 1 or more, at most {MOST_THREADS}, or null."
        )
    if not 0 <= config.seed < 2**63:
        raise BadInputError(f"seed={config.seed} must be between 0 and 2**63 - 1.")
    _one_of("objective", config.objective, OBJECTIVES)
    _one_of("pick", config.pick, PICKS)
    _one_of("precision", config.precision, PRECISIONS)
    _one_of("tracking.backend", config.tracking.backend, BACKENDS)
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", config.device):
        alias = {"gpu": "cuda", "nvidia": "cuda", "metal": "mps"}.get(config.device.lower())
        number = f"cuda:{config.device}" if config.device.isdecimal() else alias
        near = did_you_mean(number or config.device, ("auto", "cpu", "cuda", "mps", number or ""))
        raise BadInputError(
            f"device={config.device} is unknown.{near} Allowed: auto, cpu, cuda, cuda:N, mps."
        )
    _check_name(config.name)
    if not config.output_dir.strip() or "\0" in config.output_dir:
        raise BadInputError("output_dir is empty; type output_dir=FOLDER, such as outputs.")
    if (config.tracking.system_metrics_after_s or 0) < 0:
        raise BadInputError("tracking.system_metrics_after_s must be 0 or more seconds, or null.")
    _check_launch(config)
    check_search(config.search, config.trials)
    check_growth(config.extend, config.seeds, config.max_cells)
    _check_bonds(config)
    _check_data(config)
    if config.data.target in TARGETS:
        _check_source(config.data.arguments)
    _check_schedule(config)
    _check_settings(config)


def _check_steps(config: Config) -> None:
    """Checks what an optimizer step is made of."""
    if config.clip_norm is not None:
        _positive("clip_norm", config.clip_norm)
    if not 1 <= config.accumulate <= MOST:
        raise BadInputError(f"accumulate={config.accumulate} must be 1 batch or more.")
    if config.ema is not None and not 0 < config.ema < 1:
        raise BadInputError(
            f"ema={config.ema} must be above 0 and below 1, such as ema=0.999, or null."
        )


def _check_name(name: str) -> None:
    """Checks what becomes a folder; letters are those of any language, with their marks."""
    shown = name if len(name) <= 40 else f"{name[:40]}..."
    plain = "".join(c for c in name if not unicodedata.category(c).startswith("M"))
    if not re.fullmatch(r"\w[\w.+=,-]*", plain):
        raise BadInputError(
            f"name={shown!r} becomes a folder: use letters, digits and . _ - + = , only,"
            " and begin with a letter or a digit."
        )
    if (size := len(name.encode())) > MOST_NAME_BYTES:
        raise BadInputError(
            f"name={shown!r} is too long for a folder: it has {size} bytes of at most"
            f" {MOST_NAME_BYTES}. Type a shorter name=..."
        )


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


def check_search(search: SearchConfig, trials: Any) -> None:
    """Checks the settings of a search, see `check_values`."""
    _one_of("search.sampler", search.sampler, SAMPLERS)
    _one_of("search.pruner", search.pruner, PRUNERS)
    for key, least in (("factor", 2), ("first", 1), ("warmup", 0), ("seed", 0)):
        if (value := getattr(search, key)) < least:
            raise BadInputError(f"search.{key}={value} must be {least} or more.")
    if trials != "auto" and (not isinstance(trials, int) or isinstance(trials, bool) or trials < 1):
        raise BadInputError(f"trials={trials} must be auto, or 1 or more runs.")


def check_growth(extend: Any, seeds: Any, max_cells: Any) -> None:
    """Checks what a grid may add to itself, see `check_values`."""
    if str(seeds or "").isdecimal():
        raise BadInputError(f"seeds={seeds}: type the seeds themselves, such as seed=0,1,2.")
    for key, value in (("extend", extend), ("seeds", seeds)):
        _one_of(key, "null" if value is None else str(value), GROWING)
    whole = isinstance(max_cells, int) and not isinstance(max_cells, bool)
    if max_cells is not None and not (whole and max_cells >= 1):
        raise BadInputError(f"max_cells={max_cells} must be 1 or more runs, or null.")


def _check_bonds(config: Config) -> None:
    """Checks what says which axes belong together for its form; the sweep knows its axes."""
    read_zip(config.zip)
    for sentence in read_sentences("exclude", config.exclude):
        read_exclude(sentence)
    for sentence in read_sentences("only", config.only):
        read_only(sentence)


def _check_settings(config: Config) -> None:
    """Checks the settings of shipped models, losses and optimizers; other classes check their own."""
    optimizer, loss, model = config.optimizer, config.loss.arguments, config.model.arguments
    _one_of("optimizer.decay", optimizer.decay, DECAYS)
    if optimizer.target in TARGETS:
        settings = optimizer.arguments
        _positive("optimizer.lr", settings["lr"])
        if settings.get("nesterov") and not settings.get("momentum", 0) > 0:
            raise BadInputError(
                "optimizer.nesterov=true needs a momentum; add optimizer.momentum=0.9."
            )
        for key in ("momentum", "weight_decay"):
            value = settings.get(key, 0)
            if isinstance(value, int | float) and value < 0:
                raise BadInputError(f"optimizer.{key}={value} must be 0 or more.")
    if config.loss.target in TARGETS and not 0 <= loss.get("label_smoothing", 0) <= 1:
        raise BadInputError(
            f"loss.label_smoothing={loss['label_smoothing']} must be between 0 and 1."
        )
    if config.model.target in TARGETS and min(model.get("hidden") or [1]) < 1:
        raise BadInputError(
            f"model.hidden={model['hidden']}: every layer needs a width of 1 or more."
        )


def _check_data(config: Config) -> None:
    data = config.data
    if not 0 <= data.val_fraction < 1:
        raise BadInputError(
            f"data.val_fraction={data.val_fraction} must be at least 0 and below 1."
        )
    _one_of("data.val_split", data.val_split, VAL_SPLITS)
    if data.limit is not None and data.limit < 1:
        raise BadInputError(f"data.limit={data.limit} must be 1 or more, or null.")
    if data.crop < 0:
        raise BadInputError(f"data.crop={data.crop} must be 0 or more pixels.")
    if data.val_fraction == 0 and config.objective.startswith("val_"):
        raise BadInputError(
            f"objective={config.objective} needs validation images, and data.val_fraction is 0."
            " Set data.val_fraction=0.1, or objective=test_accuracy to select on the test images."
        )
    if data.val_fraction > 0 and config.objective.startswith("test_"):
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
    _one_of("data.resize", data.get("resize", RESIZES[0]), RESIZES)
    if data.get("root") == "":
        raise BadInputError("data.root is empty; type data.root=FOLDER.")


def _check_schedule(config: Config) -> None:
    schedule = config.schedule
    if schedule.warmup_epochs < 0:
        raise BadInputError(f"schedule.warmup_epochs={schedule.warmup_epochs} must be 0 or more.")
    if schedule.warmup_epochs >= config.epochs:
        raise BadInputError(
            f"schedule.warmup_epochs={schedule.warmup_epochs} leaves nothing of"
            f" epochs={config.epochs}; make it smaller."
        )
    if schedule.warmup_epochs > 0 and schedule.target in RISING:
        name = schedule.target.rpartition(".")[2]
        raise BadInputError(
            f"schedule.warmup_epochs={schedule.warmup_epochs} before schedule={name}: the rate would"
            f" go up, down and up again, for {name} starts with a way up of its own. Leave"
            " schedule.warmup_epochs out, or choose another schedule, such as schedule=cosine."
        )
    if schedule.target in TARGETS:
        _check_shape(schedule.arguments)


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
