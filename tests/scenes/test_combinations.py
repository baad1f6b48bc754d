"""Prompts of held-out and of seen combinations, and the rule by which they are scored."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unimm.evaluation.metrics.geneval import find_objects, judge
from unimm.scenes.combinations import TAGS, clear_position, combination_prompts
from unimm.scenes.geneval_rules import relative_position
from unimm.scenes.render import render
from unimm.scenes.stream import is_held_out
from unimm.scenes.world import RELATIONS, Item, Scene, world

NANO = world("scenes-nano")
places = st.floats(0.2, 0.8)


def item(clause, x, y):
    return Item(clause["class"], clause["color"], x, y, 0.16)


@pytest.mark.parametrize("held_out", [True, False])
def test_prompts_are_distinct_and_of_their_kind(held_out):
    prompts = combination_prompts(NANO, 25, held_out)
    assert len({prompt["prompt"] for prompt in prompts}) == 25
    for prompt in prompts:
        reference, subject = prompt["include"]
        assert prompt["tag"] == TAGS[held_out]
        assert is_held_out(item(subject, 0, 0), subject["position"][0], item(reference, 0, 0)) == held_out


@given(places, places, places, places)
def test_a_clear_relation_is_the_only_one_that_holds(x, y, u, v):
    a, b = Item("circle", "red", x, y, 0.15), Item("square", "blue", u, v, 0.15)
    clear = clear_position(a.box, b.box)
    assert len(clear) <= 1
    assert clear <= relative_position(a.box, b.box)
    if a.clear_of(b):
        assert clear == {relation for relation in RELATIONS if a.stands(relation, b)}


@pytest.mark.parametrize(("aslant", "clear"), [(0.0, True), (0.04, True), (0.5, False)])
def test_the_judge_refuses_diagonals_under_the_clear_rule_only(aslant, clear):
    prompt = next(p for p in combination_prompts(NANO, 25, True) if p["include"][1]["position"][0] == "left of")
    reference, subject = prompt["include"]
    scene = Scene((item(subject, 0.25, 0.25), item(reference, 0.75, 0.25 + aslant)), 0.5)
    images = np.stack([render(scene, 64)]).transpose(0, 3, 1, 2).copy()
    (row,) = judge(find_objects(torch.from_numpy(images), NANO), [prompt])
    assert row.correct
    assert row.clear == clear
