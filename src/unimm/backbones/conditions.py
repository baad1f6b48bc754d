"""Which states of a backbone the head is given, and on which scale.

The states of the queries after a prompt are nearly the same for all prompts: in a pretrained model of 135 M parameters
a twentieth of their energy depends on the prompt, and in its first layer a five hundredth (issue 15 has the
measurement). A head would first have to learn to subtract the rest. So they can be standardised as latents are: with
h_qc(p) the state of query q in channel c after prompt p,

    (h_qc(p) - mean_p h_qc) / std_p h_qc,

over prompts of the run's own captions, with the queries as they are before training. These statistics stay as they are
while queries train: they set a scale, and are no batch norm.

Deeper is not always better: what a layer in the middle says of a prompt can be read more easily than what the last one
does, which prepares the next token.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from unimm.component_config import ComponentConfig
from unimm.encoders.calibrated import Statistics

# Channels that hardly vary are not blown up: their deviation counts as this share of the mean one.
LEAST = 0.01


class Conditioning(ComponentConfig):
    """``layer``: whose states the head is given, from the end (-1: the last, after the final norm; -2: those that
    the last block read); ``standardise``: unit variance over prompts in every channel of every query.
    """

    layer: int = Field(-1, le=-1)
    standardise: bool = False


def check_layer(layer: int, model: Any) -> None:
    """ValueError where a model has not so many layers."""
    states = int(model.config.get_text_config().num_hidden_layers) + 1  # the embedding's too
    if -layer > states:
        raise ValueError(f"backbone.layer={layer}, but the model has {states} layers of states: choose -1 to -{states}")


def blank(queries: int, width: int) -> Statistics:
    """Statistics that change nothing."""
    return Statistics(torch.zeros(queries, width), torch.ones(queries, width))


def statistics_of(states: Float[Tensor, "n q h"]) -> Statistics:
    """Mean and standard deviation over prompts.

    Raises:
        ValueError: the states do not depend on the prompt at all.
    """
    mean, std = states.double().mean(0), states.double().std(0, correction=0)
    if not bool((std > 0).any()):
        raise ValueError(
            "the backbone's states are the same for all prompts, so that they cannot be standardised: set "
            "backbone.standardise=false, or train on captions that differ"
        )
    return Statistics(mean, std.clamp(min=LEAST * float(std.mean())))
