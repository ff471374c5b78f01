"""Every file name of the output folder, each owned by one class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


OTHER_MIRRORS = "mirror.{}.json"
"""The mirror's note for a tracker; MLflow's is older, and has a name of its own."""


@dataclass(frozen=True)
class RunPaths:
    """The files of one run's folder."""

    folder: Path

    @property
    def hydra(self) -> Path:
        """Folder of the saved config, overrides and hydra settings."""
        return self.folder / ".hydra"

    @property
    def config(self) -> Path:
        """The task config, enough to repeat the run."""
        return self.hydra / "config.yaml"

    @property
    def record(self) -> Path:
        """Identity, status, outcome and result."""
        return self.folder / "run.json"

    @property
    def metrics(self) -> Path:
        """Every metric point, one JSON object a line."""
        return self.folder / "metrics.jsonl"

    @property
    def metric_times(self) -> Path:
        """When points were first written that a continued run is writing again."""
        return self.folder / "metrics.times.json"

    @property
    def checkpoint(self) -> Path:
        """The last complete training state."""
        return self.folder / "checkpoint.pt"

    @property
    def previous_checkpoint(self) -> Path:
        """The complete training state before the last one, for when the last one is damaged."""
        return self.folder / "checkpoint.previous.pt"

    @property
    def weights(self) -> Path:
        """The weights of the epoch that was picked, the best one or the last."""
        return self.folder / "model.safetensors"

    def weights_after(self, epoch: int | str) -> Path:
        """Returns where the weights after an epoch are, counted from 1; '*' matches all."""
        return self.folder / "epochs" / f"{epoch}.safetensors"

    @property
    def predictions(self) -> Path:
        """The class of each test image as the best epoch predicts it, and as it is."""
        return self.folder / "predictions.safetensors"

    @property
    def log(self) -> Path:
        """What the run said."""
        return self.folder / "train.log"

    @property
    def environment(self) -> Path:
        """Python, platform and package versions."""
        return self.folder / "environment.json"

    @property
    def diff(self) -> Path:
        """Uncommitted changes of the code when the run started."""
        return self.folder / "uncommitted.diff"

    @property
    def mirror(self) -> Path:
        """What MLflow already has of this run; written by the mirror alone."""
        return self.mirror_for("MLflow")

    def mirror_for(self, tracker: str) -> Path:
        """Returns the mirror's note of what a tracker already has."""
        return _mirror(self.folder, tracker)

    def mirrors(self) -> list[Path]:
        """Returns the mirror's notes."""
        return [self.mirror, *sorted(self.folder.glob(OTHER_MIRRORS.format("*")))]

    def leftovers(self) -> list[Path]:
        """Returns what a killed training has left half written; the controller's is not among it."""
        theirs = tuple(f".{name}" for name in (self.mirror.name, "mirror.", self.trial.name))
        return [p for p in self.folder.glob(".*.tmp") if not p.name.startswith(theirs)]

    @property
    def proof(self) -> Path:
        """Whether this run repeated another one exactly; written by `sweeps.reproduction` alone."""
        return self.folder / "reproduction.json"

    @property
    def trial(self) -> Path:
        """Which trial of a search this run is, and why it ended; written by the search alone."""
        return self.folder / "trial.json"

    @property
    def suggested_lr(self) -> Path:
        """What a range test picked; written by `sweeps.runs.range_test` alone."""
        return self.folder / "suggested_lr.json"

    @property
    def tensorboard(self) -> Path:
        """Event files, where TensorBoard is asked for."""
        return self.folder / "tensorboard"

    @property
    def lock(self) -> Path:
        """Held by the process that trains here."""
        return self.folder / ".lock"


@dataclass(frozen=True)
class SweepPaths:
    """The files of one sweep's folder; its cells are run folders below it."""

    folder: Path

    @property
    def record(self) -> Path:
        """Name, status and commands of the sweep."""
        return self.folder / "sweep.json"

    @property
    def multirun(self) -> Path:
        """The sweep's own config, as Hydra saves it."""
        return self.folder / "multirun.yaml"

    @property
    def results_csv(self) -> Path:
        """The final table for other programs."""
        return self.folder / "results.csv"

    @property
    def results_markdown(self) -> Path:
        """The final table for people."""
        return self.folder / "results.md"

    @property
    def mirror(self) -> Path:
        """What MLflow already has of the parent run; written by the mirror alone."""
        return self.mirror_for("MLflow")

    def mirror_for(self, tracker: str) -> Path:
        """Returns the mirror's note of what a tracker already has."""
        return _mirror(self.folder, tracker)

    @property
    def lock(self) -> Path:
        """Held by the command that runs this sweep."""
        return self.folder / ".lock"

    def trials(self) -> list[RunPaths]:
        """Returns the folders that a search has given to a trial, in the order of their names."""
        return [RunPaths(path.parent) for path in sorted(self.folder.glob("*/trial.json"))]

    def cells(self) -> list[RunPaths]:
        """Returns the folders that hold a run, in the order of their names."""
        return [RunPaths(path.parent) for path in sorted(self.folder.glob("*/run.json"))]

    @property
    def report(self) -> Path:
        """The comparison of the runs, one HTML file for people."""
        return self.folder / "report.html"

    @property
    def figures(self) -> Path:
        """Folder of the report's figures, one SVG file each."""
        return self.folder / "figures"

    @property
    def measures(self) -> Path:
        """The measures of each optimizer, or of another axis, for the tracking store."""
        return self.folder / "measures.json"

    @property
    def note(self) -> Path:
        """The answer and the table in Markdown, the description of the parent run."""
        return self.folder / "note.md"


def range_test_paths(folder: Path, name: str) -> RunPaths:
    """Returns where a range test lives: in the folder of its run or sweep, out of sight of `cells`."""
    return RunPaths(folder / "range_tests" / name)


def range_tests(folder: Path) -> list[RunPaths]:
    """Returns the range tests of a run or a sweep, in the order of their names."""
    return [
        RunPaths(path.parent)
        for path in sorted(range_test_paths(folder, "*").folder.parent.glob("*/run.json"))
    ]


def _mirror(folder: Path, tracker: str) -> Path:
    name = "mlflow.json" if tracker == "MLflow" else OTHER_MIRRORS.format(tracker.lower())
    return folder / name
