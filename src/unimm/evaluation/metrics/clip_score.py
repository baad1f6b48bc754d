"""CLIP score and R-precision by the foundation's independent open_clip evaluators.

The CLIP score, by the embeddings that `torchmetrics` asks for, is 100 x cosine of image and text, averaged over images
(Hessel et al. 2021, without the factor 2.5). It may be negative. `torchmetrics` itself clamps the average at 0, which
hides how far below it is and makes its error one of another number; where that differs, the score notes it apart.
R-precision is how often an image lies closer to its own prompt than to every one of R distractors (Xu et al. 2018):
unlike a mean cosine it does not move with the tone of all images, and its chance level 1 / (R + 1) is known. The
distractors depend on the prompt's number only, so that every arm meets the same.

The evaluators were trained on other scenes than the CLIP that arms predict, with other architectures; one whose weights
are that CLIP's is refused. The target CLIP's own cosine is given as ``bias/clip_score/target`` and is no score: arms
that predict its features, and the decoder that is conditioned on them, are trained to please it, so that

    bias = (CLIP arm - VAE arm) by the target - (CLIP arm - VAE arm) by an independent evaluator

says how far such a score would flatter them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64, Int64, UInt8
from numpy import ndarray, unique
from pydantic import Field
from torch import Tensor, nn
from torchmetrics.multimodal.clip_score import CLIPScore
from transformers import PreTrainedTokenizerFast

from unimm.component_config import ComponentConfig
from unimm.encoders.clip import CLIP_CONTEXT, clip_tokens, load_clip
from unimm.evaluation.images import at_resolution, noted_resize
from unimm.evaluation.metric import Evidence, Metric, Score
from unimm.evaluation.statistics import clustered
from unimm.evaluation.words import EVALUATORS
from unimm.foundation.folder import Foundation
from unimm.progress import progress, say
from unimm.scenes.prompts import Metadata

DISTRACTORS = 99
BATCH = 256
SHOWN = 5
ROUNDING = 1e-4  # torchmetrics adds up in float32
WEIGHTS = "open_clip_model.safetensors"


class Retrieval(NamedTuple):
    """Share of images nearest to their own prompt, the share by chance, the number of images, and each image's hit."""

    value: float
    chance: float
    n: int
    items: tuple[bool, ...]


def r_precision(
    images: Float64[np.ndarray, "n e"],
    prompts: Float64[np.ndarray, "p e"],
    own: Sequence[int],
    seed: int,
    distractors: int = DISTRACTORS,
) -> Retrieval:
    """R-precision of images by the cosine of their embeddings with those of prompts.

    ``own[i]`` is the row in ``prompts`` of image i's own prompt. A tie with a distractor is no hit. Raises ValueError
    if there are too few prompts, or if two are equal, for then an image could not be told to belong to one of them.
    """
    if len(prompts) <= distractors:
        raise ValueError(f"{distractors} distractors need more than {len(prompts)} distinct prompts: lower the number")
    if len(np.unique(prompts, axis=0)) < len(prompts):
        raise ValueError("two prompts have equal embeddings: give each distinct prompt once")
    cosines = _normalised(images) @ _normalised(prompts).T
    hits = tuple(
        bool(row[number] > row[_distractors(number, len(prompts), distractors, seed)].max())
        for row, number in zip(cosines, own, strict=True)
    )
    return Retrieval(float(np.mean(hits)), 1 / (distractors + 1), len(hits), hits)


def _distractors(own: int, prompts: int, number: int, seed: int) -> Int64[np.ndarray, " r"]:
    """Rows of other prompts, drawn without replacement."""
    drawn: np.ndarray = np.random.default_rng([seed, own]).choice(prompts - 1, size=number, replace=False)
    return drawn + (drawn >= own)


def _normalised(rows: Float64[np.ndarray, "n e"]) -> Float64[np.ndarray, "n e"]:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


class OpenClipAdapter(nn.Module):
    """An open_clip model behind the methods that torchmetrics calls; it cannot be put into training mode.

    It keeps what it embedded, batch by batch, so that images are encoded once for everything that reads their
    embeddings; ``known`` are the batches of an earlier pass over the same images.
    """

    def __init__(self, model: Any, known: Sequence[Tensor] = ()) -> None:
        super().__init__()
        self.model = model.eval()
        self.config = SimpleNamespace()
        self.known = list(known)
        self.pictures: list[Tensor] = []
        self.texts: list[Tensor] = []

    def train(self, mode: bool = True) -> OpenClipAdapter:
        return super().train(False)

    def get_image_features(self, pixel_values: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b e"]:
        """Image embeddings."""
        done = len(self.pictures)
        self.pictures.append(self.known[done] if self.known else self.model.encode_image(pixel_values))
        return self.pictures[-1]

    def get_text_features(self, input_ids: Tensor, attention_mask: Tensor) -> Float[Tensor, "b e"]:
        """Text embeddings; open_clip's tower finds the end of text by itself."""
        self.texts.append(self.model.encode_text(input_ids))
        return self.texts[-1]


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

    def cut(self, texts: list[str]) -> int:
        """How many texts are too long for the evaluators, which then read their beginnings only."""
        lengths = (len(ids) for ids in self.tokenizer(texts, add_special_tokens=False)["input_ids"])
        return sum(length >= CLIP_CONTEXT for length in lengths)

    def unknown(self, texts: list[str]) -> list[str]:
        """The words, each once and in order, of which the evaluators see only that they do not know them."""
        distinct = list(dict.fromkeys(texts))
        read = self.tokenizer(distinct, add_special_tokens=False, return_offsets_mapping=True)
        rows = zip(distinct, read["input_ids"], read["offset_mapping"], strict=True)
        unknown = self.tokenizer.unk_token_id
        words = (
            text[begin:end]
            for text, ids, places in rows
            for token, (begin, end) in zip(ids, places, strict=True)
            if token == unknown
        )
        return list(dict.fromkeys(words))


def side_of(model: Any) -> int:
    """Side in pixels of the images that an open_clip model takes."""
    return int(model.visual.image_size[0])


class Embedded(NamedTuple):
    """`torchmetrics`' score, the embeddings of images and prompts, each of length one, and the images' batches."""

    clamped: float
    pictures: Float64[ndarray, "m e"]
    texts: Float64[ndarray, "m e"]
    batches: list[Tensor]


@torch.inference_mode()
def embed(
    model: Any, processor: OpenClipProcessor, images: Tensor, prompts: Sequence[str], known: Sequence[Tensor] = ()
) -> Embedded:
    """CLIP score and embeddings of images ``[m, 3, h, w]`` (uint8), resized to the model's own size, and prompts.

    ``known``: the ``batches`` of an earlier call with the same model and images, which then are not encoded again.
    """
    adapter = OpenClipAdapter(model, known)
    metric = CLIPScore(model_name_or_path=lambda: (adapter, processor))  # type: ignore[arg-type,return-value]
    sized = at_resolution(images, side_of(model))
    for begin in progress(range(0, len(images), BATCH), "CLIP score", "batch"):
        metric.update(list(sized[begin : begin + BATCH]), list(prompts[begin : begin + BATCH]))
    pictures, texts = unit_length(adapter.pictures), unit_length(adapter.texts)
    return Embedded(float(metric.compute()), pictures, texts, adapter.pictures)


@torch.inference_mode()
def unit_length(parts: Iterable[Tensor]) -> Float64[ndarray, "n e"]:
    """Embeddings that come batch by batch, each scaled to length one."""
    rows: ndarray = F.normalize(torch.cat(list(parts)).double()).numpy()
    return rows


class Clip(ABC):
    """A CLIP by itself, which says of any image and any text how well they fit."""

    @abstractmethod
    def pictures(self, images: UInt8[Tensor, "m 3 h w"]) -> Float64[ndarray, "m e"]:
        """Embeddings of images, of length one."""

    @abstractmethod
    def texts(self, texts: Sequence[str]) -> Float64[ndarray, "p e"]:
        """Embeddings of texts, of length one."""

    def cosines(self, images: UInt8[Tensor, "m 3 h w"], texts: Sequence[str], which: Sequence[int]) -> list[float]:
        """The cosine of each text and the image of number ``which[i]``."""
        distinct = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        shown, told = self.pictures(images)[list(which)], self.texts(list(distinct))
        return list(map(float, (shown * told[[distinct[text] for text in texts]]).sum(axis=1)))


class FoundationClip(Clip):
    """One of the foundation's independent CLIPs."""

    def __init__(self, foundation: Foundation, index: int) -> None:
        self.model, self.processor = evaluator(foundation, index), OpenClipProcessor(foundation.tokenizer)

    def pictures(self, images: UInt8[Tensor, "m 3 h w"]) -> Float64[ndarray, "m e"]:
        batches = at_resolution(images, side_of(self.model)).split(BATCH)
        return unit_length(self.model.encode_image(self.processor(list(part))["pixel_values"]) for part in batches)

    def texts(self, texts: Sequence[str]) -> Float64[ndarray, "p e"]:
        batches = (list(texts[begin : begin + BATCH]) for begin in range(0, len(texts), BATCH))
        return unit_length(self.model.encode_text(self.processor(text=part)["input_ids"]) for part in batches)


class ClipScore(Metric):
    """CLIP score and R-precision by each of the foundation's independent evaluators."""

    class Config(ComponentConfig):
        """``distractors``: how many other prompts an image's own prompt must beat for R-precision."""

        distractors: int = Field(9, ge=1)

    needs = frozenset({"images", "captions"})
    families = frozenset({"clip_score", "r_precision", "bias"})

    def __init__(self, config: Config, foundation: Foundation) -> None:
        self.config, self.foundation = config, foundation
        self._known: list[tuple[str, Tensor, list[Tensor]]] = []
        self._said: set[str] = set()

    def objection(self, prompts: Sequence[Metadata] | None, captions: Sequence[str]) -> str | None:
        """Words that the evaluators do not know."""
        unknown = OpenClipProcessor(self.foundation.tokenizer).unknown(list(captions))
        if not unknown:
            return None
        named = ", ".join(map(repr, unknown[:SHOWN])) + (", ..." if len(unknown) > SHOWN else "")
        return (
            f"clip_score: the evaluators were trained on scenes and know no {named}; leave clip_score out, as in "
            "--metrics distance (in a run, bring an evaluator: evaluation.clip=open_clip:DIR)"
        )

    def score(self, evidence: Evidence) -> list[Score]:
        assert evidence.images is not None and evidence.captions is not None
        check_independent(self.foundation)
        texts, processor = list(evidence.captions), OpenClipProcessor(self.foundation.tokenizer)
        if problem := self.objection(evidence.prompts, texts):
            raise ValueError(problem)
        longest = {"prompts cut": processor.cut(texts), "library": "torchmetrics", "scale": "100 x cosine"}
        scores = []
        for index, letter in enumerate(EVALUATORS):
            model = evaluator(self.foundation, index)
            by = {"evaluator": self.foundation.fingerprint(f"evaluator_{index}")}
            by |= noted_resize(evidence.images, side_of(model))
            found = self._embed(f"evaluator_{index}", model, evidence.images, texts)
            scores += [
                _clip_score(f"clip_score/{letter}", found, texts, by | longest),
                *self._retrieval(letter, found, texts, by),
            ]
        target = load_clip(self.foundation.path("clip"))
        by = {"evaluator": self.foundation.fingerprint("clip"), "use": "bias diagnostic: arms train against this CLIP"}
        by |= noted_resize(evidence.images, side_of(target))
        found = self._embed("clip", target, evidence.images, texts)
        return [*scores, _clip_score("bias/clip_score/target", found, texts, by | longest)]

    def _embed(self, part: str, model: Any, images: Tensor, texts: list[str]) -> Embedded:
        """By one part of the foundation; images that a floor shows with other prompts are not encoded again."""
        known = next((own for name, seen, own in self._known if name == part and seen is images), ())
        found = embed(model, OpenClipProcessor(self.foundation.tokenizer), images, texts, known)
        self._known += [] if known else [(part, images, found.batches)]
        return found

    def _say_once(self, text: str) -> None:
        """A run's scores, floors and ceilings all lack the same."""
        if text not in self._said:
            say(text)
        self._said.add(text)

    def _retrieval(self, letter: str, found: Embedded, texts: list[str], by: dict[str, Any]) -> list[Score]:
        """R-precision, where there are prompts enough for the distractors and all are told apart."""
        distinct = list(dict.fromkeys(texts))
        if len(distinct) <= self.config.distractors:
            self._say_once(
                f"clip_score: no R-precision: {self.config.distractors} distractors need more than {len(distinct)} "
                "distinct prompts;\nset distractors lower, or give more prompts"
            )
            return []
        rows = found.texts[[texts.index(text) for text in distinct]]
        # Prompts that are cut to the same tokens differ by rounding alone, if two batches embedded them.
        seen = clip_tokens(self.foundation.tokenizer, distinct, CLIP_CONTEXT)
        if min(len(seen.unique(dim=0)), len(unique(rows, axis=0))) < len(distinct):
            return []
        own = [distinct.index(text) for text in texts]
        result = r_precision(found.pictures, rows, own, 0, self.config.distractors)
        protocol = by | {"distractors": self.config.distractors, "chance": result.chance}
        items = list(map(float, result.items))
        return [Score(f"r_precision/{letter}", result.value, result.n, protocol, items, clustered(items, texts))]


def _clip_score(name: str, found: Embedded, texts: list[str], protocol: dict[str, Any]) -> Score:
    items = (100 * (found.pictures * found.texts).sum(axis=1)).tolist()
    value = float(np.mean(items))
    other = None if np.isclose(value, found.clamped, rtol=ROUNDING, atol=ROUNDING) else found.clamped
    return Score(name, value, len(items), protocol, items, clustered(items, texts), library_value=other)


def evaluator(foundation: Foundation, index: int) -> Any:
    """One of the foundation's independent CLIPs, on which no arm trains."""
    return load_clip(foundation.path(f"evaluator_{index}"))


def evaluators(foundation: Foundation) -> dict[str, FoundationClip]:
    """All of them, by the names of their cards."""
    return {card: FoundationClip(foundation, index) for index, card in enumerate(EVALUATORS.values())}


def check_independent(foundation: Foundation) -> None:
    """ValueError if an evaluator's weights are those of the CLIP that arms train against."""
    files = foundation.card["files"]
    for index in range(len(EVALUATORS)):
        if files[f"evaluator_{index}/{WEIGHTS}"] == files[f"clip/{WEIGHTS}"]:
            raise ValueError(
                f"evaluator_{index} of {foundation.folder} is the CLIP that arms train against, which would score its "
                "own training; build the foundation's evaluators from other data"
            )
