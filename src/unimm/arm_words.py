"""An arm in words: what the backbone predicts, with which objective, and what training does to the backbone.

Pages are made without torch, and where a plug-in may not be installed, so the phrases of the built-in components are
one table here. A component without a phrase is called by its name. Imports nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# What makes an arm: encoder x objective x strategy. All else is a setting that arms share or declare.
PARTS = ("encoder", "objective", "strategy")

_PHRASES = {
    "encoder": {
        "clip": "CLIP features",
        "vae": "VAE latents",
        "open_clip": "features of an open_clip tower",
        "transformers_vision": "features of a vision tower",
        "autoencoder_kl": "latents of an AutoencoderKL",
        "autoencoder_dc": "latents of a deep compression autoencoder",
        "autoencoder_tiny": "latents of a tiny autoencoder",
        "autoencoder_rae": "latents of a representation autoencoder",
        "pixels": "pixels",
    },
    "objective": {"cosine": "cosine distance", "flow_matching": "flow matching", "mse": "mean squared error"},
    "strategy": {
        "sequential": "the backbone stays frozen",
        "joint": "the backbone trains jointly on understanding",
        "sequential_unfrozen": "the backbone trains on generation alone",
    },
}
_UNNAMED = {"encoder": "targets of encoder {}", "objective": "objective {}", "strategy": "the strategy is {}"}


def phrase(part: str, name: str) -> str:
    """A component in words, as a part of the sentence that `sentence` makes."""
    return _PHRASES[part].get(name) or _UNNAMED[part].format(name)


def _phrases(config: Mapping[str, Any]) -> list[str]:
    return [phrase(part, str(config[part]["name"])) for part in PARTS]


def sentence(config: Mapping[str, Any]) -> str:
    """A resolved configuration's arm as one sentence."""
    target, objective, strategy = _phrases(config)
    return f"{target[0].upper()}{target[1:]} are predicted with {objective}, and {strategy}."


def question(config: Mapping[str, Any]) -> str:
    """The question that an arm of these parts asks."""
    target, objective, strategy = _phrases(config)
    return f"How good are images when {target} are predicted with {objective} while {strategy}?"


def renamed(name: str, replaced: Mapping[str, str]) -> str:
    """The name of an arm of which the parts `replaced` (part -> component) are others than its file says.

    A component may be "module:Class"; a run's folder bears the name, so that only the class stays.
    """
    return "-".join([name, *(f"{part}-{component.rpartition(':')[2]}" for part, component in replaced.items())])
