"""From a checked config to live objects: the only caller of Hydra's `instantiate`."""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
import math
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from hydra.errors import HydraException
from hydra.utils import instantiate
from torch.nn.parameter import is_lazy

from sweeps.config.trust import check_object, check_objects, located, with_targets
from sweeps.data import Batches, Dataset, Source, prepare
from sweeps.errors import BadInputError, SweepsError, TryAgainError, sentence
from sweeps.seeding import derive
from sweeps.training.determinism import find_device, set_determinism
from sweeps.training.objective import measured_by
from sweeps.training.schedules import Schedule
from sweeps.training.trainer import Parts, Trainer, TrainerSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sweeps.config import Config
    from sweeps.config.config import Component


T = TypeVar("T")


def build_trainer(config: Config) -> tuple[Trainer, Dataset]:
    """Builds everything a training needs and tries one batch through model and loss.

    Raises:
        BadInputError: The device, data, or a class is missing, or they do not fit each other.
    """
    device = find_device(config.device)
    set_determinism(deterministic=config.deterministic)
    with _naming_memory(device):
        return _build(config, device)


def _build(config: Config, device: torch.device) -> tuple[Trainer, Dataset]:
    dataset = load_dataset(config)
    if config.batch_size > len(dataset.train):
        raise BadInputError(
            f"batch_size={config.batch_size} is larger than the {len(dataset.train)} training images."
            f" Type batch_size={len(dataset.train)} or less."
        )
    model = build_model(config, dataset).to(device)
    if device.type != "mps":  # https://github.com/pytorch/pytorch/issues/175190
        model.to(memory_format=torch.channels_last)
    loss = _of_kind(torch.nn.Module, "loss", _instantiate("loss", config.loss, config)).to(device)
    optimizer = _instantiate("optimizer", config.optimizer, config, params=model.parameters())
    _of_kind(torch.optim.Optimizer, "optimizer", optimizer)
    train, val, test = _batches(config, dataset, device)
    _probe(config, model, loss, test)
    parts = Parts(
        model=model,
        loss=loss,
        optimizer=optimizer,
        schedule=_schedule(config, train.steps_per_epoch),
        train=train,
        val=val,
        test=test,
        compiled=_compiled(model) if config.compile else None,
    )
    settings = TrainerSettings(
        epochs=config.epochs,
        objective=measured_by(config.objective),
        pick=config.pick,
        log_every=config.log_every,
        report_every=config.report_every,
        seed=config.seed,
        device=device,
        bf16=config.precision == "bf16",
    )
    return Trainer(parts, settings), dataset


def load_dataset(config: Config) -> Dataset:
    """Returns the data set of a config, read once a process however many cells share it."""
    source = _source(
        json.dumps({"_target_": config.data.target, **config.data.arguments}, sort_keys=True),
        tuple(config.trusted_targets),
    )
    return prepare(
        source,
        val_fraction=config.data.val_fraction,
        val_split=config.data.val_split,
        limit=config.data.limit,
        seed=config.seed,
    )


@functools.lru_cache(maxsize=4)
def _source(choice: str, trusted: tuple[str, ...]) -> Source:
    values = json.loads(choice)
    check_objects("data", values, trusted)
    source = _call("data", lambda: instantiate(with_targets(values, located), _convert_="all"))
    if not isinstance(source, Source):
        raise BadInputError(f"{values['_target_']} must return a sweeps.data.Source.")
    return source


def build_model(config: Config, dataset: Dataset) -> torch.nn.Module:
    """Builds the model; its initial weights depend on the seed alone."""
    channels, height, _ = dataset.shape
    known = {"in_channels": channels, "image_size": height, "num_classes": len(dataset.classes)}
    target = check_object("model", config.model.target, tuple(config.trusted_targets))
    parameters = inspect.signature(target).parameters
    open_ended = any(item.kind is item.VAR_KEYWORD for item in parameters.values())
    wanted = {
        key: value
        for key, value in known.items()
        if key not in config.model.arguments
        and (key in parameters or (open_ended and key == "num_classes"))
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(config.seed, "init"))
        model = _instantiate("model", config.model, config, **wanted)
        model = _of_kind(torch.nn.Module, "model", model)
        if any(map(is_lazy, model.parameters())):
            _settle_sizes(config, model, torch.zeros(2, *dataset.shape))
    return model


def _settle_sizes(config: Config, model: torch.nn.Module, x: torch.Tensor) -> None:
    """Lets lazy layers see images, so that they draw their weights from the seed of the others."""
    try:
        with torch.no_grad():
            model.eval()(x)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise _misfit(config, x, error) from error


def _misfit(config: Config, x: torch.Tensor, error: Exception) -> BadInputError:
    reason = str(error).strip().splitlines()[0]
    if "deterministic" in reason:
        return BadInputError(f"{sentence(reason)} Add deterministic=false to allow it.")
    return BadInputError(
        f"model {config.model.target} or loss {config.loss.target} does not fit images"
        f" of shape {tuple(x.shape[1:])}: {sentence(reason)}"
    )


def _of_kind(kind: type[T], group: str, made: Any) -> T:
    if not isinstance(made, kind):
        raise BadInputError(
            f"{group}._target_ must make a {kind.__module__}.{kind.__qualname__}; it makes a"
            f" {type(made).__module__}.{type(made).__qualname__}. Choose another class."
        )
    return made


def _instantiate(group: str, component: Component, config: Config, **extra: Any) -> Any:
    values = {"_target_": component.target, **component.arguments}
    check_objects(group, values, tuple(config.trusted_targets))
    there = with_targets(values, located)
    return _call(group, lambda: instantiate(there, _convert_="all", **extra))


def _call(group: str, make: Any) -> Any:
    try:
        return make()
    except HydraException as error:
        cause = error.__cause__
        if isinstance(cause, SweepsError):
            raise cause from None
        reason = str(cause or error).strip().splitlines()[0]
        raise BadInputError(f"{group} cannot be built: {sentence(reason)}") from error


def _compiled(model: torch.nn.Module) -> Any:
    # Not dynamic: the smaller last batch of an epoch would replace the graph that the others have
    # used, and a run that continues would use the first one again.
    return torch.compile(model, dynamic=False)


@contextlib.contextmanager
def _naming_memory(device: torch.device) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise TryAgainError(
            f"{device} has not enough free memory: {str(error).splitlines()[0]} Type a smaller"
            " batch_size, free the GPU, or choose another with CUDA_VISIBLE_DEVICES=N before the"
            " command."
        ) from error


def _schedule(config: Config, steps_per_epoch: int) -> Schedule:
    values = config.schedule.arguments
    target = check_object("schedule", config.schedule.target, tuple(config.trusted_targets))
    warmup_steps = round(config.schedule.warmup_epochs * steps_per_epoch)
    total_steps = max(1, math.ceil(config.epochs * steps_per_epoch) - warmup_steps)
    known = {"total_steps": total_steps, "steps_per_epoch": steps_per_epoch}
    accepted = inspect.signature(target).parameters
    extra = {key: value for key, value in known.items() if key in accepted and key not in values}
    return Schedule(
        lambda optimizer: _instantiate(
            "schedule", config.schedule, config, optimizer=optimizer, **extra
        ),
        warmup_steps=warmup_steps,
    )


def _batches(
    config: Config, dataset: Dataset, device: torch.device
) -> tuple[Batches, Batches | None, Batches]:
    mean, std = (dataset.mean, dataset.std) if config.data.normalize else (None, None)

    def make(split: Any, *, augment: bool) -> Batches:
        return Batches(
            split,
            batch_size=config.batch_size,
            mean=mean,
            std=std,
            crop=config.data.crop if augment else 0,
            flip=config.data.flip if augment else False,
            shuffle=config.shuffle,
            seed=config.seed,
            device=device,
        )

    val = None if dataset.val is None else make(dataset.val, augment=False)
    return make(dataset.train, augment=True), val, make(dataset.test, augment=False)


def _probe(config: Config, model: torch.nn.Module, loss: torch.nn.Module, test: Batches) -> None:
    """Tries two images, so that a misfit is one sentence before the run instead of a traceback."""
    x, y = next(iter(test.ordered(batch_size=2)))
    model.eval()
    try:
        with torch.no_grad():
            outputs = model(x)
            float(loss(outputs, y))  # waits for a GPU, so that its errors come here
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise _misfit(config, x, error) from error
