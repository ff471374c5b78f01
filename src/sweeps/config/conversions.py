"""What a value must be that cannot be converted, and what to type for what was probably meant."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


KINDS = {"Float": "a number", "Integer": "a whole number", "bool": "true or false"}
"""What OmegaConf calls the types."""


def wrong_type(key: str, reason: str) -> str | None:
    """Returns what is wrong with a value, or None where it is not its type.

    Args:
        key: Of the value.
        reason: OmegaConf's.
    """
    found = re.search(
        r"Value '(.*?)' (?:of type '.*?' )?(?:could not be converted to|is not a valid) (\w+)",
        reason,
        re.DOTALL,
    )
    if found is None:
        return None
    value, kind = found.groups()
    must = KINDS.get(kind, kind)
    if not value:
        return f"{key} has no value. Type {key}=VALUE; it must be {must}."
    return f"{key}={value} must be {must}.{_remedy(key, value, kind)}"


def _remedy(key: str, value: str, kind: str) -> str:
    """Returns what to type instead, where one can tell, or ''."""
    for pattern, remedy in REMEDIES.items():
        if found := re.fullmatch(pattern, value, re.DOTALL):
            return f" {remedy(key, found)}"
    if kind == "Integer" and re.fullmatch(r"\d+\.0+|\d+(\.\d+)?e\+?\d", value):
        return f" Type {key}={float(value):.0f}."
    return ""


def _list(key: str, found: re.Match[str]) -> str:
    return f"A sweep needs no brackets: type -m {key}={found.group(1).replace(' ', '')}."


def _span(key: str, found: re.Match[str]) -> str:
    first, last = map(int, found.groups())
    numbers = f"{first},{last + 1}" if first else f"{last + 1}"
    return f"For all from {first} to {last} type -m '{key}=range({numbers})'."


def _function(key: str, found: re.Match[str]) -> str:
    return (
        f"There is no {found.group(1)}(...) here: a sweep knows -m '{key}=range(1,4)', and a search"
        f" also '{key}=interval(1,4)'."
    )


def _power(key: str, found: re.Match[str]) -> str:
    base, exponent = map(int, found.groups())
    return f"Type {key}={float(base) ** exponent:g}."


def _decimal(key: str, found: re.Match[str]) -> str:
    return f"A decimal has a point: type {key}={found.group(1)}.{found.group(2)}."


REMEDIES: dict[str, Callable[[str, re.Match[str]], str]] = {
    r"\[(.*)\]": _list,
    r"(\d{1,9}) ?(?:-|\.\.|:) ?(\d{1,9})": _span,
    r"(\w+) ?\(.*": _function,
    r"([1-9]\d?) ?(?:\*\*|\^) ?(-?\d)": _power,
    r"(\d+),(\d+)": _decimal,
}
"""What a value that is no number looks like, and what helps."""
