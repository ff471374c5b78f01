"""The cells of a sweep: what was asked for, where each lives, and how far each has come."""

from __future__ import annotations

import contextlib
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import OmegaConf

from sweeps.config import describe, identity, parse
from sweeps.errors import BadInputError
from sweeps.runs.paths import RunPaths
from sweeps.runs.record import RunRecord
from sweeps.runs.resume import standing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hydra.types import HydraContext
    from omegaconf import DictConfig

    from sweeps.config import Config
    from sweeps.runs.resume import Standing


log = logging.getLogger(__name__)

SAY_EVERY_S = 3.0


@dataclass(frozen=True)
class Cell:
    """One combination of a sweep.

    Attributes:
        overrides: What makes it, such as ['optimizer=sgd', 'lr=0.1'].
        config: Its checked config.
        folder: Where its run lives.
    """

    overrides: list[str]
    config: Config
    folder: Path

    @property
    def paths(self) -> RunPaths:
        """The files of its run."""
        return RunPaths(self.folder)

    @property
    def name(self) -> str:
        """Its overrides, as its run is called."""
        return describe(self.overrides)

    def load(self) -> RunRecord | None:
        """Returns what its run has come to, or None."""
        record = RunRecord.load(self.paths)
        if record is not None and record.identity != identity(self.config):
            raise BadInputError(
                f"{self.folder} holds another run. Choose another name=..., or delete that folder."
            )
        return record

    def standing(self) -> Standing:
        """Returns what is to be done for it."""
        return standing(self.load())


def compose_cells(
    grid: Sequence[list[str]], hydra_context: HydraContext, master: DictConfig
) -> list[Cell]:
    """Returns the cells of a grid with their configs, each checked for itself.

    Raises:
        BadInputError: A cell is no valid config; nothing was started.
    """
    cells = []
    # Resolved on the master first: cells inherit its answers, so a fresh name is the same for all.
    sweep_dir = Path(str(master.hydra.sweep.dir)).absolute()
    said = time.monotonic()
    for number, overrides in enumerate(grid):
        if time.monotonic() - said > SAY_EVERY_S:
            said = time.monotonic()
            log.info("Checking the runs: %d of %d.", number, len(grid))
        composed = hydra_context.config_loader.load_sweep_config(master, list(overrides))
        with naming_cell(overrides, of=len(grid)):
            config = parse(composed)
        OmegaConf.set_readonly(composed, False)
        composed.hydra.job.num = number
        composed.hydra.job.id = str(number)
        cells.append(Cell(overrides, config, sweep_dir / str(composed.hydra.sweep.subdir)))
    return cells


def form_of(cell: Cell) -> str:
    """Returns what decides whether a cell can be built: rates and seeds do not."""
    varying = ("lr", "seed", "name")
    form = {key: value for key, value in vars(cell.config).items() if key not in varying}
    form["optimizer"] = {k: v for k, v in form["optimizer"].items() if k != "lr"}
    return repr(form)


def without_duplicates(cells: Sequence[Cell]) -> list[Cell]:
    """Returns the first cell of each identity, which is never trained twice."""
    first: dict[str, Cell] = {}
    for cell in cells:
        first.setdefault(identity(cell.config), cell)
    return list(first.values())


@contextlib.contextmanager
def naming_cell(overrides: list[str], *, of: int) -> Iterator[None]:
    """Says in which of several cells the input is bad."""
    try:
        yield
    except BadInputError as error:
        if of == 1:
            raise
        raise BadInputError(f"Cell {' '.join(overrides)}: {error} Nothing was started.") from None
