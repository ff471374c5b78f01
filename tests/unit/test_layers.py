"""The house: which rooms there are, on which floors they stand, and that imports point down."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SRC = Path(__file__).parents[2] / "src" / "sweeps"

FLOORS = {
    "doors": {"__main__", "train", "compare", "reproduce", "sync"},
    "service": {"sweep", "reproduction"},
    "judgement": {"analysis"},
    "adapters": {"search", "tracking"},
    "run": {"runs"},
    "core": {"training"},
    "input": {"config", "data"},
    "machine": {"launchers"},
    "ground": {"files", "signals", "seeding"},
    "words": {"errors"},
}
"""Top down. A room imports what stands below it, and nothing beside it."""

LEVEL = {room: depth for depth, rooms in enumerate(FLOORS.values()) for room in rooms}

FORBIDDEN = {
    "training": {"hydra", "omegaconf", "mlflow", "optuna"},
    "data": {"hydra", "omegaconf", "mlflow", "optuna"},
    "launchers": {"hydra", "omegaconf", "mlflow", "optuna"},
    "runs": {"mlflow", "optuna"},
    "config": {"mlflow", "optuna"},
}
KNOW_HYDRA = [SRC / "launchers" / "hydra_job.py", SRC / "launchers" / "hydra_batches.py"]

FILES = [path for path in SRC.rglob("*.py") if path != SRC / "__init__.py"]


def _room(path: Path) -> str:
    return path.relative_to(SRC).with_suffix("").parts[0]


def _is_module(name: str) -> bool:
    return (SRC.parent / f"{name.replace('.', '/')}.py").is_file()


def _names(path: Path) -> Iterator[str]:
    """Yields what a file imports, anywhere in it, and the modules that it names as strings."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "sweeps":
            yield from (f"sweeps.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            named = node.value.startswith("sweeps.") and _is_module(node.value)
            if named and node.value.split(".")[1] not in FLOORS["doors"]:  # a command to type
                yield node.value


def test_every_room_stands_on_a_floor() -> None:
    assert {_room(path) for path in FILES} == set(LEVEL)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SRC)))
def test_imports_point_down(path: Path) -> None:
    own = _room(path)
    wrong = [
        name
        for name in _names(path)
        if name.startswith("sweeps.")
        and (room := name.split(".")[1]) != own
        and LEVEL[room] <= LEVEL[own]
    ]
    assert wrong == []


@pytest.mark.parametrize("room", FORBIDDEN)
def test_what_is_outside_is_known_where_it_belongs(room: str) -> None:
    found = [
        f"{path.relative_to(SRC)} imports {name}"
        for path in FILES
        if _room(path) == room and path not in KNOW_HYDRA
        for name in _names(path)
        if name.split(".")[0] in FORBIDDEN[room]
    ]
    assert found == []
