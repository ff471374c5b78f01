"""Numbers, words and tables as text, for a terminal and for Markdown."""

from __future__ import annotations

import io
import math
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from rich.bar import Bar

    from sweeps.analysis.statistics import Estimate


def show(value: float | None) -> str:
    """Returns a metric's value as people read it."""
    if value is None or not math.isfinite(value):
        return "-"
    return f"{value:.4f}" if 1e-3 <= abs(value) < 1e5 or value == 0 else f"{value:.3g}"


def show_gap(gap: float, value: float) -> str:
    """Returns a difference between values, or that it is less than what is shown of them.

    Args:
        gap: The difference, 0 or more.
        value: One of the values.
    """
    step = _last_digit(value)
    if 0 < gap < step:
        return f"less than {step:g}"
    return "0" if gap == 0 else show(gap)


def show_estimate(found: Estimate | None) -> str:
    """Returns a mean with its interval."""
    if found is None:
        return "-"
    if found.half is None:
        return show(found.mean)
    below, above = found.mean - found.low, found.high - found.mean
    if not math.isclose(below, above, rel_tol=1e-6, abs_tol=1e-12):
        return f"{show(found.mean)} [{show(found.low)}, {show(found.high)}]"
    return f"{show(found.mean)} ± {show_gap(above, found.mean)}"


def show_p(p: float | None) -> str:
    """Returns a p-value, rounded up where it is tiny."""
    if p is None:
        return "-"
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def show_behind(difference: float, value: float) -> str:
    """Returns how far a setting is behind the best, or ahead of it.

    Args:
        difference: Best minus other, so that more than 0 is better.
        value: Of the best.
    """
    if difference == 0:
        return "equal"
    return f"{show_gap(abs(difference), value)} {'behind' if difference > 0 else 'ahead'}"


def _last_digit(value: float) -> float:
    """Returns the step between two values that `show` writes differently."""
    if 1e-3 <= abs(value) < 1e5 or value == 0:
        return 1e-4
    return float(10.0 ** (math.floor(math.log10(abs(value))) - 2))


WIDTH = 240
"""A table is as wide as its content: a line that wraps can be read, one that is cut cannot."""


def terminal_lines(
    titles: Sequence[str], rows: Iterable[Sequence[str | Bar]], *, left: Collection[int]
) -> list[str]:
    """Returns a table's lines.

    Args:
        titles: Of the columns.
        rows: Text, or a bar of a chart.
        left: Places of the columns that hold words; numbers stand at the right.
    """
    from rich.console import Console
    from rich.table import Table

    grid = Table(box=None, header_style="bold", pad_edge=False)
    for place, title in enumerate(titles):
        grid.add_column(title, justify="left" if place in left else "right", no_wrap=True)
    for row in rows:
        grid.add_row(*(visible(cell) if isinstance(cell, str) else cell for cell in row))
    file = io.StringIO()
    Console(file=file, width=WIDTH, markup=False, highlight=False).print(grid)
    return [line.rstrip() for line in file.getvalue().splitlines()]


def markdown_table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a table in Markdown."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(map(markdown_text, line))} |" for line in lines)


def markdown_text(text: str) -> str:
    """Returns text that Markdown shows as it stands."""
    escaped = re.sub(r"([\\`*_{}\[\]<>|!~])", r"\\\1", visible(text))
    return re.sub(r"(?<=\w)\\_(?=\w)", "_", escaped)


def visible(text: str) -> str:
    """Returns text without what would steer a terminal."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", "?", text)
