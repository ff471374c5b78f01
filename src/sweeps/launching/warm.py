"""Imported once by the fork server, so that each run's process starts with everything loaded.

Nothing here may touch CUDA or start a thread of torch: neither survives a fork.
"""

from __future__ import annotations

import gc
from pathlib import Path

import cloudpickle  # noqa: F401
import hydra.core.utils  # noqa: F401
import torch._dynamo
import torch._inductor.config  # noqa: F401 - every optimizer imports them, for seconds

import sweeps.build
import sweeps.checkpoint
import sweeps.data.sources
import sweeps.launching.worker
import sweeps.runner  # noqa: F401
from sweeps.standing import code_digest
from sweeps.tracking.environment import capture_environment, capture_git

capture_environment()
capture_git(Path.cwd())
code_digest(())
gc.collect()
gc.freeze()  # collections in the children leave the shared pages alone
