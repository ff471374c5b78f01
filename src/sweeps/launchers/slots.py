"""Who may run where: a slot is a share of the cores, or a place on a GPU."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["cpu", "gpu"]


@dataclass(frozen=True)
class Slot:
    """A place for one run.

    Attributes:
        gpu: Index among the GPUs this program sees, or None on the CPU.
    """

    gpu: int | None = None

    @property
    def env(self) -> dict[str, str]:
        """What a run's process gets so that it sees its own GPU alone."""
        if self.gpu is None:
            return {}
        # Where the program itself sees some GPUs only, the index counts among those.
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        name = visible[self.gpu] if self.gpu < len(visible) and visible[0] else str(self.gpu)
        return {"CUDA_VISIBLE_DEVICES": name}


@dataclass
class Slots:
    """The places where runs may train.

    Attributes:
        threads: The share of the cores that each run gets.
        free: The free places of each kind.
        at_most: Runs at once, of all kinds together; None: as many as there are places.
        taken: Places that are in use.
    """

    threads: int | None
    free: dict[str, list[Slot]] = field(default_factory=dict)
    at_most: int | None = None
    taken: int = 0

    @classmethod
    def plan(
        cls,
        *,
        cells: int,
        workers: int | Literal["auto"],
        threads: int | None,
        gpus: int,
        runs_per_gpu: int,
        on_gpu: bool,
    ) -> Slots:
        """Divides the machine among the runs of a study.

        Args:
            cells: Runs of the study.
            workers: Runs at once, or 'auto'.
            threads: CPU threads of each run where they are settled already, else None.
            gpus: GPUs of this machine.
            runs_per_gpu: Runs that share a GPU.
            on_gpu: Whether the runs train on a GPU.
        """
        cores = cpu_cores()
        places = [Slot(gpu) for _ in range(runs_per_gpu) for gpu in range(gpus)]
        if workers == "auto":
            at_once = len(places) if on_gpu and places else cores // (threads or 1)
        else:
            at_once = workers
        at_once = max(1, min(at_once, cells))
        settled = threads or max(1, cores // at_once)
        gpu_slots = places[:at_once] if workers != "auto" else places
        cpu_slots = [] if on_gpu and places else [Slot()] * at_once
        at_most = None if workers == "auto" else workers
        return cls(settled, {"cpu": cpu_slots, "gpu": gpu_slots}, at_most)

    def take(self, kind: Kind) -> Slot | None:
        """Returns a free slot and counts it as taken, or None where all are."""
        free = self.free.get(kind, [])
        if not free or not len(self):
            return None
        self.taken += 1
        return free.pop(0)

    def give_back(self, kind: Kind, slot: Slot) -> None:
        """Makes a slot free again."""
        self.free[kind].append(slot)
        self.taken -= 1

    def __len__(self) -> int:
        """Returns how many runs may start now."""
        free = sum(map(len, self.free.values()))
        return free if self.at_most is None else min(free, self.at_most - self.taken)


def cpu_cores() -> int:
    """Returns the physical cores that this process may use; torch's own default counts the same."""
    import psutil

    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(psutil.cpu_count(logical=False) or 1, allowed or 1))
