"""Which settings are to be repeated over further seeds: those that the latest look leaves tied."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweeps.analysis.axes import SEED, number
from sweeps.analysis.growth import Change, Growth
from sweeps.analysis.ranking import against_first, step_of
from sweeps.analysis.sequential import MOST_SEEDS, next_look, still_tied

if TYPE_CHECKING:
    from sweeps.analysis.ranking import Part, Setting


def repeats(part: Part) -> list[Growth]:
    """Returns the seeds that all tied settings get for the next look, or nothing where it is settled.

    Args:
        part: Runs that have all come to their end.
    """
    whole = [setting for setting in part.settings if setting.whole]
    if len(whole) < 2:
        return []
    values = [setting.values for setting in whole]
    tied = [
        whole[place] for place in still_tied(values, sign=part.sign, resolution=step_of(whole[0]))
    ]
    look = next_look(max(map(len, values)))
    if len(tied) < 2 or look is None:
        return []
    first = 1 + max(int(number(seed) or 0) for setting in tied for seed in setting.values)
    changes = [
        Change(setting.runs[0], SEED, str(seed))
        for setting in tied
        for seed in range(first, first + look - len(setting.values))
    ]
    return [Growth(tuple(changes), f"{len(tied)} settings", _why(tied))]


def verdict(part: Part) -> list[str]:
    """Returns a sentence on what the last look has left, where it will not be looked at again."""
    whole = [setting for setting in part.settings if setting.whole]
    if len(whole) < 2 or repeats(part):
        return []
    tests = against_first(whole, part.sign, looks=True)
    ties = [setting for setting, test in zip(whole[1:], tests, strict=True) if not test.clear]
    seeds = max(len(setting.values) for setting in whole)
    if not ties:
        return [f"Settled with {seeds} seeds: {whole[0].label} is clear of all others."]
    if seeds >= MOST_SEEDS:
        return [f"Not settled with {seeds} seeds: {len(ties)} are tied with {whole[0].label}."]
    pair = f"{whole[0].label} from {ties[0].label}"
    return [f"Not repeated beyond {seeds} seeds: {MOST_SEEDS} would hardly tell {pair}."]


def _why(tied: list[Setting]) -> str:
    seeds = len(tied[0].values)
    if seeds == 1:
        return "one seed tells nothing from chance"
    return f"{seeds} seeds leave {tied[0].label} and {tied[1].label} tied"
