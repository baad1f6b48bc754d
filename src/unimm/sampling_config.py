"""How a trained arm is sampled, apart from its objective's own sampler; and in which other ways besides.

Guidance, temperature and decoder take no training, and verdicts may turn with them. `Also` names other values, each a
condition whose scores stand beside the run's own (`unimm.runs.conditions`): ``geneval@guidance=1/overall``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePath
from typing import Annotated, Any, NamedTuple

from pydantic import (
    Field,
    NonNegativeInt,
    PositiveInt,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from unimm.component_config import Strict

CHOSEN = "guidance=chosen"
KEYS = {
    "guidance": "objective.guidance",
    "temperature": "objective.temperature",
    "decoder": "encoder.decoder",
}


class Condition(NamedTuple):
    """One other way to sample: its name in the names of scores, and the setting that it changes."""

    name: str
    key: str
    value: float | str


class Also(Strict):
    """Other values of settings that need no training, each scored on a few prompts beside the run's own.

    ``guidance``: weights of classifier-free guidance; ``temperature``: of likelihoods' samples; ``decoder``: values of
    `encoder.decoder`. An arm without the setting has its own images there, so that it can be compared with the others
    at each value. ``prompts_per_task``: of the test, one image each. ``choose_on``: validation prompts a task on which
    the best of ``guidance`` is chosen, in each wording that the arm was trained on and is scored in, and whose scores
    are those of ``guidance=chosen``; 0 for no choice.
    """

    guidance: tuple[Annotated[float, Field(ge=1)], ...] = ()
    temperature: tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...] = ()
    decoder: tuple[str, ...] = ()
    prompts_per_task: PositiveInt = 25
    choose_on: NonNegativeInt = 0

    @model_validator(mode="after")
    def _differ(self) -> Also:
        names = [condition.name for condition in self.conditions()]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"{twice} stands there twice, and its scores would have the same names: give it once")
        if not names:
            raise ValueError("names no other way to sample; give it guidance, temperature or decoder, or leave it out")
        if self.choose_on and len(self.guidance) < 2:
            raise ValueError("choose_on chooses among values of guidance: give sampling.also.guidance several")
        return self

    def conditions(self) -> Iterator[Condition]:
        """Every condition, in order."""
        for value in self.guidance:
            yield Condition(f"guidance={value:g}", KEYS["guidance"], value)
        for value in self.temperature:
            yield Condition(f"temperature={value:g}", KEYS["temperature"], value)
        for folder in self.decoder:
            yield Condition(f"decoder={PurePath(folder).name}", KEYS["decoder"], folder)

    @model_serializer(mode="wrap")
    def _without_what_is_unset(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """No temperature is left out, so that configurations dump as they did before there was one."""
        content: dict[str, Any] = dump(self)
        return {key: value for key, value in content.items() if key != "temperature" or value}

    @property
    def names(self) -> list[str]:
        """What scores are told apart by: the conditions' names, and that of the choice among them."""
        return [condition.name for condition in self.conditions()] + ([CHOSEN] if self.choose_on else [])


class SamplingConfig(Strict):
    """Sampling that every arm shares; an objective's own sampler settings belong to the objective.

    ``decoder_steps``: Euler steps of a diffusion decoder; ``also``: other ways to sample that are scored too.
    """

    decoder_steps: PositiveInt = 10
    also: Also | None = None

    @model_serializer(mode="wrap")
    def _without_what_is_unset(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Nothing else is left out, so that configurations dump as they did before there was a choice."""
        content: dict[str, Any] = dump(self)
        return {key: value for key, value in content.items() if key != "also" or value is not None}
