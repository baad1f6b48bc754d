"""Any vision-language model of `transformers` as the backbone: it sees images with its own vision tower.

BLIP3-o's final models are Qwen2.5-VL with queries. The tower stays frozen, so that its tokens can be cached like any
encoder's. Rows with images go through the model's own forward pass, ids and all, which only finds the cached tokens
where it would look at pixels (`unimm.backbones.own_vision`): placeholders, positions (Qwen's are three-dimensional),
masks (Gemma 3's image tokens see each other both ways) and features of deeper blocks (Qwen3-VL's) are the library's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from unimm.backbones.causal_lm import CausalLM, positions_of
from unimm.backbones.chat import ChatTokenizer, Eyes
from unimm.backbones.conditions import Conditioning
from unimm.backbones.library_check import check_against_library
from unimm.backbones.own_vision import OwnVision, ramp
from unimm.backbones.pretrained import STEMS, PretrainedLM, limits_of
from unimm.checkpoints import checkpoint_folder, files_hash, reading, weight_files
from unimm.components import Encoder, Hidden, Inputs, Lora
from unimm.encoders.images import processor_settings
from unimm.foundation.folder import Foundation


class PretrainedVLM(PretrainedLM):
    """Any pretrained vision-language model of `transformers` with learnable queries, and LoRA where asked for."""

    called: ClassVar[str] = "pretrained_vlm"
    transformers_needed: ClassVar[int] = 5  # where models return an image's features in one form
    auto_class: ClassVar[str] = "AutoModelForImageTextToText"
    mapping: ClassVar[str] = "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES"
    instead: ClassVar[str] = "no vision-language model (language models without eyes: backbone=pretrained_lm)"

    class Config(Conditioning):
        """``pretrained``: local folder or hub name of the model; ``queries``: how many query tokens follow the prompt.

        ``dtype``: type of its weights; ``resolution``: side of the images that its own image processor is given;
        ``lora``: low-rank adapters (rank, alpha, targets) in place of all weights, null for none.
        """

        pretrained: str = Field(min_length=1)
        queries: int = Field(64, ge=1)
        dtype: Literal["float32", "bfloat16"] = "float32"
        resolution: int = Field(224, ge=1)
        lora: Lora | None = None

    def __init__(self, config: Any, model: Any, tokenizer: Any, image_channels: int, seed: int) -> None:
        super().__init__(config, model, tokenizer, image_channels, seed)
        self.vision: tuple[OwnVision, ...] = ()

    @classmethod
    def build(cls, config: Any, foundation: Foundation, encoder: Encoder, start: str, seed: int) -> CausalLM:
        folder = checkpoint_folder(config.pretrained)
        backbone = cls._with_processor(config, folder, folder, seed)
        check_against_library(backbone, folder)
        return backbone

    @classmethod
    def restore(cls, config: Any, model: Path, tokenizer: Path, image_channels: int) -> CausalLM:
        return cls._with_processor(config.model_copy(update={"lora": None}), model, tokenizer, seed=0)

    @classmethod
    def _with_processor(cls, config: Any, folder: Path, beside: Path, seed: int) -> CausalLM:
        """The backbone of the model in ``folder`` and the processor in ``beside``."""
        from transformers import AutoProcessor

        model, content = cls.load_model(folder, config, seed), processor_settings(beside)
        with reading(beside, "a processor"):
            processor = AutoProcessor.from_pretrained(beside)
        fingerprint = files_hash(weight_files(folder, STEMS), content, config.dtype)
        with reading(folder, "a model of images and text"):
            vision = OwnVision(config, model, processor.image_processor, fingerprint)
        eyes = Eyes(processor, ramp(config.resolution), _image_id(model, processor))
        tokenizer = ChatTokenizer(processor.tokenizer, beside, limits_of(model, config), eyes)
        backbone = cls(config, model, tokenizer, vision.latent_spec().channels, seed)
        # In a tuple, so that the model's weights are not listed twice.
        backbone.vision = (vision,)
        return backbone

    def image_encoder(self, foundation: Foundation, encoder: Encoder) -> Encoder:
        return self.vision[0]

    def understands(self, start: str) -> bool:
        return True

    def build_projector(self, image_channels: int, width: int) -> nn.Module:
        return nn.Identity()

    def forward(self, inputs: Inputs, with_queries: bool, last: int = 0) -> Hidden:
        assert inputs.images is None or not with_queries, "requests to draw show no image"
        return super().forward(inputs, with_queries, last)

    def logits(self, inputs: Inputs, last: int) -> Float[Tensor, "b k v"]:
        """By the model's own forward pass, which places the image tokens."""
        if inputs.images is None:
            return super().logits(inputs, last)
        model: Any = self.model
        # Models with positions of their own for images make them from the ids.
        positions = {} if hasattr(model.base_model, "get_rope_index") else {"position_ids": positions_of(inputs.mask)}
        types = {name: _typed(inputs.ids, numbers) for name, numbers in self.tokenizer.types.items()}
        with self.vision[0].recalled(inputs.images) as about_images:
            output = model(
                input_ids=inputs.ids,
                attention_mask=inputs.mask.long(),
                use_cache=False,
                logits_to_keep=last,
                **positions,
                **types,
                **about_images,
            )
        return output.logits  # type: ignore[no-any-return]


def _typed(ids: Int[Tensor, "b l"], numbers: dict[int, int]) -> Int[Tensor, "b l"]:
    """The number of every id, 0 for those that have none."""
    typed = torch.zeros_like(ids)
    for token, number in numbers.items():
        typed[ids == token] = number
    return typed


def _image_id(model: Any, processor: Any) -> int:
    """The id of the tokens that image features take the place of."""
    for name in ("image_token_id", "image_token_index"):
        if getattr(model.config, name, None) is not None:
            return int(getattr(model.config, name))
    return int(processor.image_token_id)
