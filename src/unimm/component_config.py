"""Base of every component's settings: frozen, and strict about unknown keys. Needs pydantic only."""

from pydantic import BaseModel, ConfigDict


class ComponentConfig(BaseModel):
    """Settings of one component; a component nests its own as `class Config(ComponentConfig)`."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
