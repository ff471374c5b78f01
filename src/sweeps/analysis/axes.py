"""What varies between runs: the axes of a comparison, found from the runs themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweeps.config.identity import key_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sweeps.runs.results import RunResult


SEED = "seed"
ABSENT = "-"


def find_axes(runs: Sequence[RunResult]) -> tuple[str, ...]:
    """Returns the settings that differ, in the order they were typed, without the seed.

    A setting that only follows from another is no axis of its own: `optimizer.betas` follows from
    `optimizer`, `optimizer.lr` is `lr`.
    """
    typed = _typed(runs)
    varying = [key for key in differing(runs) if key != SEED]
    columns = {key: [run.settings.get(key, ABSENT) for run in runs] for key in varying}
    plain = [key for key in varying if "." not in key]
    axes = [
        key
        for key in varying
        if key in typed or "." not in key or not _follows(key, columns, plain)
    ]
    order = {key: place for place, key in enumerate(typed)}
    return tuple(sorted(axes, key=lambda key: (order.get(key, len(order)), "." in key, key)))


def differing(runs: Sequence[RunResult]) -> list[str]:
    """Returns every setting in which the runs differ, sorted by name."""
    keys = sorted({key for run in runs for key in run.settings})
    return [key for key in keys if len({run.settings.get(key, ABSENT) for run in runs}) > 1]


def number(value: str) -> float | None:
    """Returns a setting as a finite number, or None where it is none."""
    try:
        found = float(value)
    except ValueError:
        return None
    return found if abs(found) < float("inf") else None


def numbers(values: Iterable[str]) -> list[float] | None:
    """Returns settings as numbers, or None where one is none."""
    found = [number(value) for value in values]
    return None if None in found or not found else [n for n in found if n is not None]


def in_order(values: Iterable[str]) -> list[str]:
    """Returns the distinct values, numbers by size and before words."""

    def place(value: str) -> tuple[int, float, str]:
        found = number(value)
        return (1, 0.0, value) if found is None else (0, found, value)

    return sorted(set(values), key=place)


def label(settings: Mapping[str, str], axes: Iterable[str]) -> str:
    """Returns settings as they are typed; a setting that another choice does not have is left out."""
    return " ".join(f"{k}={settings[k]}" for k in axes if settings.get(k, ABSENT) != ABSENT)


def _typed(runs: Sequence[RunResult]) -> list[str]:
    """Returns the keys of the overrides; runs agree on them, whatever order the runs come in."""
    lists = sorted(
        {tuple(key_of(o) for o in run.overrides) for run in runs}, key=lambda t: (-len(t), t)
    )
    return list(dict.fromkeys(key for keys in lists for key in keys))


def _follows(key: str, columns: Mapping[str, list[str]], plain: Sequence[str]) -> bool:
    group = key.partition(".")[0]
    for other in plain:
        if columns[other] == columns[key]:
            return True
        if other == group and len(set(zip(columns[other], columns[key], strict=True))) == len(
            set(columns[other])
        ):
            return True
    # The group's choice and one plain value together, such as `lr` where only some have it.
    of_group = columns.get(group)
    if of_group is None:
        return False
    return any(
        all(
            own in (ABSENT, shared)
            for own, shared in zip(columns[key], columns[other], strict=True)
        )
        for other in plain
        if other != group
    )
