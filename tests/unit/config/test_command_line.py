"""What is typed is what is meant: texts survive Hydra's grammar, and slips get a sentence."""

from __future__ import annotations

import contextvars
import re
import shlex
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeps.__main__ import main as list_commands
from sweeps.config.command_line import as_overrides, command, for_hydra
from sweeps.config.conversions import wrong_type
from sweeps.config.hydra_errors import for_terminal
from sweeps.errors import BadInputError, did_you_mean

if TYPE_CHECKING:
    from pathlib import Path

PATHS = [
    *(
        "数据集",
        "data/a=b",
        "my (images)",
        "it's",
        'a"b',
        "[old] images",
        "a#b&c",
        "~user",
        "$x",
        "a b",
    ),
    *(
        "a,b",
        "C:\\data\\",
        "{x}",
        "a: b",
        "1e3",
        "007",
        "true",
        " edges ",
        "-3",
        "img(1)",
        "100%",
        "@ü",
    ),
]


def read(word: str, *, sweeping: bool = False) -> Any:
    """Returns what Hydra makes of a typed word: a value, or the list of those of a sweep."""
    (override,) = as_overrides([word], sweeping=sweeping)
    parsed = OverridesParser.create().parse_override(override)
    if parsed.is_sweep_override():
        return [read(f"data.root={choice}") for choice in parsed.sweep_string_iterator()]
    return parsed.value()


@pytest.mark.parametrize("key", ["data.root", "output_dir", "tracking.uri", "name"])
@pytest.mark.parametrize("path", PATHS)
def test_a_text_is_taken_as_it_is_typed(key: str, path: str) -> None:
    assert read(f"{key}={path}") == path


LETTERS = st.characters(exclude_categories=["Cc", "Cs"])


@settings(max_examples=200, deadline=None)
@given(st.text(LETTERS, min_size=1).filter(lambda t: "${" not in t and t[:1] not in "'\"~"))
def test_any_text_survives(text: str) -> None:
    special = text in {"null", "None"} or re.fullmatch(r"(?i)null|\w+\(.*\)", text)
    if not special:
        assert read(f"data.root={text}") == text


def test_what_was_quoted_is_read_the_same_again() -> None:
    for sweeping in (False, True):
        once = as_overrides([f"data.root={path}" for path in PATHS], sweeping=sweeping)
        assert as_overrides(once, sweeping=sweeping) == once


@pytest.mark.parametrize(
    ("typed", "choices"),
    [
        ("data.root=数据集,b", ["数据集", "b"]),
        ("data.root=a=b, c d", ["a=b", "c d"]),
        ('data.root="a,b",c', ["a,b", "c"]),
        (r"data.root=a\,b,c", ["a,b", "c"]),
        ("data.root=${oc.env:X,y}/ü,c", ["${oc.env:X,y}/ü", "c"]),
        ("data.root=[x]/1,[y]", ["[x]/1", "[y]"]),
        ("+model.note=f(1,2)ü,[3", ["f(1,2)ü", "[3"]),
    ],
)
def test_a_comma_separates_choices_in_a_sweep(typed: str, choices: list[str]) -> None:
    assert read(typed, sweeping=True) == choices


@pytest.mark.parametrize(
    "typed",
    [
        *("lr=0.1,0.01", "model.hidden=[64,32],[16]", "seed=range(5)", "lr=interval(0.1,1)"),
        *("lr='auto'", "data.root=images", "data.root='my images'", "+a.b={c:1}", "data.root="),
        *("tracking.uri=null", "optimizer=sgd,adam", "optimizer=glob(*)", "~model.bias"),
    ],
)
def test_what_hydra_reads_stays(typed: str) -> None:
    assert as_overrides([typed], sweeping=True) == [typed]


def test_what_hydra_wrote_into_a_record_is_read_as_it_was_meant() -> None:
    assert read(r"data.root=my\ \(images\)") == "my (images)"
    assert read(r"tracking.uri=sqlite\:///a.db") == "sqlite:///a.db"
    assert read("data.root=${output_dir}/x") == "${output_dir}/x"


def test_home_is_expanded_as_a_shell_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert read("output_dir=~/my runs") == f"{tmp_path}/my runs"
    assert read("data.root=~/a,b", sweeping=True) == [f"{tmp_path}/a", "b"]
    assert read("data.root=a~/b") == "a~/b"


def test_pythons_none_is_null_where_there_may_be_none() -> None:
    assert as_overrides(["threads=None,2", "data.limit=None"], sweeping=True) == [
        "threads=null,2",
        "data.limit=null",
    ]
    assert as_overrides(["+model.act=None"], sweeping=False) == ["+model.act=None"]


@pytest.mark.parametrize(
    ("typed", "given_to_hydra"),
    [
        (["lr=1", "-m", "seed=2"], ["--multirun", "lr=1", "seed=2"]),
        (["lr=1", "--config-dir", "mine"], ["--config-dir", "mine", "lr=1"]),
        (["lr=1", "-cd=mine", "seed=2"], ["--config-dir", "mine", "lr=1", "seed=2"]),
        (["lr=1", "--cfg", "job", "--resolve"], ["--cfg", "job", "--resolve", "lr=1"]),
        (["--info", "lr=1"], ["--info", "all", "lr=1"]),
        (["lr=1", "--info", "plugins"], ["--info", "plugins", "lr=1"]),
        (["-sc", "query=bash"], ["--shell-completion", "query=bash"]),
    ],
)
def test_flags_stand_anywhere(typed: list[str], given_to_hydra: list[str]) -> None:
    assert for_hydra(typed) == given_to_hydra


REFUSED = {
    "--lr 0.1": "--lr is no flag: settings are key=value. Type lr=0.1.",
    "--batch-size=3": "Type batch_size=3.",
    "--multi-run": "Did you mean '--multirun'?",
    "--cfg": "--cfg needs one of job, hydra, all after it",
    "--config-dir": "--config-dir needs a value after it",
    "lr": "lr has no value. Type lr=VALUE",
    "sgd": "sgd is a choice of optimizer. Type optimizer=sgd.",
    "epoch": "Did you mean 'epochs=...'?",
    "~lr": "~lr would delete a setting that every run needs. Type lr=VALUE",
    "+optimizer=adam": "Type optimizer=adam, without the +.",
    "optimizer=[sgd,adam]": "type -m optimizer=sgd,adam.",
    "-m lr=[0.1,0.01]": "A sweep needs no brackets: type -m lr=0.1,0.01.",
    "-m data.root=[a,b]": "type -m data.root=a,b.",
    "-m lr=0,1": "a decimal has a point. Type lr=0.1.",
    "lr=0,001": "Type lr=0.001.",
    "-m optimizer.weight_decay=0,05": "Type optimizer.weight_decay=0.05.",
    "optimizer.lr=0.1": "Type lr=0.1: the optimizer takes it.",
    "lr.x=1": "Did you mean 'lr'?",
    "data.root=${a": "nothing closes it",
    "-m lr=0.1,": "cannot be read|a comma without a value",
    "größe=3": "begins with no key",
    "'name=a\x07b'": "holds '\\x07'",
    "'data.root=\udcff'": "no letter in UTF-8",
}


@pytest.mark.parametrize("line", REFUSED)
def test_a_slip_gets_a_sentence(line: str) -> None:
    with pytest.raises(BadInputError) as caught:
        for_hydra(shlex.split(line))
    assert any(part in str(caught.value) for part in REFUSED[line].split("|")), str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("value", "kind", "said"),
    [
        (
            "0-4",
            "Integer",
            "k=0-4 must be a whole number. For all from 0 to 4 type -m 'k=range(5)'.",
        ),
        ("2..3", "Integer", "type -m 'k=range(2,4)'."),
        ("64.0", "Integer", "Type k=64."),
        ("1.5", "Integer", "k=1.5 must be a whole number."),
        ("10**3", "Integer", "Type k=1000."),
        ("[1, 2]", "Float", "type -m k=1,2."),
        ("rang(3)", "Float", "There is no rang(...) here: a sweep knows -m 'k=range(1,4)'"),
        ("", "Float", "k has no value. Type k=VALUE; it must be a number."),
    ],
)
def test_a_value_of_the_wrong_type_gets_what_to_type(value: str, kind: str, said: str) -> None:
    reason = f"Value '{value}' of type 'str' could not be converted to {kind}"
    assert said in str(wrong_type("k", reason))


def test_the_command_that_continues_is_as_it_was_typed() -> None:
    typed = ["data.root=my (images)", "lr=around(auto, 5)", "-m", "--config-dir", "mine"]
    for_hydra([*typed, "name=old"])
    printed = shlex.split(command("实验") or "")
    assert printed == ["python", "-m", "sweeps.train", *typed, "name=实验"]


def test_nothing_typed_at_our_door_is_no_command() -> None:
    assert contextvars.Context().run(command, "study") is None


def test_near_words_are_found_in_any_case() -> None:
    assert did_you_mean("SGD", ["adam", "sgd"]) == " Did you mean 'sgd'?"
    assert did_you_mean("adamw", ["AdamW", "SGD"]) == " Did you mean 'AdamW'?"


def test_a_message_has_no_control_characters_and_no_endless_words() -> None:
    shown = for_terminal(f"a\0b\x1b[2J {'x' * 900} end")
    assert shown.startswith("a?b?[2J x")
    assert len(shown) < 300
    assert shown.endswith("x end")


@pytest.mark.parametrize(
    ("typed", "code", "said"),
    [
        ([], 0, "python -m sweeps.train"),
        (["--version"], 0, "sweeps 0."),
        (["trian"], 2, "Did you mean 'train'?"),
        (["train", "lr=0.1"], 2, "type python -m sweeps.train"),
        (["lr=0.1"], 2, "type python -m sweeps.train"),
    ],
)
def test_the_package_lists_its_commands(
    typed: list[str],
    code: int,
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", ["sweeps", *typed])
    if code:
        with pytest.raises(SystemExit) as ended:
            list_commands()
        assert ended.value.code == code
    else:
        list_commands()
    assert said in "".join(capsys.readouterr())
