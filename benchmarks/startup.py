"""How long a person waits: for --help, for the config, and for the first optimizer step.

    python benchmarks/startup.py
    python benchmarks/startup.py --rounds 9

Every arm is a process of its own and the arms take turns, in an order that alternates. The first
step is the time from the start of the process to the first metric point of a run that logs each
step, on the embedded digits, with a database that exists already.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

from arms import child, interleaved, parser_of, print_ratio

COMMANDS = {
    "import hydra": ["-c", "import hydra"],
    "import torch": ["-c", "import torch"],
    "--help": ["-m", "sweeps.train", "--help"],
    "--cfg job": ["-m", "sweeps.train", "--cfg", "job"],
}


def whole(arguments: list[str], folder: Path) -> float:
    """Returns the seconds of a process."""
    started = time.perf_counter()
    child(arguments, folder)
    return time.perf_counter() - started


def first_step(tracking: str, folder: Path) -> float:
    """Returns the seconds to the first metric point of a run."""
    name = f"bench{time.time_ns()}"
    settings = ["model=linear", "epochs=1", "log_every=1", f"tracking={tracking}", f"name={name}"]
    started = time.time()
    child(["-m", "sweeps.train", *settings], folder)
    with (folder / "outputs" / "runs" / name / "metrics.jsonl").open() as lines:
        point = json.loads(next(lines))
    return float(point["time_ms"]) / 1000 - started


def main() -> None:
    """Measures all arms and prints the table."""
    parser = parser_of(__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="times each arm is run (5)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        arms = {name: partial(whole, command, folder) for name, command in COMMANDS.items()}
        for tracking in ("none", "mlflow"):
            arms[f"first step, {tracking}"] = partial(first_step, tracking, folder)
        for measure in arms.values():  # byte code, file cache, database
            measure()
        seconds = interleaved(arms, arguments.rounds)
    print(f"{'arm':22}{'n':>3}{'median s':>10}{'least':>9}{'most':>9}")
    for name, values in seconds.items():
        print(
            f"{name:22}{len(values):>3}{statistics.median(values):>10.2f}"
            f"{min(values):>9.2f}{max(values):>9.2f}"
        )
    print_ratio(seconds, "--help", "import hydra", "2 or less")


if __name__ == "__main__":
    main()
