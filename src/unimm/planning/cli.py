"""`unimm plan`. It imports what it needs when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unimm import completion
from unimm.completion import Overrides
from unimm.json_output import Json, print_json
from unimm.user_errors import user_errors

PRESETS = Path(__file__).parents[3] / "ablations" / "presets"


def plan(
    arm: Annotated[
        str,
        typer.Argument(
            help="YAML file of an arm, or name of a preset.",
            metavar="ARM_OR_PRESET",
            autocompletion=completion.arms_and_presets,
        ),
    ],
    overrides: Overrides = None,
    gpus: Annotated[int, typer.Option(min=1, help="How many GPUs share a step.")] = 1,
    device: Annotated[str, typer.Option(help="Which GPU: a100, h100, h200, b200, l40s, rtx4090, mi300x.")] = "h100",
    samples: Annotated[
        int | None, typer.Option(min=1, help="Training samples in all.", show_default="training.samples")
    ] = None,
    utilisation: Annotated[float, typer.Option(min=0.01, max=1, help="Expected share of the peak rate.")] = 0.4,
    as_json: Json = False,
) -> None:
    """What an arm would cost: parameters, memory, FLOPs, samples/s and days, without weights."""
    with user_errors():
        from unimm.config import load
        from unimm.planning import devices
        from unimm.planning.plan import make_plan
        from unimm.planning.show import facts, show

        config = load(find(arm), overrides or [])
        made = make_plan(config, devices.device(device), gpus, samples, utilisation)
        if as_json:
            print_json(facts(made))
        else:
            show(made)


def find(arm: str) -> Path:
    """A file as it is; a bare name is that of a preset, wherever the command is run."""
    if arm.endswith((".yaml", ".yml")):
        return Path(arm)
    known = sorted(path.stem for path in PRESETS.glob("*.yaml"))
    if arm in known:
        return PRESETS / f"{arm}.yaml"
    choices = f"presets: {', '.join(known)}" if known else "presets come with the repository"
    raise ValueError(f"no preset {arm!r}; give the YAML file of an arm, or one of the {choices}")
