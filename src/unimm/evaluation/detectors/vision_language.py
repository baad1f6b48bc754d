"""Any vision-language model of `transformers` as a judge: a yes-or-no question for each fact of a prompt.

Its surety of a fact is the probability of yes against no at the first token of its answer,

    p = P(yes) / (P(yes) + P(no)),

each summed over the spellings of the word that are one token. An image is correct if every fact is likelier than not.
Beside the shares of correct images stand soft scores: the mean over facts and the geometric mean by image (Soft-TIFA,
arXiv 2512.16853), and for prompts that are texts alone one question about the whole text (VQAScore, arXiv 2404.01291).
Both papers take P(yes) by itself; here a model that would rather say something else is not thereby unsure.

Like every judge it is no better than its card: an untrained one answers everything alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from pydantic import Field
from torch import Tensor

from unimm.component_config import ComponentConfig
from unimm.components import weights_hash
from unimm.evaluation.detectors.instances import load_pretrained, reading
from unimm.evaluation.judge import SURE, Judge, Judged
from unimm.evaluation.metric import Evidence, Metric, Score
from unimm.evaluation.statistics import clustered
from unimm.evaluation.words import Words
from unimm.progress import progress
from unimm.scenes.prompts import NUMBERS, Metadata, article, plural

BATCH = 8
YES, NO = ("yes", "Yes", " yes", " Yes", "YES"), ("no", "No", " no", " No", "NO")
ANSWER = "Answer yes or no."
TINY = 1e-12


class VisionLanguage(Judge):
    """Asks a vision-language model about every fact of a prompt."""

    class Config(ComponentConfig):
        """``source``: local folder or Hugging Face id of an instruction-tuned model with its processor.

        ``device``: torch's name; ``batch``: how many images it is asked about at once.
        """

        source: str
        device: str = "cpu"
        batch: int = Field(BATCH, ge=1)

    def __init__(self, config: Config) -> None:
        from transformers import AutoModelForImageTextToText, AutoProcessor

        self.config, self.device = config, torch.device(config.device)
        self.model = load_pretrained(AutoModelForImageTextToText, config.source, self.device)
        with reading(config.source):
            self.processor = AutoProcessor.from_pretrained(config.source)
        if not getattr(self.processor, "chat_template", None):
            raise ValueError(f"{config.source} has no chat template: give an instruction-tuned model")
        self.processor.tokenizer.padding_side = "left"  # so that the last token of every row is the prompt's
        self.answers = [self._ids(words, config.source) for words in (YES, NO)]
        self.name = f"vision_language/{Path(config.source).name}"
        self._asked: dict[tuple[int, str], float] = {}
        self._about: Tensor | None = None

    def _ids(self, words: Sequence[str], source: str) -> list[int]:
        tokens = (self.processor.tokenizer.encode(word, add_special_tokens=False) for word in words)
        ids = sorted({ids[0] for ids in tokens if len(ids) == 1})
        if not ids:
            raise ValueError(f"{source}: no spelling of {words[0]!r} is one token, so that no answer can be read off")
        return ids

    def fulfilled(
        self, images: UInt8[Tensor, "m 3 height width"], prompts: Sequence[Metadata], which: Sequence[int] | None = None
    ) -> list[float]:
        return [min(facts) for facts in self.facts(images, prompts, which)]

    def facts(
        self, images: UInt8[Tensor, "m 3 height width"], prompts: Sequence[Metadata], which: Sequence[int] | None = None
    ) -> list[list[float]]:
        """The surety of every fact of every prompt."""
        numbers = range(len(images)) if which is None else which
        pairs = [[(n, text) for text in questions(prompt)] for n, prompt in zip(numbers, prompts, strict=True)]
        sure = self.ask(images, [pair for own in pairs for pair in own])
        return [[sure[pair] for pair in own] for own in pairs]

    def ask(
        self, images: UInt8[Tensor, "m 3 height width"], pairs: Sequence[tuple[int, str]]
    ) -> dict[tuple[int, str], float]:
        """The surety of yes to each question about the image of that number; the same is asked once."""
        if self._about is not images:
            self._about, self._asked = images, {}
        new = [pair for pair in dict.fromkeys(pairs) if pair not in self._asked]
        for begin in progress(range(0, len(new), self.config.batch), f"asking ({self.name})", "batch"):
            part = new[begin : begin + self.config.batch]
            answers = self._batch([images[number] for number, _ in part], [text for _, text in part])
            self._asked |= dict(zip(part, answers.tolist(), strict=True))
        return {pair: self._asked[pair] for pair in pairs}

    @torch.inference_mode()
    def _batch(self, images: Sequence[UInt8[Tensor, "3 height width"]], texts: Sequence[str]) -> Float[Tensor, " b"]:
        pictures = [[Image.fromarray(image.permute(1, 2, 0).cpu().numpy())] for image in images]
        inputs = self.processor(
            text=[self._worded(t) for t in texts], images=pictures, padding=True, return_tensors="pt"
        )
        logits = self.model(**inputs.to(self.device)).logits[:, -1].double()
        yes, no = (logits[:, ids].logsumexp(dim=1) for ids in self.answers)
        return torch.sigmoid(yes - no).cpu()

    def _worded(self, text: str) -> str:
        parts = [{"type": "image"}, {"type": "text", "text": f"{text} {ANSWER}"}]
        turn = [{"role": "user", "content": parts}]
        return str(self.processor.apply_chat_template(turn, add_generation_prompt=True, tokenize=False))

    @cached_property
    def _weights(self) -> str:
        return weights_hash(self.model)[:16]

    def protocol(self) -> dict[str, Any]:
        return {"weights": self._weights, "question": ANSWER, "sure of a fact": "P(yes) / (P(yes) + P(no))"}

    def as_metric(self, results: Path | None = None) -> Metric:
        super().as_metric(results)  # which says what it cannot write
        return SoftlyJudged(Judged.Config(), self)


class SoftlyJudged(Judged):
    """What a vision-language model says: shares of correct images, and how sure it is of them."""

    needs = frozenset({"images", "captions"})

    def __init__(self, config: Judged.Config, judge: VisionLanguage) -> None:
        super().__init__(config, judge)
        self.asked = judge
        group = f"Surety of {judge.name} (0 to 1)"
        labels = {"facts": "mean of facts", "prompts": "geometric mean of a prompt's facts", "whole": "the whole text"}
        self.words = {**self.words, **{f"vqa[{judge.name}]/{key}": Words(group, text) for key, text in labels.items()}}

    def score(self, evidence: Evidence) -> list[Score]:
        assert evidence.images is not None and evidence.captions is not None
        if evidence.prompts is None:
            texts = [(number, f'Does this image show "{text}"?') for number, text in enumerate(evidence.captions)]
            sure = self.asked.ask(evidence.images, texts)
            return [self._soft("whole", [sure[pair] for pair in texts], evidence)]
        facts = self.asked.facts(evidence.images, evidence.prompts)
        correct = [float(min(own) >= SURE) for own in facts]
        means = [float(np.mean(own)) for own in facts]
        geometric = [float(np.exp(np.mean(np.log(np.maximum(own, TINY))))) for own in facts]
        tags = [str(prompt["tag"]) for prompt in evidence.prompts]
        strict = self.scores(correct, tags, evidence.captions)
        return [*strict, self._soft("facts", means, evidence), self._soft("prompts", geometric, evidence)]

    def _soft(self, name: str, items: list[float], evidence: Evidence) -> Score:
        assert evidence.captions is not None
        error = clustered(items, evidence.captions)
        value = float(np.mean(items))
        return Score(f"vqa[{self.judge.name}]/{name}", value, len(items), self.judge.protocol(), items, error)


def questions(prompt: Metadata) -> Iterator[str]:
    """A question a fact, to which yes is right for an image that fulfils the prompt."""
    exact = {clause["class"] for clause in prompt.get("exclude", [])}
    for clause in prompt["include"]:
        name, count, colour = clause["class"], clause["count"], clause.get("color")
        words = f"{colour} {name}" if colour else name
        if count > 1 or name in exact:
            said = f"exactly {NUMBERS.get(count, count)} {plural(words)}" if count > 1 else f"exactly one {words}"
            yield f"{'Are' if count > 1 else 'Is'} there {said} in this image?"
        else:
            yield f"Is there {article(words)} in this image?"
        if "position" in clause:
            relation, other = clause["position"]
            target = prompt["include"][other]["class"]
            yield f"Is the {name} {relation} the {target} in this image?"
