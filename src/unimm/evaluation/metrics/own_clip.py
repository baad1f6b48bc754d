"""CLIP score and R-precision by an open_clip model that the user brings (`evaluation.clip`), for texts of any kind.

The foundation's evaluators know the words of scenes only. Images go through the model's own preprocessing, texts
through its own tokenizer; the score is 100 x cosine, averaged over images (Hessel et al. 2021, without the factor 2.5).

An arm that predicts this CLIP's features is trained to please it, so that a model whose weights the arm's encoder has
is refused. Names and layouts differ between libraries and files, so that weights are compared by what they hold:
tensor by tensor, rounded to bfloat16, as an encoder may be.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64, UInt8
from PIL import Image
from torch import Tensor, nn

from unimm.components import weights_hash
from unimm.encoders.open_clip import whole_model
from unimm.evaluation.metric import Evidence, Metric, Score
from unimm.evaluation.metrics.clip_score import Clip, ClipScore, r_precision, unit_length
from unimm.evaluation.statistics import clustered
from unimm.foundation.folder import Foundation
from unimm.progress import progress

BATCH = 64
LARGE = 512  # values of a tensor that two models do not share by chance or by construction
SHARED = 0.1


class OwnClip(Clip):
    """An open_clip model from a folder, which says how well texts fit images."""

    def __init__(self, folder: Path) -> None:
        self.name, self.folder = f"open_clip/{folder.name}", folder
        self.model, self.tokenizer = whole_model(folder)
        self._known: tuple[Tensor, Float64[np.ndarray, "m e"]] | None = None

    @property
    def fingerprint(self) -> str:
        """A short hash of the weights."""
        return weights_hash(self.model)[:16]

    def pictures(self, images: UInt8[Tensor, "m 3 h w"]) -> Float64[np.ndarray, "m e"]:
        """Embeddings of length one; images that a floor shows with other prompts are not embedded again."""
        if self._known is None or self._known[0] is not images:
            self._known = images, unit_length(self.model.encode_image(batch) for batch in self._batches(images))
        return self._known[1]

    def _batches(self, images: UInt8[Tensor, "m 3 h w"]) -> Iterator[Tensor]:
        from open_clip.transform import PreprocessCfg, image_transform_v2

        transform = image_transform_v2(PreprocessCfg(**self.model.visual.preprocess_cfg), is_train=False)
        for part in progress(images.permute(0, 2, 3, 1).split(BATCH), "own CLIP", "batch"):
            yield torch.stack([transform(Image.fromarray(image)) for image in part.numpy()])

    def texts(self, texts: Sequence[str]) -> Float64[np.ndarray, "p e"]:
        """Embeddings of length one; ValueError where the folder's tokenizer is not the model's."""
        parts = (texts[begin : begin + BATCH] for begin in range(0, len(texts), BATCH))
        try:
            return unit_length(self.model.encode_text(self.tokenizer(list(part))) for part in parts)
        except IndexError:
            raise ValueError(
                f"{self.folder}: open_clip finds a tokenizer whose ids the model has no embeddings for; name the "
                "model's own in text_cfg.hf_tokenizer_name of open_clip_config.json"
            ) from None


class OwnClipScore(Metric):
    """CLIP score and R-precision by one open_clip model from a folder."""

    class Config(ClipScore.Config):
        """``folder``: an open_clip model's."""

        folder: Path

    needs = frozenset({"images", "captions"})

    def __init__(self, config: Config, foundation: Foundation) -> None:
        self.config, self.clip = config, OwnClip(config.folder)

    def check_independent(self, encoder: nn.Module) -> None:
        """ValueError if the arm's encoder has this model's weights, or if this model cannot read texts."""
        if shared_weights(self.clip.model.visual, encoder) > SHARED:
            raise ValueError(
                f"evaluation.clip: {self.config.folder} holds the weights that this arm is trained to predict, and "
                "would score its own training; give another CLIP"
            )
        self.clip.texts(["a photo"])

    def score(self, evidence: Evidence) -> list[Score]:
        assert evidence.images is not None and evidence.captions is not None
        texts = list(evidence.captions)
        distinct = list(dict.fromkeys(texts))
        own = [distinct.index(text) for text in texts]
        pictures, embedded = self.clip.pictures(evidence.images), self.clip.texts(distinct)
        items = (100 * (pictures * embedded[own]).sum(axis=1)).tolist()
        protocol: dict[str, Any] = {
            "evaluator": self.clip.fingerprint,
            "scale": "100 x cosine",
            "resize": "open_clip's own",
        }
        scores = [
            Score("clip_score/own", float(np.mean(items)), len(items), protocol, items, clustered(items, texts)),
        ]
        if min(len(distinct), len(np.unique(embedded, axis=0))) > max(self.config.distractors, len(distinct) - 1):
            found = r_precision(pictures, embedded, own, 0, self.config.distractors)
            protocol = protocol | {"distractors": self.config.distractors, "chance": found.chance}
            hits = list(map(float, found.items))
            scores.append(Score("r_precision/own", found.value, found.n, protocol, hits, clustered(hits, texts)))
        return scores


def shared_weights(model: nn.Module, other: nn.Module) -> float:
    """Share of a model's weights, in large tensors, whose values the other has too, under whatever name."""
    there = {digest for digest, _ in _tensors(other)}
    own = list(_tensors(model))
    total = sum(size for _, size in own)
    return sum(size for digest, size in own if digest in there) / total if total else 0.0


def _tensors(module: nn.Module) -> Iterator[tuple[bytes, int]]:
    """Hash and number of the values of every large tensor that is not one value throughout."""
    for parameter in module.parameters():
        values = parameter.detach().to("cpu", torch.bfloat16).flatten()
        if len(values) >= LARGE and bool((values != values[0]).any()):
            yield hashlib.sha256(values.view(torch.int16).numpy().tobytes()).digest(), len(values)
