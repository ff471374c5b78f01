"""What a grid may add to itself is no part of what a run is."""

import pytest

from sweeps.config.checks import check_growth
from sweeps.config.config import NOT_IDENTITY
from sweeps.config.identity import describe
from sweeps.errors import BadInputError


def test_it_never_enters_an_identity() -> None:
    assert {"extend", "seeds", "max_cells"} <= set(NOT_IDENTITY)
    assert describe(["lr=0.1", "extend=auto", "seeds=auto", "max_cells=3"]) == "lr=0.1"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (("no", None, None), r"extend=no is unknown\. Allowed: null, auto"),
        ((None, "5", None), "seeds=5: type the seeds themselves"),
        (("auto", None, 0), "max_cells=0 must be 1 or more"),
    ],
)
def test_what_it_cannot_be_is_refused(
    values: tuple[str | None, str | None, int | None], said: str
) -> None:
    with pytest.raises(BadInputError, match=said):
        check_growth(*values)
