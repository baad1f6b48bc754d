"""The table of targets in docs/targets.md: what each encoder makes of a 256 or 512 pixel image, from the registry.

Every encoder is built without weights from the settings that its class names as `examples`, or from its defaults. The
shift is the formula that objectives use where none is set, ``a = sqrt(N D / 4096)`` for N tokens of D channels.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from unimm.components import LatentSpec
from unimm.foundation.folder import Foundation
from unimm.objectives.flow_matching import FlowMatching
from unimm.planning.outline import outlined_encoder
from unimm.registry import encoders
from unimm.schema import Choice

SIDES = (256, 512)
FOUNDATION = "scenes-nano"
PAGE = """# Targets

What a head has to predict, by encoder. This page is `unimm list targets > docs/targets.md`: it comes from the registry
and from the checkpoints' configurations, and a test compares them. How to bring one: [checkpoints](checkpoints.md).

*Tokens* and *shift* are those of runs whose images have 256 and 512 pixels a side (`source.resolution`). A tower works
at its own side, or at `resolution`, so its tokens do not follow the images. *Shift* is `objective.shift: null`,
sqrt(tokens x channels / 4096). *Way back*: "its own" decodes without training; a hub id is an AutoencoderRAE whose
decoder fits these tokens (`encoder.decoder=ID`); "train one" means `unimm decoder train`, with
`decoder.token_noise=0.8` to draw predicted tokens well.

| encoder | settings | tokens at 256 / 512 | channels | shift at 256 / 512 | way back |
| --- | --- | --- | --- | --- | --- |
"""


class Target(NamedTuple):
    """One row: an encoder, the settings that are not its defaults, its latents by side, and how they become images."""

    encoder: str
    settings: tuple[str, ...]
    latents: tuple[LatentSpec, ...]
    way_back: str

    def facts(self) -> dict[str, Any]:
        """For scripts; tokens and shift by the side of the images."""
        return {
            "encoder": self.encoder,
            "settings": self.settings,
            "tokens": {str(side): spec.tokens for side, spec in zip(SIDES, self.latents, strict=True)},
            "shift": {str(side): shift for side, shift in zip(SIDES, self._shifts(), strict=True)},
            "channels": self.latents[0].channels,
            "way_back": self.way_back,
        }

    def row(self) -> str:
        """As Markdown."""
        tokens = " / ".join(str(spec.tokens) for spec in self.latents)
        shifts = " / ".join(f"{shift:.2f}" for shift in self._shifts())
        settings, channels = " ".join(f"`{setting}`" for setting in self.settings), self.latents[0].channels
        return f"| `{self.encoder}` | {settings} | {tokens} | {channels} | {shifts} | {self.way_back} |\n"

    def _shifts(self) -> list[float]:
        flow = FlowMatching(FlowMatching.Config())
        return [flow.alpha(spec.tokens, spec.channels) for spec in self.latents]


def targets() -> Iterator[Target]:
    """All encoders of unimm's own, in the order of their names; plug-ins are left out."""
    for name in encoders.names():
        encoder_class: Any = encoders.get(name)
        if encoder_class.__module__.startswith("unimm."):
            examples: tuple[Mapping[str, Any], ...] = encoder_class.examples or ({},)
            for settings in examples:
                yield _target(name, encoder_class.Config.model_validate(settings), settings)


def page() -> str:
    """The whole of docs/targets.md."""
    return PAGE + "".join(target.row() for target in targets())


def _target(name: str, config: Any, settings: Mapping[str, Any]) -> Target:
    choice = Choice(name=name, config=config)
    built = [outlined_encoder(choice, Foundation(FOUNDATION, side)) for side in SIDES]
    decoder = getattr(config, "decoder", None)
    if decoder is None:
        try:
            built[0].check_decodable()
            decoder = "its own"
        except ValueError:
            decoder = "train one"
    return Target(name, tuple(_spelled(settings)), tuple(encoder.latent_spec() for encoder in built), decoder)


def _spelled(settings: Mapping[str, Any], inside: str = "") -> Iterator[str]:
    """Settings as the command line has them, without the decoder, which has a column."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _spelled(value, f"{inside}{key}.")
        elif key != "decoder":
            said = value if isinstance(value, str) else json.dumps(value)
            yield said if key == "pretrained" else f"{inside}{key}={said}"
