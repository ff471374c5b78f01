"""What the process of a cell does: trains it, and reports to the search, if there is one."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sweeps.runs.paths import RunPaths
from sweeps.runs.runner import run
from sweeps.sweep.reporter import observer
from sweeps.sweep.single import request_with

if TYPE_CHECKING:
    from hydra.types import TaskFunction
    from omegaconf import DictConfig

    from sweeps.config import Config
    from sweeps.launchers.channel import Channel


@dataclass(frozen=True)
class CellTask:
    """Trains one cell.

    Attributes:
        config: As the controller has checked it.
        threads: CPU threads of the runs of this sweep, or None for torch's own number.
    """

    config: Config
    threads: int | None

    def __call__(self, channel: Channel | None) -> TaskFunction:
        """Returns what trains the cell, given what Hydra composed, and reports by a channel."""
        return functools.partial(self._train, channel)

    def _train(self, channel: Channel | None, cfg: DictConfig) -> float | None:
        request = request_with(self.config, cfg, threads=self.threads)
        observe = observer(self.config, RunPaths(request.folder), channel)
        return run(request, observe).objective_value
