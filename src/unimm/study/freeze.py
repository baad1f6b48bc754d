"""Freezes a plan in the study's folder before the first run; later it may grow by amendments and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from unimm.config import RunConfig, dump
from unimm.files import write_atomic, write_json
from unimm.study.differences import changes
from unimm.study.errors import StudyError
from unimm.study.expand import expand
from unimm.study.layout import config_file
from unimm.study.plan import NOT_HASHED, Plan, config_hash, read_plan


def freeze(study_file: Path, folder: Path) -> Plan:
    """The plan of a study file, now the plan of the folder.

    Raises:
        StudyError: the folder holds a plan that the file does not lead to by amendments; says what differs.
    """
    wanted = expand(study_file)
    if not (folder / "plan.json").exists():
        write_plan(wanted, folder)
        return wanted
    frozen = read_plan(folder)
    if frozen.hash == wanted.hash:
        return frozen
    known = expand(study_file, len(frozen.amendments))
    if known.hash != frozen.hash:
        raise StudyError(_refusal(study_file, folder, frozen, known))
    amended = replace(wanted, created=frozen.created)
    write_plan(amended, folder)
    return amended


def write_plan(plan: Plan, folder: Path) -> None:
    """Write every run's configuration and then `plan.json`: a folder that has a plan has all that workers need."""
    for name, arm in plan.arms.items():
        config = RunConfig.model_validate({**arm.config, "seed": plan.seeds[0]})
        if config_hash(config.model_dump(mode="json")) != arm.hash:
            raise StudyError(f"arm {name}: this unimm has other settings than the one that planned; install that one")
        for run in plan.runs:
            if run.arm == name:
                write_atomic(config_file(folder, run), dump(config.model_copy(update={"seed": run.seed})))
    write_json(folder / "plan.json", plan.content())


def _refusal(study_file: Path, folder: Path, frozen: Plan, known: Plan) -> str:
    old, new = ({k: v for k, v in plan.content().items() if k not in NOT_HASHED} for plan in (frozen, known))
    lines = [f"  {line}" for line in changes(old, new) if ".hash: " not in line]
    return "\n".join(
        [
            f"{folder} was planned otherwise than {study_file} says, and a plan is frozen before the first run;",
            "restore the file and add an entry to its `amendments`, or choose another --out. They differ in:",
            *lines,
        ]
    )
