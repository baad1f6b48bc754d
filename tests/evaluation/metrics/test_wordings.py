"""Prompts in other wordings: the same facts, which clean renders of the described scenes fulfil."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import pytest
import torch
from degrade import stack
from torch import Tensor

from unimm.backbones.wording import generation_ids
from unimm.evaluation.metric import Evidence, Metric
from unimm.evaluation.metrics.geneval import GenEvalStyle, LongGenEvalStyle, PlacedGenEvalStyle
from unimm.foundation.folder import Foundation
from unimm.scenes.captions import place
from unimm.scenes.prompts import Metadata, prompt_set
from unimm.scenes.render import render
from unimm.scenes.stream import shows_held_out, split_of
from unimm.scenes.worded_prompts import WORDINGS, WordedPrompt, worded_prompts

FOUNDATION = Foundation("scenes-nano")
SHORT = prompt_set(FOUNDATION.world, "test", 20)
METRICS: dict[str, type[Metric]] = {"long": LongGenEvalStyle, "place": PlacedGenEvalStyle}
WORDING = pytest.mark.parametrize("wording", list(WORDINGS))


@lru_cache
def asked(wording: str) -> list[WordedPrompt]:
    return worded_prompts(SHORT, FOUNDATION.world, wording)


def metadata(wording: str) -> list[Metadata]:
    return [prompt.metadata for prompt in asked(wording)]


@lru_cache
def rendered() -> Tensor:
    return stack([render(prompt.scene, FOUNDATION.resolution) for prompt in asked("long")])


def evidence(wording: str, images: Tensor) -> Evidence:
    return Evidence(**{f"{wording}_images": images, f"{wording}_prompts": metadata(wording)})


def scores(wording: str, shown: Evidence) -> dict[str, float | None]:
    metric = METRICS[wording]
    return {s.name: s.value for s in metric(metric.Config(), FOUNDATION).score(shown)}


def test_there_is_a_metric_for_every_wording() -> None:
    assert METRICS.keys() == WORDINGS.keys()
    assert all(METRICS[w].needs == {f"{w}_images", f"{w}_prompts"} and METRICS[w].names() for w in WORDINGS)


@WORDING
def test_only_the_wording_differs(wording: str) -> None:
    worded = metadata(wording)
    assert [{**m, "prompt": s["prompt"]} for m, s in zip(worded, SHORT, strict=True)] == SHORT
    longer = {"long": 3, "place": 2}[wording]
    pairs = zip(worded, SHORT, strict=True)
    assert all(len(m["prompt"].split()) >= longer * len(s["prompt"].split()) for m, s in pairs)
    assert [prompt.metadata for prompt in worded_prompts(SHORT, FOUNDATION.world, wording)] == worded


def test_long_prompts_differ_where_short_ones_repeat() -> None:
    assert len({m["prompt"] for m in metadata("long")}) == len(SHORT)


def test_scenes_are_the_tests_own_and_the_same_in_every_wording() -> None:
    assert [prompt.scene for prompt in asked("place")] == [prompt.scene for prompt in asked("long")]
    assert {split_of(prompt.scene) for prompt in asked("long")} == {"test"}
    assert not any(shows_held_out(prompt.scene) for prompt in asked("long"))


def test_placed_prompts_say_the_place_of_every_object_and_nothing_else_beyond_the_short_ones() -> None:
    for prompt, short in zip(asked("place"), SHORT, strict=True):
        text = str(prompt.metadata["prompt"])
        assert text.count("in the") == len(prompt.scene.items)
        assert all(f"{item.shape} in the {place(item)} of the image" in text for item in prompt.scene.items)
        assert ("large" in text, "small" in text, "background" in text) == (False, False, False)
        colours = {clause["color"] for clause in short["include"] if "color" in clause}
        assert {colour for colour in FOUNDATION.world.colours if colour in text.split()} == colours
    relation = next(p for p in asked("place") if p.metadata["tag"] == "position").metadata
    reference, subject = (clause["class"] for clause in relation["include"])
    assert relation["include"][1]["position"][0] in str(relation["prompt"])
    assert str(relation["prompt"]).index(subject) < str(relation["prompt"]).index(reference)


@WORDING
def test_every_word_is_one_that_the_backbone_was_taught(wording: str) -> None:
    tokenizer = FOUNDATION.tokenizer
    unknown = tokenizer.unk_token_id
    assert unknown is not None
    assert not any(unknown in generation_ids(tokenizer, str(m["prompt"])) for m in metadata(wording))


@WORDING
def test_clean_renders_score_one(wording: str) -> None:
    found = scores(wording, evidence(wording, rendered()))
    assert set(found.values()) == {1.0}
    assert {f"geneval_{wording}/overall", f"atoms_{wording}/overall"} <= found.keys()


@WORDING
def test_images_are_judged_on_the_short_prompts_facts(wording: str) -> None:
    """Renders of other scenes score exactly as the short prompts' own metric says, standard errors included."""
    mixed = torch.cat([rendered()[7:], rendered()[:7]])
    short = GenEvalStyle(GenEvalStyle.Config(), FOUNDATION).score(
        Evidence(images=mixed, prompts=SHORT, captions=[str(m["prompt"]) for m in metadata(wording)])
    )
    metric = METRICS[wording]
    worded = metric(metric.Config(), FOUNDATION).score(evidence(wording, mixed))
    assert [(s.value, s.stderr, s.items, s.n) for s in short] == [(s.value, s.stderr, s.items, s.n) for s in worded]
    assert [s.name.replace("/", f"_{wording}/", 1) for s in short] == [s.name for s in worded]
    assert all((s.stderr or 0) > 0 for s in worded if s.name.endswith("overall"))


@WORDING
def test_shuffled_prompts_are_the_floor_of_every_wording(wording: str) -> None:
    shown = replace(evidence(wording, rendered()), images=rendered(), prompts=SHORT)
    shuffled = shown.with_shuffled_prompts()
    other = getattr(shuffled, f"{wording}_prompts")
    assert [m["prompt"] for m in other] != [m["prompt"] for m in metadata(wording)]
    assert (scores(wording, shuffled)[f"geneval_{wording}/overall"] or 0) < 0.3
