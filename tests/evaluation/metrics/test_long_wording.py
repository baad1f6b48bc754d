"""Long prompts: the same facts in another wording, which clean renders of the described scenes fulfil."""

from __future__ import annotations

import torch
from degrade import stack

from unimm.backbones.wording import generation_ids
from unimm.evaluation.metric import Evidence
from unimm.evaluation.metrics.geneval import GenEvalStyle, LongGenEvalStyle
from unimm.foundation.folder import Foundation
from unimm.scenes.long_prompts import long_prompts
from unimm.scenes.prompts import prompt_set
from unimm.scenes.render import render
from unimm.scenes.stream import shows_held_out, split_of

FOUNDATION = Foundation("scenes-nano")
SHORT = prompt_set(FOUNDATION.world, "test", 20)
ASKED = long_prompts(SHORT, FOUNDATION.world)
METADATA = [prompt.metadata for prompt in ASKED]
RENDERED = stack([render(prompt.scene, FOUNDATION.resolution) for prompt in ASKED])


def scores(evidence: Evidence) -> dict[str, float | None]:
    return {s.name: s.value for s in LongGenEvalStyle(LongGenEvalStyle.Config(), FOUNDATION).score(evidence)}


def test_only_the_wording_differs() -> None:
    assert [{**m, "prompt": s["prompt"]} for m, s in zip(METADATA, SHORT, strict=True)] == SHORT
    assert all(len(m["prompt"].split()) >= 3 * len(s["prompt"].split()) for m, s in zip(METADATA, SHORT, strict=True))
    assert len({m["prompt"] for m in METADATA}) == len(METADATA)
    assert [prompt.metadata for prompt in long_prompts(SHORT, FOUNDATION.world)] == METADATA


def test_scenes_are_the_tests_own() -> None:
    assert {split_of(prompt.scene) for prompt in ASKED} == {"test"}
    assert not any(shows_held_out(prompt.scene) for prompt in ASKED)


def test_every_word_is_one_that_the_backbone_was_taught() -> None:
    tokenizer = FOUNDATION.tokenizer
    unknown = tokenizer.unk_token_id
    assert unknown is not None
    assert not any(unknown in generation_ids(tokenizer, str(m["prompt"])) for m in METADATA)


def test_clean_renders_score_one() -> None:
    found = scores(Evidence(long_images=RENDERED, long_prompts=METADATA))
    assert set(found.values()) == {1.0}
    assert "geneval_long/overall" in found and "atoms_long/overall" in found


def test_images_are_judged_on_the_short_prompts_facts() -> None:
    """Renders of other scenes score exactly as the short prompts' own metric says, standard errors included."""
    mixed = torch.cat([RENDERED[7:], RENDERED[:7]])
    short = GenEvalStyle(GenEvalStyle.Config(), FOUNDATION).score(
        Evidence(images=mixed, prompts=SHORT, captions=[str(m["prompt"]) for m in METADATA])
    )
    long = LongGenEvalStyle(LongGenEvalStyle.Config(), FOUNDATION).score(
        Evidence(long_images=mixed, long_prompts=METADATA)
    )
    assert [(s.value, s.stderr, s.items, s.n) for s in short] == [(s.value, s.stderr, s.items, s.n) for s in long]
    assert [s.name.replace("/", "_long/", 1) for s in short] == [s.name for s in long]
    assert all((s.stderr or 0) > 0 for s in long if s.name.endswith("overall"))


def test_shuffled_prompts_are_the_floor_of_both_wordings() -> None:
    evidence = Evidence(images=RENDERED, prompts=SHORT, long_images=RENDERED, long_prompts=METADATA)
    shuffled = evidence.with_shuffled_prompts()
    assert [m["prompt"] for m in shuffled.long_prompts or ()] != [m["prompt"] for m in METADATA]
    assert (scores(shuffled)["geneval_long/overall"] or 0) < 0.3
