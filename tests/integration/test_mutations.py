"""500 configs made from the shipped ones by a slip: each composes, or is refused in a few clear lines."""

from __future__ import annotations

import dataclasses
import random
from typing import TYPE_CHECKING, Any

import yaml
from hydra.types import HydraContext, RunMode

from sweeps.config import parse
from sweeps.config.command_line import for_hydra
from sweeps.config.hydra_errors import explain, for_terminal
from sweeps.config.locations import conf_dir
from sweeps.config.resolvers import prepare_hydra
from sweeps.config.schema import CHOSEN
from sweeps.errors import BadInputError

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

SEED = 14
TYPED, WRITTEN = 350, 150
MOST_LINES = 12

PLAIN = """
0.1 64 2 3 1e-3 true false adam cosine val_loss 0.5 1e-6
""".split()  # noqa: SIM905 - it reads better
STRANGE = """
null None True yes off nan -inf 1e400 1e-400 10**18 0x10 1_000 007 0,1 0-4 1..3 64.0 1.5 -1 [ ] [] [1,
[a,[b]] {} {a:1} {a: ( f(x) range(3 range(1,0) choice() 数据集 größe नाम ☃ a=b it's # & ~ ~/x $ ${ ${lr}
${x} ${oc.env:NOPE} ../.. .. / , a, @ ??? sgd,adam auto interval(0,1) glob(*) around(auto,4) 12:30 %s
""".split()  # noqa: SIM905 - it reads better
STRANGE += ["", "a b ", '"', "\t", "\n", "\x07", "\udcff", "1" + "0" * 30, "a" * 300]
NUMBERS = [0.1, 0.5, 1, 2, 3, 64, 1.5, -1, 10**30, float("nan"), float("inf")]
VALUES: list[Any] = [
    *NUMBERS,
    *("cpu", "val_loss", "none", "", "数据集", "a" * 300, "${x}", "${", "${lr}", "???", "a\0b"),
    *(None, True, False, [], [[1]], [None], ["lr"], {}, {"a": {"b": 1}}, {"_target_": "os.system"}),
]


def _keys() -> list[str]:
    """Returns every key of the shipped configs, those of choices under their group."""
    top = yaml.safe_load((conf_dir() / "config.yaml").read_text())
    keys = [key for key in top if key not in ("defaults", "hydra")]
    for group in CHOSEN:
        for file in sorted((conf_dir() / group).glob("*.yaml")):
            content = yaml.safe_load(file.read_text()) or {}
            keys += [f"{group}.{key}" for key in content] if group != "experiment" else []
    return [*dict.fromkeys([*keys, *CHOSEN, *(f"search.{key}" for key in top["search"])])]


def _slip(word: str, random_: random.Random) -> str:
    """Returns a word as a hurried person types it."""
    place = random_.randrange(len(word))
    return random_.choice(
        [
            word[:place] + word[place + 1 :],
            word[:place] + word[place] * 2 + word[place + 1 :],
            word.upper(),
            word.replace("_", "-"),
            word.replace(".", "/"),
            f"{word}.{word}",
            f"+{word}",
            f"++{word}",
            f"~{word}",
            f"--{word}",
        ]
    )


def _typed(random_: random.Random) -> list[str]:
    """Returns a command line with one or two slips."""
    keys = _keys()
    line = ["-m"] if random_.random() < 0.3 else []
    for _ in range(random_.randint(1, 2)):
        key, words = random_.choice(keys), random_.choice([PLAIN, STRANGE])
        if random_.random() < 0.3:
            key = _slip(key, random_)
        group = key.partition(".")[0]
        files = sorted((conf_dir() / group).glob("*.yaml")) if group in CHOSEN else []
        if "." in key and files and random_.random() < 0.7:
            line.append(f"{group}={random_.choice(files).stem}")
        elif files and random_.random() < 0.5:
            line.append(f"{key}={_slip(random_.choice(files).stem, random_)}")
            continue
        line.append(key if random_.random() < 0.05 else f"{key}={random_.choice(words)}")
    return line


def _written(random_: random.Random) -> dict[str, Any]:
    """Returns a preset with one or two values that few mean."""
    preset: dict[str, Any] = {}
    for _ in range(random_.randint(1, 2)):
        *groups, leaf = random_.choice(_keys()).split(".")
        leaf = _slip(leaf, random_) if random_.random() < 0.2 else leaf
        node = preset
        for group in groups:
            if not isinstance(node.get(group), dict):
                node[group] = {}
            node = node[group]
        node[leaf] = random_.choice(VALUES)
    return preset


@dataclasses.dataclass
class _Door:
    """What a command line passes before anything starts: the door, Hydra, and our checks."""

    context: HydraContext
    presets: Path

    def __post_init__(self) -> None:
        prepare_hydra()
        loader = self.context.config_loader
        words = [f"hydra.searchpath=['file://{self.presets}']"]
        self.master = loader.load_configuration("config", words, RunMode.MULTIRUN)

    def refusal(self, line: list[str]) -> str | None:
        """Returns what a person is told, or None where the run would start."""
        try:
            words = [word for word in for_hydra(line) if not word.startswith("--")]
            parse(self.context.config_loader.load_sweep_config(self.master, words))
        except BadInputError as error:
            return str(error)
        except Exception as error:
            message = explain(error)
            if message is None:
                error.add_note(f"typed: {line}")
                raise
            return message
        return None


def test_500_slips_end_in_a_config_or_in_a_few_lines(
    context: HydraContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    presets = tmp_path / "experiment"
    presets.mkdir()
    random_ = random.Random(SEED)
    lines = [_typed(random_) for _ in range(TYPED)]
    written = {}
    for number in range(WRITTEN):
        written[f"experiment=mutant{number}"] = text = yaml.safe_dump(_written(random_))
        (presets / f"mutant{number}.yaml").write_text(f"# @package _global_\n{text}")
    lines += [[word] for word in written]
    door = _Door(context, tmp_path)
    told: dict[str, str | None] = {}
    for number, line in enumerate(lines):
        told[f"{number}: {line} {written.get(line[0], '')}"] = door.refusal(line)
    refused = [message for message in told.values() if message is not None]
    assert len(told) == TYPED + WRITTEN
    assert len(told) // 2 < len(refused) < len(told)
    for slip, message in told.items():
        shown = for_terminal(message or "")
        assert len(shown.splitlines()) <= MOST_LINES, (slip, shown)
        assert "Traceback" not in shown, slip
    assert [path.name for path in tmp_path.iterdir()] == ["experiment"]
