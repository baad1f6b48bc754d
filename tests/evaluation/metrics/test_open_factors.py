"""Open factors: what a prompt leaves open, the prior, and arms from as diverse as the world to collapsed."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
from scipy.special import entr

from unimm.evaluation.metrics.diversity import (
    FactorDiversity,
    expectation,
    open_factor_diversity,
    scene_prior,
    shown_item,
)
from unimm.scenes.captions import place, size
from unimm.scenes.geneval_rules import evaluate_image
from unimm.scenes.judge import Detection, detect, to_objects
from unimm.scenes.prompts import Metadata, prompt_set
from unimm.scenes.render import render
from unimm.scenes.stream import compose
from unimm.scenes.world import Item, Scene, world

HERE = world("scenes-nano")
CIRCLE: Metadata = {"tag": "single_object", "include": [{"class": "circle", "count": 1}]}
RED: Metadata = {"tag": "colors", "include": [{"class": "circle", "count": 1, "color": "red"}]}
SQUARES: Metadata = {"tag": "counting", "include": [{"class": "square", "count": 2}]}


@lru_cache
def prompts() -> tuple[Metadata, ...]:
    return tuple(prompt_set(HERE, "test", 3))


@lru_cache
def drawn(per_prompt: int = 16, different: int | None = None) -> list[list[list[Detection]]]:
    """Detections on true scenes of every prompt, of which only the first ``different`` differ."""
    rng, found = np.random.default_rng(0), []
    for metadata in prompts():
        scenes: list[Scene] = []
        while len(scenes) < (different or per_prompt):
            scene = compose(metadata, HERE, rng)
            if scene is not None:
                scenes.append(scene)
        seen = [detect(render(scene, 64), HERE) for scene in scenes]
        found.append([seen[k % len(seen)] for k in range(per_prompt)])
    return found


def judged(found: list[list[list[Detection]]]) -> list[list[bool]]:
    return [
        [evaluate_image(to_objects(detections), metadata)[0] for detections in images]
        for images, metadata in zip(found, prompts(), strict=True)
    ]


def measure(found: list[list[list[Detection]]]) -> dict[str, FactorDiversity]:
    return open_factor_diversity(found, judged(found), prompts(), HERE, 64)


def test_true_scenes_are_as_diverse_as_the_world():
    for factor, result in measure(drawn()).items():
        assert result.entropy == pytest.approx(1, abs=0.06), factor
        assert result.coverage == pytest.approx(1, abs=0.06), factor


def test_the_same_image_again_and_again_has_no_entropy():
    for result in measure(drawn(different=1)).values():
        assert result.entropy == pytest.approx(0, abs=1e-12)
        assert result.coverage is not None and 0 < result.coverage < 0.7


def test_diversity_falls_with_the_number_of_different_images():
    results = [measure(drawn(different=n)) for n in (16, 4, 2, 1)]
    for factor in ("place", "size", "colour"):
        entropies = [result[factor].entropy for result in results]
        coverages = [result[factor].coverage for result in results]
        assert entropies == sorted(entropies, reverse=True), factor
        assert coverages == sorted(coverages, reverse=True), factor
        assert entropies[0] - entropies[-1] > 0.8, factor


def test_named_colours_are_not_open():
    result = measure(drawn())
    named = [metadata["tag"] in ("colors", "color_attr") for metadata in prompts()]
    assert [prompt is None for prompt in result["colour"].prompts] == named
    assert all(prompt is not None for prompt in result["place"].prompts)
    assert result["colour"].n == sum(not is_named for is_named in named) * 16


def detection(shape: str, colour: str, x: float, y: float) -> Detection:
    return Detection(shape, colour, (64 * x - 10, 64 * y - 10, 64 * x + 10, 64 * y + 10), 1.0)


def test_wrong_images_do_not_count():
    corners = [(0.25, 0.25), (0.75, 0.75)]
    found = [[[detection("circle", "red", *corners[k % 2])] for k in range(8)]]
    even = [[k % 2 == 0 for k in range(8)]]
    result = open_factor_diversity(found, even, [RED], HERE, 64)["place"]
    assert (result.n, result.entropy) == (4, 0)
    both = open_factor_diversity(found, [[True] * 8], [RED], HERE, 64)["place"]
    expected_entropy, expected_distinct = expectation(8, np.full(4, 0.25))
    assert both.entropy == pytest.approx(np.log(2) / expected_entropy, rel=0.01)
    assert both.coverage == pytest.approx(2 / expected_distinct, rel=0.01)


def test_one_correct_image_says_nothing():
    found = [[[detection("circle", "red", 0.25, 0.25)]] * 8]
    result = open_factor_diversity(found, [[True] + [False] * 7], [RED], HERE, 64)
    assert result["place"] == (None, None, 0, (None,))


def test_objects_of_a_clause_go_from_left_to_right_and_surplus_ones_are_left_out():
    pair = [detection("square", "red", 0.25, 0.25), detection("square", "blue", 0.75, 0.25)]
    found = [[pair if k % 2 else [*pair[::-1], detection("circle", "green", 0.25, 0.75)] for k in range(8)]]
    assert open_factor_diversity(found, [[True] * 8], [SQUARES], HERE, 64)["colour"].entropy == 0


@pytest.mark.parametrize("draws", [2, 8])
def test_expectation_is_that_of_simulated_draws(draws):
    prior = np.array([0.5, 0.3, 0.15, 0.05])
    counts = np.random.default_rng(0).multinomial(draws, prior, size=20_000)
    entropy, distinct = expectation(draws, prior)
    assert entropy == pytest.approx(entr(counts / draws).sum(axis=1).mean(), rel=0.01)
    assert distinct == pytest.approx((counts > 0).sum(axis=1).mean(), rel=0.01)


def test_prior_of_one_circle():
    (prior,) = scene_prior(HERE, ((1, False, None),))
    assert prior["place"] == pytest.approx(dict.fromkeys(prior["place"], 0.25), abs=0.03)
    assert set(prior["place"]) == {"top left", "top right", "bottom left", "bottom right"}
    assert prior["colour"] == pytest.approx(dict.fromkeys(HERE.colours, 1 / 6), abs=0.03)
    assert prior["size"]["small"] == pytest.approx(0.5, abs=0.03)


def test_prior_of_a_relation():
    reference, subject = scene_prior(HERE, ((1, False, None), (1, False, ("left of", 0))))
    assert set(subject["place"]) == {"top left", "bottom left"}
    assert set(reference["place"]) == {"top right", "bottom right"}


def test_boxes_become_the_items_that_they_show():
    here, agreed = world("scenes"), []
    for shape in here.shapes:
        for number in range(12):
            rng = np.random.default_rng([number, 5])
            item = Item(shape, "red", *rng.uniform(0.2, 0.8, 2), rng.choice([0.12, 0.15]))
            (found,) = detect(render(Scene((item,), 0.5), 64), here)
            shown = shown_item(found, 64)
            agreed.append((place(item) == place(shown), size(item) == size(shown)))
    assert np.mean(agreed, axis=0) == pytest.approx(1, abs=0.03)


def test_too_few_images_are_refused():
    with pytest.raises(ValueError, match="at least 8 images"):
        open_factor_diversity([[[]] * 4], [[False] * 4], [CIRCLE], HERE, 64)
