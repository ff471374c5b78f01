"""Where the shipped configuration lies."""

from __future__ import annotations

from pathlib import Path


def conf_dir() -> Path:
    """Returns the folder of the shipped configuration: inside a wheel, or at a checkout's top."""
    package = Path(__file__).resolve().parents[1]
    packaged = package / "conf"
    return packaged if packaged.is_dir() else package.parents[1] / "conf"
