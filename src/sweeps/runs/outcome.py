"""How a run ended. MLflow's status says that it ended; the outcome says how."""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """How a run ended, or that it has not."""

    FINISHED = "finished"
    """It was trained to its last step."""
    DIVERGED = "diverged"
    """Its loss became no finite number: a result, and never the best one."""
    PRUNED = "pruned"
    """A search stopped it early; it may go on."""
    STOPPED = "stopped"
    """A range test has come to its end."""
    FAILED = "failed"
    """It raised, or its process died."""
    INTERRUPTED = "interrupted"
    """A person or a signal stopped it; it goes on."""
    RUNNING = "running"
    """It has no end yet."""

    @property
    def status(self) -> str:
        """What MLflow calls it."""
        known = {"failed": "FAILED", "interrupted": "KILLED", "running": "RUNNING"}
        return known.get(self.value, "FINISHED")

    @property
    def is_whole(self) -> bool:
        """Whether nothing of it is left to train."""
        return self in (Outcome.FINISHED, Outcome.DIVERGED)

    @property
    def is_well(self) -> bool:
        """Whether it ended as it was meant to, a search's early stop included."""
        return self.is_whole or self is Outcome.PRUNED

    @property
    def resumes(self) -> bool:
        """Whether the same command goes on at its checkpoint, instead of anew or not at all."""
        return self in (Outcome.PRUNED, Outcome.STOPPED, Outcome.INTERRUPTED, Outcome.RUNNING)

    @classmethod
    def said(cls, word: str) -> Outcome:
        """Returns what a store's word for it means; a word that is none of ours is no good end."""
        return cls(word) if word in set(cls) else cls.FAILED

    @classmethod
    def of_status(cls, status: str) -> Outcome:
        """Returns what is known of a run from MLflow's status alone."""
        known = {"RUNNING": cls.RUNNING, "FINISHED": cls.FINISHED, "KILLED": cls.INTERRUPTED}
        return known.get(status, cls.FAILED)
