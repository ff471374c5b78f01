"""Which epoch is the result of a training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweeps.training.objective import maximised

if TYPE_CHECKING:
    from torch import nn

    from sweeps.training.checkpoint import TrainState


def keep_best(
    state: TrainState,
    metrics: dict[str, float],
    model: nn.Module,
    *,
    by: str,
    pick: str,
) -> bool:
    """Keeps the values and weights of the epoch that has ended where they are the result so far.

    Args:
        state: Takes them; the weights as copies on the CPU.
        metrics: Of the epoch.
        model: As it is now.
        by: The objective; an epoch without it is passed over.
        pick: Whether the 'best' epoch is the result, of equals the first, or the 'last'.

    Returns:
        Whether this epoch is the result so far.
    """
    value = metrics.get(by)
    if value is None:
        return False
    sign = 1 if maximised(by) else -1
    better = state.best_value is None or sign * value > sign * state.best_value
    if not better and pick == "best":
        return False
    state.best_value, state.best_epoch = value, state.epoch
    state.best_metrics = dict(metrics)
    state.best_model = {
        name: tensor.detach().to("cpu", copy=True) for name, tensor in model.state_dict().items()
    }
    return True
