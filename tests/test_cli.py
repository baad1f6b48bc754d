"""The command: quick help without torch, exit code 2 and one message for mistakes, arguments passed on."""

import json
import subprocess
import sys
import time
import types
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from unimm import completion, listing
from unimm.cli import app
from unimm.listing import component_lines
from unimm.registry import KINDS, objectives

ABLATIONS = Path(__file__).parent.parent / "ablations"
ARM = str(ABLATIONS / "clip_fm.yaml")
runner = CliRunner()


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Stand-in for unimm.runs.stages that records its calls."""
    made: list[dict[str, Any]] = []

    def run(config: Any, out: Path, resume: bool, overwrite: bool, extend: bool, track: Any) -> None:
        given = {"resume": resume, "overwrite": overwrite, "extend": extend, "track": list(track)}
        made.append({"config": config, "out": out, **given})

    stages = types.ModuleType("unimm.runs.stages")
    stages.__dict__.update(run=run, score=lambda run_dir: made.append({"score": run_dir}))
    monkeypatch.setattr("unimm.cli._present", lambda result, folder: None)
    package = types.ModuleType("unimm.runs")
    package.__dict__.update(stages=stages, __path__=[])
    for module in (package, stages):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return made


def test_help_is_quick_and_imports_no_heavy_library() -> None:
    code = (
        "import sys\n"
        "from unimm.cli import app\n"
        "app(['--help'], standalone_mode=False)\n"
        "heavy = {'torch', 'numpy', 'pandas', 'hydra', 'pydantic'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert time.perf_counter() - start < 5, "generous, because tests share the cores; alone it takes 0.3 s"
    for verb in ("run", "score", "report", "foundation", "list", "check", "doctor"):
        assert verb in done.stdout


def test_python_dash_m_works() -> None:
    subprocess.run([sys.executable, "-m", "unimm", "--help"], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        (["run", ARM, "encoder=vea"], "did you mean 'vae'?"),
        (["run", ARM, "--resume", "--overwrite"], "give one of them"),
        (["run", "absent.yaml"], "no such file"),
        (["check", "absent.yaml"], "no such file"),
        (["list", "encoder"], "did you mean 'encoders'?"),
        (["foundation", "show", "absent"], "absent"),
    ],
)
def test_user_mistakes_give_one_message_and_exit_code_2(arguments: list[str], fragment: str) -> None:
    result = runner.invoke(app, arguments)
    assert result.exit_code == 2
    assert fragment in result.stderr
    assert result.stderr.count("error:") == 1
    assert "Traceback" not in result.output


def test_run_passes_everything_on(calls: list[dict[str, Any]], tmp_path: Path) -> None:
    result = runner.invoke(app, ["run", ARM, "seed=3", "profile=tiny", "--out", str(tmp_path), "--resume"])
    assert result.exit_code == 0, result.output
    assert calls[0]["config"].seed == 3
    assert (calls[0]["out"], calls[0]["resume"], calls[0]["overwrite"]) == (tmp_path, True, False)
    assert (calls[0]["extend"], calls[0]["track"]) == (False, [])


def test_run_has_a_default_folder_per_profile_arm_and_seed(calls: list[dict[str, Any]]) -> None:
    assert runner.invoke(app, ["run", ARM, "seed=3"]).exit_code == 0
    assert calls[0]["out"] == Path("experiments/runs/nano/clip_fm-seed3")


def test_print_config_shows_the_resolved_yaml_and_runs_nothing(calls: list[dict[str, Any]]) -> None:
    result = runner.invoke(app, ["run", ARM, "profile=tiny", "--print-config"])
    assert result.exit_code == 0
    assert "profile: tiny" in result.stdout
    assert calls == []


def test_files_in_the_way_are_reported_and_bugs_are_not_hidden(
    calls: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(error: Exception) -> Any:
        def run(*_: Any, **__: Any) -> None:
            raise error

        return run

    stages = sys.modules["unimm.runs.stages"]
    monkeypatch.setattr(stages, "run", fail(FileExistsError("the folder is not empty; add --resume or --overwrite")))
    result = runner.invoke(app, ["run", ARM])
    assert result.exit_code == 2
    assert "add --resume or --overwrite" in result.stderr
    monkeypatch.setattr(stages, "run", fail(ValueError("from the depths of a library")))
    result = runner.invoke(app, ["run", ARM])
    assert isinstance(result.exception, ValueError)


def test_check_validates_every_arm() -> None:
    result = runner.invoke(app, ["check", *map(str, sorted(ABLATIONS.glob("*.yaml")))])
    assert result.exit_code == 0, result.stderr
    assert result.stdout.count("ok ") == 8


def test_check_reports_every_bad_file(tmp_path: Path) -> None:
    bad = [tmp_path / "one.yaml", tmp_path / "two.yaml"]
    for path in bad:
        path.write_text("name: a\nname: b\n")
    result = runner.invoke(app, ["check", ARM, *map(str, bad)])
    assert result.exit_code == 2
    assert result.stderr.count("given twice") == 2
    assert result.stdout.count("ok ") == 1


def test_list_shows_a_line_about_each() -> None:
    result = runner.invoke(app, ["list", "objectives"])
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == objectives.names()


def test_list_alone_says_what_can_be_listed() -> None:
    said = runner.invoke(app, ["list"])
    assert said.exit_code == 0, said.output
    begun = [line.split()[0] for line in said.stdout.splitlines() if not line.startswith(" ")]
    rows = json.loads(runner.invoke(app, ["list", "--json"]).stdout)
    assert begun == [row["name"] for row in rows] == [*KINDS, "scores", "targets"] == completion.kinds("")
    assert {row["name"]: row["description"] for row in rows}["decoders"] == "Latents to images."


def test_lists_fit_a_terminal_and_lose_no_word() -> None:
    """All but the page of targets, which is for a file."""
    shown = [(listing.score_lines, listing.scores()), (component_lines, listing.kinds())]
    for kind, registry in KINDS.items():
        shown += [(component_lines, listing.components(kind))]
        shown += [(listing.detail_lines, [listing.component(kind, name)]) for name in registry.names()]
    for lines, rows in shown:
        said = lines(rows)
        assert not [line for line in said if len(line) > 80]
        words = set(" ".join(said).split())
        for entry in (each for row in rows for each in (row, *row.get("settings", ()))):
            told = entry.get("description") or entry.get("label") or entry.get("meaning") or ""
            assert set(told.split()) <= words, entry


def test_scores_are_listed_with_their_direction() -> None:
    result = runner.invoke(app, ["list", "scores"])
    assert result.exit_code == 0, result.stderr
    lines = {line.split()[0]: line for line in result.stdout.splitlines()}
    assert {"atoms/shape", "atoms/count", "understanding/above_blind", "clip_score/a"} <= lines.keys()
    assert lines["frechet_distance"].endswith("(lower is better)") and "lower" not in lines["atoms/shape"]
    assert result.stdout.splitlines().count("Atoms") == 1, "a heading a section"


def test_doctor_prints_versions_machine_and_foundations() -> None:
    result = runner.invoke(app, ["doctor"])
    assert result.exit_code == 0, result.stderr
    for word in ("python", "torch", "cores", "memory", "device", "disk", "hub cache", "foundation"):
        assert word in result.stdout


def test_a_component_of_a_long_name_stands_apart_from_its_description() -> None:
    rows = [{"name": "n" * 30, "description": "Long."}, {"name": "n", "description": "Short."}]
    assert component_lines(rows) == ["n" * 30 + "  Long.", "n" + " " * 31 + "Short."]
    rows[0]["name"] = "n" * 60
    assert component_lines(rows) == ["n" * 60, " " * 44 + "Long.", "n" + " " * 43 + "Short."]
