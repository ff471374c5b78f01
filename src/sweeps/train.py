"""Train one run, or with -m a sweep: python -m sweeps.train -m optimizer=sgd,adam lr=0.1,0.01."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import hydra

from sweeps.config.command_line import answer, command, for_hydra, from_saved_run
from sweeps.config.exits import exiting
from sweeps.config.locations import conf_dir
from sweeps.config.resolvers import prepare_hydra
from sweeps.files import ensure_home, find_own_modules
from sweeps.sweep.single import Refusal, run_composed

if TYPE_CHECKING:
    from omegaconf import DictConfig


prepare_hydra()


@hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")
def _task(cfg: DictConfig) -> float | None:
    """Runs one cell, or the only run; returns its objective, for Hydra's own optimizing sweepers."""
    try:
        return run_composed(cfg, command(str(cfg.name)))
    except Refusal as refusal:
        # Raised here, Hydra would print a line of its own before ours.
        _refusals.append(refusal)
        return None


_refusals: list[Refusal] = []


def main() -> None:
    """Runs the command line and exits: 0 well, 1 a run failed, 2 bad input, 128+n on signal n."""
    if (said := answer(sys.argv[1:])) is not None:
        sys.stdout.write(said)
        return
    find_own_modules()
    ensure_home()
    with exiting():
        sys.argv[1:] = from_saved_run(for_hydra(sys.argv[1:]))
        _task()
        if _refusals:
            raise _refusals[0].error


if __name__ == "__main__":
    # Run from its module, so that the task is known by the same name in every process.
    from sweeps.train import main as main_of_module

    main_of_module()
