"""The answer in words: what is best, how sure that is, and what to try next."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sweeps.analysis.axes import SEED
from sweeps.analysis.cautions import cautions
from sweeps.analysis.format import show, show_behind, show_estimate, show_gap, show_p
from sweeps.analysis.sensitivity import Ladder, improving
from sweeps.analysis.sequential import LOOKS
from sweeps.config.identity import key_of
from sweeps.runs.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sweeps.analysis.chosen_best import BestTest
    from sweeps.analysis.ranking import Comparison, Part, Setting
    from sweeps.analysis.statistics import Estimate


LINES_IN_WORDS = 3
CONFIG_FLAGS = ("--config-dir", "-cd", "--config-name", "-cn", "--config-path", "-cp")
FEW_SEEDS = (1, 2)
"""With them hardly any difference can be told from chance."""
SEEDS_TO_TYPE = "0,1,2,3,4"


@dataclass(frozen=True)
class Command:
    """Something to type next, and what for."""

    purpose: str
    line: str


@dataclass(frozen=True)
class Answer:
    """What a part of a comparison says.

    Attributes:
        about: What the part is, where there are several; else ''.
        lines: Three to six sentences.
        commands: What to type to know more.
    """

    about: str
    lines: tuple[str, ...]
    commands: tuple[Command, ...] = ()


def answers(comparison: Comparison) -> list[Answer]:
    """Returns one answer for each part, the largest part first."""
    return [_answer(part, comparison) for part in comparison.parts]


def _answer(part: Part, comparison: Comparison) -> Answer:
    about = part.about if len(comparison.parts) > 1 else ""
    best = part.best
    if best is None or best.result is None:
        return Answer(about, (_nothing(part), *_failures(part)))
    equal = _are_equal(part, best)
    lines = [_equal(part, best)] if equal else [_winner(part, best), _verdict(part, best)]
    lines += [*_unequal_seeds(part), *_pruned(part), *cautions(part, part.line_axis)]
    axis = part.numeric_axis
    commands = []
    if axis is not None:
        ladders = [
            ladder for line in part.lines if (ladder := Ladder.of(part, axis, line)) is not None
        ]
        ladders.sort(key=lambda ladder: part.settings.index(ladder.best))
        shown = ladders[:LINES_IN_WORDS]
        still = improving([s for ladder in shown for s in ladder.small_or_best], part.objective)
        lines += [ladder.in_words(still) for ladder in shown]
        if len(ladders) > LINES_IN_WORDS:
            lines.append(f"{len(ladders) - LINES_IN_WORDS} more: see the table.")
        # Values that a search drew from an interval are no steps that could be continued.
        drawn = any("interval(" in sweep.command for sweep in comparison.sweeps)
        edges = [] if drawn else [ladder for ladder in ladders if ladder.edge]
        if edges:
            at_the_edge = "; ".join(ladder.edge_in_words() for ladder in edges)
            lines.append(f"On the edge of the grid: {at_the_edge}.")
            commands = [c for ladder in edges for c in _beyond(ladder, comparison)]
    if best.count(Outcome.FINISHED) in FEW_SEEDS and not equal:
        commands += _more_seeds(comparison, best)
    return Answer(about, (*lines, *_failures(part))[:8], tuple(commands))


def _nothing(part: Part) -> str:
    runs = part.runs
    counts = ", ".join(
        f"{sum(run.outcome == outcome for run in runs)} {outcome}"
        for outcome in sorted({run.outcome for run in runs})
    )
    if not part.objective:
        return f"These {len(runs)} runs have logged no metric to rank by ({counts})."
    hint = ""
    if all(run.outcome == Outcome.DIVERGED for run in runs):
        hint = " Every rate was too large, or the data or the model is broken: try smaller values."
    if any(run.outcome == Outcome.PRUNED for run in runs):
        return f"No run that could be ranked came to its end: {counts}."
    return f"No run has a {part.objective} to rank by yet: {counts}.{hint}"


def _are_equal(part: Part, best: Setting) -> bool:
    whole = [setting for setting in part.settings if setting.whole]
    return len(whole) > 1 and all(setting.values == best.values for setting in whole)


def _equal(part: Part, best: Setting) -> str:
    assert best.result is not None
    whole = sum(setting.whole for setting in part.settings)
    so = "With one seed that may be chance."
    if best.result.n > 1:
        so = "What was varied makes no difference."
    return f"All {whole} settings that finished are equal: {_value(part, best.result)}. {so}"


def _value(part: Part, found: Estimate) -> str:
    how = _seeds(found.n)
    if found.n > 1:
        how = f"mean and 95 % interval of {how}"
    return f"{part.objective} {show_estimate(found)} ({how})"


def _winner(part: Part, best: Setting) -> str:
    assert best.result is not None
    so_far = "" if best.whole else " so far"
    return f"Best{so_far}: {best.label}, {_value(part, best.result)}{_to_quote(part, best)}."


def _to_quote(part: Part, best: Setting) -> str:
    """Returns which value may be quoted: the one that the choice has not made too good."""
    if part.test_metric == part.objective:
        return "; there is no validation split, so this is chosen on test images and looks too good"
    if best.test is None:
        return ""
    quoted = f"{part.test_metric} {show_estimate(best.test)}"
    if best.test.n > 1 and best.test.images:
        quoted += f" (95 %, over seeds and the choice of {best.test.images} test images)"
    chosen = sum(setting.whole or setting is best for setting in part.settings)
    if chosen == 1:
        return f"; {quoted}"
    return f", optimistic as the best of {chosen}; to quote: {quoted}"


def _verdict(part: Part, best: Setting) -> str:
    others = [s for s in part.settings if s is not best and s.whole]
    if not others:
        return _alone(part)
    tests = [(s, s.against_best) for s in others if s.against_best and s.against_best.p is not None]
    if not tests:
        return _no_test(part, best, others[0])
    ties = [(s, t) for s, t in tests if not t.clear]
    settings, seeds = tests[0][1].settings, min(test.seeds for _, test in tests)
    how = f"step-down range test of {settings} settings over {_seeds(seeds)}"
    how += f", allowing for {len(LOOKS)} looks" if part.looks else ""
    if not ties:
        least = max(t.p for _, t in tests if t.p is not None)
        named = "each of the others" if len(tests) > 1 else tests[0][0].label
        return f"Clearly better than {named}: {show_p(least)} or less ({how})."
    return _tie(best, ties, len(tests), how)


def _alone(part: Part) -> str:
    if len(part.settings) == 1:
        return "There is one setting only, so nothing to compare it with."
    if any(setting.count(Outcome.PRUNED) for setting in part.settings):
        return "No other setting was trained to its end, so there is nothing to compare it with."
    return "No other setting has finished without divergence, so nothing can be compared yet."


def _no_test(part: Part, best: Setting, nearest: Setting) -> str:
    assert best.result is not None
    assert nearest.result is not None
    gap = abs(best.result.mean - nearest.result.mean)
    if gap == 0:
        chance = f"with one seed nothing tells an equal {part.objective} from chance"
    else:
        size = show_gap(gap, best.result.mean)
        chance = f"with one seed nothing tells a difference of {size} from chance"
    return (
        f"Whether it is really better than the next, {nearest.label}"
        f" ({show(nearest.result.mean)}), cannot be said: {chance}. Repeat with seed={SEEDS_TO_TYPE}."
    )


def _tie(best: Setting, ties: Sequence[tuple[Setting, BestTest]], tested: int, how: str) -> str:
    setting, test = ties[0]
    assert best.result is not None
    many = f"{len(ties)} of the {tested} others" if tested > 1 else "the other"
    more = ""
    if (seeds := test.seeds_needed()) is not None:
        more = f"; if a third of that difference is real, about {seeds} seeds would show it"
    elif test.seeds in FEW_SEEDS:
        more = f"; two seeds show hardly any difference, so repeat with seed={SEEDS_TO_TYPE}"
    return (
        f"A tie: {many} cannot be told from it ({how}). The nearest, {setting.label}, is"
        f" {show_behind(test.difference, best.result.mean)} ({show_p(test.p)}){more}."
    )


def _unequal_seeds(part: Part) -> list[str]:
    """Says where settings have unequal seeds, for means over unequal seeds are compared."""
    counts = {s.result.n: s for s in reversed(part.settings) if s.whole and s.result is not None}
    if len(counts) < 2:
        return []
    few, many = min(counts), max(counts)
    if part.looks and few > 1:
        behind = f"what was clearly behind, such as {counts[few].label} with {few}"
        return [f"Unequal seeds: {behind}, was not repeated to {many}; its last look counts."]
    said = (
        f"Unequal seeds: {counts[few].label} has {few}, {counts[many].label} {many}; means over"
        " unequal seeds are compared"
    )
    alone = ", and a setting with one seed comes after those with more" if few == 1 else ""
    return [f"{said}{alone}."]


def _pruned(part: Part) -> list[str]:
    runs = part.runs
    pruned = sum(run.outcome == Outcome.PRUNED for run in runs)
    if not pruned:
        return []
    verb = "was" if pruned == 1 else "were"
    ranked = "is not" if pruned == 1 else "are not"
    return [f"{pruned} of {len(runs)} {verb} stopped early by the search and {ranked} ranked."]


def _failures(part: Part) -> list[str]:
    failed = [run for run in part.runs if run.outcome == Outcome.FAILED]
    if not failed:
        return []
    return [
        f"{len(failed)} of {len(part.runs)} runs failed, such as {failed[0].name}: {failed[0].error}"
    ]


def _beyond(ladder: Ladder, comparison: Comparison) -> list[Command]:
    own = ladder.best.runs[0].sweep
    flags = (_config_flags(sweep.command) for sweep in comparison.sweeps if sweep.name == own)
    line = ladder.extension(next(flags, []))
    named = f" for {ladder.name}" if ladder.name else ""
    return [Command(f"beyond the edge{named}", line)] if line else []


def _config_flags(command: str) -> list[str]:
    """Returns the flags of a command that say where its configs are, such as --config-dir mine."""
    words = shlex.split(command)
    found = []
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word.partition("=")[0] in CONFIG_FLAGS:
            found += [word] if "=" in word else [word, following]
    return found


def _more_seeds(comparison: Comparison, best: Setting) -> list[Command]:
    found = []
    for sweep in comparison.sweeps:
        words = [w for w in shlex.split(sweep.command) if key_of(w) != SEED]
        if "hydra/sweeper=search" in words:  # it would pick the luckiest seed: the best is repeated
            if best.runs[0].sweep != sweep.name:
                continue
            typed = [o for o in best.runs[0].overrides if key_of(o) not in ("name", SEED)]
            flags = _config_flags(sweep.command)
            words = ["python", "-m", "sweeps.train", "-m", *flags, f"name={sweep.name}", *typed]
        if words:
            words.append(f"seed={SEEDS_TO_TYPE}")
            found.append(Command("more seeds, to know how sure it is", shlex.join(words)))
    return found


def _seeds(count: int) -> str:
    return f"{count} seed" if count == 1 else f"{count} seeds"
