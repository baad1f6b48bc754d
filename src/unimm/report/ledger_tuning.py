"""The ledger's rows on tuning: how often each arm was tried before, and where guidance and EMA were chosen."""

from collections.abc import Callable

from unimm.report.schema import Result
from unimm.report.study_folder import Plan
from unimm.stored_config import flatten

ABSENT = "-"
# Row of the ledger -> the setting that it is about.
CHOSEN = {
    "learning rate chosen": "training.learning_rate",
    "timestep shift chosen": "objective.shift",
    "guidance chosen": "objective.guidance",
    "EMA decay chosen": "training.ema_decay",
}


def tuning_rows(plan: Plan) -> dict[str, Callable[[Result], str]]:
    """Quantity -> how to read it off a run, by the arm that it is of."""
    rows: dict[str, Callable[[Result], str]] = {
        "tuning trials": lambda result: _trials(plan, result),
        "tuning samples": lambda result: _samples(plan, result),
    }
    for name, key in CHOSEN.items():
        rows[name] = lambda result, key=key: _where(plan, result, key)  # type: ignore[misc]
    return rows if plan.tuned is None else rows | {"tuned settings that it lacks": lambda result: _lacks(plan, result)}


def _is_tuned(plan: Plan, result: Result) -> bool:
    return plan.tuned is not None and result.arm in plan.tuned.arms


def _trials(plan: Plan, result: Result) -> str:
    return str(plan.tuned.trials) if plan.tuned and _is_tuned(plan, result) else "none"


def _samples(plan: Plan, result: Result) -> str:
    return f"{plan.tuned.samples:,}" if plan.tuned and _is_tuned(plan, result) else "none"


def _where(plan: Plan, result: Result, key: str) -> str:
    """Where a setting's value comes from; an arm without the setting has nothing to choose."""
    if key not in flatten(result.config):
        return ABSENT
    if plan.tuned is None or not _is_tuned(plan, result) or key not in plan.tuned.arms[result.arm].chosen:
        return "in advance"
    how = "by sampling" if key in plan.tuned.by_sampling else "by training"
    return f"{how}, on validation prompts"


def _lacks(plan: Plan, result: Result) -> str:
    if plan.tuned is None or not _is_tuned(plan, result):
        return ABSENT
    return ", ".join(plan.tuned.arms[result.arm].skipped) or "none"
