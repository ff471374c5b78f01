"""How values, intervals and p-values are written, wherever they stand."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sweeps.reporting.statistics import Estimate


def show(value: float | None) -> str:
    """Returns a metric's value as people read it."""
    if value is None or not math.isfinite(value):
        return "-"
    return f"{value:.4f}" if 1e-3 <= abs(value) < 1e5 or value == 0 else f"{value:.3g}"


def show_estimate(found: Estimate | None) -> str:
    """Returns a mean with its interval."""
    if found is None:
        return "-"
    return show(found.mean) if found.half is None else f"{show(found.mean)} ± {show(found.half)}"


def show_p(p: float | None) -> str:
    """Returns a p-value, rounded up where it is tiny."""
    if p is None:
        return "-"
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def show_behind(difference: float) -> str:
    """Returns how far a setting is behind the best, or ahead of it."""
    if difference == 0:
        return "equal"
    return f"{show(abs(difference))} {'behind' if difference > 0 else 'ahead'}"
