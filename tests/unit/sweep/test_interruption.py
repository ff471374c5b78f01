from __future__ import annotations

import pytest

from sweeps.signals import Interrupted
from sweeps.sweep.interruption import saying_how_to_continue


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (
            "python -m sweeps.train name=a",
            "Interrupted. To continue: python -m sweeps.train name=a",
        ),
        (None, "Interrupted."),
        ("", "Interrupted."),
    ],
)
def test_what_continues_is_said_where_somebody_typed_it(
    command: str | None, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(Interrupted), saying_how_to_continue(command):
        raise Interrupted(2)
    assert caplog.messages == [said]


def test_other_errors_say_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ValueError, match="other"), saying_how_to_continue("python"):
        raise ValueError("other")
    assert caplog.messages == []
