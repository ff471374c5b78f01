"""The sentences of exclude and only: what they mean, and what is said where they cannot be read."""

from __future__ import annotations

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.config.conditions import plain, read_exclude, read_only, read_zip
from sweeps.errors import BadInputError

CELL = {
    "optimizer": "adam",
    "lr": "0.1",
    "epochs": "10",
    "model.hidden": "[128,64]",
    "data.limit": "null",
    "compile": "true",
    "data.root": "my images",
}


@pytest.mark.parametrize(
    ("sentence", "held"),
    [
        ("optimizer is adam", True),
        ("optimizer is sgd", False),
        ("optimizer is not sgd", True),
        ("optimizer == adam", True),
        ("optimizer!=adam", False),
        ("optimizer is sgd or adam", True),
        ("optimizer is not sgd or adam", False),
        ("optimizer is sgd or adam and lr above 1", False),
        ("optimizer is sgd or lr above 0.01", True),
        ("optimizer is sgd or not lr above 1", True),
        ("optimizer is adam or sgd or lr is 7", True),
        ("lr is 1e-1", True),
        ("lr above 0.1", False),
        ("lr at least 0.1", True),
        ("lr is at most .1", True),
        ("lr is below 1", True),
        ("lr is above 1", False),
        ("lr>0.01", True),
        ("lr >= 0.1 and lr <= 0.1 and not lr<0.1", True),
        ("not lr is 0.1", False),
        ("not not lr is 0.1", True),
        ("not (lr is 0.1 and epochs is 1)", True),
        ("(lr is 2 or lr is 0.1) and epochs is 10", True),
        ("lr is 2 or lr is 0.1 and epochs is 1", False),
        ("lr below epochs", True),
        ("lr above missing", False),
        ("optimizer above 1", False),
        ("model.hidden is [128, 64]", True),
        ("model.hidden is [128]", False),
        ("data.limit is null", True),
        ("data.limit is None", True),
        ("data.limit above 1", False),
        ("compile is True", True),
        ("data.root is 'my images'", True),
        ("missing is 1", False),
        ("missing is not 1", False),
        ("not missing is 1", True),
    ],
)
def test_meaning(sentence: str, held: bool) -> None:
    assert read_exclude(sentence).holds(CELL.get) is held


def test_only_is_a_key_and_a_sentence() -> None:
    key, rule = read_only("schedule.warmup_epochs if optimizer is adam and lr below 1")
    assert key == "schedule.warmup_epochs"
    assert rule.holds(CELL.get)


@pytest.mark.parametrize(
    ("sentence", "message"),
    [
        ("", "exclude='' cannot be read: comes the end, expected is a setting. Type a sentence"),
        ("lr", "after 'lr' comes the end, expected is one of is, is not, above,"),
        ("lr iz 1", "after 'lr' comes 'iz', expected is one of is, is not,"),
        ("lr = 1", "after 'lr' comes '=', expected is one of is, is not,"),
        ("lr is", "after 'lr is' comes the end, expected is a value"),
        ("lr is and", "after 'lr is' comes 'and', expected is a value"),
        ("lr above 1 2", "after 'lr above 1' comes '2', expected is 'and' or 'or'"),
        ("lr above 1 or 2", "after 'lr above 1 or 2' comes the end, expected is one of is,"),
        ("(lr is 1", "after '( lr is 1' comes the end, expected is ')'"),
        ("lr is 1)", "after 'lr is 1' comes ')', expected is 'and' or 'or'"),
        ("lr is 1 and", "after 'lr is 1 and' comes the end, expected is a setting"),
        ("above 1", "comes 'above', expected is a setting"),
    ],
)
def test_unreadable(sentence: str, message: str) -> None:
    with pytest.raises(BadInputError, match=re.escape(message)):
        read_exclude(sentence)


@given(st.text())
def test_any_text_is_read_or_refused_in_our_words(text: str) -> None:
    with contextlib.suppress(BadInputError):  # anything else is a defect
        read_exclude(text).holds(CELL.get)


@given(
    st.recursive(
        st.sampled_from([("lr is 0.1", True), ("lr above 1", False), ("epochs at least 10", True)]),
        lambda inner: st.one_of(
            inner.map(lambda r: (f"not ({r[0]})", not r[1])),
            st.tuples(inner, inner).map(
                lambda p: (f"({p[0][0]}) and ({p[1][0]})", p[0][1] and p[1][1])
            ),
            st.tuples(inner, inner).map(
                lambda p: (f"({p[0][0]}) or ({p[1][0]})", p[0][1] or p[1][1])
            ),
        ),
    )
)
def test_sentences_nest(pair: tuple[str, bool]) -> None:
    sentence, held = pair
    assert read_exclude(sentence).holds(CELL.get) is held


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("'a b'", "a b"),
        ('"a"', "a"),
        ("a\\ b", "a b"),
        ("[1, [2, 3]]", "[1,[2,3]]"),
        ("True", "true"),
        ("None", "null"),
        ("Adam", "Adam"),
        ("'", "'"),
    ],
)
def test_values_compare_as_they_are_meant(text: str, value: str) -> None:
    assert plain(text) == value


def test_zip_is_one_list_or_several() -> None:
    assert read_zip([]) == read_zip(None) == []
    assert read_zip(["lr", "seed"]) == [["lr", "seed"]]
    assert read_zip([["lr", "seed"], ["a", "b", "c"]]) == [["lr", "seed"], ["a", "b", "c"]]
