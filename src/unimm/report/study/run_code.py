"""Which code made the runs of a study, and where those of one claim come from different code.

A difference between arms may then be one of the code. Only the hash of the source files decides (`unimm.runs.code`);
runs of before say nothing, and differ from those that do.
"""

from collections.abc import Mapping

from unimm.analysis.claims import Claim
from unimm.report.study.every_claim import arms_of, shortened
from unimm.report.study.folder import Study
from unimm.report.study.scored import ScoredStudy
from unimm.runs.code import Code

NOT_SAID = "not recorded"


def code_warning(study: ScoredStudy, claim: Claim) -> str:
    """A sentence where the runs of a claim's arms come from different code; empty where they do not, or where a table
    of scores does not say."""
    if not isinstance(study, Study):
        return ""
    runs = {f"{arm} seed {seed}": run.result for arm in arms_of(claim) for seed, run in study.runs[arm].items()}
    trained = {name: result.code for name, result in runs.items()}
    scored = {name: result.scored_by or result.code for name, result in runs.items()}
    found = _differences(trained) or _differences(scored)
    return f" Mind: its runs come from different code of {found}." if found else ""


def _differences(runs: Mapping[str, Mapping[str, Code]]) -> str:
    """The first package that differs, with the runs by its code.

    Arms that take nothing from a plug-in have none of its code; a run that says nothing has none of unimm's either.
    """
    for package in dict.fromkeys(name for packages in runs.values() for name in packages):
        made: dict[str, list[str]] = {}
        told: dict[str, str] = {}
        for name, packages in runs.items():
            if package in packages or not packages:
                files = packages[package].files if packages else NOT_SAID
                told.setdefault(files, str(packages[package]) if packages else NOT_SAID)
                made.setdefault(files, []).append(name)
        if len(made) > 1:
            each = (f"{shortened('', names)} by {told[files]}" for files, names in made.items())
            return f"{package}: {'; '.join(each)}"
    return ""


def code_rows(study: Study) -> list[tuple[str, str]]:
    """For the table of provenance: the code of the plan, of its amendments and of the runs, by package."""
    rows = [
        (f"code of {'the ' if when == 'plan' else ''}{when}: {name}", str(code))
        for when, packages in study.plan.code.items()
        for name, code in packages.items()
    ]
    found: dict[str, dict[str, None]] = {}
    for result in (run.result for run in study.all_runs):
        again = {f"{name}, scored again": code for name, code in result.scored_by.items()}
        for name, code in {**result.code, **again}.items():
            found.setdefault(name, {})[str(code)] = None
    return rows + [(f"code of the runs: {name}", "; ".join(codes)) for name, codes in found.items()]
