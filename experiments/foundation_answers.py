"""How well a foundation's backbone answers: about captions after its language stage, about images after the other one.

    python experiments/foundation_answers.py scenes-nano-2 [--questions 1200]

Questions are drawn by their answers for every edition (`unimm.scenes.questions.by_answer`), so that whoever does not
look is at chance; ``blind`` is measured on the mean image of all. A caption is a brief one of the same scene, which
names colours and shapes of all objects, and how the first two stand to each other.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from itertools import islice

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unimm.backbones.causal_lm import CausalLM, pad_left
from unimm.backbones.wording import reading_ids
from unimm.components import Inputs
from unimm.data.scenes import SceneSet
from unimm.encoders.clip import Clip
from unimm.evaluation.asking import answer_logits, grade
from unimm.foundation.folder import Foundation
from unimm.scenes.captions import brief_caption
from unimm.scenes.questions import KINDS, Question, by_answer

SCENES, SEED = 1200, 1
Pairs = list[tuple[int, Question]]


@torch.inference_mode()
def about_captions(backbone: CausalLM, data: SceneSet, pairs: Pairs) -> Float[Tensor, "k v"]:
    """Logits after each question about a caption of its scene."""
    rows = [
        reading_ids(backbone.tokenizer, brief_caption(data.samples[i].scene, np.random.default_rng([n, 3])), q.text)
        for n, (i, q) in enumerate(pairs)
    ]
    parts = []
    for begin in range(0, len(rows), 256):
        ids, mask = pad_left(rows[begin : begin + 256], int(backbone.tokenizer.pad_token_id))[:2]
        logits = backbone(Inputs(ids, mask, None), with_queries=False, last=1).logits
        assert logits is not None
        parts.append(logits[:, -1])
    return torch.cat(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("foundation")
    parser.add_argument("--questions", type=int, default=1200)
    arguments = parser.parse_args()
    foundation = Foundation(arguments.foundation)
    world = replace(foundation.world, questions="by_answer")
    data = SceneSet(world, "test", SCENES, foundation.resolution, seed=SEED)
    pairs = list(islice(by_answer([s.scene for s in data.samples], world, [41]), arguments.questions))
    encoder, settings = Clip.build(Clip.Config(grid=foundation.card["grid"]), foundation), CausalLM.Config(queries=1)
    with torch.inference_mode():
        tokens = torch.cat([encoder.encode(images) for images in data.batches(128)])
    language, understanding = (
        CausalLM.build(settings, foundation, encoder, stage, 0).eval() for stage in ("language", "understanding")
    )
    blind = tokens.mean(0, keepdim=True).expand_as(tokens)
    rows = {
        "captions": grade(language, pairs, about_captions(language, data, pairs)),
        "images": grade(understanding, pairs, answer_logits(understanding, pairs, tokens)),
        "blind": grade(understanding, pairs, answer_logits(understanding, pairs, blind)),
    }
    print(f"{'':10}" + "".join(f"{kind:>10}" for kind in KINDS))
    for name, graded in rows.items():
        right = [[each.correct for each in graded if each.kind == kind] for kind in KINDS]
        print(f"{name:10}" + "".join(f"{np.mean(each):10.3f}" for each in right))


if __name__ == "__main__":
    main()
