"""The types behind conf/: YAML holds values, these classes hold types."""

from __future__ import annotations

import functools
from dataclasses import MISSING as REQUIRED
from dataclasses import dataclass, field, fields, make_dataclass
from typing import Any, get_type_hints

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf

from sweeps.config.config import (
    Config,
    DataSettings,
    OptimizerSettings,
    ScheduleSettings,
    SearchConfig,
    TrackingConfig,
    earlier_values,
)


@dataclass
class Optimizer(OptimizerSettings):
    """What every optimizer has; any other argument of its class may be typed too."""

    _target_: str = MISSING
    lr: float = MISSING


@dataclass
class SGD(Optimizer):
    """Stochastic gradient descent."""

    momentum: float = MISSING
    nesterov: bool = MISSING
    weight_decay: float = MISSING


@dataclass
class Adam(Optimizer):
    """Adam and AdamW."""

    betas: list[float] = MISSING
    eps: float = MISSING
    weight_decay: float = MISSING


@dataclass
class RMSprop(Optimizer):
    """RMSprop."""

    alpha: float = MISSING
    eps: float = MISSING
    momentum: float = MISSING
    weight_decay: float = MISSING


@dataclass
class Adagrad(Optimizer):
    """Adagrad."""

    lr_decay: float = MISSING
    eps: float = MISSING
    weight_decay: float = MISSING


@dataclass
class LaterOptimizer(Optimizer):
    """One that was optimizer=custom before it had a word of its own.

    Its numbers keep the form in which they were typed, 0 or 0.0: identities were made of it.
    """

    weight_decay: float = MISSING


@dataclass
class Adadelta(LaterOptimizer):
    """Adadelta."""

    rho: float = MISSING
    eps: float = MISSING


@dataclass
class Adafactor(LaterOptimizer):
    """Adafactor."""

    beta2_decay: float = MISSING
    d: float = MISSING


@dataclass
class ASGD(LaterOptimizer):
    """Averaged stochastic gradient descent."""

    lambd: float = MISSING
    alpha: float = MISSING
    t0: float = MISSING


@dataclass
class TwoMoments(LaterOptimizer):
    """Relatives of Adam."""

    betas: list[float] = MISSING
    eps: float = MISSING


@dataclass
class NAdam(TwoMoments):
    """Adam with Nesterov's momentum."""

    momentum_decay: float = MISSING
    decoupled_weight_decay: bool = MISSING


@dataclass
class RAdam(TwoMoments):
    """Adam whose first steps are rectified."""

    decoupled_weight_decay: bool = MISSING


@dataclass
class Rprop(LaterOptimizer):
    """Resilient backpropagation."""

    etas: list[float] = MISSING
    step_sizes: list[float] = MISSING


@dataclass
class LBFGS(LaterOptimizer):
    """Limited-memory BFGS, several losses a step."""

    max_iter: int = MISSING
    history_size: int = MISSING
    line_search_fn: str | None = MISSING


@dataclass
class Muon(TwoMoments):
    """Muon for hidden matrices, AdamW for the rest."""

    momentum: float = MISSING
    nesterov: bool = MISSING
    ns_steps: int = MISSING


@dataclass
class ScheduleFreeSGD(LaterOptimizer):
    """Schedule-free SGD."""

    momentum: float = MISSING
    warmup_steps: int = MISSING


@dataclass
class ScheduleFreeAdamW(TwoMoments):
    """Schedule-free AdamW."""

    warmup_steps: int = MISSING


@dataclass
class Prodigy(TwoMoments):
    """Prodigy, which finds the size of its steps."""

    d_coef: float = MISSING
    use_bias_correction: bool = MISSING
    safeguard_warmup: bool = MISSING


@dataclass
class Lion(LaterOptimizer):
    """Lion."""

    betas: list[float] = MISSING


@dataclass
class SOAP(TwoMoments):
    """Adam in the eigenbasis of Shampoo's preconditioner."""

    precondition_frequency: int = MISSING


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
class Schedule(ScheduleSettings):
    """What every schedule has."""

    _target_: str = MISSING


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
class DataConfig(DataSettings):
    """What every data set has; a choice adds the arguments of its source."""

    _target_: str = MISSING


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
    resize: str = field(default="squash", metadata={"before": "squash"})


@dataclass
class Synthetic(DataConfig):
    """Generated images."""

    samples: int = MISSING
    test_samples: int = MISSING
    channels: int = MISSING
    image_size: int = MISSING
    classes: int = MISSING
    noise: float = MISSING


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
    "torch.optim.Adadelta": Adadelta,
    "torch.optim.Adafactor": Adafactor,
    "torch.optim.Adamax": TwoMoments,
    "torch.optim.ASGD": ASGD,
    "torch.optim.NAdam": NAdam,
    "torch.optim.RAdam": RAdam,
    "torch.optim.Rprop": Rprop,
    "torch.optim.LBFGS": LBFGS,
    "sweeps.optimizers.Muon": Muon,
    "schedulefree.SGDScheduleFree": ScheduleFreeSGD,
    "schedulefree.AdamWScheduleFree": ScheduleFreeAdamW,
    "prodigyopt.Prodigy": Prodigy,
    "pytorch_optimizer.Lion": Lion,
    "pytorch_optimizer.SOAP": SOAP,
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


_DATA = {schema for schema in TARGETS.values() if issubclass(schema, DataConfig)}

BEFORE_IN_ALL = (
    earlier_values(Config)
    | earlier_values(DataConfig, "data.")
    | earlier_values(OptimizerSettings, "optimizer.")
)
"""What stood for the keys that every run has by now, before there were any."""

BEFORE = BEFORE_IN_ALL.copy()
for _schema in _DATA:
    BEFORE |= earlier_values(_schema, "data.")
"""What runs had before there was such a key, which their identity does not name."""


@functools.cache
def key_types() -> dict[str, str]:
    """Returns the annotation of each setting whose key alone says what it is, such as 'str | None'."""
    schemas: list[tuple[str, Any]] = [("", Config)]
    schemas += [("tracking.", TrackingConfig), ("search.", SearchConfig)]
    schemas += [("optimizer.", OptimizerSettings)]
    schemas += [("data.", schema) for schema in _DATA]
    return {
        f"{prefix}{each.name}": str(each.type)
        for prefix, schema in schemas
        for each in fields(schema)
        if each.name not in ("_target_", *CHOSEN)
    }


def _flat(name: str, **types: Any) -> type:
    """Returns a class for OmegaConf with every top-level key; groups are plain mappings there.

    Args:
        name: Of the class, by which pickled configs find it here.
        types: Of keys that have another type than in a checked config.
    """
    hints = get_type_hints(Config) | types
    listed: list[Any] = []
    for each in fields(Config):
        if each.name in (*GROUPS, "tracking", "search"):
            listed.append((each.name, dict[str, Any], field(default_factory=dict)))
        elif each.default is REQUIRED:
            listed.append(
                (each.name, hints[each.name], field(default_factory=each.default_factory))
            )
        else:
            listed.append((each.name, hints[each.name], field(default=each.default)))
    return make_dataclass(name, listed, namespace={"__module__": __name__})


Flat = _flat("Flat")
"""What a config has at its top."""

Typed = _flat("Typed", lr=Any)
"""What may be typed: lr=auto becomes a number before there is a run."""


def register() -> None:
    """Tells Hydra the types of the top-level values.

    An optimizer is open for any argument of its class, which is known when it is built.
    """
    node: DictConfig = OmegaConf.structured(Typed)
    node.optimizer._set_flag("struct", False)
    ConfigStore.instance().store(name="schema", node=node)
