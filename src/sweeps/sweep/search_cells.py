"""The cells of a search: each is composed once, whether it is checked, restored or proposed."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from sweeps.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sweeps.search.samplers import Proposer
    from sweeps.sweep.cell import Cell


log = logging.getLogger(__name__)


class SearchCells:
    """Makes cells of what is chosen.

    Args:
        proposer: Knows the space.
        compose: Makes a checked cell of overrides.
    """

    def __init__(self, proposer: Proposer, compose: Callable[[list[str]], Cell]) -> None:
        self._proposer, self._compose = proposer, compose
        self._composed: dict[tuple[str, ...], Cell | None] = {}
        self._identities: set[str] = set()

    def required(self, overrides: Sequence[str]) -> Cell:
        """Returns the cell of overrides that must go together.

        Raises:
            BadInputError: They do not.
        """
        cell = self._composed.get(tuple(overrides)) or self._compose(list(overrides))
        self._composed[tuple(overrides)] = cell
        return cell

    def of(self, chosen: Mapping[str, str]) -> Cell | None:
        """Returns the cell of what was chosen; None where that is none of this space."""
        whole = self._proposer.complete(chosen)
        return None if whole is None else self._of_whole(whole)

    def enter(self, cell: Cell) -> None:
        """Takes that a cell is a trial now, and nothing new."""
        self._identities.add(cell.identity)

    def is_new(self, whole: Mapping[str, str]) -> bool:
        """Returns whether a complete combination can be run and is no trial yet."""
        cell = self._of_whole(whole)
        return cell is not None and cell.identity not in self._identities

    def _of_whole(self, whole: Mapping[str, str]) -> Cell | None:
        """Composes a cell; returns None where its settings do not go together."""
        key = tuple(self._proposer.space.overrides(whole))
        if key not in self._composed:
            try:
                return self.required(key)
            except BadInputError as error:
                log.warning("Not tried: %s", error)
                self._composed[key] = None
        return self._composed[key]
