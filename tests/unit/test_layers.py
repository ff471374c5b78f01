"""Imports point down: commands, service, adapters, core, ground."""

import ast
from pathlib import Path

SRC = Path(__file__).parents[2] / "src" / "sweeps"
LAYERS = [
    {"errors", "paths", "records", "points", "standing"},
    {
        "data",
        "models",
        "losses",
        "schedules",
        "seeding",
        "checkpoint",
        "loop",
        "numerics",
        "lr_curve",
    },
    {
        "config",
        "build",
        "results",
        "tracking",
        "reporting",
        "progress",
        "interrupts",
        "space",
        "search",
    },
    {
        "runner",
        "range_test",
        "auto_lr",
        "sweep",
        "agenda",
        "searching",
        "executing",
        "asking",
        "planning",
        "sources",
        "study",
        "launching",
        "live",
        "closing",
        "reproduction",
    },
    {"train", "sync", "compare", "reproduce"},
]
FRAMEWORKS = {"hydra", "omegaconf", "mlflow"}


def _room(path: Path) -> str:
    return path.relative_to(SRC).with_suffix("").parts[0]


def _imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "sweeps":
            names |= {f"sweeps.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def test_imports_point_down() -> None:
    level = {room: depth for depth, rooms in enumerate(LAYERS) for room in rooms}
    files = [path for path in SRC.rglob("*.py") if _room(path) != "__init__"]
    assert len(files) > 20
    upward = [
        f"{path.relative_to(SRC)} imports {name}"
        for path in files
        for name in _imports(path)
        if name.startswith("sweeps.") and level[name.split(".")[1]] > level[_room(path)]
    ]
    assert upward == []


def test_commands_do_not_import_each_other() -> None:
    commands = LAYERS[-1]
    found = [
        f"{command} imports {name}"
        for command in commands
        for name in _imports(SRC / f"{command}.py")
        if name.startswith("sweeps.") and name.split(".")[1] in commands - {command}
    ]
    assert found == []


def test_core_and_ground_know_only_torch() -> None:
    low = LAYERS[0] | LAYERS[1]
    found = [
        f"{path.relative_to(SRC)} imports {name}"
        for path in SRC.rglob("*.py")
        if _room(path) in low
        for name in _imports(path)
        if name.split(".")[0] in FRAMEWORKS
    ]
    assert found == []
