"""FLOPs, kept activations and memory of one generation sample in training, part by part, from shapes.

Head and encoder run on the meta device, where the counter sees every operation's shapes and nothing is computed.
Decoder-only language models go by formula: with n weights in its layers, a token costs 2 n FLOPs forward, 2 n more
backward for its inputs' gradients and 2 n for the weights'; attention of q on k tokens costs 4 q k w forward and 2.5
times that backward, w being the heads' summed width. What trains of a backbone is nothing, its language model, or
low-rank adapters in it. A frozen model runs its prompt forward only: the queries, which come last, attend to its cached
keys and values.

Memory of one GPU is weights, gradients, optimiser, moving average and activations. ``replicated`` keeps everything on
every GPU (DDP); ``sharded`` splits all but the activations over the GPUs (FSDP2) and has one layer at a time in full,
with what belongs to no layer. Buffers of the communication and of the allocator are left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from unimm.components import Encoder, layer_blocks, parameter_count
from unimm.flops import count_flops, weights
from unimm.noise import NoiseSource
from unimm.planning.devices import (
    ANSWER,
    AUTOCAST_COPY,
    AVERAGE,
    GRADIENT,
    KEPT_FEED_FORWARDS,
    KEPT_WIDTHS,
    MOMENTS,
    QUESTION,
    WEIGHT,
)
from unimm.planning.outline import Outline


class DecoderSizes(NamedTuple):
    """Sizes of a language model's decoder; ``weights`` are those of its layers, ``vocabulary`` the output's size."""

    weights: int
    layers: int
    width: int
    attention_width: int
    feed_forward: int
    vocabulary: int

    @classmethod
    def of(cls, model: nn.Module) -> DecoderSizes:
        """The sizes of a `transformers` model, the text part of one that also sees."""
        whole: Any = model
        config = whole.config.get_text_config()
        heads = config.num_attention_heads
        head_width = getattr(config, "head_dim", None) or config.hidden_size // heads
        layers = whole.get_decoder().layers
        return cls(
            weights=weights(layers),
            layers=len(layers),
            width=config.hidden_size,
            attention_width=heads * head_width,
            feed_forward=config.intermediate_size,
            vocabulary=config.vocab_size,
        )

    def forward(self, tokens: int, keys: int) -> int:
        """FLOPs of ``tokens`` that attend to ``keys`` tokens, themselves included; causality saves nothing."""
        return 2 * self.weights * tokens + 4 * self.layers * tokens * keys * self.attention_width

    def backward(self, tokens: int, keys: int, trained: bool) -> int:
        """FLOPs of the backward pass; only inputs get gradients where the model is not trained."""
        products = (4 if trained else 2) * self.weights * tokens
        return products + 10 * self.layers * tokens * keys * self.attention_width

    def output(self, tokens: int, trained: bool) -> int:
        """FLOPs of forward and backward pass of the output matrix."""
        return (6 if trained else 4) * self.width * self.vocabulary * tokens

    def kept_bytes(self, tokens: int) -> int:
        """Activations that the backward pass of ``tokens`` needs, in bytes at float32."""
        values = KEPT_WIDTHS * self.width + KEPT_FEED_FORWARDS * self.feed_forward
        return 4 * self.layers * tokens * values

    def kept_logits(self, tokens: int) -> int:
        """Bytes of the logits, their float32 copy and their logarithmic softmax, at float32."""
        return 12 * self.vocabulary * tokens


class Trained(NamedTuple):
    """Parameters that train and that do not; ``whole``: whether the language model's own weights do."""

    trained: int
    frozen: int
    whole: bool


def trained_backbone(arm: Outline) -> Trained:
    """How many of the backbone's parameters the arm's strategy trains; image projectors are left out."""
    everything = _count(arm.language_model)
    lora = arm.mix.adapters or getattr(arm.config.backbone.config, "lora", None)
    if not arm.mix.train_backbone:
        return Trained(0, everything, whole=False)
    if lora is not None:
        return Trained(adapter_parameters(arm.language_model, lora.rank, lora.targets), everything, whole=False)
    model: Any = arm.language_model
    text = _count(model.get_decoder(), model.get_input_embeddings(), model.get_output_embeddings())
    return Trained(text, everything - text, whole=True)


def adapter_parameters(model: Any, rank: int, targets: str | tuple[str, ...]) -> int:
    """Parameters of low-rank adapters in the decoder's linear layers, picked as `peft` picks them."""
    linear = {name: part for name, part in model.get_decoder().named_modules() if isinstance(part, nn.Linear)}
    picked = [part for name, part in linear.items() if _targeted(name, targets)]
    return sum(rank * (part.in_features + part.out_features) for part in picked)


def _targeted(name: str, targets: str | tuple[str, ...]) -> bool:
    if targets == "all-linear":
        return True
    if isinstance(targets, str):
        return re.fullmatch(targets, name) is not None
    return any(name == target or name.endswith(f".{target}") for target in targets)


def _count(*modules: nn.Module) -> int:
    return sum(p.numel() for p in dict.fromkeys(p for module in modules for p in module.parameters()))


class Work(NamedTuple):
    """FLOPs a generation sample; ``encoder`` only where latents are made during training, and once an image if cached.

    ``understanding`` is the share of questions that a joint run asks for each generation sample.
    """

    encoder: int
    backbone: int
    understanding: int
    head: int

    @property
    def cached(self) -> int:
        """FLOPs of a training sample whose latents are cached."""
        return self.backbone + self.understanding + self.head

    @property
    def encoding(self) -> int:
        """FLOPs of a training sample whose image is encoded in the same step."""
        return self.encoder + self.cached


class Kept(NamedTuple):
    """Bytes of activations that a sample keeps for its backward pass, at float32: an upper bound under autocast."""

    backbone: int
    understanding: int
    head: int


def cost(arm: Outline, prompt: int | None = None) -> tuple[Work, Kept]:
    """FLOPs and activations of a sample with a prompt of so many tokens (the data's average by default)."""
    decoder, length = DecoderSizes.of(arm.language_model), prompt or arm.prompt
    whole, question = trained_backbone(arm).whole, arm.spec.tokens + QUESTION
    trains = arm.mix.train_backbone and arm.mix.generation_gradient
    head_flops, head_bytes = _head(arm)
    done = Work(
        encoder=_encoders(arm),
        backbone=_backbone(decoder, length, arm.queries, trains, whole),
        understanding=round(_share(arm) * question_flops(decoder, question, ANSWER, whole)),
        head=head_flops,
    )
    kept = Kept(
        backbone=decoder.kept_bytes(arm.queries + (length if trains else 0)),
        understanding=round(_share(arm) * (decoder.kept_bytes(question) + decoder.kept_logits(ANSWER + 1))),
        head=head_bytes,
    )
    return done, kept


def _share(arm: Outline) -> float:
    """Questions for each generation sample."""
    return arm.understanding_samples / (arm.config.training.steps * arm.config.training.batch_size)


def _encoders(arm: Outline) -> int:
    """Of the target, and of the tower where the objective has one."""
    return sum(_encoding(part, arm.resolution) for part in (arm.encoder, arm.tower) if part is not None)


def _encoding(encoder: Encoder, side: int) -> int:
    tensors: Any = [*encoder.parameters(), *encoder.buffers()]
    place = tensors[0].device if tensors else torch.device("meta")
    image = torch.empty(1, 3, side, side, device=place)

    def encode() -> None:
        with torch.no_grad():
            encoder.encode(image)

    return count_flops(encode)


def _backbone(decoder: DecoderSizes, prompt: int, queries: int, trains: bool, whole: bool) -> int:
    """Of generation. ``trains``: gradients flow through the prompt too; ``whole``: also to the language model's own
    weights."""
    length = prompt + queries
    if trains:
        return decoder.forward(length, length) + decoder.backward(length, length, whole)
    conditions = decoder.forward(queries, length) + decoder.backward(queries, length, trained=False)
    return decoder.forward(prompt, prompt) + conditions


def question_flops(decoder: DecoderSizes, tokens: int, answer: int, whole: bool) -> int:
    """FLOPs of forward and backward pass of a question, the last ``answer`` of whose tokens count, and which alone,
    with the one before, need logits; ``whole`` as the model's weights train."""
    passes = decoder.forward(tokens, tokens) + decoder.backward(tokens, tokens, whole)
    return passes + decoder.output(answer + 1, whole)


def _head(arm: Outline) -> tuple[int, int]:
    """FLOPs and kept bytes of the objective's loss on one sample, all of it on the meta device."""
    beside = 0 if arm.tower is None else arm.tower.latent_spec().channels
    latents = torch.empty(1, arm.spec.tokens, arm.spec.channels + beside, device="meta")
    conditions = torch.empty(1, arm.queries, arm.width, device="meta", requires_grad=True)

    def loss() -> Tensor:
        return arm.objective.loss(arm.head, latents, conditions, NoiseSource(0, "plan"), [0])

    kept = 0

    def step() -> None:
        nonlocal kept
        value, kept = saved_bytes(loss, arm.head)
        value.backward()

    flops = count_flops(step)
    return flops, kept


def saved_bytes(forward: Callable[[], Tensor], module: nn.Module) -> tuple[Tensor, int]:
    """A forward pass's result, and the bytes that autograd keeps of it.

    Parameters are left out, and tensors that share memory count once.
    """
    owned = {parameter.untyped_storage()._cdata for parameter in module.parameters()}
    # The tensors are held, so that no storage's address is used again.
    found: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage()._cdata not in owned:
            found[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = forward()
    return result, sum(tensor.untyped_storage().nbytes() for tensor in found.values())


class Memory(NamedTuple):
    """Bytes on one GPU."""

    weights: int
    gradients: int
    optimiser: int
    average: int
    activations: int

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self)


def replicated(frozen_bytes: int, trained: int, copied: int, kept: Kept, samples: int) -> Memory:
    """Every GPU holds the whole model and ``samples`` at a time.

    Args:
        frozen_bytes: memory of the frozen weights.
        trained: trained parameters.
        copied: parameters of which autocast keeps a bfloat16 copy; zero without autocast.
        kept: activations of a sample.
        samples: samples of a micro-batch on this GPU.
    """
    return Memory(
        weights=frozen_bytes + WEIGHT * trained + AUTOCAST_COPY * copied,
        gradients=GRADIENT * trained,
        optimiser=MOMENTS * trained,
        average=AVERAGE * trained,
        activations=sum(kept) * samples,
    )


def sharded(whole: Memory, gpus: int, gathered: int) -> Memory:
    """The same, split over ``gpus``; ``gathered`` is the memory of what is whole at a time."""

    def share(part: int) -> int:
        return -(-part // gpus)

    return Memory(
        weights=share(whole.weights) + gathered,
        gradients=share(whole.gradients),
        optimiser=share(whole.optimiser),
        average=share(whole.average),
        activations=whole.activations,
    )


def gathered(*modules: nn.Module) -> int:
    """Bytes at float32 that a pass through the neediest module gathers at a time: one layer, the largest, and
    everything outside the layers, such as embeddings."""
    return WEIGHT * max(map(_gathered, modules))


def _gathered(module: nn.Module) -> int:
    layers = [parameter_count(layer) for layer in layer_blocks(module)]
    return parameter_count(module) - sum(layers) + max(layers, default=0)
