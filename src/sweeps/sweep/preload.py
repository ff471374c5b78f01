"""Imported once by the fork server, so that each run's process starts with everything loaded.

Nothing here may touch CUDA or start a thread of torch: neither survives a fork.
"""

from __future__ import annotations

import gc
from pathlib import Path

import cloudpickle  # noqa: F401
import hydra._internal.logging_config
import hydra.core.utils  # noqa: F401
import numpy.ctypeslib  # noqa: F401
import safetensors.torch  # noqa: F401
import torch._dynamo
import torch._inductor.config  # noqa: F401 - every optimizer imports them, for seconds
from hydra.core.plugins import Plugins

import sweeps.data.sources
import sweeps.launchers.hydra_job
import sweeps.launchers.local.worker
import sweeps.runs.begin
import sweeps.runs.build
import sweeps.runs.runner
import sweeps.sweep.cell_task
import sweeps.training.checkpoint
import sweeps.training.determinism
import sweeps.training.models  # noqa: F401
from sweeps.runs.provenance import capture_environment, capture_git, code_digest

Plugins.instance()  # looks through all installed packages for plugins of Hydra
capture_environment()
capture_git(Path.cwd())
code_digest(())
gc.collect()
gc.freeze()  # collections in the children leave the shared pages alone
