# ruff: noqa: E501  a table, with a line for most of its rows
"""Bad inputs as a table, which `docs/errors.md` prints: what is wrong, the command that meets it, its line, the mend.

In commands and messages ``{d}`` is the folder of the case; in messages `…` stands for anything within a line.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ABLATIONS = Path(__file__).parents[1] / "ablations"
ARM = str(ABLATIONS / "vae_fm.yaml")
HEAD = (
    "defaults: [base, override profile: tiny, override encoder: vae, override objective: flow_matching, "
    "override strategy: sequential, _self_]\n"
)
STUDY = {
    "question": "Which?",
    "profile": "tiny",
    "seeds": 2,
    "arms": [ARM, str(ABLATIONS / "vae_mse.yaml")],
    "declared_differences": ["objective", "head"],
    "claims": "claims.yaml",
}
CLAIM = {"id": "c", "text": "It holds.", "kind": "invariant", "holds": {"backbone_unchanged": ["vae_fm"]}}
CLAIMS = json.dumps({"alpha": 0.05, "claims": [CLAIM]})
MEASURED = {
    "id": "c",
    "text": "It follows.",
    "kind": "difference",
    "role": "primary",
    "metric": "geneval/overall",
    "direction": "higher",
    "budget": "generation_samples",
    "contrast": {"vae_fm": 1, "vae_mse": -1},
    "smallest_effect": 0.02,
}
TUNING = {
    "question": "Which settings?",
    "profile": "tiny",
    "arms": STUDY["arms"],
    "declared_differences": ["objective", "head"],
    "seed": 9000,
    "trials": 2,
    "samples": 64,
    "prompts": 1,
    "metric": "atoms/overall",
    "sampler": {"name": "random"},
}
NOT_UTF8 = b"name: caf\xe9\n"
RESULT = (Path(__file__).parent / "data" / "result_v1.json").read_text(encoding="utf-8")
LOG = '{"step": 1, "samples": 8, "seconds": 0.1, "loss": 1.0, "generation_loss": 1.0}\n'

Make = Callable[[Path], None]
Contents = dict[str, str | bytes]


class Bad(NamedTuple):
    """A bad input; ``files`` are written into the case's folder, and then ``make`` does the rest."""

    area: str
    what: str
    command: list[str]
    message: str
    mend: str
    files: Contents = {}  # noqa: RUF012  never changed
    make: Make | None = None


def study(**changes: object) -> Contents:
    """A study file in JSON, which YAML is too, with its claims."""
    return {"study.yaml": json.dumps(STUDY | changes), "claims.yaml": CLAIMS}


def check(what: str, arm: str | bytes, message: str, mend: str, **others: str | bytes) -> Bad:
    """An arm's file that `unimm check` refuses."""
    files: Contents = {"arm.yaml": arm, **{f"{name}.yaml": text for name, text in others.items()}}
    return Bad("config", what, ["check", "{d}/arm.yaml"], message, mend, files)


def override(what: str, text: str, message: str, mend: str) -> Bad:
    """A `key=value` that `unimm run` refuses."""
    return Bad("config", what, ["run", ARM, "profile=tiny", text, "--print-config"], f"vae_fm.yaml: {message}", mend)


def plan(what: str, message: str, mend: str, **changes: object) -> Bad:
    """A study file that cannot be planned."""
    return Bad("study", what, ["study", "power", "{d}/study.yaml"], message, mend, study(**changes))


def claims(what: str, message: str, mend: str, **changes: object) -> Bad:
    """A claim with a number that cannot be planned."""
    files = study() | {"claims.yaml": json.dumps({"alpha": 0.05, "claims": [MEASURED | changes]})}
    return Bad("study", what, ["study", "power", "{d}/study.yaml"], f"claims.yaml: claim 'c': {message}", mend, files)


CONFIG = [
    override("a seed beyond 64 bits", "seed=99999999999999999999", "seed: Input should be less than 9223372036854775808 …", "Give a smaller one."),
    override("fewer real images than a distance needs", "evaluation.reference_scenes=1", "evaluation.reference_scenes: Input should be greater than or equal to 6 …", "Give six or more."),
    Bad("config", "no such file", ["check", "{d}/arm.yaml"], "arm.yaml: no such file", "Give the path of an arm's file."),
    check(
        "a file that is not UTF-8",
        NOT_UTF8,
        "arm.yaml is not UTF-8 text (byte 0xe9 at position 9): save it as UTF-8",
        "Save it as UTF-8.",
    ),
    check("a file that is no YAML", "a: [", "arm.yaml: not valid YAML: …", "Mend the line that it names."),
    check("no settings", "- a\n", "arm.yaml: expected `key: value` lines", "Write `key: value` lines."),
    check(
        "a key given twice",
        HEAD + "name: x\nname: y\n",
        "arm.yaml, line 3: 'name' is given twice (first in line 2); remove one",
        "Remove one of the two.",
    ),
    check(
        "a number with a leading zero",
        HEAD + "name: x\nseed: 010\n",
        "arm.yaml, line 3: 010 has a leading zero, which some readers take for octal: write it without, or quote it …",
        "Write 10, or 8, or the text \"010\".",
    ),
    check("a key that is a number", "1: x\n", "arm.yaml, line 1: the key 1 is no text; quote it", "Quote it."),
    check(
        "an alias that holds itself",
        "a: &a [*a]\n",
        "arm.yaml, an alias stands for something that holds the alias itself; write it out",
        "Write out what it stands for.",
    ),
    check(
        "brackets within brackets without end",
        "a: " + "[" * 200 + "]" * 200,
        "arm.yaml, more than 40 levels deep: not a configuration",
        "Give a configuration.",
    ),
    check(
        "characters that no file can hold",
        'name: "a\\0b"\n',
        "arm.yaml, 'a\\x00b' has characters that no file can hold",
        "Leave them out.",
    ),
    check(
        "a setting that nothing reads",
        HEAD + "name: x\nobjective: {guidence: 3}\n",
        "arm.yaml: objective.guidence: objective flow_matching reads no 'guidence'; did you mean 'guidance'? …",
        "Take the nearest name, or leave it out.",
    ),
    check(
        "a value of the wrong type",
        HEAD + "name: x\nseed: some\n",
        "arm.yaml: seed: Input should be a valid integer, … (given: 'some')",
        "Give a value of the type that it names.",
    ),
    check(
        "a number that is true",
        HEAD + "name: x\nseed: true\n",
        "arm.yaml: seed: expected a number, and true and false are none",
        "Write the number.",
    ),
    check(
        "infinity",
        HEAD + "name: x\ntraining: {learning_rate: .inf}\n",
        "arm.yaml: training.learning_rate: Input should be a finite number (given: inf)",
        "Give a number.",
    ),
    check(
        "a defaults list that names its own file",
        "defaults: [arm]\nname: x\n",
        "arm.yaml: defaults: arm.yaml -> arm.yaml is a circle: take a name out of one of the lists",
        "Take a name out.",
    ),
    check(
        "a defaults list that names no file",
        "defaults: [bsae]\nname: x\n",
        "arm.yaml: defaults: no file 'bsae' beside it or in the package; start from `base`",
        "Start from `base`, or from an arm beside it.",
    ),
    check(
        "a defaults list that is none",
        "defaults: base\nname: x\n",
        "arm.yaml: defaults: expected a list of names and `group: name`, as in [base, _self_]",
        "Write a list.",
    ),
    check("settings of Hydra's own", HEAD + "name: x\nhydra:\n", "arm.yaml: hydra: hydra's own settings are not used here; take them out", "Take them out."),
    check(
        "a word in a parent's file that is read in two ways",
        "defaults: [parent, _self_]\nname: x\n",
        "parent.yaml: question: a word there is read in two ways, as text and as a number or yes: quote it",
        "Quote it.",
        parent=HEAD + "question: 1:30\n",
    ),
    check(
        "a metric given twice",
        HEAD + "name: x\nevaluation: {metrics: [geneval, geneval]}\n",
        "arm.yaml: evaluation.metrics: geneval stands there twice, and its scores would have the same names: give it once",
        "Give it once.",
    ),
    check(
        "stages that do not add up",
        HEAD + "name: x\nstages: {a: {samples: 8000}}\n",
        "arm.yaml: stages: their samples add up to 8000, and training.samples, the whole run's, is …",
        "Set `training.samples` to their sum.",
    ),
    override("no equals sign", "seed", "cannot read 'seed'; write key=value", "Write `key=value`."),
    override(
        "a value with =, #, brackets or letters beyond ASCII",
        "source.path=/a/epoch=3-step=10",
        "cannot read 'source.path=/a/epoch=3-step=10'; its value has characters that have to be quoted, twice for a "
        "shell: 'source.path=\"/a/epoch=3-step=10\"'",
        "Copy the quoted form from the message.",
    ),
    override(
        "a number with a leading zero",
        "seed=010",
        "seed=010: 010 has a leading zero, which some readers take for octal: write it without, or quote it as text",
        "Write 10, or 8.",
    ),
    override(
        "several values",
        "seed=1,2",
        "seed=1,2: one value per key; a comma or a range makes a sweep, which is a study",
        "Write a study.",
    ),
    override(
        "a deletion", "~seed", "~seed: settings cannot be deleted; set a value instead", "Set another value."
    ),
    override(
        "a component that is not there",
        "encoder=vea",
        "encoder: encoders: no 'vea'; did you mean 'vae'? …",
        "Take one of the choices.",
    ),
    override(
        "a plug-in that cannot be imported",
        "encoder=my_package:Mine",
        "encoder: encoders: cannot load 'my_package:Mine' from my_package:Mine: No module named 'my_package'",
        "Install the plug-in where unimm is.",
    ),
    override("a profile that is not there", "profile=tinny", "profile: no 'tinny'; did you mean 'tiny'? …", "Take one of the choices."),
    override("a group without a name", "settings=3", "settings=3: give settings a name, one of: controlled, published", "Give one of them."),
    override(
        "metrics that are no list",
        "evaluation.metrics=geneval",
        "evaluation.metrics: give a list, as in [geneval] or [geneval, {name: clip_score, distractors: 4}]",
        "Write brackets around it.",
    ),
    override(
        "a metric that is not there",
        "evaluation.metrics=[genval]",
        "evaluation.metrics.0: metrics: no 'genval'; did you mean 'geneval'? …",
        "Take one of the choices.",
    ),
    override(
        "an interpolation of nothing",
        "question=${nothing}",
        "Interpolation key 'nothing' not found …",
        "Name a key that is there.",
    ),
    override(
        "a run shorter than a batch",
        "training.samples=1",
        "training: samples (1) is less than one batch (16): nothing would train; raise training.samples or lower …",
        "Raise `training.samples`.",
    ),
    override("component defaults that are none", "component_defaults=3", "component_defaults: expected `encoder: {clip: {key: value}}`", "Write them by component and name."),
    Bad(
        "config",
        "two options that contradict each other",
        ["run", ARM, "--resume", "--overwrite"],
        "--resume continues a run and --overwrite deletes it: give one of them",
        "Give one of them.",
    ),
    Bad("config", "a kind that is not there", ["list", "encoder"], "no kind 'encoder'; did you mean 'encoders'? …", "Take one of the choices."),
]  # fmt: skip


def old_queue(folder: Path) -> None:
    """A queue that a later Optuna wrote."""
    import sqlite3

    from optuna.storages import RDBStorage

    frozen(folder)
    RDBStorage(f"sqlite:///{folder}/study/queue.db")
    with sqlite3.connect(folder / "study" / "queue.db") as database:
        database.execute("update alembic_version set version_num='v9.9.9'")


def frozen(folder: Path) -> None:
    """The plan of a study in ``study``."""
    from unimm.study.launch import freeze_study

    for name, text in study().items():
        (folder / name).write_text(str(text))
    freeze_study(folder / "study.yaml", folder / "study")


def frozen_and(name: str, text: str) -> Make:
    """A frozen study one of whose files holds something else."""

    def make(folder: Path) -> None:
        frozen(folder)
        path = folder / "study" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    return make


def edited_plan(**changes: object) -> Make:
    """A plan that somebody edited."""

    def make(folder: Path) -> None:
        frozen(folder)
        path = folder / "study" / "plan.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return make


STATUS = ["study", "status", "{d}/study"]
FROM_COMMIT = "Restore it from where it was committed."
MOVE_QUEUE = "Move it away where no worker runs: only the counts of failed attempts are lost."

STUDIES = [
    Bad(
        "study",
        "a study file that is not UTF-8",
        ["study", "power", "{d}/study.yaml"],
        "study.yaml is not UTF-8 text (byte 0xe9 at position 9): save it as UTF-8",
        "Save it as UTF-8.",
        {"study.yaml": NOT_UTF8},
    ),
    plan("a key that nothing reads", "study.yaml: seed: nothing reads this key; did you mean 'seeds'? …", "Take the nearest name.", seed=3),
    plan("seeds that repeat", "study.yaml: seed 1 is given twice; a run is made once", "Give every seed once.", seeds=[1, 1]),
    plan("an arm's file that is not there", "absent.yaml: no such file…", "Mend the path; it is relative to the study file.", arms=["absent.yaml"]),
    plan(
        "an override that the study decides",
        "study.yaml: overrides: profile=nano: the study decides this; set profile instead",
        "Set `profile` in the study file.",
        overrides=["profile=nano"],
    ),
    plan(
        "seeds that do not divide among foundations",
        "study.yaml: foundations: seeds gives 2 to 3 foundations, of which every one takes as many, …; add 1 or leave some foundations out",
        "Give every foundation as many seeds.",
        foundations=["scenes-nano-2", "scenes-nano-2-draw1", "scenes-nano-2-draw2"],
    ),
    plan(
        "a foundation that counts twice",
        "study.yaml: foundations: one is given twice, and would count as two draws; leave one out",
        "Name every draw once.",
        foundations=["scenes-nano", "scenes-nano"],
    ),
    plan("claims that are not there", "absent.yaml: no such file…", "Write the claims first.", claims="absent.yaml"),
    Bad(
        "study",
        "claims that are not UTF-8",
        ["study", "power", "{d}/study.yaml"],
        "claims.yaml is not UTF-8 text (byte 0xe9 at position 9): save it as UTF-8",
        "Save them as UTF-8.",
        study() | {"claims.yaml": NOT_UTF8},
    ),
    Bad(
        "study",
        "a claim about an arm that is not there",
        ["study", "power", "{d}/study.yaml"],
        "claims.yaml: claim 'c': holds.backbone_unchanged: no 'vae_fn' in arms; did you mean 'vae_fm'? …",
        "Take the nearest name.",
        study() | {"claims.yaml": CLAIMS.replace("vae_fm", "vae_fn")},
    ),
    claims("a claim about a score that is not there", "metric: no 'genval/overall' in metrics; did you mean 'geneval/overall'? …", "Take the nearest name; `unimm list scores` has all.", metric="genval/overall"),
    claims("a guard that is not there", "guards: no 'complet' in guards; did you mean 'complete'? …", "Take the nearest name.", guards=["complet"]),
    claims("a weight that is no number", "contrast.vae_fm: Input should be a finite number …", "Give a number.", contrast={"vae_fm": float("nan"), "vae_mse": -1}),
    claims("an effect without end", "smallest_effect: Input should be a finite number …", "Give a number.", smallest_effect=float("inf")),
    Bad("study", "a fact that is not there", ["study", "power", "{d}/study.yaml"], "claims.yaml: claim 'c': holds: no 'backbone_unchangd' in facts; did you mean 'backbone_unchanged'? …", "Take the nearest name.", study() | {"claims.yaml": CLAIMS.replace("backbone_unchanged", "backbone_unchangd")}),
    *(
        Bad("study", f"a search over {what}", ["study", "tune", "{d}/tuning.yaml", "--out", "{d}/out", "--collect", "{d}/kept"], "tuning.yaml: space.training.learning_rate: write {low: A, high: B}, with log: true for a logarithmic scale, or {choices: [A, B]}", "Write a range or choices.", {"tuning.yaml": json.dumps(TUNING | {"space": {"training.learning_rate": value}})})
        for what, value in (("a list", [0.1, 0.2]), ("words", ["a", "b"]), ("one number", 0.1), ("nothing", None))
    ),
    plan("a declared difference that no arm has", "study.yaml: declared_differences: no arm has a setting 'objectiv'; did you mean 'objective'?", "Take the nearest name.", declared_differences=["objectiv"]),
    plan("two arms of one name", "study.yaml: two arms are called 'vae_fm'; give one of them another `name`", "Give one a `name`.", arms=[ARM, ARM]),
    Bad("study", "a folder without a study", ["study", "status", "{d}"], "{d} holds no study: it has no plan.json; start one with …", "Start one, or give its folder."),
    Bad("study", "a plan that was cut short", STATUS, "study/plan.json is cut short or no JSON (…): restore it from where it was committed", FROM_COMMIT, make=frozen_and("plan.json", '{"name": ')),
    Bad("study", "a plan that is none", STATUS, "study/plan.json lacks …, so it is no plan: restore it from where it was committed", FROM_COMMIT, make=frozen_and("plan.json", "{}")),
    Bad("study", "a plan that was edited", STATUS, "study/plan.json was edited: its hash does not hold; restore it, and amend the study file instead", "Restore it, and write an amendment.", make=edited_plan(seeds=[7])),
    Bad("study", "a page of a plan that lacks something", ["report", "{d}/study"], "study/plan.json is not a plan that this unimm reads (…: Field required); restore it from the study", FROM_COMMIT, make=frozen_and("plan.json", "{}")),
    Bad("study", "a plan of a later unimm", STATUS, "study/plan.json has version 9: install the unimm that wrote it", "Install that version.", make=edited_plan(schema_version=9)),
    Bad("study", "a result that was cut short", STATUS, "study/runs/vae_fm/seed0/result.json is cut short or no JSON (…): copy it again, or delete it and …", "Copy it again, or delete it: the study makes it again.", make=frozen_and("runs/vae_fm/seed0/result.json", '{"config"')),
    Bad("study", "a queue that is no database", STATUS, "study/queue.db cannot be used as the queue (file is not a database); where no worker runs, move it away …", MOVE_QUEUE, make=frozen_and("queue.db", "garbage" * 999)),
    Bad("study", "a queue of another Optuna", STATUS, "study/queue.db cannot be used as the queue (it was written by another version of Optuna); where …", MOVE_QUEUE, make=old_queue),
    Bad("study", "a storage that is no URL", [*STATUS, "--storage", "notaurl"], "--storage: no URL of a database (…); write postgresql://USER@HOST/NAME or sqlite:///…", "Write a database's URL.", make=frozen),
    Bad("study", "a storage in memory", [*STATUS, "--storage", "sqlite://"], "--storage: a database in memory is no queue for several processes; write …", "Name a file or a server.", make=frozen),
    Bad("study", "a storage in no folder", [*STATUS, "--storage", "sqlite:///{d}/absent/q.db"], "absent/q.db: no folder {d}/absent: make it, or choose another --storage", "Make the folder.", make=frozen),
    Bad("study", "an engine that is not there", ["study", "run", "{d}/study.yaml", "--out", "{d}/out", "--collect", "{d}/kept", "--engine", "lokal"], "no engine 'lokal'; did you mean 'local'? choices: local, slurm, ray", "Take one of the choices.", study()),
]  # fmt: skip


IMPORT = ["study", "import", "{d}/scores.csv", "--claims", "{d}/claims.yaml", "--out", "{d}/out"]
PARQUET = [word.replace(".csv", ".parquet") for word in IMPORT]


def table(*rows: str) -> Contents:
    """A table of scores with its claims."""
    return {"scores.csv": "\n".join(("arm,seed,metric,value", *rows)), "claims.yaml": CLAIMS}


IMPORTS = [
    Bad("import", "no such table", IMPORT, "scores.csv: no such file; give a table of scores (.csv, .parquet), or a folder of JSON logs", "Mend the path.", {"claims.yaml": CLAIMS}),
    Bad("import", "a row that stands there twice", IMPORT, "scores.csv, line 3 repeats {d}/scores.csv, line 2 (a, seed 0: acc): keep one of them, or the mean of a prompt's images", "Keep one of the two.", table("a,0,acc,0.5", "a,0,acc,0.6")),
    Bad("import", "a value that is no number", IMPORT, "scores.csv, line 2: value is 'high', which is no number; leave it empty where nothing was measured", "Write the number, or leave it empty.", table("a,0,acc,high")),
    Bad("import", "a column that nothing reads", IMPORT, "scores.csv: nothing reads the column 'promt'; did you mean 'prompt'? columns: …", "Take the nearest name, or the column out.", {"scores.csv": "arm,seed,metric,value,promt\n", "claims.yaml": CLAIMS}),
    Bad("import", "semicolons between columns", IMPORT, "scores.csv separates its columns by ';': save it with commas, and with points in numbers", "Save it with commas.", {"scores.csv": "arm;seed;metric;value\na;0;acc;0,5\n", "claims.yaml": CLAIMS}),
    Bad("import", "a parquet file that was cut short", PARQUET, "scores.parquet is no parquet file, or was cut short: save it again, or as CSV", "Copy or save it again.", {"scores.parquet": b"PAR1 and half a table", "claims.yaml": CLAIMS}),
]  # fmt: skip


def run_folder(folder: Path, *without: str) -> None:
    """What a finished run of vae_fm leaves, but for ``without``; its weights are none."""
    from unimm.config import dump, load

    (folder / "run" / "samples").mkdir(parents=True)
    config = load(ARM, ["profile=tiny"])
    result = json.loads(RESULT) | {"config": config.model_dump(mode="json")}
    contents = {"config.yaml": dump(config), "result.json": json.dumps(result), "metrics.jsonl": LOG}
    contents |= {"samples/grid.json": "[]", "weights.safetensors": "half", "last.ckpt": ""}
    for name, text in contents.items():
        if name not in without:
            (folder / "run" / name).write_text(text)


def run_without(*names: str) -> Make:
    """A run's folder that lacks something."""
    return lambda folder: run_folder(folder, *names)


def run_with(name: str, text: str) -> Make:
    """A run's folder one of whose files holds something else."""

    def make(folder: Path) -> None:
        run_folder(folder)
        (folder / "run" / name).write_text(text)

    return make


AGAIN = "copy it again, or run the arm again with --overwrite"
COPY_RUN = "Copy it again, or run the arm again."
SCORE, REPORT, SAMPLE = ["score", "{d}/run"], ["report", "{d}/run"], ["sample", "{d}/run", "a red circle"]
RESUME = ["run", ARM, "profile=tiny", "--out", "{d}/run", "--resume"]

RUNS = [
    Bad("run", "no folder", SCORE, "no folder {d}/run: give the folder of a finished run, as `unimm run` printed it", "Give a run's folder."),
    Bad("run", "a folder without a run", ["score", "{d}"], "{d} holds no run: it has no config.yaml", "Give a run's folder."),
    Bad("run", "scoring a run that is not finished", SCORE, "run is unfinished: it has no result.json; continue it with `unimm run ARM.yaml --out {d}/run --resume`…", "Finish it first.", make=run_without("result.json")),
    Bad("run", "scoring a committed run without weights", SCORE, "run is finished, and its weights are not there: it has no weights.safetensors, which nobody commits; …", "Give the folder that trained it, or run the arm again.", make=run_without("weights.safetensors")),
    Bad("run", "sampling a run that is not finished", SAMPLE, "run is unfinished: it has no result.json; …", "Finish it first.", make=run_without("result.json")),
    Bad("run", "sampling a file of prompts that is not there", [*SAMPLE[:2], "--prompts", "{d}/absent.jsonl"], "absent.jsonl: no such prompts file; give GenEval metadata (.jsonl) or one prompt a line (.txt)", "Mend the path.", make=run_folder),
    Bad("run", "a prompt that is no text", ["sample", "{d}/run", "a \udcff"], "not text: surrogates not allowed at character 2", "Give the prompt in UTF-8.", make=run_folder),
    Bad("run", "a folder of its own for a name that is none", ["run", "{d}/arm.yaml"], "name: '../x' is the name of the run's folder too, and needs letters, digits, _ . - only; or give --out", "Give another name, or `--out`.", {"arm.yaml": HEAD + "name: ../x\n"}),
    Bad("run", "exporting a run that is not finished", ["export", "{d}/run", "{d}/model"], "run is unfinished: it has no result.json; …", "Finish it first.", make=run_without("result.json")),
    Bad("run", "a result that was cut short", SCORE, f"run/result.json does not follow docs/result.md (Invalid JSON: …): {AGAIN}", COPY_RUN, make=run_with("result.json", RESULT[:200])),
    Bad("run", "a result that lacks something", REPORT, f"run/result.json does not follow docs/result.md (…): {AGAIN}", COPY_RUN, make=run_with("result.json", '{"schema_version": 1}')),
    Bad("run", "a result that is not UTF-8", REPORT, "run/result.json is not UTF-8 text (byte 0xff at position 0): …", COPY_RUN, make=lambda d: (run_folder(d), (d / "run/result.json").write_bytes(b"\xff"))[0]),
    Bad("run", "a log with half a line", REPORT, "run/metrics.jsonl, line 2, is not JSON or no row of a log: delete that line", "Delete that line.", make=run_with("metrics.jsonl", LOG + '{"step": 2')),
    Bad("run", "a page of a run without a log", REPORT, "run is not a finished run: it has no metrics.jsonl. …", "Finish it, or give the folder that trained it.", make=run_without("metrics.jsonl")),
    Bad("run", "a folder that holds something else", [*RESUME[:-1]], "run is not empty and holds no run; choose another --out", "Choose another `--out`.", {"run/notes.txt": "mine"}),
    Bad("run", "a folder that holds another run", ["run", ARM, "profile=tiny", "seed=3", "--out", "{d}/run", "--resume"], "run holds a run of another configuration; choose another --out or --overwrite it: seed is 0 there and 3 now", "Choose another `--out`, or `--overwrite`.", make=run_folder),
    Bad("run", "a folder that holds this run", RESUME[:-1], "run already holds this run; --resume continues it, --overwrite starts again", "Say which of the two.", make=run_folder),
    Bad("run", "a configuration of the folder that was cut short", RESUME, "run holds a run of another configuration; choose another --out or --overwrite it: …", "Restore it, or `--overwrite`.", make=run_with("config.yaml", "name: [")),
    Bad("run", "a foundation that is not there", ["run", ARM, "profile=tiny", "foundation=absent", "--out", "{d}/run"], "no foundation 'absent': shipped are …; build one with …", "Build it, or give one that ships."),
    Bad("run", "a file where a run's folder should be", ["run", ARM, "profile=tiny", "--out", "{d}/taken"], "taken is a file, and a folder is needed there: give another path", "Choose another `--out`.", {"taken": "mine"}),
    Bad("run", "a page with a folder of its own", ["report", "{d}", "--out", "{d}/out"], "--out is for --compare; a page is written into its own folder", "Leave `--out` out."),
    Bad("checkpoint", "weights that were cut short", SAMPLE, "run/weights.safetensors is truncated or altered (…); run the arm again with --overwrite", "Copy them again, or run the arm again.", make=run_folder),
    Bad("checkpoint", "a last.ckpt that is empty", RESUME, "run/last.ckpt is empty: copy it again, or delete it and --resume trains from the beginning", "Copy it again, or delete it.", make=run_without("result.json")),
    Bad("checkpoint", "a last.ckpt that is none", RESUME, "run/last.ckpt is cut short or no checkpoint: copy it again, or delete it and --resume trains from the beginning", "Copy it again, or delete it.", make=run_with("last.ckpt", "PK half of it")),
]  # fmt: skip


def tiny_tar(folder: Path, cut: int | None = None) -> None:
    """A tar with one caption and no picture, perhaps cut short."""
    import io
    import tarfile

    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        entry = tarfile.TarInfo("a.jpg")
        entry.size = 2000
        archive.addfile(entry, io.BytesIO(b"x" * 2000))
    (folder / "tars").mkdir()
    (folder / "tars" / "a.tar").write_bytes(stream.getvalue()[:cut])


def cut_cache(folder: Path) -> None:
    """A latent cache, all of whose files are cut short, at `$UNIMM_CACHE`, which the test sets to the folder."""
    import torch

    from unimm.arm import assemble
    from unimm.config import load
    from unimm.data.cache import cached_latents
    from unimm.data.scenes import training_scenes

    arm = assemble(load(ARM, ["profile=tiny"]))
    cached_latents(arm.encoder, training_scenes(arm.foundation.world, 64, 64), torch.device("cpu"))
    for file in folder.glob("latents-*.safetensors"):
        file.write_bytes(file.read_bytes()[:100])


SCORE_IMAGES = ["score", "{d}/images", "--prompts", "{d}/prompts.txt"]
PICTURE: Contents = {"images/00000.png": b"no picture", "prompts.txt": "a red circle\n"}
JUDGE = ["judge", "{d}", "--labels", "{d}/labels.jsonl", "--detector", "scenes"]


def labels(*lines: dict[str, object]) -> Contents:
    """A labels file."""
    return {"labels.jsonl": "\n".join(map(json.dumps, lines))}


def black(folder: Path) -> None:
    """Two pictures, all black."""
    from PIL import Image

    for name in ("a.png", "b.png"):
        Image.new("RGB", (8, 8)).save(folder / name)


TOWER = ["run", ARM, "profile=tiny", "encoder=transformers_vision", "--out", "{d}/run"]

DATA = [
    Bad("data", "no such folder of tars", ["data", "index", "{d}/tars"], "tars: no such folder", "Give a folder of tars."),
    Bad("data", "a folder without tars", ["data", "index", "{d}"], "{d}: no .tar file there", "Give a folder of tars."),
    Bad("data", "a tar that was cut short", ["data", "index", "{d}/tars"], "tars/a.tar…", "Copy it again.", make=lambda d: tiny_tar(d, 1000)),
    Bad("data", "tars without captions", ["data", "index", "{d}/tars"], "tars: no sample has an image and a caption (…)", "Put a .txt or .json beside every picture.", make=tiny_tar),
    Bad("data", "an index that was cut short", ["data", "inspect", "{d}/tars"], "index {d}/tars/index.safetensors is damaged (…); run `unimm data index {d}/tars` again", "Make the index again.", make=lambda d: (tiny_tar(d), (d / "tars/index.safetensors").write_bytes(b"half"))[0]),
    Bad("data", "a line of a .jsonl that is none", ["data", "inspect", "{d}"], "list.jsonl, line 1: …", "Mend or delete the line.", {"list.jsonl": '{"file": \n'}),
    Bad("data", "a picture's name that is longer than files' are", ["data", "inspect", "{d}"], "list.jsonl, line 1: '…' cannot be a file: 255 bytes a name at most, and no NUL", "Give the picture's path.", {"list.jsonl": json.dumps({"file": "a" * 3000, "caption": "x"})}),
    Bad("data", "a picture's name with a NUL", ["data", "inspect", "{d}"], "list.jsonl, line 1: '…' cannot be a file: 255 bytes a name at most, and no NUL", "Give the picture's path.", {"list.jsonl": json.dumps({"file": "a\0b", "caption": "x"})}),
    Bad("data", "a picture's name that is no text", ["data", "inspect", "{d}"], "list.jsonl, line 1: 'a\\udcffb' is no text: surrogates not allowed at character 1", "Give the picture's path.", {"list.jsonl": json.dumps({"file": "a\udcffb", "caption": "x"})}),
    Bad("score", "a picture that is none", SCORE_IMAGES, "images/00000.png cannot be read: no JPEG, PNG, WEBP file: …; save it again, as RGB with 8 bits a channel", "Save it again.", PICTURE),
    Bad("score", "prompts that are not there", ["score", "{d}", "--prompts", "{d}/prompts.txt"], "prompts.txt: no such prompts file; give GenEval metadata (.jsonl) or one prompt a line (.txt)", "Give the file that the pictures were drawn from."),
    Bad("score", "a prompt's clause with a field that nothing reads", ["score", "{d}", "--prompts", "{d}/p.jsonl"], "p.jsonl, line 1: include.0.colour: nothing reads it; did you mean 'color'?", "Take the nearest name.", {"p.jsonl": json.dumps({"tag": "colors", "include": [{"class": "dog", "count": 1, "colour": "red"}], "prompt": "a red dog"})}),
    Bad("score", "pictures that are missing", SCORE_IMAGES, "images lacks 1 of 2 images: 00001.png", "Draw them, or shorten the prompts.", PICTURE | {"prompts.txt": "a\nb\n"}),
    Bad("score", "a metric that is not there", [*SCORE_IMAGES, "--metrics", "genval"], "metrics: no 'genval'; did you mean 'geneval'? …", "Take one of the choices.", PICTURE),
    Bad("score", "a detector in half a quotation", [*SCORE_IMAGES, "--detector", "scenes world='a"], "detector \"scenes world='a\": No closing quotation; close the quotation", "Close it.", PICTURE),
    Bad("score", "options for pictures without prompts", ["score", "{d}", "--metrics", "geneval"], "a run is scored by its own protocol; the options are for images, with --prompts FILE", "Give `--prompts`, or leave them out."),
    Bad("judge", "labels that are not there", JUDGE, "labels.jsonl: no such file of labels; write one line of JSON for every picture", "Mend the path."),
    Bad("judge", "a label of a picture that is not there", JUDGE, "labels.jsonl: no picture 'a.png' in {d}; give paths below that folder", "Mend the path in the label.", labels({"file": "a.png", "objects": [{"class": "circle"}]})),
    Bad("judge", "a label with a field that nothing reads", JUDGE, "labels.jsonl, line 1: objects.0.colour: nothing reads it; did you mean 'color'?; give …", "Take the nearest name.", labels({"file": "a.png", "objects": [{"class": "circle", "colour": "red"}]})),
    Bad("judge", "a box that is no two corners", JUDGE, "labels.jsonl, line 1: objects.0.box: …[9.0, 9.0, 4.0, 4.0] has no area: give corners [x1, y1, x2, y2], not a width and a height; give …", "Give left, top, right and bottom.", labels({"file": "a.png", "objects": [{"class": "circle", "box": [9, 9, 4, 4]}]})),
    Bad("judge", "a class that the judge does not know", JUDGE, "scenes-judge knows no dog, which 2 pictures by labels.jsonl, sha256 … show: give a judge that does, or take that out of the labels", "Give another judge, or labels that it knows.", labels({"file": "a.png", "objects": [{"class": "dog"}]}, {"file": "b.png", "objects": [{"class": "circle"}]}), black),
    Bad("encoder", "a checkpoint that is not there", [*TOWER, "encoder.pretrained=./absent"], "pretrained=./absent: no such folder, and not a hub id (owner/name)", "Give a folder that `save_pretrained` wrote."),
    Bad("export", "a folder that holds something", ["export", "{d}/run", "{d}"], "{d} is not empty: give a new or empty folder", "Choose a new folder.", {"notes.txt": "mine"}),
    Bad("foundation", "a recipe that is not there", ["foundation", "build", "mine", "--profile", "huge", "--out", "{d}"], "no foundation recipe for profile 'huge'; known: …", "Take one of the profiles."),
    Bad("cache", "a latent cache that was cut short", ["run", ARM, "profile=tiny", "data.train_scenes=64", "--out", "{d}/run"], "latent cache {d}/latents-….safetensors is truncated (…); delete the file to have it recomputed", "Delete the file.", make=cut_cache),
]  # fmt: skip

CASES = [*CONFIG, *STUDIES, *IMPORTS, *RUNS, *DATA]

INTRODUCTION = """# Errors

A mistake ends with one line that begins with `error:` and with exit code 2: the file or the key, what is wrong, and
what to do. What the machine lacks for now, such as room on its disk, ends with one line too, and with exit code 1, so
that a study tries such a run again; a mistake it does not try twice. A traceback is a bug of unimm: please report it.

A `…` stands for what differs from case to case, `DIR` for your folder. This page is made from `tests/bad_inputs.py`,
whose test runs every line: `python tests/bad_inputs.py > docs/errors.md`.
"""


def page() -> str:
    """The content of `docs/errors.md`."""
    parts = [INTRODUCTION]
    for area in dict.fromkeys(case.area for case in CASES):
        parts.append(f"\n## {area.capitalize()}\n\n| what is wrong | message | mend |\n| --- | --- | --- |\n")
        for case in CASES:
            if case.area == area:
                message = case.message.replace("{d}", "DIR").replace("|", "\\|")
                parts.append(f"| {case.what} | ``{message}`` | {case.mend} |\n")
    return "".join(parts)


if __name__ == "__main__":
    print(page(), end="")
