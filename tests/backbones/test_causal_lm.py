"""The backbone: padding, queries, images, and one template for training and sampling."""

from __future__ import annotations

import copy
from functools import lru_cache
from types import SimpleNamespace

import pytest
import torch
from tiny_causal_lm import tiny_causal_lm

from unimm.backbones.causal_lm import (
    CausalLM,
    conditions_of,
    embedded_scale,
    pad_left,
)
from unimm.backbones.wording import IMAGE, generation_ids, question_ids
from unimm.components import Inputs
from unimm.noise import NoiseSource
from unimm.pipeline import Pipeline

CAPTIONS = ["a photo of a red circle", "a photo of a blue square and a green star above a moon", "a photo of a ring"]


@lru_cache
def backbone() -> CausalLM:
    return tiny_causal_lm().eval()


def prompts() -> list[list[int]]:
    return [generation_ids(backbone().tokenizer, caption) for caption in CAPTIONS]


@torch.no_grad()
def test_left_padding_does_not_change_query_states():
    together = conditions_of(backbone(), prompts())
    assert together.shape == (3, 4, 32)
    alone = torch.cat([conditions_of(backbone(), [row]) for row in prompts()])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_more_padding_of_any_token_changes_nothing():
    row = prompts()[0]
    ids, mask = pad_left([row], 0)[:2]
    for filler in (0, 7):
        wide = (
            torch.cat([torch.full((1, 9), filler), ids], 1),
            torch.cat([torch.zeros(1, 9, dtype=torch.bool), mask], 1),
        )
        states = backbone()(Inputs(*wide), with_queries=True).query_states
        torch.testing.assert_close(states, conditions_of(backbone(), [row]), atol=1e-5, rtol=1e-5)


def test_pad_left():
    ids, mask, images, _ = pad_left([[5], [6, 7, 8]], 0)
    assert ids.tolist() == [[0, 0, 5], [6, 7, 8]]
    assert mask.tolist() == [[False, False, True], [True, True, True]]
    assert images is None


def test_queries_are_causal_and_learn():
    states = conditions_of(backbone(), prompts())
    (grad,) = torch.autograd.grad(states[:, 1].sum(), backbone().queries)
    reached = grad.abs().sum(1) > 0
    assert reached.tolist() == [True, True, False, False]


def test_a_frozen_backbone_gives_the_same_states_and_query_gradients():
    whole = backbone()
    frozen = copy.deepcopy(whole)
    for parameter in frozen.core_parameters():
        parameter.requires_grad_(False)
    results = []
    for model in (whole, frozen):
        states = conditions_of(model, prompts())
        (gradient,) = torch.autograd.grad(states.square().sum(), model.queries)
        results.append((states, gradient))
    torch.testing.assert_close(*results, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_conditions_depend_on_the_prompt():
    states = conditions_of(backbone(), prompts())
    assert float((states[0] - states[2]).abs().max()) > 1e-4


@torch.no_grad()
def test_images_enter_at_their_places():
    model = backbone()
    rows = [question_ids(model.tokenizer, q, 3) for q in ("is there a red ring ?", "how many rings are there ?")]
    assert all(row.count(model.image_id) == 3 for row in rows)
    ids, mask = pad_left(rows, 0)[:2]
    images = torch.randn(2, 3, 6)
    whole = model(Inputs(ids, mask, images), with_queries=False).logits
    assert whole.shape == (*ids.shape, len(model.tokenizer))
    alone = model(Inputs(*pad_left(rows[1:], 0)[:2], images[1:]), with_queries=False).logits
    torch.testing.assert_close(whole[1:, -len(rows[1]) :], alone, atol=1e-5, rtol=1e-5)
    other = model(Inputs(ids, mask, images.flip(0)), with_queries=False).logits
    assert not torch.allclose(whole[:, -1], other[:, -1])


def test_seed_decides_the_queries_and_leaves_the_global_state():
    one = backbone()
    state = torch.get_rng_state()
    make = [CausalLM(one.config, one.model, one.tokenizer, 6, seed) for seed in (0, 0, 1)]
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(make[0].queries, make[1].queries)
    assert not torch.equal(make[0].queries, make[2].queries)


def test_the_template_of_generation():
    tokenizer = backbone().tokenizer
    text = f"<|im_start|> user generate : {CAPTIONS[0]} <|im_end|> <|im_start|> assistant"
    assert tokenizer.convert_ids_to_tokens(prompts()[0]) == text.split()
    assert IMAGE not in text
    assert tokenizer.unk_token_id not in prompts()[0]


def test_sampling_makes_the_conditions_of_training():
    seen = []

    def sample(head, conditions, shape, noise, keys):
        seen.append(conditions)
        return torch.zeros(len(conditions), *shape)

    decoder = SimpleNamespace(decode=lambda latents, noise, keys: torch.zeros(len(latents), 3, 2, 2))
    pipeline = Pipeline(
        backbone(), None, SimpleNamespace(sample=sample), decoder, SimpleNamespace(tokens=4, channels=3)
    )
    images = pipeline(CAPTIONS, ["a", "b", "c"], NoiseSource(0, "sampling"), batch=2)
    assert images.shape == (3, 3, 2, 2)
    with torch.no_grad():
        expected = conditions_of(backbone(), prompts())
    torch.testing.assert_close(torch.cat(seen), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("source", "scaled"), [("gemma_text", 32**0.5), ("llama", 1.0), ("granite", 1.0)])
@torch.no_grad()
def test_fresh_queries_have_the_scale_of_embedded_tokens(build, source, scaled):
    """Gemma's embedding multiplies by the root of its width; Granite's model multiplies, and queries as well."""
    backbone = build(source, "pretrained_lm", queries=400)
    weight = backbone.embeddings.weight
    embedded = backbone.embeddings(torch.arange(len(weight)))
    assert float(backbone.queries.std() / embedded.std()) == pytest.approx(1, rel=0.03)
    assert float(embedded.std() / weight.std()) == pytest.approx(scaled, rel=1e-5)


def test_the_scale_of_a_plain_embedding_is_exactly_that_of_its_weights():
    weight = backbone().embeddings.weight
    assert torch.equal(embedded_scale(backbone().embeddings), weight.detach().float().std())


def test_a_prompt_that_is_cut_is_said(capsys):
    sample = SimpleNamespace(sample=lambda head, conditions, shape, noise, keys: torch.zeros(len(conditions), *shape))
    decoder = SimpleNamespace(decode=lambda latents, noise, keys: torch.zeros(len(latents), 3, 2, 2))
    pipeline = Pipeline(backbone(), None, sample, decoder, SimpleNamespace(tokens=4, channels=3))
    pipeline(["a ring", "circle " * 1100], ["a", "b"], NoiseSource(0, "sampling"))
    said = [line for line in capsys.readouterr().err.splitlines() if "cut off" in line]
    assert said == [
        "the prompt circle circle circle circle circle circl... is too long: its last 76 tokens were cut off"
    ]
