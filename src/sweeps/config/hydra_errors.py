"""Says in our words what Hydra found wrong with a command line."""

from __future__ import annotations

import re

from hydra.errors import ConfigCompositionException, HydraException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from sweeps.config.schema import TARGETS, Config
from sweeps.errors import did_you_mean


def explain(error: Exception) -> str | None:
    """Returns one short message for an error of Hydra or OmegaConf, or None for any other error."""
    text = str(error).strip()
    if isinstance(error, ValueError) and text.startswith("Config group override must be"):
        return "A group needs the name of a choice, such as model=linear, not null."
    if isinstance(error, OverrideParseException):
        return _bad_grammar(error.override)
    if not isinstance(error, HydraException | OmegaConfBaseException):
        return None
    cause = str(error.__cause__).strip() if error.__cause__ else ""
    for explanation in (_unknown_choice, _unknown_key, _wrong_type, _several_values):
        if message := explanation(text, cause):
            return message
    first = text.splitlines()[0]
    if isinstance(error, ConfigCompositionException) and cause:
        return f"{first}: {cause.splitlines()[0]}"
    return first


def _unknown_choice(text: str, _cause: str) -> str | None:
    if match := re.search(r"Could not find '([\w/]+)/([^']+)'", text):
        group, choice = match.groups()
        listed = re.search(r"Available options in '[^']+':\n((?:\t.*\n?)*)", text)
        options = listed.group(1).split() if listed else []
        near = did_you_mean(choice, options)
        return f"{group}={choice} is unknown.{near} Allowed: {', '.join(options)}."
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
    if parent:
        known = {name for schema in TARGETS.values() for name in schema.__dataclass_fields__}  # type: ignore[attr-defined]
        near = did_you_mean(leaf, known).replace("'", f"'{parent}.", 1)
    else:
        near = did_you_mean(key, [*Config.__dataclass_fields__, "experiment"])
    return (
        f"Unknown key {key}.{near} 'python -m sweeps.train --cfg job' shows every key;"
        f" a new argument of a custom class is added with +{key}=..."
    )


def _wrong_type(text: str, cause: str) -> str | None:
    both = f"{text}\n{cause}"
    match = re.search(r"Value '([^']*)' (?:of type '\w+' )?could not be converted to (\w+)", both)
    if match is None:
        return None
    value, kind = match.groups()
    key = re.search(r"full_key: (\S+)", both)
    words = {"Float": "a number", "Integer": "a whole number", "Boolean": "true or false"}
    return f"{key.group(1) if key else 'A value'}={value} must be {words.get(kind, kind)}."


def _bad_grammar(override: str) -> str:
    key, _, value = override.partition("=")
    if key in ("exclude", "only"):
        return (
            f"Cannot read {override!r}: symbols and brackets need quotes of their own, such as"
            f""" {key}='"{value}"'; words, such as above and at least, need none."""
        )
    return f"Cannot read the override {override!r}: type key=value, with quotes around spaces."


def _several_values(text: str, _cause: str) -> str | None:
    if "does not support sweep" in text or "Ambiguous value for argument" in text:
        found = re.search(r"Ambiguous value for argument '([^']+)'", text)
        shown = found.group(1) if found else text.splitlines()[0]
        return f"{shown} holds several values: add -m to sweep over them, or quote a list as [a,b]."
    return None
