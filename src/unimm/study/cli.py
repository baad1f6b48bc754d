"""`unimm study`: plan, run, look at and report a study. Verbs import what they need when they run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unimm.json_output import Json, print_json
from unimm.study.arguments import (
    Collect,
    Either,
    Engine,
    File,
    Out,
    Ranks,
    Storage,
    StudyFolder,
    Workers,
    folder_of,
    is_file,
    reports_of,
)
from unimm.study.table_cli import export_scores, import_scores
from unimm.user_errors import user_errors

if TYPE_CHECKING:
    from unimm.analysis.foresight import Foresight
    from unimm.study.launch import Places
    from unimm.study.layout import Unit
    from unimm.study.plan import StudyPlan, TuningPlan
    from unimm.study.queue import State

app = typer.Typer(help="Arms x seeds from one file, with claims fixed beforehand.", no_args_is_help=True)


@app.command()
def run(
    file: File,
    workers: Workers = 1,
    ranks: Ranks = 1,
    engine: Engine = "local",
    storage: Storage = None,
    out: Out = None,
    collect: Collect = None,
) -> None:
    """Plan a study and run what is not done yet."""
    with user_errors():
        from unimm.study.launch import Places, plan_study

        places = Places(out or folder_of(file), collect or reports_of(file.stem))
        plan = plan_study(file, places)
        _say_findings(plan)
        _say_power(plan, plan.independent(len(plan.seeds)))
        _launch_study(plan, places, engine, workers, storage, ranks)


@app.command()
def check(file: File) -> None:
    """Say of every claim whether it can get a verdict, before a run costs anything; exit code 1 if one cannot."""
    with user_errors():
        from unimm.study.check import Kind, describe
        from unimm.study.check import check as look
        from unimm.study.expand import expand_study

        plan = expand_study(file)
        found = look(plan)
        typer.echo(describe(plan, found))
        if any(each.kind is not Kind.NOTE for each in found):
            raise typer.Exit(1)


@app.command()
def amend(file: File, out: Out = None, collect: Collect = None) -> None:
    """Take up new amendments of a study file without a run, and say what changed since the plan was frozen."""
    with user_errors():
        from unimm.study.amend import changes
        from unimm.study.expand import expand_study
        from unimm.study.launch import Places, plan_study
        from unimm.study.plan import PLANNED, StudyPlan, has_plan

        places = Places(out or folder_of(file), collect or reports_of(file.stem))
        frozen = StudyPlan.read(places.folder if has_plan(places.folder) else places.reports)
        amended = plan_study(file, places)
        typer.echo("\n".join(changes(frozen, amended, expand_study(file).code[PLANNED])))


@app.command()
def power(
    file: File,
    seeds: Annotated[int | None, typer.Option(min=1, help="Seeds an arm.", show_default="those of the file")] = None,
    pilots: Annotated[
        Path | None, typer.Option(help="Folder of an earlier study whose arms say how runs vary (reports/NAME).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what a study could find with its seeds, or with other ones, before it runs."""
    with user_errors():
        from unimm.study.check import few_seeds
        from unimm.study.expand import expand_study

        plan = expand_study(file)
        number = seeds or len(plan.seeds)
        if few := few_seeds(plan, number):
            typer.echo(few, err=True)
        if (counted := plan.independent(number)) < number:
            typer.echo(f"{number} seeds on {counted} foundations count as {counted}", err=True)
            number = counted
        if as_json:
            found, _ = _foresights(plan, number, pilots)
            print_json({"name": plan.name, "seeds": number, "claims": [asdict(each) for each in found]})
        else:
            _say_power(plan, number, pilots)


@app.command()
def resume(
    path: Either,
    workers: Workers = 1,
    ranks: Ranks = 1,
    engine: Engine = "local",
    storage: Storage = None,
    out: Out = None,
    collect: Collect = None,
) -> None:
    """Continue a study that was started, failed runs included."""
    with user_errors():
        from unimm.study.launch import Places, plan_study
        from unimm.study.plan import StudyPlan

        folder = out or folder_of(path)
        plan = StudyPlan.read(folder)
        places = Places(folder, collect or reports_of(plan.name))
        if is_file(path):
            plan = plan_study(path, places)
        _launch_study(plan, places, engine, workers, storage, ranks)


@app.command()
def tune(
    path: Annotated[Path, typer.Argument(help="Tuning file.", metavar="TUNING.yaml")],
    workers: Workers = 1,
    engine: Engine = "local",
    storage: Storage = None,
    out: Out = None,
    collect: Collect = None,
) -> None:
    """Search settings for every arm with equal budgets, on validation prompts; continues where it was stopped."""
    with user_errors():
        from unimm.report.study import tuning
        from unimm.study.launch import Places, plan_tuning
        from unimm.study.queue import State

        places = Places(out or folder_of(path), collect or reports_of(path.stem))
        plan = plan_tuning(path, places)
        states = _launch(plan, places, engine, workers, storage, f"tune {path}")
        done, failed = (sum(state is wanted for state in states.values()) for wanted in (State.DONE, State.FAILED))
        if done:
            typer.echo(tuning.write(places.reports))
        if failed:
            typer.echo(f"{failed} of {len(states)} trials failed; their logs are in {places.folder / 'logs'}", err=True)
        if not done or done + failed < len(states):
            raise typer.Exit(1)


@app.command(hidden=True)
def trial(
    settings: Annotated[Path, typer.Argument(help="What the trial is told.", metavar="SETTINGS.json")],
    out: Annotated[Path, typer.Option(help="Folder of the trial.")],
) -> None:
    """Make one trial of a tuning; its workers start this."""
    with user_errors():
        from unimm.runs.record import read_record
        from unimm.runs.trial import run_trial
        from unimm.runs.trial_record import TrialSettings
        from unimm.user_errors import Interrupted

        told = read_record(settings, TrialSettings, "delete it, and the tuning asks for the same settings again")
        try:
            run_trial(told, out)
        except Interrupted as stop:
            typer.echo(str(stop), err=True)
            raise typer.Exit(130) from stop


@app.command()
def work(folder: StudyFolder, storage: Storage = None, collect: Collect = None, ranks: Ranks = 1) -> None:
    """Take runs of a study, or trials of a tuning, until none is left; engines start this."""
    with user_errors():
        from unimm.study.plan import read_plan
        from unimm.study.worker import work as work_off

        finished = work_off(folder, collect or reports_of(read_plan(folder).name), storage, ranks)
        if not finished:
            raise typer.Exit(130)


@app.command()
def status(
    path: Either,
    storage: Storage = None,
    out: Out = None,
    watch: Annotated[bool, typer.Option("--watch", help="Show it again every few seconds, until all is done.")] = False,
    as_json: Json = False,
) -> None:
    """Show which runs of a study, or trials of a tuning, are done, running, waiting or failed."""
    with user_errors():
        from unimm.study.plan import has_plan, read_plan
        from unimm.study.status import describe, facts, idle, read_states

        folder = out or folder_of(path)
        if out is None and is_file(path) and not has_plan(folder) and reports_of(path.stem).is_dir():
            folder = reports_of(path.stem)  # never run here: what is committed says how far it came elsewhere
        plan = read_plan(folder)
        elsewhere = f" --out {folder}" if out or not is_file(path) else ""
        again = f"unimm study {plan.verb} {path if is_file(path) else 'FILE.yaml'}{elsewhere}"
        if watch and as_json:
            raise ValueError("--watch shows a table again and again, and --json prints one value: give one of them")
        if watch:
            from unimm.study.watching import look_on

            look_on(folder, plan, storage, again)
            return
        states = read_states(folder, plan, storage)
        if as_json:
            print_json(facts(folder, plan, states))
        else:
            typer.echo(describe(folder, plan, states) + idle(plan, states, again))


@app.command()
def report(path: Either, out: Out = None, collect: Collect = None) -> None:
    """Collect finished runs and write the report beside them; a FOLDER without --collect is reported in place."""
    with user_errors():
        from unimm.report import pages
        from unimm.report.study.folder import kind_of
        from unimm.study.collect import collect as copy
        from unimm.study.plan import has_plan, read_plan

        folder = out or folder_of(path)
        target = collect or (reports_of(path.stem) if is_file(path) else folder)
        if target != folder and has_plan(folder):
            copy(folder, read_plan(folder), target)
        if has_plan(target) and kind_of(target) in pages.OF_KIND:
            typer.echo(pages.write_study(target))
        else:
            _report(target)


app.command("import")(import_scores)
app.command("export")(export_scores)


def _say_findings(plan: StudyPlan) -> None:
    """What keeps claims from a verdict, if anything does."""
    from unimm.study.check import check as look

    for finding in look(plan):
        typer.echo(str(finding), err=True)


def _say_power(plan: StudyPlan, seeds: int, pilots: Path | None = None) -> None:
    """The smallest effects that can be found, for plans with claims and with seeds enough to have a spread."""
    from unimm.analysis.foresight import table

    found, pilot_seeds = _foresights(plan, seeds, pilots)
    if seeds < 2:
        typer.echo("1 seed an arm shows no spread, so that nothing can be found with it")
    if found:
        typer.echo(table(found, seeds, pilot_seeds))
    if found and pilots is None:
        typer.echo("  --pilots reports/NAME also says what more prompts, or more images of each, would buy")


def _foresights(plan: StudyPlan, seeds: int, pilots: Path | None) -> tuple[list[Foresight], int | None]:
    """What each claim can find, none with too few seeds, and how many seeds an arm the pilots have, if there are any.

    Raises:
        ValueError: pilots that no claim of the plan can use.
    """
    from unimm.analysis.claims import Claims, linear_distances
    from unimm.analysis.foresight import foresee
    from unimm.analysis.results import MIN_SEEDS

    claims = Claims.model_validate(plan.claims)
    if plan.dealt:  # which pairs every claim
        claims = claims.paired_by_seed()
    for name in linear_distances(claims):
        typer.echo(f"claim {name!r}: distances are skewed over seeds; compare them with `scale: log`", err=True)
    if seeds < 2:
        return [], None
    if pilots is None:
        return foresee(claims, seeds), None
    from unimm.report.study.evidence import evidence
    from unimm.report.study.folder import read

    study = read(pilots)
    foresights = foresee(claims, seeds, evidence(study))
    if all(each.chance is None for each in foresights):
        raise ValueError(f"--pilots {pilots}: no claim has its arms and metric there with {MIN_SEEDS} seeds or more")
    return foresights, len(study.plan.dealt) or len(study.plan.seeds)


def _launch_study(plan: StudyPlan, places: Places, engine: str, workers: int, storage: str | None, ranks: int) -> None:
    """Run, then say how far it came, what was found and where the page is; exit code 1 if a run is missing."""
    from unimm.study.queue import State

    again = f"resume {places.folder}{f' --ranks {ranks}' if ranks > 1 else ''}"
    states = _launch(plan, places, engine, workers, storage, again, ranks)
    if any(state is State.DONE for state in states.values()):
        _report(places.reports)
    if any(state is not State.DONE for state in states.values()):
        raise typer.Exit(1)


def _report(folder: Path) -> None:
    """Write a study's report, and say the verdicts and where the page is."""
    from unimm.report.study import page
    from unimm.report.study.answers import told

    report = page.build(folder)
    typer.echo(told(report.answers))
    typer.echo(page.write_report(report))


def _launch(
    plan: StudyPlan | TuningPlan,
    places: Places,
    engine: str,
    workers: int,
    storage: str | None,
    again: str,
    ranks: int = 1,
) -> Mapping[Unit, State]:
    """Make what is not done yet, then say how far it came; `again` is the verb that continues, with its argument."""
    from unimm.study.launch import launch
    from unimm.study.status import describe

    planned = f"{len(plan.arms)} arms x {len(plan.numbers)} {plan.unit.word}s"
    typer.echo(f"{plan.name}: {planned} in {places.folder}, plan {plan.hash}")
    try:
        states = launch(plan, places, engine, workers, storage, ranks)
    except KeyboardInterrupt as stop:
        typer.echo(f"stopped; continue with `unimm study {again}`", err=True)
        raise typer.Exit(130) from stop
    typer.echo(describe(places.folder, plan, states))
    return states
