"""Where a study's numbers come from: the plan and what changed in it, versions, devices, times."""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from unimm.config_errors import ConfigError
from unimm.report.plain_table import PlainTable
from unimm.report.study_folder import Study, StudyRun
from unimm.report.table import duration
from unimm.stored_config import ABSENT, current, differing


def provenance_table(study: Study) -> PlainTable:
    """Plan, arms, versions and devices; several values where runs differ."""
    plan, runs = study.plan, study.all_runs
    rows = [
        ("plan", plan.name),
        ("plan's hash", plan.hash),
        ("plan frozen", plan.created),
        ("profile", plan.profile),
        ("seeds", ", ".join(map(str, plan.seeds))),
        ("overrides of every arm", _listed(plan.overrides)),
        ("declared differences between arms", _listed(plan.declared_differences)),
        *((f"arm {name}", f"{arm.file}, hash {arm.hash}") for name, arm in plan.arms.items()),
    ]
    if runs:
        started = sorted(run.result.started for run in runs)
        wall = sum(run.result.speed.wall_seconds or 0 for run in runs)
        rows += [
            ("devices", ", ".join(sorted({run.result.device for run in runs}))),
            (
                "first and last run started",
                " and ".join(time.isoformat(" ", "seconds") for time in (started[0], started[-1])),
            ),
            ("wall time of all runs together", duration(wall)),
            *((f"version: {name}", text) for name, text in _versions(runs).items()),
        ]
    return PlainTable("provenance", "Provenance", ("what", "value"), tuple(rows), text_columns=2)


def amendments_table(study: Study) -> PlainTable | None:
    """What was changed in the plan after it was frozen, when and why; None if nothing was."""
    amendments = study.plan.amendments
    if not amendments:
        return None
    rows = tuple(
        (_word(entry.get("date", "")), _word(entry.get("reason", "")), _listed(_rest(entry))) for entry in amendments
    )
    note = "Changes after the plan was frozen. Claims that they touch are no longer fixed beforehand."
    return PlainTable("amendments", "Amendments", ("date", "reason", "change"), rows, note, text_columns=3)


def off_plan(study: Study) -> list[str]:
    """Finished runs whose configuration is not the planned one, with the keys that differ."""
    found = []
    for arm, planned in study.plan.arms.items():
        for seed, run in study.runs[arm].items():
            ran = {key: value for key, value in run.result.config.items() if key != "seed"}
            keys = _differing(planned.config, ran)
            if keys:
                found.append(f"{arm} seed {seed}: {', '.join(keys)}")
    return found


def _differing(planned: Mapping[str, Any], ran: Mapping[str, Any]) -> list[str]:
    """Dotted keys at which two configurations differ: settings that one unimm did not have yet count by their default.

    Configurations that this unimm cannot read are compared as they were written.
    """
    changes = differing(planned, ran)
    if any(ABSENT in (change.before, change.after) for change in changes):
        with suppress(ConfigError):
            changes = differing(current(planned, Path("plan.json")), current(ran, Path("result.json")))
    return [change.key for change in changes]


def _versions(runs: list[StudyRun]) -> dict[str, str]:
    names = dict.fromkeys(name for run in runs for name in run.result.versions)
    found = {name: dict.fromkeys(_word(run.result.versions.get(name, "unknown")) for run in runs) for name in names}
    return {name: ", ".join(values) for name, values in found.items()}


def _rest(entry: Mapping[str, Any]) -> list[Any]:
    """Everything of an amendment that has no column of its own."""
    return [value if key == "change" else {key: value} for key, value in entry.items() if key not in ("date", "reason")]


def _listed(values: list[Any]) -> str:
    return "; ".join(map(_word, values)) or "none"


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
