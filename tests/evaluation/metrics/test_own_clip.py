"""A CLIP that the user brings: open_clip's own cosines, and no arm may be trained against it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from unimm.encoders.open_clip import OpenClip, whole_model
from unimm.evaluation.benchmark import Benchmark
from unimm.evaluation.metric import Evidence
from unimm.evaluation.metrics.own_clip import OwnClipScore, shared_weights
from unimm.foundation.folder import Foundation
from unimm.schema import EvaluationConfig

TEXTS = ["a dog", "two cats", "a dog", "a red bus"]


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randint(0, 256, (4, 3, 40, 40), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def foundation() -> Foundation:
    return Foundation("scenes-nano")


def test_scores_are_open_clips_own_cosines(
    checkpoint: Callable[[str], Path], foundation: Foundation, images: torch.Tensor
) -> None:
    import open_clip

    folder = checkpoint("colours_clip")
    metric = OwnClipScore(OwnClipScore.Config(folder=folder, distractors=2), foundation)
    scores = {score.name: score for score in metric.score(Evidence(images=images, captions=TEXTS))}
    model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    pictures = torch.stack([preprocess(Image.fromarray(image.permute(1, 2, 0).numpy())) for image in images])
    with torch.inference_mode():
        shown = model.eval().encode_image(pictures, normalize=True)
        told = model.encode_text(open_clip.get_tokenizer(f"local-dir:{folder}")(TEXTS), normalize=True)
    expected = (100 * (shown * told).sum(dim=1)).tolist()
    assert scores["clip_score/own"].items == pytest.approx(expected, abs=1e-3)
    assert scores["clip_score/own"].value == pytest.approx(sum(expected) / 4, abs=1e-3)
    hits = [
        float((shown[i] @ told[i]) > max(shown[i] @ told[j] for j in range(4) if TEXTS[j] != TEXTS[i]))
        for i in range(4)
    ]
    assert scores["r_precision/own"].items == hits
    assert scores["clip_score/own"].protocol["evaluator"] == metric.clip.fingerprint


def test_a_tokenizer_of_another_model_is_refused_before_training(
    checkpoint: Callable[[str], Path], foundation: Foundation
) -> None:
    other = OpenClip.build(OpenClip.Config(pretrained=str(checkpoint("open_clip")), grid=2), foundation)
    metric = OwnClipScore(OwnClipScore.Config(folder=foundation.folder / "evaluator_0"), foundation)
    with pytest.raises(ValueError, match=r"evaluator_0: open_clip finds a tokenizer .* text_cfg\.hf_tokenizer_name"):
        metric.check_independent(other)


def test_it_takes_the_place_of_the_foundations_evaluators(
    checkpoint: Callable[[str], Path], foundation: Foundation
) -> None:
    settings = {
        "metrics": ["geneval", {"name": "clip_score", "distractors": 3}],
        "clip": f"open_clip:{checkpoint('colours_clip')}",
    }
    test = Benchmark(EvaluationConfig.model_validate(settings), foundation)
    own = test.own_clip
    assert own is not None and own in test.metrics and own.config.distractors == 3
    assert len(test.metrics) == 2


def test_an_arm_that_is_trained_to_predict_it_is_refused(
    checkpoint: Callable[[str], Path], foundation: Foundation
) -> None:
    """By what the weights are: another folder, name or precision makes no difference."""
    folder = checkpoint("open_clip")
    model, _ = whole_model(folder)
    own = OpenClip.build(OpenClip.Config(pretrained=str(folder), grid=2), foundation)
    half = OpenClip.build(OpenClip.Config(pretrained=str(folder), grid=2, dtype="bfloat16"), foundation)
    assert shared_weights(model.visual, own) == shared_weights(model.visual, half) == 1
    other, _ = whole_model(checkpoint("colours_clip"))
    assert shared_weights(other.visual, own) == 0
    metric = OwnClipScore(OwnClipScore.Config(folder=folder), foundation)
    with pytest.raises(ValueError, match="holds the weights that this arm is trained to predict"):
        metric.check_independent(own)
    OwnClipScore(OwnClipScore.Config(folder=checkpoint("colours_clip")), foundation).check_independent(own)


def test_a_folder_without_a_model_is_named(foundation: Foundation, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"open_clip_config\.json"):
        OwnClipScore(OwnClipScore.Config(folder=tmp_path), foundation)
