"""What differs between the machine and code of then and of now, and whether it can change numbers."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sweeps.config.saved import printable
from sweeps.runs.provenance import LIBRARIES

if TYPE_CHECKING:
    from collections.abc import Sequence


SHOWN_DIFF_LINES = 40


@dataclass(frozen=True)
class Situation:
    """The machine and the code of a run.

    Attributes:
        environment: Python, platform and package versions.
        numerics: The device's name and torch's switches; empty for runs that did not keep them.
        code: Hash of the source that trains; empty for runs that did not keep it.
        git: Commit, branch and dirty flag.
        diff: Uncommitted changes.
        device: Such as 'cpu' or 'cuda:0'.
        threads: CPU threads.
        data_digest: Digest of the data's content.
    """

    environment: dict[str, Any]
    numerics: dict[str, Any]
    code: str
    git: dict[str, Any]
    diff: bytes
    device: str
    threads: int
    data_digest: str


@dataclass(frozen=True)
class Difference:
    """One thing that is not as it was."""

    what: str
    then: str
    now: str
    changes_numbers: bool


def compare_situations(
    then: Situation, now: Situation, new_keys: Sequence[str]
) -> list[Difference]:
    """Returns everything that differs, in the order of the table.

    Args:
        then: The original's.
        now: Ours.
        new_keys: Keys of the config that the original did not have and that took their default.
    """
    # The source itself says whether the code is the same; a commit may have changed the README.
    same_code = bool(then.code) and then.code == now.code
    packages = then.environment.get("packages", {}), now.environment.get("packages", {})
    pairs: list[tuple[str, Any, Any, bool]] = [
        ("Python", then.environment.get("python"), now.environment.get("python"), False),
        *((name, packages[0].get(name), packages[1].get(name), True) for name in LIBRARIES),
        ("platform", then.environment.get("platform"), now.environment.get("platform"), False),
        ("machine", then.environment.get("machine"), now.environment.get("machine"), True),
        ("device", then.device, now.device, True),
        *_numerics(then.numerics, now.numerics),
        ("threads", then.threads, now.threads, True),
        ("code", then.code or now.code, now.code, True),
        ("git commit", then.git.get("commit"), now.git.get("commit"), not same_code),
        ("uncommitted changes", _diff_name(then.diff), _diff_name(now.diff), not same_code),
        ("data digest", then.data_digest, now.data_digest, True),
        ("config keys", None, ", ".join(new_keys) or None, False),
    ]
    return [
        Difference(what, _shown(old), _shown(new), matters)
        for what, old, new, matters in pairs
        if old != new
    ]


def table(differences: Sequence[Difference]) -> str:
    """Returns the differences as lines for the terminal."""
    rows = [("what", "then", "now", "can change numbers")]
    rows += [(d.what, d.then, d.now, "yes" if d.changes_numbers else "no") for d in differences]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def show_diff(diff: bytes) -> str:
    """Returns the beginning of a stored diff, safe for a terminal."""
    lines = diff.decode(errors="replace").splitlines()
    shown = [f"  {printable(line, 160)}" for line in lines[:SHOWN_DIFF_LINES]]
    if len(lines) > SHOWN_DIFF_LINES:
        shown.append(f"  ... {len(lines) - SHOWN_DIFF_LINES} more lines in uncommitted.diff")
    return "\n".join(shown)


def _numerics(then: dict[str, Any], now: dict[str, Any]) -> list[tuple[str, Any, Any, bool]]:
    if not then:  # a run from before these were kept
        return []
    names = [*now, *(printable(name, 40) for name in then if name not in now)]
    return [(name.replace("_", " "), then.get(name), now.get(name), True) for name in names]


def _diff_name(diff: bytes) -> str | None:
    if not diff.strip():
        return None
    return f"{len(diff.splitlines())} lines, {hashlib.sha256(diff).hexdigest()[:8]}"


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    return printable(value if isinstance(value, str) else json.dumps(value, default=str), 48)
