"""The cells of a sweep: what was asked for, where each lives, and how far each has come."""

from __future__ import annotations

import contextlib
import logging
import pickle
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import OmegaConf, open_dict, read_write

from sweeps.config import describe, identity, parse
from sweeps.config.resolvers import CELL_FOLDER, cell_folder
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


@dataclass(eq=False)
class Cell:
    """One combination of a sweep.

    Attributes:
        overrides: What makes it, such as ['optimizer=sgd', 'lr=0.1'].
        config: Its checked config.
        identity: The hash of what determines its result.
        folder: Where its run lives.
        composed: What Hydra composed, its own node included, pickled: a thousand take 25 MB so.
        label: What it is called in this sweep; a strategy may shorten it.
        record: What its run had come to when `load` read it last; None while it runs.
    """

    overrides: list[str]
    config: Config
    identity: str
    folder: Path
    composed: bytes = field(repr=False)
    label: str
    record: RunRecord | None = None

    @property
    def paths(self) -> RunPaths:
        """The files of its run."""
        return RunPaths(self.folder)

    @property
    def name(self) -> str:
        """Its overrides, as its run is called."""
        return describe(self.overrides)

    @property
    def standing(self) -> Standing:
        """What is to be done for it, as its record says."""
        return standing(self.record)

    def load(self) -> RunRecord | None:
        """Reads what its run has come to.

        Raises:
            BadInputError: Its folder holds another run.
        """
        self.record = RunRecord.load(self.paths)
        if self.record is not None and self.record.identity != self.identity:
            raise BadInputError(
                f"{self.folder} holds another run. Choose another name=..., or delete that folder."
            )
        return self.record


class Composition:
    """Composes the cells of one sweep.

    Args:
        hydra_context: Hydra's.
        master: The config of the sweep.

    Attributes:
        folder: Of the sweep.
    """

    def __init__(self, hydra_context: HydraContext, master: DictConfig) -> None:
        self._loader, self._master = hydra_context.config_loader, master
        # Resolved on the master first: cells inherit its answers, so a fresh name is the same for all.
        self.folder = Path(str(master.hydra.sweep.dir)).absolute()
        self._there = sorted(path.name for path in self.folder.glob("*-*"))

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """Returns the config that Hydra makes of overrides."""
        return self._loader.load_sweep_config(self._master, list(overrides))

    def cell(
        self, overrides: list[str], composed: DictConfig | None = None, *, number: int = 0
    ) -> Cell:
        """Returns the cell of some overrides.

        Args:
            overrides: What makes it.
            composed: What Hydra made of them, where that is known.
            number: Its place in the sweep.

        Raises:
            BadInputError: It is no valid config.
        """
        composed = self.compose(overrides) if composed is None else composed
        config = parse(composed)
        digest = identity(config)
        with read_write(composed), open_dict(composed):
            composed.hydra.job.num, composed.hydra.job.id = number, str(number)
            if OmegaConf.to_container(composed.hydra.sweep)["subdir"] == CELL_FOLDER:  # type: ignore[call-overload, index]
                # Said here, and in its process nobody has to parse it to know.
                task = [str(override) for override in composed.hydra.overrides.task]
                composed.hydra.sweep.subdir = cell_folder(task, digest, self._there)
        folder = self.folder / str(composed.hydra.sweep.subdir)
        pickled = pickle.dumps(composed)
        return Cell(overrides, config, digest, folder, pickled, label=describe(overrides))


def compose_cells(
    grid: Sequence[list[str]], hydra_context: HydraContext, master: DictConfig
) -> list[Cell]:
    """Returns the cells of a grid with their configs, each checked for itself.

    Raises:
        BadInputError: A cell is no valid config; nothing was started.
    """
    composition = Composition(hydra_context, master)
    return cells_of([(overrides, None) for overrides in grid], composition)


def cells_of(
    grid: Sequence[tuple[list[str], bytes | None]], composition: Composition
) -> list[Cell]:
    """Returns the cells of a grid, of which some are composed already, see `compose_cells`."""
    cells = []
    said = time.monotonic()
    for number, (overrides, pickled) in enumerate(grid):
        if time.monotonic() - said > SAY_EVERY_S:
            said = time.monotonic()
            log.info("Checking the runs: %d of %d.", number, len(grid))
        composed = None if pickled is None else pickle.loads(pickled)  # noqa: S301 - ours
        with naming_cell(overrides, of=len(grid)):
            cells.append(composition.cell(overrides, composed, number=number))
    return cells


def form_of(cell: Cell) -> str:
    """Returns what decides whether a cell can be built: rates and seeds do not."""
    varying = ("lr", "seed", "name")
    form = {key: value for key, value in vars(cell.config).items() if key not in varying}
    form["optimizer"] = {k: v for k, v in cell.config.optimizer.as_mapping().items() if k != "lr"}
    return repr(form)


def without_duplicates(cells: Sequence[Cell]) -> list[Cell]:
    """Returns the first cell of each identity, which is never trained twice."""
    first: dict[str, Cell] = {}
    for cell in cells:
        first.setdefault(cell.identity, cell)
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
