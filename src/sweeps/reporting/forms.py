"""Tables as text: columns for a terminal, and Markdown, with names that cannot break out of either."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from rich.bar import Bar

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
