"""A finished run as a model: its arm with the averaged weights, proved to be the one that was scored.

The parts that an arm starts from lie outside its folder. Where a foundation was rebuilt since, the run's weights would
meet other parts than they were trained with and draw nonsense; the hashes in ``result.json`` catch that.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from unimm.arm import Arm, assemble
from unimm.components import weights_hash
from unimm.config import read
from unimm.encoders.token_decoder import DiffusionDecoder
from unimm.encoders.vae import VaeDecoder
from unimm.runs.job import begin
from unimm.runs.outcome import latent_hashes
from unimm.runs.record import Result
from unimm.schema import RunConfig

# Parts of the foundation that a decoder is made of; one from elsewhere checks its own.
OF_FOUNDATION = {VaeDecoder: ("vae",), DiffusionDecoder: ("clip", "decoder", "vae")}
CONFIG, RESULT, WEIGHTS = "config.yaml", "result.json", "weights.safetensors"


class FinishedRun(NamedTuple):
    """A run's folder and what it says about itself."""

    folder: Path
    config: RunConfig
    result: Result


def open_run(folder: Path) -> FinishedRun:
    """The run in ``folder``; of an arm with stages, its last one.

    Raises:
        ValueError: there is no such folder, it holds no run, or the run is unfinished.
    """
    if not folder.is_dir():
        raise ValueError(f"no folder {folder}: give the folder of a finished run, as `unimm run` printed it")
    if not (folder / CONFIG).is_file():
        raise ValueError(f"{folder} holds no run: it has no {CONFIG}")
    config = read(folder / CONFIG)
    if config.stages:  # the last one's weights are the arm's
        return open_run(folder / list(config.stages)[-1])
    for name in (RESULT, WEIGHTS):
        if not (folder / name).is_file():
            raise ValueError(
                f"{folder} is unfinished: it has no {name}; continue it with `unimm run ARM.yaml --resume`"
            )
    try:
        result = Result.model_validate_json((folder / RESULT).read_text(encoding="utf-8"))
    except ValidationError as error:
        raise ValueError(f"{folder / RESULT} does not follow docs/result.md: {error}") from error
    return FinishedRun(folder, config, result)


def trained_arm(run: FinishedRun) -> Arm:
    """The run's arm with its averaged weights, on the CPU and in evaluation mode.

    Raises:
        ValueError: the weights are damaged, or the arm is not the one that ``result.json`` describes.
    """
    arm = assemble(run.config)
    begin(arm, run.folder)
    weights = _read(run.folder / WEIGHTS)
    for part, module in (("backbone", arm.backbone), ("head", arm.head)):
        own = {name.removeprefix(f"{part}."): value for name, value in weights.items() if name.startswith(f"{part}.")}
        unexpected = module.load_state_dict(own, strict=False).unexpected_keys
        if unexpected:
            raise ValueError(f"{run.folder / WEIGHTS} holds {unexpected[0]}, which this arm's {part} does not have")
        module.requires_grad_(False).eval()
    _check(run, arm)
    return arm


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is truncated or altered ({error}); run the arm again with --overwrite") from error


def _check(run: FinishedRun, arm: Arm) -> None:
    """Compare weights, encoder and the foundation's parts that make images with the hashes in ``result.json``."""
    used = {run.config.encoder.name, "latents", *OF_FOUNDATION.get(type(arm.decoder), ())}
    found = {part: value for part, value in latent_hashes(run.config.encoder.name, arm).items() if part in used}
    found |= {"head": weights_hash(arm.head)[:16], "backbone": weights_hash(arm.backbone)[:16]}
    changed = sorted(part for part, value in found.items() if run.result.hashes.get(part, value) != value)
    if changed:
        raise ValueError(
            f"{run.folder}: the hashes of {', '.join(changed)} are not those in {RESULT}, so these parts are not what "
            f"was scored; bring back the foundation {run.config.foundation!r} and the checkpoints of that time, or run "
            "the arm again"
        )
