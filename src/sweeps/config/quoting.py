r"""The quotes that keep a text what it is in Hydra's grammar.

The grammar knows ASCII letters alone, and gives = ( [ ' # & ~ a meaning or refuses them. In a text only
these mean more than themselves: quotes around the whole, ${...}, a leading ~/, and in a sweep the
commas between choices, as in data.root=a,b; in quotes or as \, a comma is one of the text.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException

from sweeps.errors import BadInputError

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override


FUNCTION = re.compile(
    r"(choice|shuffle|sort|glob|range|interval|extend_list|tag|str|int|float|bool|json_str)\(.*\)"
)
"""Hydra's own functions of the command line."""

QUOTED = r""""(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'"""
ESCAPED = r"[\\()\[\]{}:=, \t]"
"""What Hydra escapes where it writes a text without quotes."""

REFERENCE = r"\$\{[^}]*\}"
BRACKETS = r"\([^()]*\)|\[[^\[\]]*\]|\{[^{}]*\}"


def as_text(choice: str) -> str:
    """Returns a text so that Hydra reads what was typed."""
    if re.fullmatch(QUOTED, choice, re.DOTALL):
        return choice
    found = read(f"key={choice}")
    value = None if found is None or found.is_sweep_override() else found.value()
    if found is not None and found.value() is None:
        return choice  # null
    if value == choice and not re.search(ESCAPED, choice):
        return choice
    if isinstance(value, str) and re.sub(ESCAPED, r"\\\g<0>", value) == choice:
        return quoted(value)  # as Hydra writes it into the overrides of a cell
    return quoted(choice.replace("\\,", ","))


def quoted(text: str) -> str:
    """Returns a text in quotes that Hydra takes off again; a leading ~/ as a shell expands it."""
    if text == "~" or text.startswith("~/"):
        text = str(Path(text).expanduser())
    return str(QuotedString(text, Quote.double).with_quotes())


def split_choices(value: str, *, brackets: bool = False) -> list[str]:
    """Returns what stands between the commas of a sweep.

    Args:
        value: Of an override.
        brackets: Whether commas in brackets belong to one choice; in a text a bracket is a letter.

    Raises:
        BadInputError: Nothing stands beside a comma.
    """
    whole = rf"{REFERENCE}|{BRACKETS}|\\," if brackets else rf"{REFERENCE}|\\,"
    choice = re.compile(rf"\s*({QUOTED}|(?:{whole}|[^,])*?)\s*(,|$)", re.DOTALL)
    found, place, comma = list[str](), 0, ","
    while comma and (match := choice.match(value, place)):
        (text, comma), place = match.groups(), match.end()
        if not text:
            raise BadInputError(f"{value} has a comma without a value beside it. Type a,b.")
        found.append(text)
    return found


def read(override: str) -> Override | None:
    """Returns what Hydra reads, or None where it cannot."""
    try:
        return OverridesParser.create().parse_override(override)
    except HydraException:
        return None
