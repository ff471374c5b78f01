"""Who may run where: a slot is a share of the cores, or a place on a GPU."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

Kind = Literal["cpu", "gpu"]
ON_GPU = ("auto", "cuda")
"""Devices that are a GPU where there is one."""


@dataclass(frozen=True)
class Need:
    """What a sweep asks of the machines that it runs on.

    Attributes:
        runs: Runs of the sweep.
        devices: What they train on, such as 'auto', 'cpu', 'cuda', 'cuda:1' or 'mps'.
        workers: Runs at once, or 'auto'.
        threads: CPU threads of each run where they are settled already, else None.
        runs_per_gpu: Runs that share a GPU.
        gpus: GPUs of the machine where they have been counted before, else None.
    """

    runs: int
    devices: AbstractSet[str] = frozenset({"cpu"})
    workers: int | Literal["auto"] = "auto"
    threads: int | None = None
    runs_per_gpu: int = 1
    gpus: int | None = None

    @property
    def may_use_gpus(self) -> bool:
        """Whether some of the runs train on a GPU where there is one."""
        return not self.devices.isdisjoint(ON_GPU)

    @property
    def only_gpus(self) -> bool:
        """Whether all of them do."""
        return self.devices <= set(ON_GPU)


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
        gpus: GPUs that the runs are shared out among.
        taken: Places that are in use.
    """

    threads: int | None
    free: dict[str, list[Slot]] = field(default_factory=dict)
    at_most: int | None = None
    gpus: int = 0
    taken: int = 0

    @classmethod
    def plan(cls, need: Need, gpus: int) -> Slots:
        """Divides a machine with so many GPUs among the runs of a sweep."""
        cores = cpu_cores()
        gpus = gpus if need.may_use_gpus else 0
        workers = need.workers
        if workers == "auto" and need.devices == {"mps"}:
            workers = need.runs_per_gpu  # a Mac has one GPU
        places = [Slot(gpu) for _ in range(need.runs_per_gpu) for gpu in range(gpus)]
        all_on_gpu = need.only_gpus and bool(places)
        if workers == "auto":
            at_once = len(places) if all_on_gpu else cores // (need.threads or 1)
        else:
            at_once = workers
        at_once = max(1, min(at_once, need.runs))
        return cls(
            threads=need.threads or max(1, cores // at_once),
            free={
                "cpu": [] if all_on_gpu else [Slot()] * at_once,
                "gpu": places if workers == "auto" else places[:at_once],
            },
            at_most=None if workers == "auto" else workers,
            gpus=gpus,
        )

    def kind(self, device: str) -> Kind:
        """Returns which places a run on this device takes."""
        return "gpu" if self.gpus and device in ON_GPU else "cpu"

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


def count_gpus() -> int:
    """Returns the GPUs that torch sees, which needs torch."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0
