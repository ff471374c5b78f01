"""A place for the fork server's socket, whose whole path must fit into an address."""

from __future__ import annotations

import os
import tempfile
from multiprocessing import util

from sweeps.errors import BadInputError

LONGEST = 107 - len("/pymp-12345678/listener-12345678")
"""Bytes of a temporary folder's name: an address of Linux has 107, see unix(7)."""

SHORT = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - a private folder is made in it


def settle_sockets() -> None:
    """Makes multiprocessing's temporary folder of this process, in a shorter one than TMPDIR if need be.

    Raises:
        BadInputError: No folder for temporary files can be written, or its name is too long.
    """
    before = tempfile.tempdir
    try:
        tempfile.tempdir = _short_enough(tempfile.gettempdir())
        util.get_temp_dir()
    except FileNotFoundError as error:
        raise BadInputError(
            "No folder for temporary files can be written. Name one with TMPDIR=FOLDER before the"
            " command."
        ) from error
    finally:
        tempfile.tempdir = before


def _short_enough(usual: str) -> str:
    for folder in (usual, *SHORT):
        if len(os.fsencode(folder)) <= LONGEST and os.access(folder, os.W_OK | os.X_OK):
            return folder
    raise BadInputError(
        f"TMPDIR={usual} is too long for the address of a socket. Name a folder of at most {LONGEST}"
        " bytes with TMPDIR=FOLDER before the command."
    )
