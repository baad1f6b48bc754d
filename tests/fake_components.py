"""Tiny components for tests of the registry and the configuration: settings only, no torch."""

from typing import Literal

from pydantic import Field

from unimm.component_config import ComponentConfig


class Base:
    """What the fake registries demand."""


class Clip(Base):
    """Fake CLIP features.

    A second line that `describe` leaves out.
    """

    class Config(ComponentConfig):
        standardise: bool = True
        width: int = Field(default=8, gt=0)


class Vae(Base):
    """Fake VAE latents."""

    phrase = "VAE latents"

    class Config(ComponentConfig):
        standardise: bool = True


class FlowMatching(Base):
    """Fake flow matching."""

    phrase = "flow matching"

    class Config(ComponentConfig):
        time_sampling: Literal["uniform", "logit_normal"] = "logit_normal"
        shift: float | None = None
        shift_base: float = 4096
        steps: int = 25
        guidance: float = 3.0


class SharperFlow(FlowMatching):
    """Derives from flow matching, with its settings and one more."""

    class Config(FlowMatching.Config):
        sharpness: float = 1.0


class ShiftlessFlow(FlowMatching):
    """Derives from flow matching without its settings."""

    class Config(ComponentConfig):
        guidance: float = 3.0


class Mse(Base):
    """Fake mean squared error."""

    phrase = "mean squared error"

    class Config(ComponentConfig):
        pass


class Plain(Base):
    """Fake component that has no choices to make."""

    class Config(ComponentConfig):
        pass


class Mixed(Base):
    """Fake strategy with a setting."""

    class Config(ComponentConfig):
        understanding_samples: int | None = None


class Unconfigured(Base):
    """Misses its Config."""


class Stranger:
    """Not a subclass of Base."""

    class Config(ComponentConfig):
        pass
