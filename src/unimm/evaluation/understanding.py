"""Understanding: the share of one-word questions about test images that were answered correctly, by kind of question,
and how true whole descriptions of images are (`unimm.evaluation.caption_facts`), where there are any.

Overall is the mean of the kinds of question. Chance (one over the number of possible answers) stands in the protocol;
the floor that matters, the same backbone shown a blank image, comes from scoring blind answers with this metric too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unimm.component_config import ComponentConfig
from unimm.evaluation.caption_facts import Truth, truth
from unimm.evaluation.descriptions import REQUEST, Described
from unimm.evaluation.metric import Evidence, Metric, Score
from unimm.evaluation.standard_error import clustered, clustered_mean
from unimm.foundation.load import Foundation
from unimm.scenes.questions import KINDS


class Understanding(Metric):
    """Accuracy of answers by kind of question (exists, count, colour, relation) and overall, truth of descriptions."""

    class Config(ComponentConfig):
        """Nothing to set."""

    needs = frozenset({"answers"})

    def __init__(self, config: Config, foundation: Foundation) -> None:
        self.config = config

    def score(self, evidence: Evidence) -> list[Score]:
        assert evidence.answers is not None
        images = [answer.image for answer in evidence.answers]
        scores, parts = [], []
        for kind in KINDS:
            own = [answer for answer in evidence.answers if answer.kind == kind]
            if own:
                protocol = {
                    "split": "test",
                    "decision": "likeliest of the possible answers",
                    "chance": float(np.mean([answer.chance for answer in own])),
                }
                items = [float(answer.correct) for answer in own]
                error = clustered(items, [answer.image for answer in own])
                name = f"understanding/{kind}"
                scores.append(Score(name, float(np.mean(items)), len(items), protocol, items, error))
                parts.append([float(answer.correct) if answer.kind == kind else None for answer in evidence.answers])
        value = float(np.mean([score.value for score in scores]))
        protocol = {
            "split": "test",
            "mean of": [score.name for score in scores],
            "chance": float(np.mean([score.protocol["chance"] for score in scores])),
        }
        error = clustered_mean(parts, images)
        overall = Score("understanding/overall", value, len(evidence.answers), protocol, stderr=error)
        return [*scores, overall, *_descriptions(evidence.descriptions or ())]


def _descriptions(descriptions: Sequence[Described]) -> list[Score]:
    """Means over images of how true descriptions are, by kind of fact."""
    found = [truth(described.text, described.scene) for described in descriptions]
    protocol = {"split": "test", "decision": "greedy", "request": REQUEST, "read by": "the grammar of long captions"}
    scores = []
    for kind in Truth._fields:
        items = [None if value is None else float(value) for value in (getattr(facts, kind) for facts in found)]
        own = [item for item in items if item is not None]
        value = float(np.mean(own)) if own else None
        error = clustered(items, range(len(items)))
        scores.append(Score(f"descriptions/{kind}", value, len(own), protocol, items, error))
    return scores if descriptions else []
