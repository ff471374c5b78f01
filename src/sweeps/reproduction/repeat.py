"""Repeats one run: read the original, say what differs, train, compare while it trains, record."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from sweeps.config import TrackingConfig, from_mapping, identity
from sweeps.config.identity import targets
from sweeps.config.saved import printable, resolve_references, with_defaults
from sweeps.errors import BadInputError
from sweeps.reproduction.differences import Situation, compare_situations, show_diff, table
from sweeps.reproduction.original import file_digest, load_original
from sweeps.reproduction.proof import Proof
from sweeps.reproduction.publish import find_place, mirrored, tag_both, write_proof
from sweeps.runs.paths import RunPaths
from sweeps.runs.provenance import capture_environment, capture_git, code_digest
from sweeps.runs.runner import RunRequest, check, run
from sweeps.tracking import tracking_uri

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sweeps.config import Config
    from sweeps.reproduction.differences import Difference
    from sweeps.reproduction.options import Options
    from sweeps.reproduction.original import Original
    from sweeps.reproduction.proof import Verdict
    from sweeps.runs.record import RunRecord


log = logging.getLogger(__name__)

TORCHVISION = "sweeps.data.sources.torchvision_dataset"


def reproduce(options: Options) -> Verdict:
    """Repeats a run and returns what was proved.

    Raises:
        BadInputError: The original cannot be read, is not trusted, or cannot be repeated here.
        RunFailedError: The repeat raised.
    """
    uri = tracking_uri(TrackingConfig(uri=options.tracking_uri), options.output_dir)
    original = load_original(options.run, best=options.best, output_dir=options.output_dir, uri=uri)
    config, new_keys = _config(original, options)
    threads = options.threads or original.record.threads
    differences = _differences(original, config, threads, new_keys)
    _say_differences(original, differences)
    _refuse(differences, options)
    check(config)  # what cannot be built is refused before anything is written
    proof = Proof(
        original.points,
        rtol=options.rtol,
        complete=original.complete,
        epochs=options.epochs,
        of_epochs=config.epochs,
        stop_early=options.stop_early,
    )
    folder = options.output_dir / "reproductions" / config.name
    place = find_place(original, uri) if options.tracking else None
    with mirrored(place, folder, config), _logged(folder):
        record = run(_request(original, config, folder, threads), observe=proof.see)
    verdict = proof.verdict(weights=_weights_equal(original, record, RunPaths(folder)))
    write_proof(folder, original, place.original_id if place else None, verdict, differences)
    known = place is not None and tag_both(place, folder, original, verdict)
    _say(verdict, folder)
    if place is not None and not known:
        log.info("The original is not in %s: only the repeat is tagged there.", place.uri)
    return verdict


def _config(original: Original, options: Options) -> tuple[Config, list[str]]:
    """Returns the original's config with what belongs to us, and its keys that took a default."""
    complete, new_keys = with_defaults(original.values)
    values = resolve_references(complete)
    _place_data(values, options.data_root)
    values |= {
        "name": "reproduction",
        "output_dir": str(options.output_dir),
        "tracking": {"backend": "mlflow" if options.tracking else "none"},
        "trusted_targets": list(options.trusted),
    }
    config = from_mapping(values)
    config = dataclasses.replace(config, device=_device(config, original.record))
    return dataclasses.replace(config, name=_fresh_name(config)), new_keys


def _place_data(values: dict[str, Any], root: Path | None) -> None:
    data = values.get("data")
    if not isinstance(data, dict):
        return  # `from_mapping` says what is wrong
    if root is not None:
        if "root" not in data:
            raise BadInputError(f"--data-root {root}: this run's data has no folder. Leave it out.")
        data["root"] = str(root)
    elif data.get("_target_") == TORCHVISION:
        data["root"] = None  # a stranger's config does not say where to download to
    elif isinstance(data.get("root"), str) and not Path(data["root"]).expanduser().is_dir():
        raise BadInputError(
            f"The images were in {printable(data['root'])}, which is not a folder here."
            " Type --data-root FOLDER with where they are now."
        )


def _device(config: Config, record: RunRecord) -> str:
    """Returns the config's device where it leads to the same as then; else the same by its name."""
    from sweeps.training.determinism import find_device

    for name in (config.device, record.device):
        with contextlib.suppress(BadInputError, RuntimeError):
            if str(find_device(name)) == record.device:
                return name
    return "auto"


def _fresh_name(config: Config) -> str:
    # Made of nothing that the original says: its names are a stranger's.
    return f"{identity(config)[:8]}-{time.strftime('%Y-%m-%d_%H-%M-%S')}-{secrets.token_hex(2)}"


def _differences(
    original: Original, config: Config, threads: int, new_keys: list[str]
) -> list[Difference]:
    from sweeps.runs.build import load_dataset
    from sweeps.training.determinism import describe_numerics, find_device, set_determinism

    device = find_device(config.device)
    set_determinism(deterministic=config.deterministic)
    git, diff = capture_git(Path.cwd())
    record = original.record
    then = Situation(
        environment=record.environment,
        numerics=record.numerics,
        code=record.code,
        git=record.git,
        diff=original.diff,
        device=record.device,
        threads=record.threads,
        data_digest=record.dataset["digest"],
    )
    now = Situation(
        environment=capture_environment(),
        numerics=describe_numerics(device),
        code=code_digest(targets(config)),
        git=git,
        diff=diff,
        device=str(device),
        threads=threads,
        data_digest=load_dataset(config).digest,
    )
    return compare_situations(then, now, new_keys)


def _say_differences(original: Original, differences: list[Difference]) -> None:
    record = original.record
    log.info("Original: %s", printable(original.label))
    log.info(
        "          %d points, %s, %s, %d threads",
        len(original.points),
        printable(record.outcome or "never ended"),
        printable(record.device),
        record.threads,
    )
    if not differences:
        log.info("Machine, libraries, code and data are as they were.")
        return
    log.info("What differs:\n%s", table(differences))
    changed = any(difference.what == "uncommitted changes" for difference in differences)
    if changed and original.diff.strip():
        log.info("The original's uncommitted changes:\n%s", show_diff(original.diff))


def _refuse(differences: list[Difference], options: Options) -> None:
    for difference in differences:
        if difference.what == "data digest" and not options.allow_other_data:
            raise BadInputError(
                f"The data is not the same: its digest was {difference.then}, is {difference.now}."
                " Bring the original data back, or add --allow-other-data to compare anyway."
            )
    changing = [d.what for d in differences if d.changes_numbers]
    if options.strict and changing:
        raise BadInputError(
            f"--strict: {', '.join(changing)} differ{'s' * (len(changing) == 1)} and can change"
            " numbers. Restore what was, or leave --strict out."
        )


def _request(original: Original, config: Config, folder: Path, threads: int) -> RunRequest:
    record = original.record
    overrides = [printable(override) for override in record.overrides]
    saved = {**original.values, "name": config.name, "output_dir": config.output_dir}
    saved |= {
        "tracking": dataclasses.asdict(config.tracking),
        "trusted_targets": config.trusted_targets,
    }
    return RunRequest(
        config=config,
        folder=folder,
        overrides=overrides,
        choices={printable(key): printable(value) for key, value in record.choices.items()},
        hydra_files={
            "config.yaml": yaml.safe_dump(saved, sort_keys=False),
            "overrides.yaml": yaml.safe_dump(overrides),
        },
        threads=threads,
    )


@contextlib.contextmanager
def _logged(folder: Path) -> Iterator[None]:
    """Writes the log of the block to the run's train.log too."""
    handler = logging.FileHandler(RunPaths(folder).log, delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    folder.mkdir(parents=True, exist_ok=True)
    logging.getLogger("sweeps").addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger("sweeps").removeHandler(handler)
        handler.close()


def _weights_equal(original: Original, record: RunRecord, paths: RunPaths) -> bool | None:
    """Compares the final weights, or the best epoch's for runs that did not keep that digest."""
    if original.record.weights_digest is not None:
        return original.record.weights_digest == record.weights_digest
    if original.best_weights is None:
        return None
    return original.best_weights == file_digest(paths.weights)


def _say(verdict: Verdict, folder: Path) -> None:
    for key, error in sorted(verdict.largest.items()):
        log.info("  %s: largest relative error %.3g", printable(key), error)
    words = {True: "final weights equal", False: "final weights differ", None: ""}
    parts = [f"{verdict.compared} points compared", words[verdict.weights]]
    log.info("Verdict: %s  (%s)", verdict.short, ", ".join(part for part in parts if part))
    if verdict.first_beyond is not None:
        log.info("  step %d: %s", verdict.first_beyond.step, verdict.first_beyond)
    elif verdict.first is not None:
        log.info("  first other bits at step %d: %s", verdict.first.step, verdict.first)
    log.info("In: %s", os.path.relpath(folder))
