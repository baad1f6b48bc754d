"""What the test of several ranks starts with torchrun: trains one arm after the other with the same ranks."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import torch

from unimm.arm import assemble, open_source
from unimm.components import weights_hash
from unimm.config import load
from unimm.training.averaging import FixedDecay
from unimm.training.callbacks import MovingAverage
from unimm.training.distributed import Ranks, join
from unimm.training.fit import train

ROOT = Path(__file__).parents[1]
CPU = torch.device("cpu")


class Case(NamedTuple):
    """A training: its folder, arm and overrides, and the folder whose checkpoint it continues."""

    out: str
    arm: str
    overrides: list[str]
    resumes: str = ""


class Another(MovingAverage):
    """An average beside the run's own, which every rank shows."""


class Staying(Ranks):
    """Ranks that stay after a training, since another one follows."""

    def leave(self, code: int = 0) -> None:
        pass


def trained(case: Case, world: Ranks) -> dict[str, Any]:
    """Train; the hashes of weights and of another average as this rank has them."""
    out = Path(case.out)
    if world.first:
        out.mkdir()
        if case.resumes:
            shutil.copy(Path(case.resumes) / "last.ckpt", out)
    world.sum([0])
    config = load(ROOT / "ablations" / f"{case.arm}.yaml", ["profile=tiny", "training.snapshots=0", *case.overrides])
    arm = assemble(config)
    another = Another(FixedDecay(0.5), out, config.training.steps, 0, writes=False)
    module, _ = train(config, arm, open_source(config, arm.foundation), out, CPU, [another], world)
    another.save(out / "nothing")
    kept = torch.nn.ParameterDict(
        {name.replace(".", "-"): value for name, value in another.state_dict()["average"].items()}
    )
    return {"weights": weights_hash(module), "average": weights_hash(kept)}


def main() -> None:
    cases = [Case(*entry) for entry in json.loads(Path(sys.argv[1]).read_text())]
    world = join(CPU)
    staying = Staying(*(getattr(world, field.name) for field in fields(Ranks)))
    seen = [staying.gather(trained(case, staying)) for case in cases]
    if world.first:
        Path(sys.argv[2]).write_text(json.dumps(seen))
    world.leave()


if __name__ == "__main__":
    main()
