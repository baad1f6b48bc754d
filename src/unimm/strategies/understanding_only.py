"""The control for joint training: the backbone trains on the questions alone, while queries and head train on images.

A joint arm's backbone sees two things that a frozen one does not, generation and more questions, and what it answers
afterwards is the sum of both. Here the questions, their order, the optimiser, its rate and the loss weights are those
of `joint`, and generation's gradient ends at the backbone: it passes through to the queries, as it does where the
backbone is frozen, and reaches none of the backbone's own weights. What joint training answers worse than this is what
generation costs; what both answer alike is due to the questions.

One thing still comes from generation: gradients are clipped by the norm of all of them together, as in a joint run.
"""

from __future__ import annotations

from unimm.components import Mix
from unimm.strategies.joint import Joint


class UnderstandingOnly(Joint):
    """Joint training whose generation does not reach the backbone."""

    phrase = "the backbone trains on understanding alone"

    class Config(Joint.Config):
        """As of `joint`; ``generation_weight`` is that of queries and head, which nothing else trains."""

    config: Config

    def mix(self) -> Mix:
        return super().mix()._replace(generation_gradient=False)
