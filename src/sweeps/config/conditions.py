"""Sentences about settings: exclude='optimizer is adam and lr above 0.1', only='KEY if SENTENCE'.

The language is words, because a shell reads > and ( itself; the symbols work where they are quoted,
and in YAML.

    sentence     all or all or ...
    all          part and part and ...
    part         not part, (sentence), or a comparison
    comparison   key operator value; after 'is' and 'is not' also: value or value ...
"""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from sweeps.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


SPELLINGS = {
    "is": ("is", "=="),
    "is not": ("is not", "!="),
    "above": ("above", "is above", ">"),
    "below": ("below", "is below", "<"),
    "at least": ("at least", "is at least", ">="),
    "at most": ("at most", "is at most", "<="),
}
OPERATORS = {word: name for name, spellings in SPELLINGS.items() for word in spellings}
"""Every way to write an operator."""

ORDER = {
    "above": operator.gt,
    "below": operator.lt,
    "at least": operator.ge,
    "at most": operator.le,
}

EXAMPLES = {
    "zip": "'zip=[lr,batch_size]'",
    "exclude": "exclude='optimizer is adam and lr above 0.1'",
    "only": "only='schedule.warmup_epochs if schedule is cosine'",
}

_TOKEN = re.compile(r"""\s*("[^"]*"|'[^']*'|\[[^\]]*\]|[<>=!]+|[()]|[^\s()<>=!]+)""")
_JOINING = ("and", "or", "not", "(", ")")


@dataclass(frozen=True)
class Comparison:
    """One setting against one value, or against several of which any will do.

    Attributes:
        key: Of the setting.
        operator: 'is', 'is not', or one of `ORDER`.
        values: What it is compared with; for an order a number, or the key of another setting.
    """

    key: str
    operator: str
    values: tuple[str, ...]

    def holds(self, value_of: Callable[[str], str | None]) -> bool:
        """Returns whether it is so.

        Args:
            value_of: Gives a setting's value as `plain` text, or None where there is no such
                setting: then no comparison holds.
        """
        own = value_of(self.key)
        if own is None:
            return False
        if self.operator not in ORDER:
            return any(same(own, value) for value in self.values) == (self.operator == "is")
        limit = self.values[0] if number(self.values[0]) is not None else value_of(self.values[0])
        left, right = number(own), number(limit or "")
        return left is not None and right is not None and ORDER[self.operator](left, right)

    def comparisons(self) -> Iterator[Comparison]:
        """Yields itself."""
        yield self

    @property
    def keys(self) -> tuple[str, ...]:
        """The settings that it reads."""
        other = self.operator in ORDER and number(self.values[0]) is None
        return (self.key, self.values[0]) if other else (self.key,)


@dataclass(frozen=True)
class Joined:
    """Sentences joined by a word."""

    word: Literal["and", "or", "not"]
    parts: tuple[Rule, ...]

    def holds(self, value_of: Callable[[str], str | None]) -> bool:
        """Returns whether it is so, see `Comparison.holds`."""
        held = (part.holds(value_of) for part in self.parts)
        if self.word == "not":
            return not next(held)
        return all(held) if self.word == "and" else any(held)

    def comparisons(self) -> Iterator[Comparison]:
        """Yields the comparisons in it."""
        for part in self.parts:
            yield from part.comparisons()


Rule = Comparison | Joined


def read_exclude(sentence: str) -> Rule:
    """Reads a sentence of exclude=...

    Raises:
        BadInputError: It is no sentence.
    """
    return _Reader("exclude", sentence, sentence).rule()


def read_only(sentence: str) -> tuple[str, Rule]:
    """Reads a sentence of only=...: the key that it is about, and when it applies.

    Raises:
        BadInputError: It is no sentence.
    """
    found = re.fullmatch(r"\s*([^\s()<>=!]+)\s+if\s(.*)", sentence)
    if found is None:
        raise BadInputError(
            f"only={sentence!r} cannot be read. Type a key, 'if' and a sentence, such as"
            f" {EXAMPLES['only']}."
        )
    return found.group(1), _Reader("only", sentence, found.group(2)).rule()


def read_sentences(setting: str, value: Any) -> list[str]:
    """Returns the sentences of exclude or only, which is one sentence or a list of them.

    Raises:
        BadInputError: It is neither.
    """
    sentences = [value] if isinstance(value, str) else value or []
    if not isinstance(sentences, list) or not all(isinstance(s, str) for s in sentences):
        raise BadInputError(
            f"{setting}={value} must be a sentence or a list of sentences, such as"
            f" {EXAMPLES[setting]}."
        )
    return sentences


def read_zip(value: Any) -> list[list[str]]:
    """Returns the lists of keys to pair: zip is one list, or a list of such lists.

    Raises:
        BadInputError: It is neither, a list has one key, or a key comes twice.
    """
    lists = [value] if value and isinstance(value, list) and isinstance(value[0], str) else value
    if not isinstance(lists, list | None) or not all(map(_is_pair, lists or [])):
        raise BadInputError(
            f"zip={value} must be a list of two or more keys, such as {EXAMPLES['zip']}, or a list"
            " of such lists."
        )
    keys = [key for pair in lists or [] for key in pair]
    for key in keys:
        if keys.count(key) > 1:
            raise BadInputError(f"zip={value} names {key} twice; name each key once.")
    return lists or []


def plain(text: str) -> str:
    """Returns a value as it is compared: without Hydra's quotes, escapes and blanks in lists."""
    if text[:1] in ("'", '"') and text[-1:] == text[0] and len(text) > 1:
        return text[1:-1]
    unescaped = re.sub(r"\\(.)", r"\1", text)
    if unescaped.startswith("["):
        return re.sub(r"\s", "", unescaped)
    word = unescaped.lower()
    return {"none": "null"}.get(word, word) if word in ("true", "false", "none") else unescaped


def number(text: str) -> float | None:
    """Returns a value as a number, or None where it is a word."""
    try:
        return float(text)
    except ValueError:
        return None


def same(left: str, right: str) -> bool:
    """Returns whether two values are equal: numbers as numbers, words as words."""
    numbers = number(left), number(right)
    return left == right if None in numbers else numbers[0] == numbers[1]


def _is_pair(keys: Any) -> bool:
    return isinstance(keys, list) and len(keys) > 1 and all(isinstance(key, str) for key in keys)


class _Reader:
    """Reads a sentence from left to right, one method for each line of the grammar above."""

    def __init__(self, setting: str, typed: str, sentence: str) -> None:
        self.setting = setting
        self.typed = typed
        self.tokens: Sequence[str] = _TOKEN.findall(sentence)
        self.place = 0

    def rule(self) -> Rule:
        rule = self.sentence()
        if self.next() is not None:
            raise self.error("'and' or 'or'")
        return rule

    def sentence(self) -> Rule:
        return self.joined("or", self.all)

    def all(self) -> Rule:
        return self.joined("and", self.part)

    def joined(self, word: Literal["and", "or"], part: Callable[[], Rule]) -> Rule:
        parts = [part()]
        while self.take(word):
            parts.append(part())
        return parts[0] if len(parts) == 1 else Joined(word, tuple(parts))

    def part(self) -> Rule:
        if self.take("not"):
            return Joined("not", (self.part(),))
        if self.take("("):
            inner = self.sentence()
            if not self.take(")"):
                raise self.error("')'")
            return inner
        key = self.word("a setting")
        phrase = self.operator_at(self.place)
        if phrase is None:
            raise self.error("one of is, is not, above, below, at least, at most")
        self.place += len(phrase.split())
        values = [self.word("a value")]
        while OPERATORS[phrase] not in ORDER and self.another_value():
            self.place += 1
            values.append(self.word("a value"))
        return Comparison(key, OPERATORS[phrase], tuple(values))

    def another_value(self) -> bool:
        """Whether 'or' goes on with a value, as in 'optimizer is adam or adamw'."""
        after = self.next(1)
        begins = after in _JOINING or self.operator_at(self.place + 2) is not None
        return self.next() == "or" and not begins

    def operator_at(self, place: int) -> str | None:
        for length in (3, 2, 1):
            phrase = " ".join(self.tokens[place : place + length])
            if phrase in OPERATORS:
                return phrase
        return None

    def word(self, what: str) -> str:
        token = self.next()
        if token is None or token in _JOINING or token in OPERATORS or token[0] in "<>=!":
            raise self.error(what)
        self.place += 1
        return plain(token)

    def take(self, word: str) -> bool:
        taken = self.next() == word
        self.place += taken
        return taken

    def next(self, ahead: int = 0) -> str | None:
        place = self.place + ahead
        return self.tokens[place] if place < len(self.tokens) else None

    def error(self, expected: str) -> BadInputError:
        read = " ".join(self.tokens[: self.place])
        after = f" after {read!r}" if read else ""
        came = "the end" if self.next() is None else repr(self.next())
        return BadInputError(
            f"{self.setting}={self.typed!r} cannot be read:{after} comes {came}, expected is"
            f" {expected}. Type a sentence such as {EXAMPLES[self.setting]}."
        )
