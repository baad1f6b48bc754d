"""Score a trained arm: sample the test prompts, judge them, and put floors and ceilings beside every score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from unimm.data.examples import cached_latents
from unimm.data.scenes import SceneSet
from unimm.encoders.clip import Clip
from unimm.evaluation.clip_score import clip_score
from unimm.evaluation.frechet import frechet_distance, is_biased
from unimm.evaluation.judging import Judged, find_objects, judge, summarise
from unimm.evaluation.understanding import answer_logits, grade, questions_for
from unimm.generation.pipeline import to_uint8
from unimm.noise import NoiseSource
from unimm.scenes.prompts import Metadata, prompt_set
from unimm.scenes.questions import KINDS
from unimm.scenes.render import render
from unimm.scenes.stream import compose
from unimm.schema import RunConfig
from unimm.training.assemble import Arm

REFERENCE_SCENES = 1000


@dataclass
class Scored:
    """Scores as result.json lists them, floors, ceilings, and what the page shows."""

    scores: list[dict[str, Any]]
    floors: dict[str, dict[str, float]]
    ceilings: dict[str, dict[str, float]]
    images: Tensor
    prompts: list[Metadata]
    judged: list[Judged]


def score_arm(config: RunConfig, arm: Arm, device: torch.device) -> Scored:
    """Sample, judge, measure. Evaluation noise has its own stream and does not depend on the training seed."""
    settings = config.evaluation
    prompts = prompt_set(arm.foundation.world, "test", settings.prompts_per_task)
    prompts = [p for p in prompts for _ in range(settings.images_per_prompt)]
    keys = [f"{i // settings.images_per_prompt}/{i % settings.images_per_prompt}" for i in range(len(prompts))]
    noise = NoiseSource(0, "evaluation")
    images = arm.pipeline()([p["prompt"] for p in prompts], keys, noise)
    found = find_objects(images, arm.foundation.world)
    judged = judge(found, prompts)
    order = np.random.default_rng(97).permutation(len(prompts)).tolist()
    shuffled = judge(found, [prompts[i] for i in order])
    judge_protocol = {
        "judge": "scenes",
        "world": arm.foundation.world.name,
        "split": "test",
        "decoder": arm.encoder.decoder_name,
    }
    scores = _rows(summarise(judged), judge_protocol)
    scores += distribution_scores(arm, images, [p["prompt"] for p in prompts])
    scores += understanding_scores(config, arm, device)
    floors = {"shuffled_prompts": {k: v for k, (v, _) in summarise(shuffled).items()}}
    return Scored(scores, floors, ceilings(arm, prompts, device), images, prompts, judged)


def _rows(values: Mapping[str, tuple[float, int]], protocol: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"name": k, "value": v, "n": n, "protocol": protocol} for k, (v, n) in values.items()]


def distribution_scores(arm: Arm, images: Tensor, prompts: list[str]) -> list[dict[str, Any]]:
    """Fréchet distance to test scenes and the CLIP score of two independent evaluators."""
    foundation, extractor = arm.foundation, arm.foundation.features()
    reference = SceneSet(foundation.world, "test", REFERENCE_SCENES, foundation.resolution).pixels
    protocol = {
        "extractor": foundation.fingerprint("features"),
        "reference": f"{REFERENCE_SCENES} test scenes",
        "resize": "none",
        "dtype": "float32",
        "biased": is_biased(extractor, len(images)),
    }
    distance = frechet_distance(extractor, images, reference)
    rows = _rows({"frechet_distance": (distance, len(images))}, protocol)
    for index, letter in enumerate("ab"):
        part = f"evaluator_{index}"
        model, name = foundation.evaluator(index), f"clip_score/{letter}"
        value = clip_score(model, foundation.tokenizer, images, prompts)
        rows += _rows({name: (value, len(images))}, {"evaluator": foundation.fingerprint(part)})
    return rows


def understanding_probe(config: RunConfig, arm: Arm, device: torch.device) -> tuple[Any, Tensor]:
    """The test questions and the image tokens that they are about."""
    foundation = arm.foundation
    data = SceneSet(foundation.world, "test", config.evaluation.questions, foundation.resolution, seed=1)
    clip = foundation.clip(Clip.Config(grid=foundation.card["grid"]))
    return questions_for(data, config.evaluation.questions), cached_latents(clip, data, device)


def understanding_scores(config: RunConfig, arm: Arm, device: torch.device) -> list[dict[str, Any]]:
    """Accuracy by kind of question, and overall as the mean of the kinds."""
    pairs, tokens = understanding_probe(config, arm, device)
    graded = grade(arm.backbone, pairs, answer_logits(arm.backbone, pairs, tokens))
    by_kind = {k: [a.correct for a in graded if a.kind == k] for k in KINDS}
    values = {f"understanding/{k}": (float(np.mean(v)), len(v)) for k, v in by_kind.items() if v}
    values["understanding/overall"] = (float(np.mean([v for v, _ in values.values()])), len(graded))
    return _rows(values, {"split": "test", "decision": "likeliest of the possible answers"})


@torch.inference_mode()
def ceilings(arm: Arm, prompts: list[Metadata], device: torch.device) -> dict[str, dict[str, float]]:
    """Real scenes of the same prompts: as rendered, and through encoder and decoder."""
    foundation, rendered = arm.foundation, []
    for number, metadata in enumerate(prompts):
        rng = np.random.default_rng([number, 53])
        scene = None
        while scene is None:
            scene = compose(metadata, foundation.world, rng)
        rendered.append(render(scene, foundation.resolution))
    real = torch.from_numpy(np.stack(rendered)).permute(0, 3, 1, 2)
    noise, decoded = NoiseSource(0, "ceiling"), []
    encoder = arm.encoder.to(device)
    for begin in tqdm(range(0, len(real), 64), desc="ceiling", unit="batch"):
        images = real[begin : begin + 64].to(device).float() / 255
        keys = [str(begin + i) for i in range(len(images))]
        decoded.append(to_uint8(arm.decoder.decode(encoder.encode(images), noise, keys)))
    result = {}
    reconstructed = torch.cat(decoded)
    extractor = foundation.features()
    for name, images in (("real", real), ("decoder", reconstructed)):
        values = {k: v for k, (v, _) in summarise(judge(find_objects(images, foundation.world), prompts)).items()}
        if name == "decoder":
            values["frechet_distance"] = frechet_distance(extractor, reconstructed, real)
        result[name] = values
    return result
