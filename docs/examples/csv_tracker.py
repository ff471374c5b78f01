"""The smallest tracker: for each run a folder with its settings, points, files and ending."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from sweeps.tracking import Ending, Point, RunToTrack


class CsvTracker:
    name, where = "CSV", "The folder of CSV files"

    def __init__(self, output_dir: Path) -> None:
        self._folder = output_dir / "csv"

    def connect(self) -> str:
        self._folder.mkdir(parents=True, exist_ok=True)
        return str(self._folder)

    def open_run(self, run: RunToTrack) -> str:
        for key in run.replaces:
            shutil.rmtree(self._folder / key, ignore_errors=True)
        folder = self._folder / run.key
        folder.mkdir(exist_ok=True)
        about = {"name": run.name, "parent": run.parent, **run.params}
        (folder / "about.json").write_text(json.dumps(about))
        (folder / "ended.json").unlink(missing_ok=True)
        return run.key

    def log(self, run_id: str, points: Sequence[Point]) -> None:
        path = self._folder / run_id / "points.csv"
        known = set(path.read_text().splitlines()) if path.exists() else set()
        rows = [f"{p.key},{p.step},{p.time_ms},{p.value}" for p in points]
        with path.open("a") as file:
            file.writelines(f"{row}\n" for row in rows if row not in known)

    def log_files(self, run_id: str, files: Sequence[tuple[Path, str | None]]) -> None:
        for path, folder in files:
            if path.exists():
                target = self._folder / run_id / "files" / (folder or "")
                target.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, target)

    def close_run(self, run_id: str, ending: Ending | None) -> None:
        if ending is not None:
            ended = {"status": ending.status, **{p.key: p.value for p in ending.summary}}
            (self._folder / run_id / "ended.json").write_text(json.dumps(ended))
