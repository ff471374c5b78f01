"""Which classes are taken for which: from the test predictions that the runs of a setting keep."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sweeps.runs.outcome import Outcome
from sweeps.runs.paths import RunPaths

if TYPE_CHECKING:
    from pathlib import Path

    from sweeps.analysis.ranking import Setting


log = logging.getLogger(__name__)

HARDEST = 3
"""Classes that a sentence names."""


@dataclass(frozen=True)
class Confusion:
    """A confusion matrix over the runs of a setting.

    Attributes:
        classes: Their names, by index.
        counts: Test images by true class (rows) and predicted class (columns), summed over the runs.
        runs: How many runs those are.
    """

    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    runs: int

    @property
    def accuracies(self) -> list[float | None]:
        """The accuracy of each class, the recall; None for a class without a test image."""
        sums = [sum(row) for row in self.counts]
        return [
            row[i] / total if total else None
            for i, (row, total) in enumerate(zip(self.counts, sums, strict=True))
        ]

    def taken_for(self, index: int) -> tuple[str, int] | None:
        """Returns the class that images of one are most often mistaken for, and how many are."""
        wrong = [
            (count, -other) for other, count in enumerate(self.counts[index]) if other != index
        ]
        count, place = max(wrong, default=(0, 0))
        return (self.classes[-place], count) if count else None

    def in_words(self) -> str:
        """Returns a sentence on the classes with the lowest accuracies."""
        known = [(a, i) for i, a in enumerate(self.accuracies) if a is not None]
        hard = [self._hard(a, i) for a, i in sorted(known)[:HARDEST] if a < 1]
        if not hard:
            return "No test image is taken for another class."
        return f"Lowest test accuracy by class: {'; '.join(hard)}."

    def _hard(self, accuracy: float, index: int) -> str:
        mistaken = self.taken_for(index)
        most = f" (most taken for {mistaken[0]})" if mistaken else ""
        return f"{self.classes[index]} {accuracy:.3f}{most}"


def confusion_of(setting: Setting) -> Confusion | None:
    """Returns the matrix of a setting's finished runs, or None where none has kept its predictions."""
    import numpy as np

    names: tuple[str, ...] = ()
    found = []
    for run in setting.runs:
        classes = (
            _predictions(run.folder) if run.outcome == Outcome.FINISHED and run.folder else None
        )
        if classes is not None:
            found.append(classes)
            names = run.classes or names
    if not found:
        return None
    count = max(len(names), *(int(side.max()) + 1 for sides in found for side in sides))
    matrix = np.zeros((count, count), dtype=int)
    for predicted, true in found:
        np.add.at(matrix, (true.astype(int), predicted.astype(int)), 1)
    names = names + tuple(str(index) for index in range(len(names), count))
    return Confusion(names, tuple(tuple(map(int, row)) for row in matrix), len(found))


def _predictions(folder: Path) -> tuple[Any, Any] | None:
    """Returns the predicted and the true classes (n,) of a run, or None where it has none."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path = RunPaths(folder).predictions
    try:
        kept = load_file(path)
        predicted, true = kept["predicted"], kept["true"]
    except FileNotFoundError:
        return None
    except (OSError, KeyError, SafetensorError) as error:
        log.warning("%s cannot be read (%s): its run is in no confusion matrix.", path, error)
        return None
    same = predicted.shape == true.shape and predicted.ndim == 1 and predicted.size
    return (predicted, true) if same and min(predicted.min(), true.min()) >= 0 else None
