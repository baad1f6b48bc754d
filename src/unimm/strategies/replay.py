"""Joint training with text replay: a share of the rows beside generation shows no image.

Models that train on images alone lose what they knew of language; repeating some of it is the usual remedy (Show-o2,
arXiv 2506.15564, reports MMLU of one stage with and without). The foundation's understanding stage repeats language in
every step, and a joint arm does not: this one makes ``text_share`` of its rows the language stage's.
"""

from __future__ import annotations

from pydantic import Field

from unimm.components import Mix
from unimm.strategies.joint import Joint


class Replay(Joint):
    """Joint training in which a share of the rows about images is text alone."""

    phrase = "the backbone trains jointly on understanding and text"

    class Config(Joint.Config):
        """``text_share``: share of text among ``understanding_samples``, which stay as many in all."""

        text_share: float = Field(0.25, gt=0, lt=1)

    config: Config

    def mix(self) -> Mix:
        return super().mix()._replace(text_share=self.config.text_share)
