"""Says in our words what Hydra found wrong with a command line."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from hydra.errors import ConfigCompositionException, HydraException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from sweeps.config.config import Config
from sweeps.config.conversions import wrong_type
from sweeps.config.locations import conf_dir
from sweeps.config.quoting import quoted
from sweeps.config.schema import GROUPS, TARGETS
from sweeps.errors import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable


def explain(error: Exception) -> str | None:
    """Returns one short message for an error of Hydra or OmegaConf, or None for any other error."""
    if message := _by_class(error):
        return message
    if not isinstance(error, HydraException | OmegaConfBaseException):
        return None
    text = str(error).strip()
    cause = str(error.__cause__).strip() if error.__cause__ else ""
    for explanation in EXPLANATIONS:
        if message := explanation(text, cause):
            return message
    lines = [part.splitlines()[0] for part in (text, cause) if part]
    is_part = isinstance(error, ConfigCompositionException)
    return ": ".join(lines if is_part else lines[:1]) or type(error).__name__


def _by_class(error: Exception) -> str | None:
    if isinstance(error, OverrideParseException):
        return _bad_grammar(error.override)
    if isinstance(error, RecursionError):
        return "The config refers to itself without end, as YAML's & and * allow. Spell it out."
    if re.search(r"is not an int$|^invalid literal for int\(\)", str(error).partition("\n")[0]):
        return "A list has no named settings inside. Type the whole list, such as key=[1,2]."
    if isinstance(error, ValueError) and str(error).startswith("Config group override must be"):
        return "A group needs the name of a choice, such as model=linear, not null."
    return None


def for_terminal(message: str) -> str:
    """Returns a message without control characters, and without the middle of endless words."""
    plain = "".join(c if c.isprintable() or c == "\n" else "?" for c in message)
    return re.sub(r"(\S{200})\S{200,}(\S{50})", r"\1...\2", plain)


def _unknown_choice(text: str, _cause: str) -> str | None:
    if match := re.search(r"Could not find '([\w/]+)/([^']+)'", text):
        group, choice = match.groups()
        listed = re.search(r"Available options in '[^']+':\n((?:\t.*\n?)*)", text)
        options = listed.group(1).split() if listed else []
        near = did_you_mean(choice, options)
        ready = f" Type {group}={near.split(chr(39))[1]}." if near else ""
        return f"{group}={choice} is unknown.{near}{ready} Allowed: {', '.join(options)}."
    if match := re.search(r"Could not override '([\w/@.]+)'", text):
        return _missing_key(match.group(1))
    return None


def _unknown_key(text: str, cause: str) -> str | None:
    if match := re.search(r"Key '([^']+)' is not in struct", f"{text}\n{cause}"):
        full = re.search(r"full_key: (\S+)", f"{text}\n{cause}")
        return _missing_key(full.group(1) if full else match.group(1))
    if match := re.search(r"Key '([^']+)' not in 'Typed'", f"{text}\n{cause}"):
        return _missing_key(match.group(1))
    return None


def _missing_key(key: str) -> str:
    parent, _, leaf = key.rpartition(".")
    if having := _choices_with(parent, leaf):
        return (
            f"Unknown key {key} here: it belongs to {parent}={', '.join(having)}. Type one of them"
            f" too, such as {parent}={having[0]}."
        )
    near = f" Did you mean '{guess}'?" if (guess := _nearest(parent, leaf)) else ""
    return (
        f"Unknown key {key}.{near} 'python -m sweeps.train --cfg job' shows every key;"
        f" a new argument of a custom class is added with +{key}=..."
    )


def _choices_with(group: str, leaf: str) -> list[str]:
    """Returns the shipped choices of a group that have a setting."""
    if group not in GROUPS or not re.fullmatch(r"\w+", leaf):
        return []
    files = sorted((conf_dir() / group).glob("*.yaml"))
    return [file.stem for file in files if re.search(rf"^{leaf}:", file.read_text(), re.MULTILINE)]


def _nearest(parent: str, leaf: str) -> str:
    """Returns the known key that an unknown one is most like, or ''."""
    top = [*Config.__dataclass_fields__, "experiment"]
    if not parent:
        return _near(leaf, top)
    if parent not in top:
        parent = _near(parent, top)
        return f"{parent}.{leaf}" if parent else ""
    if parent not in (*GROUPS, "tracking", "search"):
        return parent
    known = {name for schema in TARGETS.values() for name in schema.__dataclass_fields__}  # type: ignore[attr-defined]
    near = _near(leaf, known - {leaf})
    return f"{parent}.{near}" if near else ""


def _near(word: str, options: Iterable[str]) -> str:
    return did_you_mean(word, options).removeprefix(" Did you mean '").removesuffix("'?")


def _wrong_type(text: str, cause: str) -> str | None:
    both = f"{text}\n{cause}"
    key = re.search(r"full_key: (\S+)", both)
    return wrong_type(key.group(1) if key else "A value", both)


def _no_null(text: str, cause: str) -> str | None:
    if "is not Optional" not in f"{text}\n{cause}" and "is not supported" not in cause:
        return None
    key = re.search(r"full_key: (\S+)|override (\S+)=|field '(\w+)'", f"{cause}\n{text}")
    name = next(filter(None, key.groups())) if key else "A value"
    return f"{name} must have a value. Type {name}=VALUE, or leave it out for its default."


def _bad_grammar(override: str) -> str:
    key, _, value = override.partition("=")
    return (
        f"Cannot read {override!r}: what has symbols or brackets needs quotes of its own. Type"
        f" {shlex.quote(f'{key}={quoted(value)}')}."
    )


def _added_twice(text: str, _cause: str) -> str | None:
    if match := re.search(r"An item is already at '([^']+)'", text):
        return f"{match.group(1)} exists already. Type {match.group(1)}=..., without the +."
    return None


def _broken_reference(text: str, cause: str) -> str | None:
    both = f"{text}\n{cause}"
    if match := re.search(r"(?:no viable alternative|mismatched input|token recognition).*", both):
        key = re.search(r"full_key: (\S+)", both)
        return (
            f"{key.group(1) if key else 'A value'} holds a reference that cannot be read"
            f" ({match.group()}). Type a reference as ${{lr}}."
        )
    return None


def _several_values(text: str, _cause: str) -> str | None:
    if "does not support sweep" in text or "Ambiguous value for argument" in text:
        found = re.search(r"Ambiguous value for argument '([^']+)'", text)
        shown = found.group(1) if found else text.splitlines()[0]
        key, _, value = shown.partition("=")
        return (
            f"{shown} holds several values: add -m to sweep over them, or type one;"
            f""" a text with a comma needs quotes, {key}='"{value}"', and a list brackets, [a,b]."""
        )
    return None


EXPLANATIONS = (
    _unknown_choice,
    _unknown_key,
    _wrong_type,
    _no_null,
    _added_twice,
    _broken_reference,
    _several_values,
)
