"""Any vision-language model of `transformers` as the backbone: it sees images with its own vision tower.

BLIP3-o's final models are Qwen2.5-VL with queries. The tower stays frozen, so that its tokens can be cached like any
encoder's; they take the place of the template's image placeholders, with the positions that the model gives them
(Qwen's are three-dimensional).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from unimm.backbones.causal_lm import CausalLM, positions_of
from unimm.backbones.pretrained import STEMS, Lora, PretrainedLM, fitting
from unimm.backbones.wording import ChatTokenizer
from unimm.checkpoints import checkpoint_folder, files_hash, reading, weight_files
from unimm.component_config import ComponentConfig
from unimm.components import Decoder, Encoder, Hidden, Inputs, LatentSpec
from unimm.encoders.images import processor_settings
from unimm.foundation.folder import Foundation


class OwnVision(Encoder):
    """The vision tower of a vision-language model, with its own image processor: images to tokens it understands."""

    def __init__(self, config: Any, model: Any, processor: Any, fingerprint: str) -> None:
        super().__init__()
        self.config, self.model, self.processor, self._fingerprint = config, model, processor, fingerprint
        side = config.resolution
        blank = self.prepared(torch.zeros(1, 3, side, side))
        grid = blank.get("image_grid_thw")
        self.image_grid: Tensor | None = None if grid is None else grid[0]

    @classmethod
    def build(cls, config: Any, foundation: Foundation) -> OwnVision:
        raise ValueError("a backbone's own vision tower is built with the backbone")

    def decoder(self, foundation: Foundation, steps: int) -> Decoder:
        raise ValueError("a backbone's own vision tower is what it sees with, not a target: nothing decodes its tokens")

    def prepared(self, images: Float[Tensor, "b 3 s s"]) -> dict[str, Tensor]:
        """What the model's image processor makes of images in [0, 1], resized to the configured side first."""
        side = self.config.resolution
        if images.shape[-1] != side:
            images = F.interpolate(images, size=(side, side), mode="bicubic", antialias=True).clamp(0, 1)
        made = self.processor(images=list(images), do_rescale=False, return_tensors="pt")
        return {name: value.to(images.device) for name, value in made.items()}

    @torch.no_grad()
    def encode(self, images: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b n d"]:
        output = self.model.get_image_features(**self.prepared(images))
        return torch.stack(list(output.pooler_output)).float()

    def latent_spec(self) -> LatentSpec:
        device = next(self.model.parameters()).device
        side = self.config.resolution
        tokens, channels = self.encode(torch.zeros(1, 3, side, side, device=device)).shape[1:]
        return LatentSpec(tokens, channels, (1, tokens), self._fingerprint)


class PretrainedVLM(PretrainedLM):
    """Any pretrained vision-language model of `transformers` with learnable queries, and LoRA where asked for."""

    auto_class: ClassVar[str] = "AutoModelForImageTextToText"
    mapping: ClassVar[str] = "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES"
    instead: ClassVar[str] = "no vision-language model (language models without eyes: backbone=pretrained_lm)"

    class Config(ComponentConfig):
        """``resolution``: side of the images that the model's own image processor is given."""

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
        return cls._with_processor(config, folder, folder, seed)

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
        processor.tokenizer.chat_template = processor.tokenizer.chat_template or processor.chat_template
        tokenizer = ChatTokenizer(processor.tokenizer, beside, processor.image_token, whole=processor)
        width = int(model.config.get_text_config().hidden_size)
        backbone = cls(config, model, fitting(tokenizer, beside, model), width, seed)
        fingerprint = files_hash(weight_files(folder, STEMS), content, config.dtype)
        # In a tuple, so that the model's weights are not listed twice.
        backbone.vision = (OwnVision(config, model, processor.image_processor, fingerprint),)
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

    def positions(self, inputs: Inputs) -> Tensor:
        """Those of the tokens in their image, where the model has such positions."""
        model: Any = self.model.base_model
        grid = self.vision[0].image_grid
        if inputs.images is None or grid is None or not hasattr(model, "get_rope_index"):
            return positions_of(inputs.mask)
        positions: Tensor = model.get_rope_index(
            inputs.ids,
            mm_token_type_ids=(inputs.ids == self.image_id).int(),
            image_grid_thw=grid.expand(len(inputs.ids), 3),
            attention_mask=inputs.mask.long(),
        )[0]
        return positions
