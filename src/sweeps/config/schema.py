"""The types behind conf/: YAML holds values, these classes hold types."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, fields
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING


@dataclass
class SGD:
    """Stochastic gradient descent."""

    _target_: str = MISSING
    lr: float = MISSING
    momentum: float = MISSING
    nesterov: bool = MISSING
    weight_decay: float = MISSING


@dataclass
class Adam:
    """Adam and AdamW."""

    _target_: str = MISSING
    lr: float = MISSING
    betas: list[float] = MISSING
    eps: float = MISSING
    weight_decay: float = MISSING


@dataclass
class RMSprop:
    """RMSprop."""

    _target_: str = MISSING
    lr: float = MISSING
    alpha: float = MISSING
    eps: float = MISSING
    momentum: float = MISSING
    weight_decay: float = MISSING


@dataclass
class Adagrad:
    """Adagrad."""

    _target_: str = MISSING
    lr: float = MISSING
    lr_decay: float = MISSING
    eps: float = MISSING
    weight_decay: float = MISSING


@dataclass
class Plain:
    """A choice without settings."""

    _target_: str = MISSING


@dataclass
class MLP:
    """A multilayer perceptron."""

    _target_: str = MISSING
    hidden: list[int] = MISSING


@dataclass
class CrossEntropy:
    """Cross-entropy with optional label smoothing."""

    _target_: str = MISSING
    label_smoothing: float = MISSING


@dataclass
class Schedule:
    """What every schedule has."""

    _target_: str = MISSING
    warmup_epochs: float = MISSING


@dataclass
class StepSchedule(Schedule):
    """A factor every few epochs."""

    every_epochs: float = MISSING
    gamma: float = MISSING


@dataclass
class ExponentialSchedule(Schedule):
    """A factor for each epoch, applied step by step."""

    gamma: float = MISSING


@dataclass
class FinalSchedule(Schedule):
    """Cosine and linear decay."""

    final: float = MISSING


@dataclass
class OneCycleSchedule(Schedule):
    """Up, then down."""

    peak_fraction: float = MISSING
    initial: float = MISSING
    final: float = MISSING


@dataclass
class PlateauSchedule(Schedule):
    """Smaller when the loss stops falling."""

    factor: float = MISSING
    patience_epochs: int = MISSING


@dataclass
class RangeTestSchedule(Schedule):
    """Up by the same factor at each step."""

    start: float = MISSING
    steps: int | None = MISSING


@dataclass
class DataConfig:
    """What every data set has; a choice adds the arguments of its source."""

    _target_: str = MISSING
    val_fraction: float = MISSING
    val_split: str = MISSING
    limit: int | None = MISSING
    normalize: bool = MISSING
    crop: int = MISSING
    flip: bool = MISSING


@dataclass
class TorchvisionData(DataConfig):
    """A data set of torchvision."""

    dataset: str = MISSING
    root: str | None = MISSING


@dataclass
class ImageFolder(DataConfig):
    """A person's own images."""

    root: str = MISSING
    image_size: int = MISSING
    test_fraction: float = MISSING
    resize: str = "squash"  # runs made before there was this key


@dataclass
class Synthetic(DataConfig):
    """Generated images."""

    samples: int = MISSING
    test_samples: int = MISSING
    channels: int = MISSING
    image_size: int = MISSING
    classes: int = MISSING
    noise: float = MISSING


@dataclass
class TrackingConfig:
    """Where runs are recorded besides their folders."""

    backend: str = "none"
    uri: str | None = None
    experiment: str | None = None
    system_metrics_after_s: float | None = None
    tensorboard: bool = False
    offline: bool = False


@dataclass
class SearchConfig:
    """How a search chooses its runs and which it stops early."""

    sampler: str = "tpe"
    pruner: str = "none"
    factor: int = 3
    first: int = 1
    warmup: int = 0
    within: list[str] = field(default_factory=list)
    seed: int = 0
    points: list[dict[str, Any]] = field(default_factory=list)
    learn_from: list[str] = field(default_factory=list)


@dataclass
class Config:
    """One run, complete. Groups are plain mappings here; `parse` types them by their `_target_`."""

    model: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    loss: dict[str, Any] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    schedule: dict[str, Any] = field(default_factory=dict)
    tracking: dict[str, Any] = field(default_factory=dict)
    lr: float = MISSING
    batch_size: int = MISSING
    epochs: int = MISSING
    seed: int = MISSING
    device: str = MISSING
    threads: int | None = MISSING
    precision: str = MISSING
    compile: bool = MISSING
    deterministic: bool = MISSING
    log_every: int = MISSING
    objective: str = MISSING
    name: str = MISSING
    output_dir: str = MISSING
    trusted_targets: list[str] = MISSING
    # Not part of a result: a config that was saved without them is complete.
    checkpoint_every_s: float = 300.0
    refresh: bool = False
    plan: bool = False
    workers: Any = "auto"
    runs_per_gpu: int = 1
    timeout_s: float | None = None
    on_error: str = "continue"
    retries: int = 0
    search: dict[str, Any] = field(default_factory=dict)
    trials: Any = "auto"
    report_every: int | None = None
    shuffle: bool = True
    pick: str = "best"
    keep_every_epoch: bool = False
    zip: Any = field(default_factory=list)
    exclude: Any = field(default_factory=list)
    only: Any = field(default_factory=list)


@dataclass
class Typed(Config):
    """What may be typed: lr=auto becomes a number before there is a run."""

    lr: Any = MISSING


TARGETS: dict[str, type] = {
    "sweeps.models.SwaggerCifar": Plain,
    "sweeps.models.Linear": Plain,
    "sweeps.models.MLP": MLP,
    "sweeps.models.resnet18": Plain,
    "sweeps.data.sources.digits": DataConfig,
    "sweeps.data.sources.torchvision_dataset": TorchvisionData,
    "sweeps.data.sources.image_folder": ImageFolder,
    "sweeps.data.sources.synthetic": Synthetic,
    "torch.nn.CrossEntropyLoss": CrossEntropy,
    "sweeps.losses.MSELoss": Plain,
    "sweeps.losses.L1Loss": Plain,
    "torch.optim.SGD": SGD,
    "torch.optim.Adam": Adam,
    "torch.optim.AdamW": Adam,
    "torch.optim.RMSprop": RMSprop,
    "torch.optim.Adagrad": Adagrad,
    "sweeps.schedules.constant": Schedule,
    "sweeps.schedules.step": StepSchedule,
    "sweeps.schedules.exponential": ExponentialSchedule,
    "sweeps.schedules.cosine": FinalSchedule,
    "sweeps.schedules.linear": FinalSchedule,
    "sweeps.schedules.one_cycle": OneCycleSchedule,
    "sweeps.schedules.plateau": PlateauSchedule,
    "sweeps.schedules.range_test": RangeTestSchedule,
}
"""The type of a group whose `_target_` we ship. Other targets take any keyword arguments."""

GROUPS = ("model", "data", "loss", "optimizer", "schedule")

CHOSEN = (*GROUPS, "tracking", "search", "experiment")
"""All groups: their values are names of choices."""


@functools.cache
def key_types() -> dict[str, str]:
    """Returns the annotation of each setting whose key alone says what it is, such as 'str | None'."""
    schemas: list[tuple[str, Any]] = [("", Config)]
    schemas += [("tracking.", TrackingConfig), ("search.", SearchConfig)]
    schemas += [("data.", schema) for schema in TARGETS.values() if issubclass(schema, DataConfig)]
    return {
        f"{prefix}{each.name}": str(each.type)
        for prefix, schema in schemas
        for each in fields(schema)
        if each.name not in ("_target_", *CHOSEN)
    }


def register() -> None:
    """Tells Hydra the types of the top-level values."""
    ConfigStore.instance().store(name="schema", node=Typed)
