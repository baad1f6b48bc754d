"""Arms that train in stages, as pretraining and then instruction tuning: each stage is a run in a folder of its own.

Every stage but the first starts from the averaged final weights of the one before, with fresh optimiser state and
another stream of order, captions and noise; latents keep the statistics of the first stage's images. A stage that has
a result is done, so that an arm goes on in the stage where it was stopped. The arm's own ``result.json`` comes last
(`unimm.training.stages_result`): the scores of the last stage, what all of them cost, and what each did.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

from unimm.config import read
from unimm.schema import RunConfig
from unimm.training import job
from unimm.training.distributed import ranks_started
from unimm.training.folder import prepare
from unimm.training.stages_result import join
from unimm.training.start import hand_over


def stage_configs(config: RunConfig) -> dict[str, RunConfig]:
    """Every stage as a run of its own, in order."""
    shared = config.model_dump(mode="json")
    first = next(iter(config.stages.values())).source or config.source
    found: dict[str, RunConfig] = {}
    for name, stage in config.stages.items():
        source, strategy = stage.source or config.source, stage.strategy or config.strategy
        share = config.data.long_caption_share if stage.long_caption_share is None else stage.long_caption_share
        data = {
            "long_caption_share": share,
            "seed": stage_seed(config.seed, name) if found else None,
            "statistics_source": first.model_dump(mode="json") if source != first else None,
        }
        own = {
            "name": f"{config.name}.{name}",
            "source": source.model_dump(mode="json"),
            "strategy": strategy.model_dump(mode="json"),
            "data": shared["data"] | data,
            "training": stage.training(config.training).model_dump(mode="json"),
            "stages": {},
        }
        found[name] = RunConfig.model_validate(shared | own)
    return found


def stage_seed(seed: int, name: str) -> int:
    """The seed of a later stage's order, captions and noise: another stream for every stage of every seed."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=4).digest(), "big")


def run(config: RunConfig, out: Path, resume: bool = False, overwrite: bool = False) -> dict[str, Any]:
    """Train, sample and score one arm, stage by stage if it has any; returns what ``result.json`` holds."""
    if not config.stages:
        return job.run(config, out, resume, overwrite)
    if ranks_started() > 1:
        raise ValueError("an arm with stages trains on one device: several ranks share a run without stages")
    prepare(config, out, resume, overwrite)
    earlier: Path | None = None
    for name, settings in stage_configs(config).items():
        folder = out / name
        if not (folder / "result.json").exists():
            _claim(settings, folder)
            if earlier is not None:
                hand_over(earlier, folder)
            job.run(settings, folder, resume=True)
        earlier = folder
    return join(config, out)


def score(run_dir: Path) -> dict[str, Any]:
    """Score a finished run again, every stage of it, from its saved weights under the same protocol."""
    config = read(run_dir / "config.yaml")
    if not config.stages:
        return job.score(run_dir)
    for name in config.stages:
        job.score(run_dir / name)
    return join(config, run_dir)


def _claim(config: RunConfig, folder: Path) -> None:
    """Make the stage's folder, also where a kill left one half-made."""
    if folder.exists() and not (folder / "config.yaml").exists():
        shutil.rmtree(folder)
    prepare(config, folder, resume=True, overwrite=False)
