"""CLIP score through `torchmetrics`, with the foundation's independent open_clip evaluators.

100 x cosine of image and text embeddings, averaged over images (Hessel et al. 2021, without the factor 2.5). The
evaluators were trained on other scenes than the CLIP that arms predict, with other architectures.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torchmetrics.multimodal.clip_score import CLIPScore
from transformers import PreTrainedTokenizerFast

from unimm.foundation.recipes import CLIP_CONTEXT, clip_tokens


class OpenClipAdapter(nn.Module):
    """An open_clip model behind the methods that torchmetrics calls; it cannot be put into training mode."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model.eval()
        self.config = SimpleNamespace()

    def train(self, mode: bool = True) -> OpenClipAdapter:
        return super().train(False)

    def get_image_features(self, pixel_values: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b e"]:
        """Image embeddings."""
        return self.model.encode_image(pixel_values)  # type: ignore[no-any-return]

    def get_text_features(self, input_ids: Tensor, attention_mask: Tensor) -> Float[Tensor, "b e"]:
        """Text embeddings; open_clip's tower finds the end of text by itself."""
        return self.model.encode_text(input_ids)  # type: ignore[no-any-return]


class OpenClipProcessor:
    """uint8 images and captions to what the adapter takes."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer

    def __call__(
        self, images: list[Tensor] | None = None, text: list[str] | None = None, **_: Any
    ) -> dict[str, Tensor]:
        if images is not None:
            return {"pixel_values": torch.stack(images).float() / 127.5 - 1}
        assert text is not None
        ids = clip_tokens(self.tokenizer, text, CLIP_CONTEXT)
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


@torch.inference_mode()
def clip_score(
    model: nn.Module, tokenizer: PreTrainedTokenizerFast, images: UInt8[Tensor, "m 3 s s"], prompts: list[str]
) -> float:
    """Mean CLIP score of images with their prompts."""
    metric = CLIPScore(model_name_or_path=lambda: (OpenClipAdapter(model), OpenClipProcessor(tokenizer)))  # type: ignore[arg-type,return-value]
    for begin in range(0, len(images), 256):
        metric.update(list(images[begin : begin + 256]), prompts[begin : begin + 256])
    return float(metric.compute())
