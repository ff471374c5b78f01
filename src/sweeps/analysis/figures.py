"""The figures of a report: SVG that is legible in print, on a dark screen and without colour."""

from __future__ import annotations

import io
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sweeps.analysis.axes import ABSENT, in_order, number, numbers
from sweeps.analysis.training_time import training_seconds
from sweeps.runs.metrics import is_finite
from sweeps.runs.outcome import Outcome
from sweeps.runs.results import curves
from sweeps.training.objective import measured_by

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

    from sweeps.analysis.ranking import Part, Setting
    from sweeps.runs.metrics import Point
    from sweeps.runs.results import RunResult


# Okabe and Ito's colours, which the colour-blind can tell apart, https://jfly.uni-koeln.de/color/;
# a marker and a dash for each, for those who see none and for print.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P")
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (4, 1, 1, 1)), (0, (8, 2)), "-.")
MOST_LINES = 6
CROSS = "\N{MULTIPLICATION SIGN}"
INK = "#010203"
"""Stands for the text colour of the page in what matplotlib draws."""
HOLLOW: dict[str, Any] = {"markerfacecolor": "none", "markersize": 6}
"""Marks what is no result: a run that was stopped early."""

STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "sweeps",
    "text.parse_math": False,  # names are data: a dollar sign in one is a dollar sign
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "savefig.transparent": True,
    **dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK
    ),
}


@dataclass(frozen=True)
class Figure:
    """One picture.

    Attributes:
        name: Short, for a file.
        caption: What it shows and how to read it.
        svg: An svg element in the colour of the text around it.
        wide: Whether it needs the width of the page.
    """

    name: str
    caption: str
    svg: str
    wide: bool = False

    def as_file(self) -> str:
        """Returns the picture for a page of its own, dark on white."""
        return self.svg.replace("<svg ", '<svg style="background:#fff;color:#1a1a1a" ', 1)


def figures(part: Part) -> list[Figure]:
    """Returns the pictures that a part has the data for."""
    from matplotlib import rc_context

    if part.best is None:
        return []
    found = []
    with rc_context(STYLE):  # type: ignore[arg-type]
        for draw in (
            _against_axis,
            _heat_map,
            _learning_curves,
            _loss_curves,
            _parallel,
            _importance,
        ):
            figure = draw(part)
            if figure is not None:
                found.append(figure)
    return found


def _against_axis(part: Part) -> Figure | None:
    axis = part.numeric_axis
    if axis is None:
        return None
    canvas, (panel,) = _canvas()
    ticks: set[float] = set()
    for place, line in enumerate(_lines(part)):
        settings = [s for s in _best_at_each(part, axis, line) if s.settings[axis] != ABSENT]
        ticks |= {_float(s.settings[axis]) for s in settings}
        _draw_line(panel, part, settings, place=place, name=_name(part, line))
    _scale(panel, sorted(ticks))
    panel.set_xlabel(axis)
    panel.set_ylabel(part.objective)
    if any(s.count(Outcome.DIVERGED) for s in part.settings):
        panel.plot([], [], "x", color=INK, markersize=8, label="a seed diverged")
    if _pruned(part):
        panel.plot([], [], "o", **HOLLOW, color=INK, label="stopped early, its best so far")
    _legend(panel)
    band = "; the band is the 95 % interval over seeds" if _has_bands(part) else ""
    caption = f"{part.objective} against {axis}, at the best of everything else{band}."
    return Figure("objective", caption, _svg(canvas))


def _draw_line(
    panel: Axes, part: Part, settings: Sequence[Setting], *, place: int, name: str
) -> None:
    axis = part.numeric_axis or ""
    found = [
        (s, s.result) for s in settings if s.result is not None and not s.count(Outcome.DIVERGED)
    ]
    whole = [(s, r) for s, r in found if not s.count(Outcome.PRUNED)]
    pruned = [(s, r) for s, r in found if s.count(Outcome.PRUNED)]
    x = [_float(s.settings[axis]) for s, _ in whole]
    colour = COLOURS[place % len(COLOURS)]
    panel.plot(x, [r.mean for _, r in whole], **_look(place), label=name)
    low, high = [r.low for _, r in whole], [r.high for _, r in whole]
    panel.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
    panel.plot(
        [_float(s.settings[axis]) for s, _ in pruned],
        [r.mean for _, r in pruned],
        MARKERS[place % len(MARKERS)],
        **HOLLOW,
        color=colour,
    )
    diverged = [s for s in settings if s.count(Outcome.DIVERGED)]
    # At the worse edge, beside each other where two lines diverge at one value.
    height = (0.02 if part.sign > 0 else 0.98) + part.sign * 0.05 * place
    panel.plot(
        [_float(s.settings[axis]) for s in diverged],
        [height] * len(diverged),
        "x",
        color=colour,
        markersize=8,
        markeredgewidth=2,
        transform=panel.get_xaxis_transform(),
        clip_on=False,
    )


def _heat_map(part: Part) -> Figure | None:
    across, down = part.numeric_axis, part.line_axis
    if across is None or down is None:
        return None
    columns = in_order(s.settings[across] for s in part.settings if s.settings[across] != ABSENT)
    rows = in_order(s.settings[down] for s in part.settings)
    if len(columns) * len(rows) > 400:
        return None
    grid: dict[tuple[str, str], Setting] = {}
    for setting in part.settings:  # best first
        grid.setdefault((setting.settings[down], setting.settings[across]), setting)
    values = [[_cell(grid.get((row, column))) for column in columns] for row in rows]
    canvas, (panel,) = _canvas(height=1.4 + 0.45 * len(rows), width=max(7.0, 0.75 * len(columns)))
    image = panel.imshow(values, cmap="cividis", aspect="auto")
    for y, row in enumerate(rows):
        for x, column in enumerate(columns):
            shown, colour = _cell_text(grid.get((row, column)), image)
            panel.text(x, y, shown, ha="center", va="center", color=colour, fontsize=9)
    panel.set_xticks(range(len(columns)), [_short(c) for c in columns])
    panel.set_yticks(range(len(rows)), [_short(r) for r in rows])
    panel.set_xlabel(across)
    panel.set_ylabel(down)
    panel.tick_params(length=0)
    caption = f"{part.objective} for each {across} and {down}; {CROSS} where a seed diverged"
    caption += "; 'pruned' where it was stopped early." if _pruned(part) else "."
    return Figure("heat_map", caption, _svg(canvas), wide=len(columns) > 12)


def _cell(setting: Setting | None) -> float:
    if setting is None or setting.result is None or setting.count(Outcome.DIVERGED, Outcome.PRUNED):
        return float("nan")
    return setting.result.mean


def _cell_text(setting: Setting | None, image: Any) -> tuple[str, str]:
    if setting is None:
        return "", INK
    value = _cell(setting)
    if not is_finite(value):
        marks = {Outcome.DIVERGED: CROSS, Outcome.PRUNED: "pruned"}
        return next((mark for what, mark in marks.items() if setting.count(what)), "-"), INK
    red, green, blue, _ = image.cmap(image.norm(value))
    light = 0.3 * red + 0.59 * green + 0.11 * blue > 0.5
    return f"{value:.3f}", "#000000" if light else "#ffffff"


def _learning_curves(part: Part) -> Figure | None:
    bests = _best_settings(part)
    found = curves([run for s in bests for run in s.runs], measured_by(part.objective))
    canvas, (panel,) = _canvas()
    drawn = _draw_curves(panel, bests, found, _epochs)
    panel.set_xlabel("epoch")
    panel.set_ylabel(part.objective)
    _legend(panel)
    caption = f"{part.objective} by epoch, for the best of each; thin lines are the seeds."
    return Figure("learning_curves", caption, _svg(canvas)) if drawn else None


def _loss_curves(part: Part) -> Figure | None:
    bests = _best_settings(part)
    metric = f"{part.objective.partition('_')[0]}_loss"
    found = curves([run for s in bests for run in s.runs], metric)
    canvas, (left, right) = _canvas(panels=2, width=14.0)
    drawn = _draw_curves(left, bests, found, _epochs)
    _draw_curves(right, bests, found, training_seconds)
    left.set_xlabel("epoch")
    right.set_xlabel("seconds of training")
    left.set_ylabel(metric)
    values = [point.value for points in found.values() for point in points]
    if values and min(values) > 0 and max(values) / min(values) > 20:
        left.set_yscale("log")
        left.yaxis.set_major_formatter("{x:g}")
        left.minorticks_off()
    _legend(left)
    caption = f"{metric} by epoch and by time, for the best of each."
    return Figure("loss", caption, _svg(canvas), wide=True) if drawn else None


def _draw_curves(
    panel: Axes,
    settings: Sequence[Setting],
    found: dict[str, list[Point]],
    across: Callable[[RunResult, Sequence[Point]], list[float]],
) -> bool:
    drawn = False
    for place, setting in enumerate(settings):
        lines = [
            (across(run, found[run.key]), [point.value for point in found[run.key]])
            for run in setting.runs
            if run.key in found
        ]
        if not lines:
            continue
        drawn = True
        colour = COLOURS[place % len(COLOURS)]
        if len(lines) > 1:
            for x, y in lines:
                panel.plot(x, y, color=colour, linewidth=0.8, alpha=0.6)
        shared = min(len(y) for _, y in lines)
        x = [
            sum(values) / len(lines) for values in zip(*(x[:shared] for x, _ in lines), strict=True)
        ]
        y = [
            sum(values) / len(lines) for values in zip(*(y[:shared] for _, y in lines), strict=True)
        ]
        every = max(1, shared // 10)
        panel.plot(x, y, **_look(place), markevery=every, label=_short(setting.label, 60))
    return drawn


def _parallel(part: Part) -> Figure | None:
    if len(part.axes) < 3:
        return None
    from matplotlib.collections import LineCollection

    shown = [s for s in reversed(_trained(part)) if s.result is not None]
    scales = [_Scale(axis, [s.settings[axis] for s in shown]) for axis in part.axes]
    results = [s.result.mean for s in shown if s.result is not None]
    low, high = min(results), max(results)
    span = (high - low) or 1.0
    lines = [
        [
            *((x, scale(s.settings[scale.axis])) for x, scale in enumerate(scales)),
            (len(scales), (value - low) / span),
        ]
        for s, value in zip(shown, results, strict=True)
    ]
    canvas, (panel,) = _canvas(width=max(7.0, 1.5 * len(scales)))
    collection = LineCollection(lines, cmap="cividis", linewidths=1.2, alpha=0.7)
    collection.set_array(results)
    panel.add_collection(collection)
    canvas.colorbar(collection, ax=panel, label=part.objective)
    for x, scale in enumerate(scales):
        panel.axvline(x, color=INK, linewidth=0.6)
        for height, text in scale.ticks():
            box = {"facecolor": "#ffffff", "edgecolor": "none", "alpha": 0.8, "pad": 1}
            tick = _short(text, 14)
            panel.text(x + 0.03, height, tick, fontsize=8, va="center", color="#1a1a1a", bbox=box)
    panel.axvline(len(scales), color=INK, linewidth=0.6)
    panel.set_xlim(-0.05, len(scales) + 0.05)
    panel.set_xticks(range(len(scales) + 1), [_short(a) for a in (*part.axes, part.objective)])
    panel.set_yticks([])
    for side in ("left", "bottom"):
        panel.spines[side].set_visible(False)
    caption = "One line a setting through its values to its result; the best are drawn last."
    caption += " Those that were stopped early have none." if _pruned(part) else ""
    return Figure("parallel", caption, _svg(canvas))


class _Scale:
    """Puts the values of an axis between 0 and 1: numbers by (log) size, words in a row."""

    def __init__(self, axis: str, values: Sequence[str]) -> None:
        self.axis = axis
        self._ordered = in_order(values)
        found = numbers(self._ordered)
        self._numeric = found is not None
        if found is None:
            self._at = {v: float(i) for i, v in enumerate(self._ordered)}
        else:
            log = found[0] > 0 and found[-1] / found[0] > 10
            self._at = {
                v: math.log10(n) if log else n for v, n in zip(self._ordered, found, strict=True)
            }
        self._low = min(self._at.values())
        self._span = (max(self._at.values()) - self._low) or 1.0

    def __call__(self, value: str) -> float:
        return (self._at[value] - self._low) / self._span

    def ticks(self) -> list[tuple[float, str]]:
        """Returns at most eight places with their values."""
        every = max(1, -(-len(self._ordered) // 8))
        return [(self(value), value) for value in self._ordered[::every]]


def _importance(part: Part) -> Figure | None:
    """Draws how much worse a forest predicts the result when one axis is shuffled."""
    rows = [s for s in _trained(part) if s.result is not None]
    if len(part.axes) < 3 or len(rows) < 8:
        return None
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance

    rows.sort(key=lambda setting: setting.label)
    scales = [_Scale(axis, [s.settings[axis] for s in rows]) for axis in part.axes]
    x = [[scale(s.settings[scale.axis]) for scale in scales] for s in rows]
    y = [s.result.mean for s in rows if s.result is not None]
    forest = RandomForestRegressor(n_estimators=50, random_state=0).fit(x, y)
    drops = permutation_importance(forest, x, y, n_repeats=10, random_state=0).importances_mean
    shares = {axis: max(float(drop), 0.0) for axis, drop in zip(part.axes, drops, strict=True)}
    total = sum(shares.values()) or 1.0
    ordered = sorted(shares, key=lambda axis: (shares[axis], axis))
    canvas, (panel,) = _canvas(height=1.2 + 0.35 * len(ordered))
    bars = panel.barh([_short(a) for a in ordered], [shares[a] / total for a in ordered])
    panel.bar_label(bars, fmt="{:.0%}", padding=3)
    panel.set_xlabel("share of the importance")
    caption = (
        "How much each axis matters: what a random forest loses when that axis is shuffled"
        " (permutation importance), as a share of all."
    )
    return Figure("importance", caption, _svg(canvas))


def _canvas(
    panels: int = 1, width: float = 7.0, height: float = 3.6
) -> tuple[Canvas, tuple[Axes, ...]]:
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(width, height), layout="constrained")
    made = canvas.subplots(1, panels, sharey=panels > 1, squeeze=False)
    return canvas, tuple(made[0])


def _svg(canvas: Canvas) -> str:
    file = io.StringIO()
    canvas.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    content = file.getvalue()
    return content[content.index("<svg") :].replace(INK, "currentColor")


def _best_at_each(part: Part, axis: str, line: str | None) -> list[Setting]:
    best: dict[str, Setting] = {}
    for setting in part.on(line):
        best.setdefault(setting.settings[axis], setting)
    return [best[value] for value in in_order(best)]


def _best_settings(part: Part) -> list[Setting]:
    return [s for line in _lines(part) if (s := part.best_of(line)) is not None]


def _trained(part: Part) -> list[Setting]:
    """Returns the settings of which none was stopped early: half a run is no result."""
    return [setting for setting in part.settings if not setting.count(Outcome.PRUNED)]


def _pruned(part: Part) -> bool:
    return len(_trained(part)) < len(part.settings)


def _lines(part: Part) -> list[str | None]:
    """Returns the values of the line axis to draw; the best ones where they are too many."""
    if len(part.lines) <= MOST_LINES or part.line_axis is None:
        return part.lines
    ranked = list(dict.fromkeys(s.settings[part.line_axis] for s in part.settings))
    return [line for line in part.lines if line in ranked[:MOST_LINES]]


def _name(part: Part, line: str | None) -> str:
    return "all" if line is None else _short(f"{part.line_axis}={line}")


def _look(place: int) -> dict[str, Any]:
    return {
        "color": COLOURS[place % len(COLOURS)],
        "marker": MARKERS[place % len(MARKERS)],
        "linestyle": DASHES[place % len(DASHES)],
        "markersize": 5,
    }


def _legend(panel: Axes) -> None:
    if len(panel.get_legend_handles_labels()[0]) > 1:
        panel.legend()


def _scale(panel: Axes, values: Sequence[float]) -> None:
    if values and values[0] > 0 and values[-1] / values[0] >= 10:
        panel.set_xscale("log")
        panel.xaxis.set_major_formatter("{x:g}")
        panel.minorticks_off()
    if len(values) <= 10:
        panel.set_xticks(values, [f"{value:g}" for value in values])


def _has_bands(part: Part) -> bool:
    return any(s.result is not None and s.result.half is not None for s in part.settings)


def _epochs(run: RunResult, points: Sequence[Point]) -> list[float]:
    del run
    return [float(epoch) for epoch in range(1, len(points) + 1)]


def _short(text: str, length: int = 30) -> str:
    clean = re.sub(r"[^\t\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "?", text)
    return clean if len(clean) <= length else f"{clean[: length - 1]}…"


def _float(value: str) -> float:
    found = number(value)
    assert found is not None
    assert is_finite(found)
    return found
