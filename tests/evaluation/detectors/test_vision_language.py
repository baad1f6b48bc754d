"""A vision-language model as a judge, from tiny checkpoints with random weights: its numbers are the library's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unimm.analysis.judging import failures
from unimm.arm import assemble
from unimm.config import load
from unimm.evaluation.asking import answer_logits, first_tokens
from unimm.evaluation.detectors.vision_language import NO, YES, VisionLanguage, questions
from unimm.evaluation.fact_card import try_judge
from unimm.evaluation.judge import SURE
from unimm.evaluation.labelled import labelled_scenes
from unimm.evaluation.metric import Evidence
from unimm.evaluation.suite import choose
from unimm.scenes.prompts import Metadata
from unimm.scenes.questions import Question
from unimm.scenes.world import world

ROOT = Path(__file__).parents[3]
RED: Metadata = {
    "tag": "colors",
    "include": [{"class": "circle", "count": 1, "color": "red"}],
    "prompt": "a red circle",
}
TWO: Metadata = {
    "tag": "counting",
    "include": [{"class": "cat", "count": 2}],
    "exclude": [{"class": "cat", "count": 3}],
    "prompt": "two cats",
}
LEFT: Metadata = {
    "tag": "position",
    "include": [{"class": "dog", "count": 1}, {"class": "cat", "count": 1, "position": ["left of", 0]}],
    "prompt": "a cat left of a dog",
}


@pytest.fixture(scope="module")
def judge(checkpoint: Callable[[str], Path]) -> VisionLanguage:
    found = choose(f"vision_language source={checkpoint('qwen2_5_vl')} batch=3")
    assert isinstance(found, VisionLanguage)
    return found


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randint(0, 256, (3, 3, 56, 56), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_there_is_a_question_for_every_fact() -> None:
    assert list(questions(RED)) == ["Is there a red circle in this image?"]
    assert list(questions(TWO)) == ["Are there exactly two cats in this image?"]
    assert list(questions(LEFT)) == [
        "Is there a dog in this image?",
        "Is there a cat in this image?",
        "Is the cat left of the dog in this image?",
    ]


def test_surety_is_yes_against_no_by_the_librarys_own_pass(judge: VisionLanguage, images: torch.Tensor) -> None:
    """Each row alone, without padding; ours asks three at once."""
    facts = judge.facts(images, [RED, TWO, LEFT])
    assert [len(own) for own in facts] == [1, 1, 3]
    tokenizer = judge.processor.tokenizer
    sides = [
        {t[0] for word in words if len(t := tokenizer.encode(word, add_special_tokens=False)) == 1}
        for words in (YES, NO)
    ]
    for number, prompt in enumerate((RED, TWO, LEFT)):
        for surety, text in zip(facts[number], questions(prompt), strict=True):
            turn = [
                {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": f"{text} Answer yes or no."}]}
            ]
            worded = judge.processor.apply_chat_template(turn, add_generation_prompt=True, tokenize=False)
            picture = Image.fromarray(images[number].permute(1, 2, 0).numpy())
            inputs = judge.processor(text=[worded], images=[picture], return_tensors="pt")
            with torch.inference_mode():
                shares = judge.model(**inputs).logits[0, -1].double().softmax(dim=0)
            yes, no = (float(shares[sorted(ids)].sum()) for ids in sides)
            assert surety == pytest.approx(yes / (yes + no), abs=1e-4)


def test_scores_are_shares_and_means_of_the_facts(judge: VisionLanguage, images: torch.Tensor) -> None:
    prompts = [RED, TWO, LEFT]
    scores = {score.name: score for score in judge.as_metric().score(Evidence(images=images, prompts=prompts))}
    facts = judge.facts(images, prompts)
    name = judge.name
    assert scores[f"geneval[{name}]/correct_images"].items == [float(min(own) >= 0.5) for own in facts]
    assert scores[f"vqa[{name}]/facts"].items == pytest.approx([np.mean(own) for own in facts])
    assert scores[f"vqa[{name}]/prompts"].items == pytest.approx([np.prod(own) ** (1 / len(own)) for own in facts])
    assert scores[f"geneval[{name}]/overall"].protocol["mean of"] == [f"geneval[{name}]/{p['tag']}" for p in prompts]
    texts = judge.as_metric().score(Evidence(images=images, captions=["a dog", "a cat", "a bus"]))
    assert [score.name for score in texts] == [f"vqa[{name}]/whole"] and all(0 <= i <= 1 for i in texts[0].items or ())


def test_one_without_training_fails_its_card(judge: VisionLanguage) -> None:
    card = try_judge(judge, labelled_scenes(world("scenes-nano"), 64, 12), ["object"]).card
    assert failures(card)
    assert card.thresholds and card.kinds["object"].true == card.kinds["object"].false


class Backbone(VisionLanguage):
    """The foundation's backbone, which was taught questions with yes and no about colours and relations of scenes."""

    def __init__(self) -> None:
        self.config, self.name = VisionLanguage.Config(source="scenes-nano", batch=256), "backbone"
        arm = assemble(load(ROOT / "ablations" / "clip_fm.yaml", ["profile=tiny"]))
        self.backbone, self.eyes = arm.backbone, arm.backbone.image_encoder(arm.foundation, arm.encoder)
        self._asked, self._about = {}, None

    @torch.inference_mode()
    def _batch(self, images: Sequence[torch.Tensor], texts: Sequence[str]) -> torch.Tensor:
        """In the words that it was taught."""
        taught = [text.lower().replace(" in this image?", " ?") for text in texts]
        asked = [(number, Question("exists", text, "yes", ("yes", "no"))) for number, text in enumerate(taught)]
        logits = answer_logits(self.backbone, asked, self.eyes.encode(torch.stack(list(images)).float() / 255))
        yes, no = logits[:, first_tokens(self.backbone, ["yes", "no"])].unbind(dim=1)
        return torch.sigmoid((yes - no).double())


def test_a_backbone_that_knows_colours_is_surer_of_the_right_one_and_says_yes_to_both() -> None:
    """Of 107 pairs of colours on 80 scenes it prefers the right one in 0.72; nothing is below 0.5."""
    judge, scenes = Backbone(), labelled_scenes(world("scenes-nano"), 64, 80)
    asked = [fact for pair in scenes.pairs() for n in pair if (fact := scenes.facts[n]).kind == "colour"]
    sure = judge.fulfilled(torch.stack(scenes.pictures), [f.prompt for f in asked], [f.picture for f in asked])
    right = [true > changed for true, changed in zip(sure[::2], sure[1::2], strict=True)]
    assert len(right) > 100 and np.mean(right) > 0.65
    assert min(sure) > SURE


def test_a_model_without_chat_template_or_eyes_is_refused(checkpoint: Callable[[str], Path]) -> None:
    with pytest.raises(ValueError, match="cannot read a checkpoint"):
        choose(f"vision_language source={checkpoint('llama')}")
    with pytest.raises(ValueError, match="results file holds what a detector found"):
        choose(f"vision_language source={checkpoint('qwen2_5_vl')}").as_metric(Path("x"))
