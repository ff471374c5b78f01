"""What decides the bits of a result besides the config: the machine, torch's switches, the weights."""

from __future__ import annotations

import hashlib
import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from sweeps.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


def find_device(name: str) -> torch.device:
    """Returns the device of a name; 'auto' takes cuda, else cpu.

    MPS must be asked for: some of its operations are wrong or refused, differently from release to
    release.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    mps = torch.backends.mps.is_available()
    if name == "auto":
        name = "cuda" if gpus else "cpu"
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= gpus:
        raise BadInputError(
            f"device={name}: this machine has {gpus} CUDA device{'s' * (gpus != 1)}"
            f"{f' (cuda:0 to cuda:{gpus - 1})' if gpus else ''}. Type device=auto or device=cpu."
        )
    if device.type == "mps" and not mps:
        raise BadInputError("device=mps: this machine has none. Type device=auto or device=cpu.")
    return device


def set_determinism(*, deterministic: bool) -> None:
    """Makes torch refuse operations whose bits vary, or allows the fastest of each."""
    # Read once, by the first matrix product of a process; see torch's notes on reproducibility.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(deterministic)
    # Filling every new tensor finds reads of unset memory, for a third of the time of a CPU's step;
    # a proof by sweeps.reproduce finds them as well.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = not deterministic


def describe_numerics(device: torch.device) -> dict[str, Any]:
    """Returns the device's name and every switch of torch that can change a bit, as they are now."""
    switches = {
        "device_name": _device_name(device),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "matmul_precision": _matmul_precision(),
        "mkldnn": bool(torch.backends.mkldnn.enabled),
    }
    if device.type != "cuda":
        return switches
    return switches | {
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "convolution_precision": _convolution_precision(),
        "cublas_workspace": os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
    }


def weights_digest(state: Mapping[str, Tensor]) -> str:
    """Returns the SHA-256, in hex, over the name, type, shape and bits of every tensor of a model."""
    sha = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        sha.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}\n".encode())
        sha.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()


def _matmul_precision() -> str:
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:  # somebody has set it by the newer names of these switches
        return str(torch.backends.cuda.matmul.fp32_precision)


def _convolution_precision() -> str:
    """Returns 'tf32', torch's default on a GPU, or 'ieee'."""
    newer: Any = getattr(torch.backends.cudnn, "conv", None)
    if hasattr(newer, "fp32_precision"):
        return str(newer.fp32_precision)
    return "tf32" if torch.backends.cudnn.allow_tf32 else "ieee"  # before torch 2.9


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:  # only Linux has it
        pass
    return platform.processor() or platform.machine()
