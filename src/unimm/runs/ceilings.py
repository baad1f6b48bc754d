"""What an arm's parts allow at most: scores of real images as they are (``real``), and through encoder and decoder.

Beside them stand the cards of who scores: how it reads images whose content is known.

Nothing of it depends on what a run has trained. Runs with the same parts and the same test, such as the seeds and most
arms of a study, therefore share it: it is kept in the cache under a hash of all that it depends on, which are the code,
the libraries, the foundation's files, the settings of encoder, decoder and test, the images that training shows, and
the machine, whose number of threads moves last digits. What has no hash of its own, a decoder or a test from elsewhere,
is measured by every run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from unimm.analysis.judging import FactCard
from unimm.components import Decoder, Encoder
from unimm.data.cache import at_once
from unimm.devices import device_name
from unimm.evaluation.images import fingerprint
from unimm.evaluation.judge_card import as_result, judge_card
from unimm.evaluation.metric import Evidence
from unimm.evaluation.suite import score_all
from unimm.files import cache_folder, write_json
from unimm.noise import NoiseSource
from unimm.pipeline import to_uint8
from unimm.progress import progress
from unimm.runs.code import versions
from unimm.runs.planned import digest
from unimm.runs.record import JudgeCard, NamedScores, read_record
from unimm.runs.run import OF_FOUNDATION, Run
from unimm.runs.worded_test import WordedTest
from unimm.scenes.prompts import Metadata
from unimm.scenes.render import render
from unimm.scenes.stream import compose
from unimm.scenes.worded_prompts import WORDINGS
from unimm.scenes.world import Scene, World
from unimm.schema import CHOSEN, DEFAULT_METRICS, SCENES

TRIES = 1000
# Metrics that read nothing but the foundation and the images.
HASHED_METRICS = frozenset((*DEFAULT_METRICS, *(f"geneval_{wording}" for wording in WORDINGS)))
DAMAGED = "delete it to have it computed again"


class Ceilings(BaseModel):
    """Scores of real images by kind, and the scenes' judge's card on them, where the world has scenes for the test.

    ``judge_cards`` are those of other judges and of the CLIPs that score.
    """

    model_config = ConfigDict(frozen=True)

    scores: dict[str, NamedScores]
    judge_card: JudgeCard | None
    judge_cards: dict[str, FactCard]


def ceilings(run: Run, evidence: Evidence, worded: Sequence[WordedTest]) -> Ceilings:
    """From the cache where all has a hash, else measured; ValueError for a file in the cache that cannot be read."""
    key = _key(run, evidence)
    if key is None:
        return measured(run, evidence, worded)
    path = cache_folder() / f"ceilings-{key}.json"
    if not path.exists():
        write_json(path, measured(run, evidence, worded).model_dump(mode="json"))
    return read_record(path, Ceilings, DAMAGED)


def _key(run: Run, evidence: Evidence) -> str | None:
    """A hash of all that ceilings depend on; None where something of it has none."""
    config, arm, test = run.config, run.arm, run.config.evaluation
    own_test = any(getattr(test, name) not in (None, (), SCENES) for name in CHOSEN)
    names = {choice if isinstance(choice, str) else choice.name for choice in test.metrics}
    if own_test or names - HASHED_METRICS or type(arm.decoder) not in OF_FOUNDATION:
        return None
    return digest(
        {
            "code": {name: code.files for name, code in run.code.items()},
            "versions": versions(),
            "foundation": arm.foundation.card["files"],
            "latents": arm.encoder.latent_spec().fingerprint,
            "settings": [part.model_dump(mode="json") for part in (config.encoder, config.sampling, test)],
            "resolution": arm.foundation.resolution,
            "training": None if evidence.training is None else fingerprint(evidence.training),
            "machine": [device_name(run.device), torch.get_num_threads(), torch.backends.cpu.get_cpu_capability()],
        }
    )


def measured(run: Run, evidence: Evidence, worded: Sequence[WordedTest]) -> Ceilings:
    """Score scenes that fulfil the prompts of ``evidence``.

    Where the world has none, training images take their place, which follow no prompt and are held against the
    reference alone.
    """
    foundation, metrics = run.arm.foundation, run.metrics
    scenes = real_scenes(list(evidence.prompts or ()), foundation.world) if run.benchmark.knows_prompts else None
    known: dict[str, Any] = {"reference": evidence.reference}
    card = None
    if scenes is not None:
        real = shown_as(run, rendered(scenes, foundation.resolution))
        known |= {"training": evidence.training, "prompts": evidence.prompts}
        card = JudgeCard.model_validate(as_result(judge_card(scenes, real, foundation.world)))
    else:
        real = {} if evidence.training is None else shown_as(run, evidence.training)
    pictures = {name: Evidence(images=shown, **known) for name, shown in real.items()}
    for other in worded:
        fields = other.real(lambda described: shown_as(run, rendered(described, foundation.resolution)))
        pictures = {name: replace(shown, **fields[name]) for name, shown in pictures.items()}
    found = {name: score_all(metrics, shown) for name, shown in pictures.items()}
    scores = {name: {score.name: score.value for score in own} for name, own in found.items()}
    return Ceilings(scores=scores, judge_card=card, judge_cards=run.benchmark.cards())


def real_scenes(prompts: list[Metadata], world: World) -> list[Scene] | None:
    """A scene that fulfils each prompt; None where one has no room in the world."""
    scenes = []
    for number, metadata in enumerate(prompts):
        rng = np.random.default_rng([number, 53])
        tried = (compose(metadata, world, rng) for _ in range(TRIES))
        scene = next((scene for scene in tried if scene is not None), None)
        if scene is None:
            return None
        scenes.append(scene)
    return scenes


def rendered(scenes: Sequence[Scene], side: int) -> UInt8[Tensor, "m 3 s s"]:
    """Scenes as images of a side."""
    return torch.from_numpy(np.stack([render(scene, side) for scene in scenes])).permute(0, 3, 1, 2).contiguous()


def shown_as(run: Run, real: Tensor) -> dict[str, Tensor]:
    """Real images as they are (``real``), and through encoder and decoder (``decoder``)."""
    return {"real": real, "decoder": reconstructed(run.arm.encoder, run.arm.decoder, real, run.device)}


@torch.inference_mode()
def reconstructed(
    encoder: Encoder, decoder: Decoder, real: UInt8[Tensor, "m 3 s s"], device: torch.device
) -> UInt8[Tensor, "m 3 s s"]:
    """Images through an encoder and its decoder, which are left on the device."""
    noise, decoded = NoiseSource(0, "ceiling"), []
    encoder, decoder = encoder.to(device), decoder.to(device)
    size = at_once(64, real.shape[-1])
    for begin in progress(range(0, len(real), size), "ceiling", "batch"):
        images = real[begin : begin + size].to(device).float() / 255
        keys = [str(begin + i) for i in range(len(images))]
        decoded.append(to_uint8(decoder.decode(encoder.encode(images), noise, keys)))
    return torch.cat(decoded)
