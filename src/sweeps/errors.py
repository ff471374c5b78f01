"""What can go wrong, one class for each kind, and the exit code each ends with."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class SweepsError(Exception):
    """Anything this program can explain in a sentence, without a traceback."""

    exit_code = 1


class BadInputError(SweepsError):
    """What came in cannot be run; the message says what came, what is allowed and what to type."""

    exit_code = 2


class TryAgainError(BadInputError):
    """It may pass by itself: a GPU that is full, a run that another process is about to leave."""


class TrackingUnavailableError(BadInputError):
    """The tracking store did not answer when a run was about to start."""


class RunFailedError(SweepsError):
    """A run, or at least one cell of a sweep, ended with an exception."""


class CheckpointError(SweepsError):
    """A checkpoint is missing, damaged, or of an unknown format."""


def sentence(text: str) -> str:
    """Returns a text that ends as a sentence does: messages of libraries often end with nothing."""
    return text if text.endswith((".", "?", "!")) else f"{text}."


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """Returns ' Did you mean ...?' for the nearest of `options`, or an empty string."""
    spelled = {option.lower(): option for option in options}
    near = difflib.get_close_matches(word.lower(), spelled, n=1, cutoff=0.6)
    return f" Did you mean '{spelled[near[0]]}'?" if near else ""
