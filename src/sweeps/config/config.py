"""A checked config: what a run is, and how a sweep uses the machine; each field says what it is for."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, fields
from typing import Any, Self

from omegaconf import MISSING


class Use(enum.Enum):
    """What a setting is for."""

    RESULT = "decides the result, so it is hashed"
    PLACE = "says where a run is kept and how it is shown; it belongs to the person who runs it"
    SCHEDULING = "says when and how often it is run and saved, and beside which others"


PLACE = {"use": Use.PLACE}
SCHEDULING = {"use": Use.SCHEDULING}


@dataclass(kw_only=True)
class Component:
    """A class or function and its arguments, as the file of a choice names them.

    Attributes:
        target: Its dotted name.
        arguments: Of its call, without those that are fields here.
    """

    target: str
    arguments: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, values: dict[str, Any]) -> Self:
        """Returns the component that plain values describe."""
        own = {name: values[name] for name in cls._own() if name in values}
        rest = {k: v for k, v in values.items() if k not in own and k != "_target_"}
        return cls(target=values["_target_"], arguments=rest, **own)

    def as_mapping(self) -> dict[str, Any]:
        """Returns plain values, as they are hashed and saved."""
        own = {name: getattr(self, name) for name in self._own()}
        return {"_target_": self.target, **own, **self.arguments}

    @classmethod
    def _own(cls) -> list[str]:
        return [each.name for each in fields(cls) if each.name not in ("target", "arguments")]


@dataclass(kw_only=True)
class DataSettings:
    """What every data set has, whatever its source.

    Attributes:
        val_fraction: Share of the training images held out for validation, 0..1.
        val_split: 'stratified' holds out that share of every class, 'random' of all images at once.
        limit: At most so many training and test images.
        normalize: Whether the mean is subtracted and the deviation divided by.
        crop: Pixels of padding for a random crop.
        flip: Whether images are flipped at random.
    """

    val_fraction: float = MISSING
    val_split: str = field(default=MISSING, metadata={"before": "random"})
    limit: int | None = MISSING
    normalize: bool = MISSING
    crop: int = MISSING
    flip: bool = MISSING


@dataclass(kw_only=True)
class ScheduleSettings:
    """What every schedule has: a warmup of so many epochs before it."""

    warmup_epochs: float = MISSING


@dataclass(kw_only=True)
class OptimizerSettings:
    """What every optimizer has: how it treats the parts of a model.

    Attributes:
        decay: 'all' decays every parameter, 'matrices' no biases, norms and embeddings.
        rules: Parameters by the pattern of their names, each with a factor on the rate, such as
            {match: 'head.*', lr: 0.1}.
    """

    decay: str = field(default="all", metadata={"before": "all"})
    rules: list[dict[str, Any]] = field(default_factory=list, metadata={"before": []})


@dataclass(kw_only=True)
class DataComponent(DataSettings, Component):
    """A data set; its arguments are those of its source."""


@dataclass(kw_only=True)
class OptimizerComponent(OptimizerSettings, Component):
    """An optimizer; its arguments are those of its class."""


@dataclass(kw_only=True)
class ScheduleComponent(ScheduleSettings, Component):
    """A schedule; its arguments are its own."""


@dataclass
class TrackingConfig:
    """Where runs are recorded besides their folders."""

    backend: str = "none"
    uri: str | None = None
    experiment: str | None = None
    system_metrics_after_s: float | None = None
    tensorboard: bool = False
    offline: bool = False
    extra: list[str] = field(default_factory=list)


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


@dataclass(frozen=True)
class GrowthConfig:
    """What a grid may add to itself.

    Attributes:
        extend: Whether it tries values beyond the edge that its best lies on.
        seeds: Whether it repeats what is tied.
        max_cells: How many runs may be added; None: 12 by `extend`, 10 seeds of a setting by `seeds`.
    """

    extend: bool = False
    seeds: bool = False
    max_cells: int | None = None

    @property
    def some(self) -> bool:
        """Whether anything may be added."""
        return self.extend or self.seeds


@dataclass
class RunConfig:
    """One run, complete.

    What a field is for stands in its metadata: `use`, a result where nothing is said, and `before`, what
    stood for it in runs that were made when there was no such field; their identity does not name it.
    """

    model: Component = MISSING
    data: DataComponent = MISSING
    loss: Component = MISSING
    optimizer: OptimizerComponent = MISSING
    schedule: ScheduleComponent = MISSING
    tracking: TrackingConfig = field(default_factory=TrackingConfig, metadata=PLACE)
    lr: float = MISSING
    batch_size: int = MISSING
    epochs: int = MISSING
    clip_norm: float | None = field(default=None, metadata={"before": None})
    accumulate: int = field(default=1, metadata={"before": 1})
    ema: float | None = field(default=None, metadata={"before": None})
    seed: int = MISSING
    device: str = MISSING
    threads: int | None = MISSING
    precision: str = MISSING
    compile: bool = MISSING
    deterministic: bool = MISSING
    log_every: int = MISSING
    report_every: int | None = field(default=None, metadata={"before": None})
    shuffle: bool = field(default=True, metadata={"before": True})
    objective: str = MISSING
    pick: str = field(default="best", metadata={"before": "best"})
    name: str = field(default=MISSING, metadata=PLACE)
    output_dir: str = field(default=MISSING, metadata=PLACE)
    trusted_targets: list[str] = field(default=MISSING, metadata=PLACE)
    checkpoint_every_s: float = field(default=300.0, metadata=SCHEDULING)
    keep_every_epoch: bool = field(default=False, metadata=SCHEDULING)
    refresh: bool = field(default=False, metadata=SCHEDULING)
    plan: bool = field(default=False, metadata=SCHEDULING)


@dataclass
class SweepOptions:
    """Which combinations a sweep runs, and how it uses the machine."""

    workers: Any = field(default="auto", metadata=SCHEDULING)
    runs_per_gpu: int = field(default=1, metadata=SCHEDULING)
    timeout_s: float | None = field(default=None, metadata=SCHEDULING)
    on_error: str = field(default="continue", metadata=SCHEDULING)
    retries: int = field(default=0, metadata=SCHEDULING)
    search: SearchConfig = field(default_factory=SearchConfig, metadata=SCHEDULING)
    trials: Any = field(default="auto", metadata=SCHEDULING)
    extend: str | None = field(default=None, metadata=SCHEDULING)
    seeds: str | None = field(default=None, metadata=SCHEDULING)
    max_cells: int | None = field(default=None, metadata=SCHEDULING)
    zip: Any = field(default_factory=list, metadata=SCHEDULING)
    exclude: Any = field(default_factory=list, metadata=SCHEDULING)
    only: Any = field(default_factory=list, metadata=SCHEDULING)


@dataclass
class Config(SweepOptions, RunConfig):
    """Both, as they are typed on one command line; a room asks for the part that it needs."""


def use_of(name: str) -> Use:
    """Returns what a top-level setting is for."""
    use: Use = Config.__dataclass_fields__[name].metadata.get("use", Use.RESULT)
    return use


NOT_IDENTITY = tuple(each.name for each in fields(Config) if use_of(each.name) is not Use.RESULT)
"""Changing these does not change a result."""


def earlier_values(settings: type, prefix: str = "") -> dict[str, Any]:
    """Returns what stood for the later settings of a class before there were any, by dotted key."""
    return {
        f"{prefix}{each.name}": each.metadata["before"]
        for each in fields(settings)
        if "before" in each.metadata
    }
