"""How a diffusion decoder is trained, as the command line says it: ``decoder.steps=3000 decoder.network.name=unet``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, ValidationError, model_validator

from unimm.config_errors import ConfigError
from unimm.objectives.flow_matching import FlowMatching
from unimm.schema import EncoderChoice, HeadChoice, Strict

CHOICES = {"latents": {"name": "vae"}, "network": {"name": "dit"}}


class DecoderRecipe(Strict):
    """Which latents the decoder makes, with which network, and how long it trains.

    ``aligned``: the tokens also enter beside the noisy latents, laid over their grid; Emu2's UNet only attends to them.
    """

    latents: EncoderChoice = Field(default=CHOICES["latents"], validate_default=True)
    network: HeadChoice = Field(default=CHOICES["network"], validate_default=True)
    aligned: bool = True
    condition_dropout: float = Field(0.0, ge=0, lt=1)
    guidance: float = Field(1.0, ge=1)
    steps: PositiveInt = 4500
    batch_size: PositiveInt = 128
    learning_rate: PositiveFloat = 1.5e-3
    seed: NonNegativeInt = 23

    @model_validator(mode="after")
    def _guidance_needs_dropout(self) -> DecoderRecipe:
        if self.guidance > 1 and self.condition_dropout == 0:
            raise ValueError("guidance above 1 steers away from no condition: set condition_dropout, such as 0.1")
        return self

    def flow(self) -> FlowMatching.Config:
        """Uniform times and no shift, as the foundation's decoder has them; who samples sets ``steps``."""
        dropout, guidance = self.condition_dropout, self.guidance
        return FlowMatching.Config(
            time_sampling="uniform", shift=1.0, condition_dropout=dropout, guidance=guidance, steps=1
        )


def read_recipe(overrides: Sequence[str]) -> DecoderRecipe:
    """The recipe with ``key=value`` overrides; `ConfigError` names the key that is wrong."""
    try:
        merged = OmegaConf.merge(CHOICES, OmegaConf.from_dotlist(list(overrides)))
        given = cast("dict[str, Any]", OmegaConf.to_container(merged, resolve=True))
    except OmegaConfBaseException as error:
        raise ConfigError(f"decoder: {error}") from error
    try:
        return DecoderRecipe.model_validate(given)
    except ValidationError as error:
        lines = [f"{'.'.join(('decoder', *map(str, problem['loc'])))}: {problem['msg']}" for problem in error.errors()]
        raise ConfigError("\n".join(lines)) from error
