"""Copies: of the training set, of one another, and no more than chance where there are none."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unimm.evaluation.metrics.distance import identical_to_others, nearer_training


def normal(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, 6))


def test_copies_of_training_images_are_all_found_and_of_unseen_ones_none() -> None:
    training, unseen = normal(200, 0), normal(200, 1)
    assert nearer_training(training + 1e-6, training, unseen) == [1.0] * 200
    assert nearer_training(unseen + 1e-6, training, unseen) == [0.0] * 200


def test_new_images_are_as_near_to_either() -> None:
    found = nearer_training(normal(2000, 2), normal(500, 0), normal(500, 1))
    assert np.mean(found) == pytest.approx(0.5, abs=0.06)


def test_the_longer_set_has_no_advantage() -> None:
    found = nearer_training(normal(2000, 2), normal(5000, 0), normal(500, 1))
    assert found == nearer_training(normal(2000, 2), normal(5000, 0)[:500], normal(500, 1))


def test_equal_images_of_one_prompt_are_no_copies() -> None:
    images = torch.arange(4, dtype=torch.uint8).reshape(4, 1, 1, 1).expand(4, 3, 2, 2).clone()
    images[1] = images[0]
    images[3] = images[2]
    assert identical_to_others(images, ["a", "a", "b", "c"]) == [0, 0, 1, 1]
