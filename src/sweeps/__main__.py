"""Says which commands there are: python -m sweeps."""

from __future__ import annotations

import sys

import sweeps
from sweeps.errors import did_you_mean

COMMANDS = {
    "train": "train one run, or with -m a sweep: optimizer=sgd,adam lr=0.1,0.01",
    "compare": "show finished runs and sweeps side by side",
    "reproduce": "repeat a run and prove that it comes out the same",
    "sync": "send to MLflow what could not be sent while it was away",
}


def main() -> None:
    """Lists the commands and exits: 0, or 2 where something else was typed."""
    typed = sys.argv[1:]
    if typed == ["--version"]:
        sys.stdout.write(f"sweeps {sweeps.__version__}\n")
        return
    if typed and typed[0] not in ("--help", "-h"):
        sys.stderr.write(f"sweeps: {_instead(typed[0])}\n")
        sys.exit(2)
    width = max(map(len, COMMANDS))
    listed = "\n".join(
        f"python -m sweeps.{name:{width}}  {what}" for name, what in COMMANDS.items()
    )
    sys.stdout.write(f"{listed}\n\nEach has --help.\n")


def _instead(word: str) -> str:
    command = word if word in COMMANDS else ""
    if not command and "=" in word:
        command = "train"
    if command:
        return f"type python -m sweeps.{command}, with a point, then the rest."
    near = did_you_mean(word, COMMANDS)
    return f"there is no command {word!r}.{near} 'python -m sweeps' lists the commands."


if __name__ == "__main__":
    main()
