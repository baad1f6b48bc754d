"""Which arms of a study go on from the same training, as two arms do that tune one pretrained model differently.

The runs that such arms have of one seed are no two draws: what the first stage's seed did to one it did to the other.
Whether arms share it follows from the plan alone, before any run: everything that training reads in its first stage is
the same in both, and order, captions, noise and first weights are functions of these settings and the seed. So both
make the same steps until one goes on otherwise, be it to another second stage or for more samples. Scores are not
looked at, nor hashes of weights, which other machines round differently.

A run without stages is one stage. What only concerns sampling, scoring or where a run computes is left out: arms that
differ in guidance alone share all of their training.
"""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from unimm.config import ABSENT, current, differing
from unimm.report.study.folder import StudyPlanRecord
from unimm.runs.record import PLAN
from unimm.strict_yaml import ConfigError

# Dotted keys of a resolved configuration that change no step of training, sections as a whole. How many samples a stage
# takes says when training ends, not how it goes.
NOT_TRAINED = (
    "name",
    "question",
    "seed",
    "stages",
    "evaluation",
    "sampling",
    "encoder.decoder",
    "objective.guidance",
    "objective.steps",
    "objective.temperature",
    "training.samples",
    "training.ema_decay",
    "training.snapshots",
    "training.checkpoint_every_steps",
    "training.compile",
    "training.device",
    "training.gradient_accumulation_steps",
    "training.distributed",
)
# Settings that a stage may have of its own, by the key that they have in a run's configuration.
STAGES_OWN = {
    "training.learning_rate": "learning_rate",
    "training.warmup_steps": "warmup_steps",
    "data.long_caption_share": "long_caption_share",
    "source": "source",
    "strategy": "strategy",
}


def first_stages(plan: StudyPlanRecord) -> dict[str, str]:
    """Arm -> the first arm of the plan whose first stage is the same, which is itself where no other's is."""
    found: dict[str, str] = {}
    for arm, planned in plan.arms.items():
        alike = (other for other in found.values() if _same(plan.arms[other].config, planned.config))
        found[arm] = next(alike, arm)
    return found


def _same(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Whether two arms begin alike; a setting that an older unimm did not write counts with its default."""
    changes = differing(first_stage(a), first_stage(b))
    if not changes or not all(ABSENT in (change.before, change.after) for change in changes):
        return not changes
    with suppress(ConfigError):
        return first_stage(current(a, Path(PLAN))) == first_stage(current(b, Path(PLAN)))
    return False


def first_stage(config: Mapping[str, Any]) -> dict[str, Any]:
    """What training reads in the first stage of a resolved configuration, without the seed."""
    stages = config.get("stages") or {}
    own: Mapping[str, Any] = next(iter(stages.values()), {})
    stage = {key: dict(value) if isinstance(value, Mapping) else value for key, value in config.items()}
    if stages:  # the first one draws by the run's seed, and latents keep the statistics of its own images
        stage["data"] = {**stage.get("data", {}), "seed": None, "statistics_source": None}
    for path, key in STAGES_OWN.items():
        if own.get(key) is not None:
            _put(stage, path, own[key])
    for path in NOT_TRAINED:
        _put(stage, path, None)
    return stage


def _put(config: dict[str, Any], path: str, value: Any) -> None:
    """Set the value at a dotted key, where the configuration has its section."""
    section, _, leaf = path.rpartition(".")
    inside = config.get(section, {}) if section else config
    if leaf in inside or value is not None:
        inside[leaf] = value
