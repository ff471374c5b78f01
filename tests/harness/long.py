"""The long form of the survival tests, by hand: every named point, first and last hit, and chance.

    PYTHONPATH=tests python -m harness.long --rounds 10

A sweep of 12 cells on 2 workers is issued again and again. Each time it breaks: at each named point, at
its first and at its last hit (as counted in a sweep that is never broken), then `rounds` times at a
random moment by SIGKILL to the process group, to the controller or to one worker. At the end it is
issued until it exits 0, and compared with the twin.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import tempfile
import time
from pathlib import Path

from harness.program import assert_same_sweep, break_at, finish, start, train, was_hit

CELLS = ["-m", "workers=2", "optimizer=sgd,adam", "lr=0.1,0.01,0.001", "seed=0,1"]
CELLS += ["data=synthetic", "data.samples=600", "model=mlp", "epochs=4", "log_every=3"]
FILES = ("mlflow.json", "checkpoint.pt", "run.json", "sweep.json", "model.safetensors")
POINTS = [("os.rename", file, action) for file in FILES for action in ("kill", "after", "half")]
POINTS += [("os.rename", "checkpoint.pt", "torn"), ("open", "metrics.jsonl", "kill")]


def named_points(folder: Path) -> None:
    """Breaks the sweep at each named point, at its first and its last hit."""
    for event, file, action in POINTS:
        never = break_at(folder, event, file, action, hit=10**9)
        assert train(folder, f"name=count-{file}-{action}", *CELLS, **never)[0] == 0
        for hit in sorted({1, was_hit(folder)}):
            name = f"{file}-{action}-{hit}"
            code, out, err = train(
                folder, f"name={name}", *CELLS, **break_at(folder, event, file, action, hit)
            )
            assert "Traceback" not in out + err, (name, out, err)
            settle(folder, name)
            print(f"{name}: exit {code}, then as if nothing had been", flush=True)


def random_moments(folder: Path, rounds: int, chance: random.Random, within_s: float) -> None:
    """Kills sweeps at random moments; where one has come to its end, the next begins."""
    name = "chance-1"
    for number in range(1, rounds + 1):
        process = start(folder, f"name={name}", *CELLS)
        time.sleep(chance.uniform(0.2, within_s))
        victim = chance.choice(("group", "controller", "worker"))
        with contextlib.suppress(ProcessLookupError, IndexError):
            if victim == "group":
                os.killpg(process.pid, signal.SIGKILL)
            elif victim == "controller":
                process.kill()
            else:
                os.kill(chance.choice(workers(process.pid)), signal.SIGKILL)
        code = finish(process)[0]
        print(f"round {number}: {victim} of {name}, exit {code}", flush=True)
        if code == 0:
            settle(folder, name)
            name = f"chance-{number + 1}"
    settle(folder, name)


def settle(folder: Path, name: str) -> None:
    """Issues the command until it exits 0, and compares with the twin."""
    for _ in range(5):
        code, out, err = train(folder, f"name={name}", *CELLS)
        if code == 0:
            break
    assert code == 0, out + err
    assert_same_sweep(folder, name, "twin")


def workers(controller: int) -> list[int]:
    """Returns the children of the controller's fork server."""
    import psutil

    with contextlib.suppress(psutil.Error):
        return [
            grandchild.pid
            for child in psutil.Process(controller).children()
            for grandchild in child.children()
        ]
    return []


def main() -> None:
    """Runs the named points, then chance."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=10, help="random kills (10)")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments (0)")
    parser.add_argument("--random-only", action="store_true", help="leave the named points out")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        assert train(folder, "name=twin", *CELLS)[0] == 0
        started = time.monotonic()  # not of the twin, which also imports and makes the database
        assert train(folder, "name=measured", *CELLS)[0] == 0
        whole_s = time.monotonic() - started
        if not arguments.random_only:
            named_points(folder)
        random_moments(folder, arguments.rounds, random.Random(arguments.seed), whole_s)
    print("All as if nothing had been.")


if __name__ == "__main__":
    main()
