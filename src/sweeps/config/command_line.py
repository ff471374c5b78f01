"""The command line: what is typed, in the form that Hydra reads, and what is said of an error in it."""

from __future__ import annotations

import argparse
import errno
import re
import shlex
import unicodedata
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from hydra.core.config_store import ConfigStore
from omegaconf.errors import OmegaConfBaseException

import sweeps
from sweeps.config.hydra_errors import explain
from sweeps.config.locations import conf_dir
from sweeps.config.lr_values import quote_rates
from sweeps.config.quoting import FUNCTION, REFERENCE, as_text, quoted, read, split_choices
from sweeps.config.saved import printable, read_saved, shipped_values, with_defaults
from sweeps.config.schema import CHOSEN, GROUPS, key_types
from sweeps.errors import BadInputError, SweepsError, did_you_mean
from sweeps.files import explain_unwritable

if TYPE_CHECKING:
    from collections.abc import Sequence


SWITCHES = {
    "--help": "-h",
    "--hydra-help": "",
    "--multirun": "-m",
    "--resolve": "",
    "--run": "-r",
    "--shell-completion": "-sc",
    "--version": "",
}
"""Hydra's flags that stand alone, with their short forms."""

WITH_VALUE = {
    "--cfg": "-c",
    "--config-dir": "-cd",
    "--config-name": "-cn",
    "--config-path": "-cp",
    "--experimental-rerun": "",
    "--info": "-i",
    "--package": "-p",
}
"""Hydra's flags that something follows."""

ALLOWED = {
    "--cfg": ("job", "hydra", "all"),
    "--info": ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath"),
}

TYPED: ContextVar[tuple[str, ...] | None] = ContextVar("TYPED", default=None)
"""What `for_hydra` was given; None where the program was started by another door."""


def for_hydra(arguments: Sequence[str]) -> list[str]:
    """Returns a command line as Hydra reads it: its flags first, then overrides of its grammar.

    Raises:
        BadInputError: A flag is unknown, or a word is no key=value.
    """
    for argument in arguments:
        for character in argument:
            if unicodedata.category(character) in ("Cc", "Cs") and character != "\t":
                raise BadInputError(
                    f"{argument!a} holds {character!a}, which is no letter in UTF-8. Type it without,"
                    " or rename that folder."
                )
    TYPED.set(tuple(arguments))
    flags, words = _apart(quote_rates(arguments))
    if "--shell-completion" in flags:
        return [*flags, *words]
    return [*flags, *as_overrides(words, sweeping="--multirun" in flags)]


def as_overrides(words: Sequence[str], *, sweeping: bool) -> list[str]:
    """Returns what was typed after the flags in Hydra's grammar.

    Args:
        words: Such as 'lr=0.1,0.01' and 'data.root=my (images)'.
        sweeping: Whether a comma separates choices, as it does after -m.

    Raises:
        BadInputError: A word is no key=value, or cannot be what is meant.
    """
    return [_override(word, sweeping=sweeping) for word in words]


def _apart(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Returns the flags, spelled out and each with its value, and the other words."""
    flags, words, rest = list[str](), list[str](), list(arguments)
    while rest:
        argument = rest.pop(0)
        if argument == "--" or not argument.startswith("-"):
            words += [argument] if argument != "--" else []
            continue
        typed, _, value = argument.partition("=")
        flag = _flag(typed, argument, rest)
        if flag in SWITCHES:
            flags.append(flag)
            continue
        if flag == "--info" and not value and rest[:1] not in ([each] for each in ALLOWED[flag]):
            value = "all"
        value = value or (rest.pop(0) if rest else "")
        allowed = ALLOWED.get(flag, ())
        if not value or (allowed and value not in allowed):
            raise BadInputError(
                f"{flag} needs {'one of ' + ', '.join(allowed) if allowed else 'a value'} after it;"
                f" it has {value or 'nothing'}."
            )
        flags += [flag, value]
    return flags, words


def _flag(typed: str, argument: str, rest: Sequence[str]) -> str:
    """Returns the long form of a flag."""
    for long, short in (SWITCHES | WITH_VALUE).items():
        if typed in (long, short):
            return long
    key = typed.lstrip("-").replace("-", "_")
    if key in key_types() or key in CHOSEN or "." in key:
        value = argument.partition("=")[2] or (rest[0] if rest else "VALUE")
        raise BadInputError(f"{argument} is no flag: settings are key=value. Type {key}={value}.")
    near = did_you_mean(typed, [*SWITCHES, *WITH_VALUE])
    raise BadInputError(
        f"{argument} is no flag.{near} Settings are typed key=value, such as lr=0.1; 'python -m"
        " sweeps.train --hydra-help' lists the flags."
    )


def _override(word: str, *, sweeping: bool) -> str:
    key, equals, value = word.partition("=")
    name = key.lstrip("+~")
    if not equals and not key.startswith("~"):
        raise BadInputError(_no_value(word))
    _refuse_unmeant(key, name, value)
    if sweeping and _is_single(name) and re.fullmatch(r"\[[^\[\]]*\]", value):
        raise BadInputError(_brackets(name, value))
    if not equals or not value:
        return word
    value = _with_null(name, value)
    if FUNCTION.fullmatch(value) and read(f"{key}={value}") is not None:
        return f"{key}={value}"
    if name in CHOSEN or _is_text(name):
        choices = split_choices(value) if sweeping else [value]
        return f"{key}={','.join(as_text(choice) for choice in choices)}"
    if read(f"{key}={value}") is not None:
        return f"{key}={value}"
    _refuse_key(word, key)
    choices = split_choices(value, brackets=True) if sweeping else [value]
    readable = [c if read(f"{key}={c}") is not None else quoted(c) for c in choices]
    return f"{key}={','.join(readable)}"


def _is_single(name: str) -> bool:
    """Whether a setting is one text or one number; a person's own data may take lists."""
    is_ours = not name.startswith("data.")
    return _is_text(name) or (is_ours and key_types().get(name, "").startswith(("int", "float")))


def _is_text(name: str) -> bool:
    return key_types().get(name, "").startswith("str")


def _with_null(name: str, value: str) -> str:
    """Returns a value with Python's None as the null that it is, where there may be none."""
    if not key_types().get(name, "").endswith("| None"):
        return value
    return re.sub(r"(?<![^,])None(?![^,])", "null", value)


def _no_value(word: str) -> str:
    """Returns what is wrong with a word that is no key=value."""
    if word in key_types() or word in CHOSEN:
        return f"{word} has no value. Type {word}=VALUE, without blanks around the '='."
    for group in CHOSEN:
        if (conf_dir() / group / f"{word}.yaml").is_file():
            return f"{word} is a choice of {group}. Type {group}={word}."
    near = did_you_mean(word, key_types()).replace("'?", "=...'?")
    return f"{word} is no key=value.{near} Type a setting and its value, such as lr=0.1."


def _refuse_key(word: str, key: str) -> None:
    """Refuses a word whose key Hydra cannot read, whatever its value."""
    if read(f"{key}=1") is None:
        raise BadInputError(
            f"{word} begins with no key. A key has the letters a to z, digits, _ and dots, such as"
            " data.root=... or lr=0.1."
        )


def _refuse_unmeant(key: str, name: str, value: str) -> None:
    """Refuses what Hydra would take and nobody means."""
    if key.startswith("~") and (name in key_types() or name in CHOSEN):
        raise BadInputError(
            f"~{name} would delete a setting that every run needs. Type {name}=VALUE, or leave it"
            " out for its default."
        )
    if key.startswith("+") and name in CHOSEN:
        raise BadInputError(f"{key}={value}: {name} exists. Type {name}={value}, without the +.")
    if name in CHOSEN and value.startswith("["):
        raise BadInputError(_brackets(name, value))
    if (top := name.partition(".")[0]) != name and top in key_types():
        raise BadInputError(
            f"Unknown key {name}. Did you mean '{top}'? It is no group of settings."
        )
    if name == "optimizer.lr" and "${" not in value:
        raise BadInputError(
            f"{name}={value} would leave lr, which every table shows, at another value. Type"
            f" lr={value}: the optimizer takes it."
        )
    if "${" in re.sub(REFERENCE, "", value):
        raise BadInputError(
            f"{name}={value}: ${{ begins a reference, such as ${{lr}}, and nothing closes it."
        )
    if _is_decimal_comma(name, value):
        decimal = value.replace(",", ".", 1)
        raise BadInputError(
            f"{name}={value} reads as several numbers; a comma stands between choices, and a decimal"
            f" has a point. Type {name}={decimal}."
        )


def _brackets(name: str, value: str) -> str:
    bare = value.strip("[]").replace(" ", "")
    return (
        f"{name}={value} is a list, and a run has one {name}. A sweep needs no brackets: type"
        f" -m {name}={bare}."
    )


def _is_decimal_comma(name: str, value: str) -> bool:
    """Whether a comma stands where a point is meant: no rate is 0, and no number begins with 00."""
    if name == "lr":
        return re.search(r"(?<![^,])0,\d+(?![^,])", value) is not None
    return not _is_text(name) and re.fullmatch(r"\d+,0\d+", value) is not None


PRIMARY = "saved_run"


def from_saved_run(arguments: Sequence[str]) -> list[str]:
    """Returns a command line that composes the saved run it names, or the same line where it names none.

    The name, the output folder, tracking and trusted packages come from the command line and
    conf/, not from the saved run: the repeat gets a folder of its own.

    Raises:
        BadInputError: The saved config cannot be used.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config-dir", "-cd", type=Path)
    parser.add_argument("--config-name", "-cn")
    known, others = parser.parse_known_args(list(arguments))
    folder = known.config_dir
    if folder is None or known.config_name not in ("config", "config.yaml"):
        return list(arguments)
    if not (folder / "config.yaml").is_file() or not (folder / "overrides.yaml").is_file():
        return list(arguments)
    chosen = {other.split("=")[0] for other in others} & set(GROUPS)
    ConfigStore.instance().store(name=PRIMARY, node=_primary(folder / "config.yaml", chosen))
    return ["--config-name", PRIMARY, *others]


def _primary(path: Path, chosen: set[str]) -> dict[str, Any]:
    """Returns the saved values on Hydra's settings; a group chosen anew forgets its saved values."""
    saved, _ = with_defaults(read_saved(path))
    shipped = shipped_values()
    values = shipped | saved | {group: shipped.get(group, {}) for group in chosen}
    conf = yaml.safe_load((conf_dir() / "config.yaml").read_text())
    defaults = [
        item
        for item in conf["defaults"]
        if not isinstance(item, dict) or not _is_group(item) or set(item) & {*chosen, "tracking"}
    ]
    # The saved values go over the schema, and under what the command line chooses anew.
    return {"defaults": defaults, "hydra": conf["hydra"], **values}


def _is_group(item: dict[str, Any]) -> bool:
    return next(iter(item)) in (*GROUPS, "tracking", "experiment")


def command(name: str) -> str | None:
    """Returns the command line that continues the present one, as it was typed, if it was."""
    words = TYPED.get()
    if words is None:
        return None
    typed = [word for word in words if not word.startswith("name=")]
    return shlex.join(["python", "-m", "sweeps.train", *typed, f"name={name}"])


def answer(arguments: Sequence[str]) -> str | None:
    """Returns what is printed for --help and --version; None where anything else was typed."""
    if list(arguments) in (["--help"], ["-h"]):
        return help_text()
    return f"sweeps {sweeps.__version__}\n" if "--version" in arguments else None


def help_text() -> str:
    """Returns what Hydra's --help prints, in a third of its time: nothing is composed."""
    conf = conf_dir()
    template = yaml.safe_load((conf / "hydra/help/sweeps.yaml").read_text())["template"]
    groups = sorted(
        folder for folder in conf.iterdir() if folder.is_dir() and folder.name != "hydra"
    )
    listed = "\n".join(
        f"  {group.name}: {', '.join(sorted(choice.stem for choice in group.glob('*.yaml')))}"
        for group in groups
    )
    return f"{template.replace('$APP_CONFIG_GROUPS', listed)}\n"


def explain_error(error: Exception) -> tuple[str | None, int]:
    """Returns what is said of an error, None where it is a fault of ours, and the exit code."""
    inner: BaseException | None = error
    while isinstance(inner, OmegaConfBaseException):  # it wraps what a resolver raises
        inner = inner.__cause__ or inner.__context__
    if isinstance(inner, SweepsError):
        return str(inner), inner.exit_code
    if isinstance(error, OSError) and error.filename is not None:
        remedies = {
            errno.ENOSPC: "Free some space and type the same command: it continues.",
            errno.EDQUOT: "Free some space and type the same command: it continues.",
            errno.ENAMETOOLONG: "Type a shorter name=... or a shorter folder.",
        }
        remedy = remedies.get(error.errno or 0, "Choose another folder with output_dir=...")
        return f"{printable(explain_unwritable(error), 600)} {remedy}", 2
    return explain(error), 2
