"""Hydra's view of our sweep; the work is in `sweeps.sweep`, imported when a sweep runs."""

# No "from __future__ import annotations": Hydra runs this module before it is in sys.modules,
# and a dataclass would look its string annotations up there.
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore
from hydra.plugins.sweeper import Sweeper

if TYPE_CHECKING:
    from hydra.plugins.launcher import Launcher
    from hydra.types import HydraContext, TaskFunction
    from omegaconf import DictConfig


@dataclass
class GridConfig:
    """Settings of hydra/sweeper=grid."""

    _target_: str = "hydra_plugins.sweeps_plugins.sweeper.SweepsSweeper"
    params: dict[str, str] = field(default_factory=dict)
    searching: bool = False


@dataclass
class SearchConfig(GridConfig):
    """Settings of hydra/sweeper=search; those of the search itself are the group `search`."""

    searching: bool = True


for name, node in (("grid", GridConfig), ("search", SearchConfig)):
    ConfigStore.instance().store(group="hydra/sweeper", name=name, node=node, provider="sweeps")


class SweepsSweeper(Sweeper):
    """Runs every combination of the listed values, or those that a search proposes.

    Args:
        params: Axes from the config, such as {'lr': '0.1,0.01'}; the command line comes after.
        searching: Whether a search chooses.
    """

    def __init__(self, params: dict[str, str], searching: bool) -> None:
        super().__init__()
        self.params = params
        self.searching = searching
        self.hydra_context: HydraContext | None = None
        self.config: DictConfig | None = None
        self.launcher: Launcher | None = None

    def setup(
        self, *, hydra_context: "HydraContext", task_function: "TaskFunction", config: "DictConfig"
    ) -> None:
        """Takes what Hydra hands over before the sweep."""
        from hydra.core.plugins import Plugins

        from sweeps.config.composition import composing
        from sweeps.runs.paths import SweepPaths
        from sweeps.runs.record import SweepRecord

        kept = SweepRecord.kept_defaults(SweepPaths(Path(str(config.hydra.sweep.dir))))
        self.hydra_context = composing(hydra_context, kept)
        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=self.hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Runs the sweep."""
        from hydra.core.utils import configure_log

        from sweeps.config.command_line import as_overrides, command
        from sweeps.launchers.hydra_batches import launcher_of
        from sweeps.sweep.controller import run_sweep, strategy_for

        assert self.launcher is not None
        assert self.hydra_context is not None
        assert self.config is not None
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        axes = as_overrides([f"{k}={v}" for k, v in self.params.items()], sweeping=True)
        engine: dict[str, Any] = {
            "launcher": launcher_of(self.launcher),
            "hydra_context": self.hydra_context,
            "master": self.config,
            "command": command(str(self.config.name)),
        }
        strategy = strategy_for([*axes, *arguments], searching=self.searching, **engine)
        return run_sweep(strategy, **engine)
