"""Finds runs by what a person calls them: a sweep's name, a folder, an MLflow run id, an experiment."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sweeps.config import TrackingConfig
from sweeps.errors import BadInputError, did_you_mean
from sweeps.files import read_json
from sweeps.runs.paths import RunPaths, SweepPaths
from sweeps.runs.results import Collection, read_folder
from sweeps.tracking import RUN_ID, settings
from sweeps.tracking.address import sqlite_file

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sweeps.config import Config


@dataclass(frozen=True)
class Sources:
    """Where runs are looked for: in the folders first, which know most, then in the store.

    Args:
        output_dir: Holds sweeps/NAME and runs/NAME.
        tracking_uri: The MLflow store.
        experiment: The experiment in which a sweep's name is looked for.
    """

    output_dir: Path
    tracking_uri: str
    experiment: str | None

    @classmethod
    def choose(
        cls, output_dir: Path, tracking_uri: str | None = None, experiment: str | None = None
    ) -> Sources:
        """Returns what was given, or else what the environment says, or else our defaults."""
        asked = TrackingConfig(uri=tracking_uri, experiment=experiment)
        uri = settings.tracking_uri(asked, output_dir)
        return cls(output_dir, uri, settings.experiment_name(asked))

    @classmethod
    def of(cls, config: Config) -> Sources:
        """Returns where the runs of a config go."""
        tracking = config.tracking
        return cls.choose(Path(config.output_dir), tracking.uri, tracking.experiment)

    def read(self, names: Iterable[str]) -> Collection:
        """Returns the runs of sweeps.

        Args:
            names: Of sweeps; or their folders, or their MLflow run ids.

        Raises:
            BadInputError: There is no such sweep; the message lists those there are.
        """
        found = Collection(())
        for name in names:
            found = found + self._read(name)
        return found

    def read_experiment(self, filter_words: str) -> Collection:
        """Returns the runs of the experiment that MLflow's filter lets through."""
        from sweeps.tracking.mlflow.reader import StoreReader

        return StoreReader(self.tracking_uri).experiment(self.experiment, filter_words)

    def known(self) -> str:
        """Returns in a sentence which sweeps there are."""
        names, folder = self._names(), self.output_dir / "sweeps"
        if not names:
            return f"{folder} has none yet; type: python -m sweeps.train -m lr=0.1,0.01"
        more = f" and {len(names) - 20} more" if len(names) > 20 else ""
        return f"{folder} has: {', '.join(names[:20])}{more}."

    def _read(self, name: str) -> Collection:
        """Reads one source: its folder where it is on this disk, else the store."""
        folder = self._folder(name)
        if folder is not None:
            return read_folder(folder)
        uri = self.tracking_uri
        local = sqlite_file(uri)
        looks_like_path = os.sep in name
        if not looks_like_path and (local is None or local.exists()):
            from sweeps.tracking.mlflow.reader import StoreReader

            reader = StoreReader(uri)
            if RUN_ID.fullmatch(name):
                return reader.children(name)
            collection = reader.sweep(name, self.experiment)
            if collection.runs:
                return collection
        raise BadInputError(
            f"There is no sweep '{name}': no folder of that name, none in"
            f" {self.output_dir / 'sweeps'}, no run in {uri}."
            f"{did_you_mean(name, self._names())} {self.known()}"
        )

    def _folder(self, name: str) -> Path | None:
        places = [Path(name), self.output_dir / "sweeps" / name, self.output_dir / "runs" / name]
        for place in places:
            if SweepPaths(place).record.exists() or RunPaths(place).record.exists():
                return place
            if place.is_dir() and SweepPaths(place).cells():
                return place
        if RUN_ID.fullmatch(name):
            for note in sorted(self.output_dir.glob("sweeps/*/mlflow.json")):
                try:
                    known = read_json(note) or {}
                except ValueError:
                    continue
                if known.get("run_id") == name:
                    return note.parent
        return None

    def _names(self) -> list[str]:
        return sorted(path.parent.name for path in self.output_dir.glob("sweeps/*/sweep.json"))
