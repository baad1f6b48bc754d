"""Understanding: the share of one-word questions about test images that were answered correctly, by kind of question.

Overall is the mean of the kinds. Chance (one over the number of possible answers) stands in the protocol; the floor
that matters, the same backbone shown a blank image, comes from scoring blind answers with this metric too.
"""

from __future__ import annotations

import numpy as np

from unimm.component_config import ComponentConfig
from unimm.evaluation.metric import Evidence, Metric, Score
from unimm.evaluation.standard_error import clustered, clustered_mean
from unimm.foundation.load import Foundation
from unimm.scenes.questions import KINDS


class Understanding(Metric):
    """Accuracy of answers by kind of question (exists, count, colour, relation) and overall."""

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
        return [*scores, Score("understanding/overall", value, len(evidence.answers), protocol, stderr=error)]
