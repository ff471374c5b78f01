"""Files of tensors that anyone may open: weights, and what was predicted of the test images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sweeps.files import replace_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor


def save_weights(path: Path, weights: dict[str, Any]) -> None:
    """Writes weights by their names, atomically."""
    from safetensors.torch import save

    # Shared or strided tensors are no form safetensors takes.
    content = save({name: tensor.contiguous().clone() for name, tensor in weights.items()})
    path.parent.mkdir(exist_ok=True)
    replace_bytes(path, content)


def save_predictions(path: Path, classes: Tensor) -> None:
    """Writes classes (2, n), as predicted and true, atomically."""
    from safetensors.torch import save

    predicted, true = classes
    replace_bytes(path, save({"predicted": predicted.clone(), "true": true.clone()}))
