"""FLOPs and activations by shapes against those of real steps of tiny arms, and against BLIP3-o's published shapes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from flops_formula import Attention, Projection, analytic_flops

from unimm.arm import assemble
from unimm.backbones.causal_lm import Row, answer_loss, conditions_of
from unimm.components import Backbone
from unimm.config import load
from unimm.flops import count_flops, weights
from unimm.heads.dit import DiffusionTransformer
from unimm.noise import NoiseSource
from unimm.planning.outline import outline
from unimm.planning.work import DecoderSizes, cost, question_flops, saved_bytes

ABLATIONS = Path(__file__).parents[2] / "ablations"
BATCH, PROMPT = 3, 21


def tiny(arm: str):
    return load(ABLATIONS / f"{arm}.yaml", ["profile=tiny", "backbone.queries=16"])


@pytest.mark.parametrize("arm", ["clip_fm", "clip_mse", "vae_fm_joint"])
def test_a_planned_step_costs_what_a_real_one_does(arm):
    config = tiny(arm)
    real, plan = assemble(config), outline(config)
    for parameter in real.backbone.core_parameters():
        parameter.requires_grad_(plan.mix.train_backbone)
    spec = real.encoder.latent_spec()
    latents = torch.randn(BATCH, spec.tokens, spec.channels)

    def loss() -> torch.Tensor:
        conditions = conditions_of(real.backbone, [list(range(5, 5 + PROMPT))] * BATCH)
        return real.objective.loss(real.head, latents, conditions, NoiseSource(0, "t"), range(BATCH))

    planned, kept = cost(plan, PROMPT)
    assert count_flops(lambda: loss().backward()) / BATCH == pytest.approx(planned.backbone + planned.head, rel=0.1)
    images = torch.rand(BATCH, 3, plan.resolution, plan.resolution)
    assert count_flops(lambda: real.encoder.encode(images)) / BATCH == pytest.approx(planned.encoder, rel=0.01)
    modules = torch.nn.ModuleList([real.backbone, real.head])
    measured = saved_bytes(loss, modules)[1] / BATCH
    assert measured == pytest.approx(kept.backbone + kept.head, rel=0.25)


def test_a_planned_question_costs_what_a_real_one_does():
    backbone: Backbone = assemble(tiny("clip_fm_joint")).backbone
    rows = [Row([5] * 30, 4)] * BATCH
    counted = count_flops(lambda: answer_loss(backbone, rows, None).backward())
    assert counted / BATCH == pytest.approx(question_flops(DecoderSizes.of(backbone.model), 30, 4, whole=True), rel=0.1)


def test_generation_that_passes_the_backbone_by_costs_what_it_does_beside_a_frozen_one():
    arms = (tiny("clip_fm"), tiny("clip_fm_joint"))
    control = load(
        ABLATIONS / "clip_fm_joint.yaml", ["profile=tiny", "backbone.queries=16", "strategy=understanding_only"]
    )
    (frozen, kept), (joint, _), (own, held) = (cost(outline(config), PROMPT) for config in (*arms, control))
    assert own.backbone == frozen.backbone < joint.backbone and held.backbone == kept.backbone
    assert own.understanding == joint.understanding > 0


def test_the_share_of_questions():
    config = tiny("clip_fm_joint")
    plan = outline(config)
    assert plan.understanding_samples == 64
    done, kept = cost(plan, PROMPT)
    assert kept.understanding > 0
    assert done.understanding == question_flops(
        DecoderSizes.of(plan.language_model), plan.spec.tokens + 24, 10, whole=True
    )
    done, kept = cost(outline(tiny("clip_fm")), PROMPT)
    assert done.understanding == kept.understanding == 0


def test_the_papers_head_agrees_with_the_formula():
    """Counted on the meta device; by formula 2 FLOPs a weight and token, three times that with the backward pass."""
    config = DiffusionTransformer.Config(width=1792, layers=4, heads=28, ffn_multiple=256, project_conditions=True)
    with torch.device("meta"):
        head = DiffusionTransformer(config, 1792, (8, 8), 2048)
        arguments = torch.empty(1, 64, 1792), torch.empty(1), torch.empty(1, 64, 2048, requires_grad=True)
    once = sum(weights(part) for name, part in head.named_modules() if name.endswith(("norm1", "time_caption_embed")))
    projections = [Projection(weights(head) - once, 64), Projection(once, 1)]
    formula = analytic_flops(projections, [Attention(1, 64, 64, 1792)] * 8, training=True)
    assert count_flops(lambda: head(*arguments).sum().backward()) == pytest.approx(formula, rel=0.02)


@pytest.mark.parametrize(("frozen", "trained"), [(True, False), (False, True)])
def test_formulas_of_a_language_model(frozen, trained):
    decoder = DecoderSizes(weights=1000, layers=2, width=8, attention_width=8, feed_forward=32, vocabulary=50)
    assert decoder.forward(10, 30) == 2 * 1000 * 10 + 4 * 2 * 10 * 30 * 8
    assert decoder.backward(10, 30, trained) == (4 - 2 * frozen) * 1000 * 10 + 10 * 2 * 10 * 30 * 8
    assert decoder.output(10, trained) == (6 - 2 * frozen) * 8 * 50 * 10
