"""The GenEval-style score and the atoms of images drawn from long prompts: `unimm.scenes.long_prompts`.

Long prompts name much that the short ones leave open. Judged are only the facts of the short prompt, by the same judge
and rules, so that a difference between ``geneval/*`` and ``geneval_long/*`` is one of wording. Nothing here says
whether places, sizes or the background were followed.
"""

from __future__ import annotations

from unimm.component_config import ComponentConfig
from unimm.evaluation.judging import GenEvalStyle
from unimm.evaluation.metric import Evidence, Metric, Score
from unimm.foundation.load import Foundation

WORDING = "long captions of test scenes that fulfil the short prompts; judged on the short prompts' facts"


class LongGenEvalStyle(Metric):
    """GenEval-style scores and atoms of images drawn from long prompts, by the scenes' judge."""

    class Config(ComponentConfig):
        """Nothing to set: thresholds are GenEval's and the judge's."""

    needs = frozenset({"long_images", "long_prompts"})

    def __init__(self, config: Config, foundation: Foundation) -> None:
        self.short = GenEvalStyle(GenEvalStyle.Config(), foundation)

    def score(self, evidence: Evidence) -> list[Score]:
        scores = self.short.score(Evidence(images=evidence.long_images, prompts=evidence.long_prompts))
        return [_renamed(score) for score in scores]


def _renamed(score: Score) -> Score:
    """The score under its long name; an average names its parts by theirs."""
    protocol = {**score.protocol, "prompts": WORDING}
    if "mean of" in protocol:
        protocol["mean of"] = [_long(name) for name in protocol["mean of"]]
    return score._replace(name=_long(score.name), protocol=protocol)


def _long(name: str) -> str:
    kind, _, rest = name.partition("/")
    return f"{kind}_long/{rest}"
