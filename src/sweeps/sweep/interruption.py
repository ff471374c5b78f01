"""What is said where a signal ends a run or a sweep."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


log = logging.getLogger(__name__)


@contextlib.contextmanager
def saying_how_to_continue(command: str | None) -> Iterator[None]:
    """Says what continues the block where it is interrupted.

    Args:
        command: The command as a person types it; None where nobody typed one.
    """
    try:
        yield
    except KeyboardInterrupt:
        log.warning("Interrupted. To continue: %s" if command else "Interrupted.%s", command or "")
        raise
