"""What decides the bits of a result besides the config: the machine, torch's switches, the weights."""

from __future__ import annotations

import hashlib
import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


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
