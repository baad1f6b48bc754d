"""CLIP scores against cosines by hand, evaluators that are independent, and the target's own as a diagnostic only."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from unimm.encoders.clip import clip_tokens, load_clip
from unimm.evaluation.metric import Evidence, Score
from unimm.evaluation.metrics.clip_score import (
    WEIGHTS,
    ClipScore,
    OpenClipAdapter,
    OpenClipProcessor,
    _clip_score,
    embed,
    evaluator,
    evaluators,
)
from unimm.evaluation.suite import build_metrics
from unimm.evaluation.words import BUILT_IN
from unimm.foundation.folder import Foundation
from unimm.scenes.render import render
from unimm.scenes.stream import scene_sample
from unimm.schema import EvaluationConfig

COUNT = 40


@pytest.fixture(scope="module")
def foundation() -> Foundation:
    return Foundation("scenes-nano")


@pytest.fixture(scope="module")
def evidence(foundation: Foundation) -> Evidence:
    samples = [scene_sample(foundation.world, "test", 9, i) for i in range(COUNT)]
    images = np.stack([render(sample.scene, foundation.resolution) for sample in samples])
    shown = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    return Evidence(images=shown, captions=[sample.short for sample in samples])


@pytest.fixture(scope="module")
def scores(foundation: Foundation, evidence: Evidence) -> dict[str, Score]:
    return {score.name: score for score in ClipScore(ClipScore.Config(), foundation).score(evidence)}


@torch.inference_mode()
def cosines(model, foundation: Foundation, evidence: Evidence) -> Tensor:
    """By open_clip itself."""
    ids = clip_tokens(foundation.tokenizer, list(evidence.captions))
    pictures = model.encode_image(evidence.images.float() / 127.5 - 1, normalize=True)
    return (pictures * model.encode_text(ids, normalize=True)).sum(dim=1)


@pytest.mark.parametrize(("name", "part"), [("clip_score/a", 0), ("clip_score/b", 1), ("bias/clip_score/target", None)])
def test_scores_are_open_clips_cosines(name, part, foundation, evidence, scores) -> None:
    model = load_clip(foundation.folder / "clip") if part is None else evaluator(foundation, part)
    expected = 100 * cosines(model, foundation, evidence)
    assert scores[name].value == pytest.approx(float(expected.mean()), abs=1e-3)
    assert scores[name].items == pytest.approx(expected.tolist(), abs=1e-3)
    assert scores[name].n == COUNT


def test_an_evaluator_by_itself_has_open_clips_cosines(foundation, evidence) -> None:
    texts = [*evidence.captions, evidence.captions[0]]
    which = [*reversed(range(COUNT)), 0]
    swapped = Evidence(images=evidence.images[which], captions=texts)
    for index, own in enumerate(evaluators(foundation).values()):
        expected = cosines(evaluator(foundation, index), foundation, swapped)
        assert own.cosines(evidence.images, texts, which) == pytest.approx(expected.tolist(), abs=1e-5)


def test_settings_of_a_run_reach_the_metric_and_stand_in_its_protocol(foundation, evidence) -> None:
    chosen = EvaluationConfig.model_validate({"metrics": [{"name": "clip_score", "distractors": 4}]}).metrics
    few = Evidence(images=evidence.images[:8], captions=evidence.captions[:8])
    (metric,) = build_metrics(chosen, foundation)
    found = {score.name: score.protocol for score in metric.score(few)}
    assert found["r_precision/a"]["distractors"] == 4 and found["r_precision/a"]["chance"] == 0.2
    (metric,) = build_metrics(["clip_score"], foundation)
    assert not any(score.name.startswith("r_precision") for score in metric.score(few)), "nine need ten prompts"


def test_the_targets_score_is_named_and_shown_as_a_diagnostic(foundation, scores) -> None:
    assert [name for name in scores if "target" in name] == ["bias/clip_score/target"]
    assert "bias diagnostic" in scores["bias/clip_score/target"].protocol["use"]
    assert BUILT_IN["bias/clip_score/target"].group.startswith("Bias diagnostics (no scores")
    evaluators = {scores[name].protocol["evaluator"] for name in ("clip_score/a", "clip_score/b")}
    assert len(evaluators) == 2 and foundation.fingerprint("clip") not in evaluators


def test_an_evaluator_that_is_the_target_is_refused(foundation, evidence) -> None:
    conflicted = copy.copy(foundation)
    files = foundation.card["files"]
    conflicted.card = {**foundation.card, "files": {**files, f"evaluator_1/{WEIGHTS}": files[f"clip/{WEIGHTS}"]}}
    with pytest.raises(ValueError, match=r"evaluator_1 of .* is the CLIP that arms train against"):
        ClipScore(ClipScore.Config(), conflicted).score(evidence)


def test_batches_do_not_matter_and_training_mode_is_off(foundation, evidence, monkeypatch) -> None:
    processor = OpenClipProcessor(foundation.tokenizer)
    whole = embed(evaluator(foundation, 0), processor, evidence.images, evidence.captions)
    monkeypatch.setattr("unimm.evaluation.metrics.clip_score.BATCH", 7)
    parts = embed(evaluator(foundation, 0), processor, evidence.images, evidence.captions)
    np.testing.assert_allclose(parts.pictures, whole.pictures, atol=1e-5)
    assert parts.clamped == pytest.approx(whole.clamped, abs=1e-3)
    adapter = OpenClipAdapter(evaluator(foundation, 0))
    adapter.train()
    assert not any(module.training for module in adapter.modules())


def test_prompts_that_are_cut_are_counted(foundation, evidence) -> None:
    texts = ["a red circle", "red " * 80]
    short = Evidence(images=evidence.images[:2], captions=texts)
    first = ClipScore(ClipScore.Config(), foundation).score(short)[0]
    assert first.protocol["prompts cut"] == 1


def test_the_same_images_are_encoded_once_whatever_their_prompts(foundation, evidence, monkeypatch) -> None:
    metric, others = ClipScore(ClipScore.Config(), foundation), list(reversed(evidence.captions))
    fresh = ClipScore(ClipScore.Config(), foundation).score(Evidence(images=evidence.images, captions=others))
    encoded = []
    encode = OpenClipAdapter.get_image_features
    monkeypatch.setattr(
        OpenClipAdapter,
        "get_image_features",
        lambda self, pixels: (encoded.append(bool(self.known)), encode(self, pixels))[1],
    )
    metric.score(evidence)
    assert metric.score(Evidence(images=evidence.images, captions=others)) == fresh
    assert encoded == [False] * 3 + [True] * 3
    changed = Evidence(images=evidence.images.clone(), captions=others)
    assert metric.score(changed) == fresh and encoded[6:] == [False] * 3


def test_words_that_the_evaluators_do_not_know_are_named(foundation, evidence) -> None:
    texts = ["a photo of a red circle", "an oil painting of two dogs playing poker , dogs indoors"]
    with pytest.raises(
        ValueError, match=r"know no 'oil', 'painting', 'dogs', 'playing', 'poker', ...; leave clip_score"
    ):
        ClipScore(ClipScore.Config(), foundation).score(Evidence(images=evidence.images[:2], captions=texts))


@pytest.mark.parametrize("batch", [256, 7])
def test_prompts_that_are_cut_to_the_same_have_no_r_precision(foundation, evidence, monkeypatch, batch) -> None:
    monkeypatch.setattr("unimm.evaluation.metrics.clip_score.BATCH", batch)
    colours = ("red", "blue")
    texts = [*evidence.captions[: COUNT - 2], *("a red circle and " * 40 + colour for colour in colours)]
    found = ClipScore(ClipScore.Config(), foundation).score(Evidence(images=evidence.images, captions=texts))
    assert [score.name for score in found] == ["clip_score/a", "clip_score/b", "bias/clip_score/target"]


class Opposed:
    """Embeds images as the opposite of their texts, but for the first `agreeing`."""

    visual = SimpleNamespace(image_size=(8, 8))

    def __init__(self, agreeing: int) -> None:
        self.agreeing = agreeing

    def eval(self) -> Opposed:
        return self

    def encode_image(self, pixels: Tensor) -> Tensor:
        signs = torch.where(torch.arange(len(pixels)) < self.agreeing, 1.0, -1.0)
        return torch.stack([signs, torch.full_like(signs, 0.5)], dim=1)

    def encode_text(self, ids: Tensor) -> Tensor:
        return torch.tensor([[1.0, 0.0]]).expand(len(ids), 2)


@pytest.mark.parametrize("agreeing", [0, 1, 3])
def test_a_negative_mean_is_reported_as_it_is(foundation, agreeing: int) -> None:
    """torchmetrics clamps it at 0, which stands in a field of its own; where it does not, there is no such field."""
    texts = ["a red circle"] * 4
    images = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)
    found = embed(Opposed(agreeing), OpenClipProcessor(foundation.tokenizer), images, texts)
    score = _clip_score("clip_score/a", found, texts, {})
    cosine = 100 / 1.25**0.5
    assert score.value == pytest.approx(cosine * (2 * agreeing - 4) / 4)
    assert score.items == pytest.approx([cosine] * agreeing + [-cosine] * (4 - agreeing))
    assert found.clamped == pytest.approx(max(score.value, 0), abs=1e-3)
    assert score.library_value == (None if agreeing == 3 else 0)
