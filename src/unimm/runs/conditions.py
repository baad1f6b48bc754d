"""Scores of images that the final weights draw in other ways: guidance, temperature, decoder (`sampling.also`).

None of them takes training, so that a verdict can be asked at every value for the cost of sampling. A condition draws
one image of the first prompts of every task, from the noise that the run's own images had, and its scores are called
``geneval@guidance=1/overall``. Their items stand at the places of the run's own images; floors are taken as theirs are.
An arm that lacks the setting, or has that value, draws nothing again: its own images are those of the condition.

``guidance=chosen`` is, for each run, the value whose validation images get most single facts right, in the wordings of
the test that the arm was trained on (`unimm.runs.wordings`); which one it was is the score ``sampling/guidance``, whose
protocol names the wordings.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from unimm.arm import Arm, resampled
from unimm.evaluation.metric import Evidence, Score
from unimm.evaluation.suite import score_all
from unimm.evaluation.words import SAMPLED_GUIDANCE, at, condition_of
from unimm.noise import NoiseSource
from unimm.runs.ceilings import real_scenes, reconstructed, rendered
from unimm.runs.record import IMAGES
from unimm.runs.run import Run
from unimm.runs.scoring import Scored
from unimm.runs.wordings import KINDS, SHORT, judging, to_choose_on
from unimm.sampling_config import CHOSEN, KEYS, Also, Condition
from unimm.scenes.combinations import TAGS
from unimm.scenes.prompts import Metadata
from unimm.scenes.worded_prompts import worded_prompts
from unimm.scenes.world import Scene
from unimm.schema import RunConfig


class Part(NamedTuple):
    """Prompts of one wording and the noise keys of their images.

    ``scenes`` are those that the wording describes, None where it leaves them open.
    """

    wording: str
    prompts: list[Metadata]
    keys: list[str]
    scenes: list[Scene] | None = None

    def fields(self, images: Tensor) -> dict[str, Any]:
        """What images of these prompts are as `Evidence`."""
        prefix = f"{self.wording}_" if self.wording else ""
        return {f"{prefix}images": images, f"{prefix}prompts": self.prompts}

    def own(self, evidence: Evidence, places: Sequence[int]) -> Tensor:
        """The run's own images of these prompts, which stand at these places."""
        images: Tensor = getattr(evidence, f"{self.wording}_images" if self.wording else "images")
        return images[places]

    def drawn(self, arm: Arm, noise: NoiseSource) -> Tensor:
        """Images of these prompts by an arm."""
        return arm.pipeline()([str(prompt["prompt"]) for prompt in self.prompts], self.keys, noise)


def with_conditions(run: Run, scored: Scored) -> Scored:
    """The scores of a run with those of its conditions, their floors, and the ceilings of other decoders."""
    also = run.config.sampling.also
    if also is None:
        return scored
    places = _first(scored.prompts, scored.keys, also.prompts_per_task)
    parts = _parts(scored, places)
    found = {
        condition.name: _scored(run, scored.evidence, parts, places, conditioned(run.arm, run.config, condition))
        for condition in also.conditions()
    }
    if also.choose_on:
        found[CHOSEN] = _chosen(run, also, found)
    scores = [at_condition(score, name) for name, shown in found.items() for score in shown.scores]
    floors = [at_condition(score, name) for name, shown in found.items() for score in shown.floors]
    limits = {at_condition(s, name).name: s.value for name, shown in found.items() for s in shown.ceilings}
    chosen = [score for shown in found.values() for score in shown.choice]
    own = scored.floors["shuffled_prompts"]
    return replace(
        scored,
        scores=[*scored.scores, *scores, *chosen],
        floors={**scored.floors, "shuffled_prompts": [*own, *floors]},
        ceilings={**scored.ceilings, **({"decoder": scored.ceilings.get("decoder", {}) | limits} if limits else {})},
    )


def check_conditions(run: Run) -> None:
    """ValueError for a condition that cannot be had, which a run would else find after training."""
    also = run.config.sampling.also
    if also is None:
        return
    for condition in also.conditions():
        conditioned(run.arm, run.config, condition)
    if also.choose_on and not run.benchmark.validation(1):
        raise ValueError(
            "sampling.also.choose_on: this test has no validation prompts to choose on; set "
            "evaluation.validation_prompts=FILE, or choose_on=0"
        )
    if also.choose_on and _has_guidance(run.config):
        to_choose_on(run)


def conditioned(arm: Arm, config: RunConfig, condition: Condition) -> Arm | None:
    """The arm that samples in that way; None where it lacks the setting or has that value, so that nothing changes."""
    section, _, leaf = condition.key.partition(".")
    settings = getattr(config, section).config
    if leaf not in type(settings).model_fields or getattr(settings, leaf) == condition.value:
        return None
    if condition.key != KEYS["decoder"]:
        return resampled(arm, config, {leaf: condition.value})
    encoder: Any = copy.copy(arm.encoder)
    encoder.config = type(settings).model_validate(settings.model_dump() | {leaf: condition.value})
    return replace(arm, decoder=encoder.decoder(arm.foundation, config.sampling.decoder_steps))


class Shown(NamedTuple):
    """Scores, floors and ceilings of images; ``choice`` says which condition was chosen, where one was."""

    scores: list[Score]
    floors: list[Score]
    ceilings: list[Score]
    choice: tuple[Score, ...] = ()


def _parts(scored: Scored, places: Sequence[int]) -> list[Part]:
    """The prompts at these places in every wording that the run was tested in."""
    keys = [scored.keys[i] for i in places]
    parts = [Part(SHORT, [scored.prompts[i] for i in places], keys)]
    for test in scored.worded:
        asked = [test.asked[i] for i in places]  # the six tasks come first in every test
        own = [prompt.metadata for prompt in asked]
        parts.append(Part(test.wording, own, keys, [prompt.scene for prompt in asked]))
    return parts


def _first(prompts: Sequence[Metadata], keys: Sequence[str], count: int) -> list[int]:
    """Places of the first images of the first ``count`` prompts of every task; combinations are left out."""
    found: dict[str, list[int]] = {}
    for place, (prompt, key) in enumerate(zip(prompts, keys, strict=True)):
        if key.endswith("/0") and prompt["tag"] not in TAGS.values():
            found.setdefault(str(prompt["tag"]), []).append(place)
    return sorted(place for own in found.values() for place in own[:count])


def _scored(run: Run, own: Evidence, parts: Sequence[Part], places: Sequence[int], other: Arm | None) -> Shown:
    """Scores of what the arm draws of the parts' prompts, or of its own images where it draws the same."""
    noise = NoiseSource(0, "evaluation")
    fields: dict[str, Any] = {"reference": own.reference, "training": own.training}
    if other is not None:
        other.decoder.to(run.device)
    for part in parts:
        fields |= part.fields(part.own(own, places) if other is None else part.drawn(other, noise))
    if own.prompts is None:  # texts alone, which say nothing that could be judged
        fields["captions"] = [str(prompt["prompt"]) for prompt in fields.pop("prompts")]
    evidence = Evidence(**fields)
    scores = [_at_places(score, places) for score in score_all(run.metrics, evidence)]
    floors = score_all(run.metrics, evidence.with_shuffled_prompts())
    swapped = other is not None and other.decoder is not run.arm.decoder
    return Shown(scores, floors, _ceilings(run, parts, other) if other is not None and swapped else [])


def _at_places(score: Score, places: Sequence[int]) -> Score:
    """A score whose items stand at the places of the run's own images, None between them."""
    if score.items is None or score.unit != IMAGES:
        return score
    items: list[float | None] = [None] * (max(places) + 1)
    for place, item in zip(places, score.items, strict=True):
        items[place] = item
    return score._replace(items=items)


def _ceilings(run: Run, parts: Sequence[Part], other: Arm) -> list[Score]:
    """Scores of real scenes of the prompts after the encoder and another decoder."""
    fields: dict[str, Any] = {}
    for part in parts:
        scenes = part.scenes if part.scenes is not None else real_scenes(part.prompts, run.arm.foundation.world)
        if scenes is not None and run.benchmark.knows_prompts:
            real = rendered(scenes, run.arm.foundation.resolution)
            fields |= part.fields(reconstructed(run.arm.encoder, other.decoder, real, run.device))
    return score_all(run.metrics, Evidence(**fields)) if fields else []


def _chosen(run: Run, also: Also, found: Mapping[str, Shown]) -> Shown:
    """What was found at the guidance whose validation images get most single facts right, the first of equal ones.

    An objective without guidance has nothing to choose, and its own images.
    """
    first = next(also.conditions()).name
    if not _has_guidance(run.config):
        return found[first]._replace(ceilings=[])
    wordings = to_choose_on(run)
    asked = _validation(run, wordings, also.choose_on)
    values = {c: _facts(run, asked, conditioned(run.arm, run.config, c) or run.arm) for c in _guidances(also)}
    best = max(values, key=lambda condition: values[condition])
    protocol = {
        "offered": list(also.guidance),
        "chosen by": f"single facts of {also.choose_on} prompts a task",
        "wordings": [KINDS[wording] for wording in wordings],
    }
    choice = Score(SAMPLED_GUIDANCE, float(best.value), sum(len(part.prompts) for part in asked), protocol)
    return found[best.name]._replace(choice=(choice,))


def _has_guidance(config: RunConfig) -> bool:
    """Whether there is a guidance to choose."""
    return "guidance" in type(config.objective.config).model_fields


def _guidances(also: Also) -> Iterator[Condition]:
    return (condition for condition in also.conditions() if condition.key == KEYS["guidance"])


def _validation(run: Run, wordings: Sequence[str], per_task: int) -> list[Part]:
    """Validation prompts in these wordings."""
    prompts, world, found = run.benchmark.validation(per_task), run.arm.foundation.world, []
    for wording in wordings:
        keys = [f"validation {number}" for number in range(len(prompts))]
        own = [p.metadata for p in worded_prompts(prompts, world, wording, "validation")] if wording else prompts
        found.append(Part(wording, own, keys))
    return found


def _facts(run: Run, asked: Sequence[Part], arm: Arm) -> float:
    """Mean over the wordings of the share of single facts that an arm gets right; of whole prompts where no other judge
    says more. Minus infinity where nothing could be measured."""
    fields: dict[str, Any] = {}
    for part in asked:
        fields |= part.fields(part.drawn(arm, NoiseSource(0, "evaluation")))
    scores = score_all(judging(run), Evidence(**fields))
    overall = {score.name: score.value for score in scores if score.name.endswith("/overall")}
    facts = [value for name, value in overall.items() if name.startswith("atoms")] or list(overall.values())
    known = [value for value in facts if value is not None]
    return float(np.mean(known)) if known else -np.inf


def at_condition(score: Score, condition: str) -> Score:
    """A score under the name that it has at a condition; an average names its parts by theirs."""
    protocol = dict(score.protocol)
    if "mean of" in protocol:
        protocol["mean of"] = [at(name, condition) for name in protocol["mean of"]]
    assert not condition_of(score.name)[1], f"{score.name} is at a condition already"
    return score._replace(name=at(score.name, condition), protocol=protocol)
