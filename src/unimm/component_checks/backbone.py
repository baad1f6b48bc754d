"""Checks of a backbone: what it is built of, its conditions, padding, logits, and which parameters train."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from unimm.backbones.causal_lm import conditions_of, pad_left
from unimm.backbones.wording import generation_ids
from unimm.component_checks.bench import Broken, Doubt, Subject, close, same, seconds_for
from unimm.components import Backbone, Encoder, parameter_count, weights_hash
from unimm.encoders.clip import Clip
from unimm.seam_checks import check_backbone

PROMPTS = ("a red circle", "a photo of a blue square above a green triangle")
START = "understanding"


class BackboneBench:
    """The backbone as the sequential strategy starts it, beside the foundation's CLIP, and two prompts."""

    def __init__(self, subject: Subject) -> None:
        self.subject, self.device = subject, subject.device

    def build(self, seed: int) -> Backbone:
        """A fresh one."""
        encoder: Encoder = Clip.build(Clip.Config(grid=self.subject.foundation.card["grid"]), self.subject.foundation)
        backbone: Backbone = self.subject.cls.build(self.subject.config, self.subject.foundation, encoder, START, seed)
        return backbone

    @cached_property
    def backbone(self) -> Backbone:
        """That of seed 0, on the device, without dropout."""
        backbone = self.build(0)
        check_backbone(backbone)
        return backbone.to(self.device).eval()

    @cached_property
    def rows(self) -> list[list[int]]:
        """Token ids of the prompts, of different lengths."""
        return [generation_ids(self.backbone.tokenizer, prompt) for prompt in PROMPTS]

    @torch.no_grad()
    def conditions(self, rows: list[list[int]]) -> Tensor:
        """Query states of prompts."""
        return conditions_of(self.backbone, rows)


def _built(bench: BackboneBench) -> str:
    whole, queries = parameter_count(bench.backbone), len(bench.backbone.queries)
    return f"{whole:,} parameters, {queries} queries of {bench.backbone.width} channels"


def _seeds(bench: BackboneBench) -> str:
    again = bench.build(0)
    if weights_hash(bench.backbone) != weights_hash(again):
        raise Broken("built twice with one seed it has other weights: draw fresh ones from the seed alone")
    if torch.equal(bench.build(1).queries.cpu(), again.queries.cpu()):
        return Doubt("another seed gives the same queries: seeds of an arm would differ less than they should")
    return "the same seed gives the same weights, another one other queries"


def _conditions(bench: BackboneBench) -> str:
    found = bench.conditions(bench.rows)
    wanted = [len(PROMPTS), len(bench.backbone.queries), bench.backbone.width]
    if list(found.shape) != wanted:
        raise Broken(f"query states have shape {list(found.shape)}: they have to be {wanted} (prompts, queries, width)")
    if not bool(found.isfinite().all()):
        raise Broken("query states hold NaN or infinite values")
    if torch.equal(found[0], found[1]):
        raise Broken("two prompts have the same query states: the head would draw the same for both")
    return f"{wanted}, root mean square {float(found.float().square().mean().sqrt()):.3g}"


def _repeats(bench: BackboneBench) -> str:
    return same(bench.conditions(bench.rows), bench.conditions(bench.rows), "the same prompts a second time")


def _padding(bench: BackboneBench) -> str:
    alone, among = bench.conditions(bench.rows[:1]), bench.conditions(bench.rows)[:1]
    return close(alone, among, "a short prompt alone and padded beside a longer one")


def _logits(bench: BackboneBench) -> str:
    inputs = pad_left(bench.rows, int(bench.backbone.tokenizer.pad_token_id)).to(bench.device)
    with torch.no_grad():
        logits = bench.backbone(inputs, with_queries=False).logits
    words = len(bench.backbone.tokenizer)
    if logits is None or list(logits.shape[:2]) != list(inputs.ids.shape) or logits.shape[2] < words:
        shape = None if logits is None else list(logits.shape)
        raise Broken(
            f"logits have shape {shape}: {[*inputs.ids.shape, words]} or more words (rows, tokens, vocabulary)"
        )
    return f"{list(logits.shape)} (rows, tokens, vocabulary)"


def _training(bench: BackboneBench) -> str:
    backbone = bench.backbone
    core = backbone.core_parameters()
    if any(parameter is backbone.queries for parameter in core):
        raise Broken("core_parameters holds the queries, which train even where a strategy freezes the core")
    backbone.set_trainable(False)
    conditions_of(backbone, bench.rows).square().mean().backward()
    taught = backbone.queries.grad is not None and bool(backbone.queries.grad.abs().sum() > 0)
    backbone.zero_grad()
    if not taught:
        raise Broken("no gradient reaches the queries")
    if any(parameter.requires_grad for parameter in core):
        raise Broken("set_trainable(False) leaves parameters of the core trainable")
    return f"gradients reach the queries, and {sum(p.numel() for p in core):,} parameters can be frozen"


def _seconds(bench: BackboneBench) -> str:
    taken = seconds_for(lambda: bench.conditions(bench.rows), bench.device)
    return f"{taken:.2g} s for {len(PROMPTS)} prompts, on {bench.device.type}"


STEPS = {
    "built": _built,
    "seeds": _seeds,
    "conditions": _conditions,
    "repeats": _repeats,
    "padding": _padding,
    "logits": _logits,
    "training": _training,
    "seconds": _seconds,
}
