"""CLIP score through `torchmetrics`, with the foundation's independent open_clip evaluators.

100 x cosine of image and text embeddings, averaged over images (Hessel et al. 2021, without the factor 2.5). The
evaluators were trained on other scenes than the CLIP that arms predict, with other architectures.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from pydantic import Field
from torch import Tensor, nn
from torchmetrics.multimodal.clip_score import CLIPScore
from transformers import PreTrainedTokenizerFast

from unimm.component_config import ComponentConfig
from unimm.evaluation.images import at_resolution
from unimm.evaluation.metric import Evidence, Metric, Score
from unimm.evaluation.retrieval import r_precision
from unimm.foundation.load import Foundation
from unimm.foundation.recipes import CLIP_CONTEXT, clip_tokens

BATCH = 256
EVALUATORS = ("a", "b")


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
def clip_score(adapter: OpenClipAdapter, processor: OpenClipProcessor, images: Tensor, prompts: Sequence[str]) -> float:
    """Mean CLIP score of images ``[m, 3, s, s]`` (uint8) with their prompts."""
    metric = CLIPScore(model_name_or_path=lambda: (adapter, processor))  # type: ignore[arg-type,return-value]
    for begin in range(0, len(images), BATCH):
        metric.update(list(images[begin : begin + BATCH]), list(prompts[begin : begin + BATCH]))
    return float(metric.compute())


@torch.inference_mode()
def embed(
    adapter: OpenClipAdapter, processor: OpenClipProcessor, images: UInt8[Tensor, "m 3 s s"], prompts: Sequence[str]
) -> tuple[Float[Tensor, "m e"], Float[Tensor, "m e"]]:
    """Embeddings of images and of prompts, each of length one."""
    pictures, texts = [], []
    for begin in range(0, len(images), BATCH):
        shown = processor(images=list(images[begin : begin + BATCH]))
        written = processor(text=list(prompts[begin : begin + BATCH]))
        pictures.append(adapter.get_image_features(shown["pixel_values"]))
        texts.append(adapter.get_text_features(written["input_ids"], written["attention_mask"]))
    return F.normalize(torch.cat(pictures), dim=-1), F.normalize(torch.cat(texts), dim=-1)


class ClipScore(Metric):
    """CLIP score and R-precision by each of the foundation's independent evaluators."""

    class Config(ComponentConfig):
        """``distractors``: how many other prompts an image's own prompt must beat for R-precision."""

        distractors: int = Field(9, ge=1)

    needs = frozenset({"images", "captions"})

    def __init__(self, config: Config, foundation: Foundation) -> None:
        self.config, self.foundation = config, foundation

    def score(self, evidence: Evidence) -> list[Score]:
        assert evidence.images is not None and evidence.captions is not None
        texts = list(evidence.captions)
        scores = []
        for index, letter in enumerate(EVALUATORS):
            part = f"evaluator_{index}"
            processor = OpenClipProcessor(self.foundation.tokenizer)
            adapter = OpenClipAdapter(self.foundation.evaluator(index))
            images = at_resolution(evidence.images, self.foundation.resolution)
            scores += self._by(letter, self.foundation.fingerprint(part), adapter, processor, images, texts)
        return scores

    def _by(
        self,
        letter: str,
        fingerprint: str,
        adapter: OpenClipAdapter,
        processor: OpenClipProcessor,
        images: Tensor,
        texts: list[str],
    ) -> list[Score]:
        protocol = {"evaluator": fingerprint, "library": "torchmetrics", "scale": "100 x cosine"}
        value = clip_score(adapter, processor, images, texts)
        pictures, words = embed(adapter, processor, images, texts)
        items = (100 * (pictures * words).sum(-1)).tolist()
        scores = [Score(f"clip_score/{letter}", value, len(images), protocol, items)]
        distinct = list(dict.fromkeys(texts))
        if len(distinct) > self.config.distractors:
            rows = words[[texts.index(text) for text in distinct]]
            own = [distinct.index(text) for text in texts]
            found = r_precision(pictures.double().numpy(), rows.double().numpy(), own, 0, self.config.distractors)
            against = {"evaluator": fingerprint, "distractors": self.config.distractors, "chance": found.chance}
            scores.append(Score(f"r_precision/{letter}", found.value, found.n, against, list(map(float, found.items))))
        return scores
