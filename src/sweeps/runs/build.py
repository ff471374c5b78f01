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

from sweeps.config.schema import TARGETS
from sweeps.config.trust import check_object, check_objects, located, with_targets
from sweeps.data import Batches, Dataset, Source, prepare
from sweeps.errors import BadInputError, SweepsError, TryAgainError, sentence
from sweeps.seeding import derive
from sweeps.training.determinism import find_device, set_determinism
from sweeps.training.muon import Muon
from sweeps.training.objective import measured_by
from sweeps.training.optimizers import (
    check_arguments,
    has_modes,
    needs_closure,
    parameter_groups,
    read_rules,
    scale_rates,
)
from sweeps.training.schedules import Schedule
from sweeps.training.trainer import Parts, Trainer, TrainerSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sweeps.config import Config
    from sweeps.config.config import Component


T = TypeVar("T")


def build_trainer(config: Config, *, rehearsed: bool = True) -> tuple[Trainer, Dataset]:
    """Builds everything a training needs and tries one batch through model and loss.

    Args:
        config: Of the run.
        rehearsed: Whether a batch is tried as in training too: a model that ends its process there
            should end that of its own run alone.

    Raises:
        BadInputError: The device, data, or a class is missing, or they do not fit each other.
    """
    device = find_device(config.device)
    set_determinism(deterministic=config.deterministic)
    with _naming_memory(device):
        return _build(config, device, rehearsed=rehearsed)


def _build(config: Config, device: torch.device, *, rehearsed: bool) -> tuple[Trainer, Dataset]:
    dataset = load_dataset(config)
    if config.batch_size > len(dataset.train):
        raise BadInputError(
            f"batch_size={config.batch_size} is larger than the {len(dataset.train)} training images."
            f" Type batch_size={len(dataset.train)} or less."
        )
    _check_accumulate(config, images=len(dataset.train))
    model = build_model(config, dataset).to(device)
    # LBFGS makes a vector of every gradient as it lies in memory.
    flattened = config.optimizer.target == "torch.optim.LBFGS"
    if device.type != "mps" and not flattened:  # https://github.com/pytorch/pytorch/issues/175190
        model.to(memory_format=torch.channels_last)
    loss = _of_kind(torch.nn.Module, "loss", _instantiate("loss", config.loss, config)).to(device)
    optimizer = _optimizer(config, model)
    train, val, test = _batches(config, dataset, device)
    _probe(config, model, loss, test)
    if rehearsed:
        _probe_training(config, model, loss, train, images=len(dataset.train))
    parts = Parts(
        model=model,
        loss=loss,
        optimizer=optimizer,
        schedule=_schedule(config, math.ceil(train.steps_per_epoch / config.accumulate)),
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
        clip_norm=config.clip_norm,
        accumulate=config.accumulate,
        ema=config.ema,
        seed=config.seed,
        device=device,
        bf16=config.precision == "bf16",
    )
    return Trainer(parts, settings), dataset


def _check_accumulate(config: Config, *, images: int) -> None:
    batches = math.ceil(images / config.batch_size)
    if config.accumulate > batches:
        raise BadInputError(
            f"accumulate={config.accumulate} is more than the {batches} batches of an epoch. Type"
            f" accumulate={batches} or less, or a smaller batch_size."
        )


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
    except MISFITS as error:
        raise _misfit(config, x, error) from error


MISFITS = (RuntimeError, ValueError, TypeError, IndexError, AssertionError, AttributeError)
"""What models, losses and torch raise for shapes that they cannot take."""


def _misfit(config: Config, x: torch.Tensor, error: Exception) -> BadInputError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
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


def _optimizer(config: Config, model: torch.nn.Module) -> torch.optim.Optimizer:
    chosen = config.optimizer
    made_by = check_object("optimizer", chosen.target, tuple(config.trusted_targets))
    if made_by is torch.optim.SparseAdam:
        raise BadInputError(
            "torch.optim.SparseAdam updates rows that have sparse gradients, and these models have dense"
            " ones. Choose optimizer=adam."
        )
    check_arguments(chosen.target, made_by, chosen.arguments, ours=chosen.target in TARGETS)
    rules = read_rules(chosen.rules)
    groups = parameter_groups(model, decay=chosen.decay, rules=rules, hidden=made_by is Muon)
    # A generator: Hydra would copy a list, with the parameters in it.
    params = (group for group in groups)
    built = _instantiate("optimizer", chosen, config, params=params)
    optimizer = _of_kind(torch.optim.Optimizer, "optimizer", built)
    scale_rates(optimizer, rules)
    _check_loop(config, optimizer)
    return optimizer


def _check_loop(config: Config, optimizer: torch.optim.Optimizer) -> None:
    """Refuses what an optimizer does itself, or cannot be done to it."""
    target = config.optimizer.target
    if config.optimizer.decay != "all" and "weight_decay" not in optimizer.defaults:
        raise BadInputError(
            f"optimizer.decay={config.optimizer.decay} has nothing to leave out: {target} has no"
            " weight_decay. Leave it out."
        )
    if config.optimizer.rules and target == "prodigyopt.Prodigy":
        raise BadInputError(f"optimizer.rules: {target} has one rate for all. Leave them out.")
    if config.ema is not None and has_modes(optimizer):
        raise BadInputError(
            f"ema={config.ema}: {target} averages its weights itself. Leave ema out."
        )
    if config.clip_norm is not None and needs_closure(type(optimizer)):
        raise BadInputError(
            f"clip_norm={config.clip_norm}: {target} compares gradients along a line, which clipping"
            " would falsify. Leave clip_norm out."
        )


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
    except MISFITS as error:
        raise _misfit(config, x, error) from error


def _probe_training(
    config: Config,
    model: torch.nn.Module,
    loss: torch.nn.Module,
    train: Batches,
    *,
    images: int,
) -> None:
    """Tries the smallest batch of an epoch as it is trained on; the model's buffers stay as they were.

    Whatever else goes wrong is the training's to say, in the log of its run.
    """
    last = images % config.batch_size or config.batch_size
    x, y = next(iter(train.ordered(batch_size=min(2, last))))
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model.train()
    outputs = None
    try:
        with torch.no_grad():
            outputs = model(x)
            float(loss(outputs, y))
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        if last == 1 and "more than 1 value per channel" in str(error):
            raise _single(config, images) from error
        if isinstance(outputs, tuple | list | dict):
            raise _several_outputs(config, outputs) from error
    finally:
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                buffer.copy_(before[name])


def _several_outputs(config: Config, outputs: object) -> BadInputError:
    return BadInputError(
        f"model {config.model.target} returns a {type(outputs).__name__} in training and a tensor in"
        " evaluation; a training learns from one tensor of outputs. Leave its further outputs out,"
        " such as with +model.aux_logits=false."
    )


def _single(config: Config, images: int) -> BadInputError:
    """Returns what is wrong where BatchNorm would see one image alone."""
    size = config.batch_size
    near = next(n for n in (*range(size - 1, 1, -1), *range(2, images + 1)) if images % n != 1)
    return BadInputError(
        f"batch_size={size} leaves one of {images} training images for the last batch of an epoch,"
        f" and BatchNorm cannot learn from one. Type batch_size={near}."
    )
