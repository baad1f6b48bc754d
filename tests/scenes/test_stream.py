"""The stream of scenes: disjoint splits, held-out combinations, determinism, captions in the vocabulary."""

from __future__ import annotations

from functools import lru_cache
from itertools import permutations

import numpy as np
import pytest

from unimm.pretraining.tokenizer import build_tokenizer, vocabulary
from unimm.scenes.captions import brief_caption
from unimm.scenes.combinations import clear_position
from unimm.scenes.geneval_rules import relative_position
from unimm.scenes.prompts import prompt_set
from unimm.scenes.questions import ask_any
from unimm.scenes.stream import SPLITS, SceneSample, is_held_out, scene_sample, shows_held_out, split_of
from unimm.scenes.world import FAMILIES, RELATIONS, WORLDS, Item, world

NAMES = tuple(WORLDS)


@lru_cache
def some(name: str, split: str, seed: int = 0, count: int = 60) -> list[SceneSample]:
    return [scene_sample(world(name), split, seed, i) for i in range(count)]


@pytest.mark.parametrize("name", NAMES)
def test_splits_share_no_scene(name):
    seen = {split: {s.scene.signature() for seed in (0, 1, 7) for s in some(name, split, seed, 36)} for split in SPLITS}
    assert not seen["train"] & seen["validation"]
    assert not seen["train"] & seen["test"]
    assert not seen["validation"] & seen["test"]
    assert all(split_of(s.scene) == split for split in SPLITS for s in some(name, split, 0, 36))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("split", ["train", "validation"])
def test_held_out_pairs_stay_out(name, split):
    for sample in some(name, split):
        items = sample.scene.items
        for a in items:
            for b in items:
                for relation in RELATIONS:
                    assert a is b or not a.stands(relation, b) or not is_held_out(a, relation, b)


@pytest.mark.parametrize("name", NAMES)
def test_no_training_picture_shows_a_held_out_pair_by_the_rule_that_scores_it(name):
    shown = {"clear": 0, "GenEval's": 0}
    for sample in some(name, "train", 0, 600):
        for a, b in permutations(sample.scene.items, 2):
            for rule, where in (("clear", clear_position), ("GenEval's", relative_position)):
                shown[rule] += any(is_held_out(a, relation, b) for relation in where(a.box, b.box))
    assert shown["clear"] == 0
    assert shown["GenEval's"] > 0, "diagonals are why these prompts need a rule of their own"


def test_test_split_shows_held_out_pairs():
    assert any(shows_held_out(s.scene) for s in some("scenes", "test", 0, 240))


def test_held_out_is_symmetric_and_about_a_tenth():
    big = world("scenes")
    items = [Item(s, c, 0.5, 0.5, 0.1) for s in big.shapes for c in big.colours]
    held = [is_held_out(a, "left of", b) for a in items for b in items]
    assert np.mean(held) == pytest.approx(0.1, abs=0.015)
    for a, b in zip(items, reversed(items), strict=True):
        assert is_held_out(a, "left of", b) == is_held_out(b, "right of", a)
        assert is_held_out(a, "above", b) == is_held_out(b, "below", a)


def test_samples_are_functions_of_their_arguments():
    nano = world("scenes-nano")
    assert some("scenes-nano", "train")[17] == scene_sample(nano, "train", 0, 17)
    assert scene_sample(nano, "train", 1, 17).scene != scene_sample(nano, "train", 0, 17).scene
    assert scene_sample(nano, "train", 0, 18).scene != scene_sample(nano, "train", 0, 12).scene


@pytest.mark.parametrize("name", NAMES)
def test_families_take_turns_and_scenes_show_their_prompt(name):
    for index, sample in enumerate(some(name, "train")):
        assert sample.metadata["tag"] == FAMILIES[index % 6]
        for clause in sample.metadata["include"]:
            matching = [
                i for i in sample.scene.items if i.shape == clause["class"] and clause.get("color") in (None, i.colour)
            ]
            assert len(matching) == clause["count"]
        for i, a in enumerate(sample.scene.items):
            assert min(a.box) >= 0
            assert max(a.box) <= 1
            assert all(a.clear_of(b) for b in sample.scene.items[:i])


@pytest.mark.parametrize("name", NAMES)
def test_caption_lengths(name):
    samples = some(name, "train")
    for sample in samples:
        short, long = len(sample.short.split()), len(sample.long.split())
        assert 5 <= short <= 12, sample.short
        assert 20 <= long <= 120, sample.long
        assert short < long
        assert 8 <= len(sample.placed.split()) <= 44, sample.placed


@pytest.mark.parametrize("name", NAMES)
def test_every_word_is_in_the_vocabulary(name):
    words, rng, here = set(vocabulary()), np.random.default_rng(0), world(name)
    texts = [str(m["prompt"]) for split in ("validation", "test") for m in prompt_set(here, split, 8)]
    for sample in [s for split in SPLITS for s in some(name, split)]:
        question = ask_any(sample.scene, here, rng)
        texts += [sample.short, sample.long, brief_caption(sample.scene, rng), question.text, *question.choices]
    assert not {w for text in texts for w in text.split()} - words


def test_tokenizer_gives_a_token_a_word():
    tokenizer = build_tokenizer()
    sample = some("scenes", "train")[5]
    ids = tokenizer(sample.long, add_special_tokens=False)["input_ids"]
    assert len(ids) == len(sample.long.split())
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.eos_token_id == len(tokenizer) - 1
