"""`unimm compare`: differences are those of the analysis, settings that differ are named, and 80 columns are enough."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from scipy import stats
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parent))

from synthetic_study import HOSTILE, write_run

from unimm.analysis.contrast import compare_runs
from unimm.cli import app
from unimm.report import side_by_side
from unimm.report.side_by_side import compare

runner = CliRunner()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    home = tmp_path_factory.mktemp("runs")
    for arm, seed in (("clip_fm", 0), ("vae_fm", 0), ("clip_fm_joint", 1)):
        write_run(home / f"{arm}{seed}", arm, seed)
    return [home / "clip_fm0", home / "vae_fm0", home / "clip_fm_joint1"]


def test_two_runs_are_compared_as_a_paired_t_test_over_prompts() -> None:
    """With one task and distinct texts that is scipy's; a task more is another stratum, a text twice one draw."""
    rng = np.random.default_rng(0)
    a, b = rng.random(40), rng.random(40)
    found, wanted = compare_runs(a, b), stats.ttest_rel(a, b)
    interval = wanted.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.p_value() == pytest.approx(wanted.pvalue) and found.n_seeds == 1
    doubled = compare_runs(np.repeat(a, 2), np.repeat(b, 2), texts=[str(i // 2) for i in range(80)])
    assert (doubled.low, doubled.high) == pytest.approx((found.low, found.high))
    tasks = ["x"] * 30 + ["y"] * 10
    parts = [stats.ttest_rel(a[part], b[part]).confidence_interval() for part in (slice(30), slice(30, 40))]
    means = [(part.low + part.high) / 2 for part in parts]
    assert compare_runs(a, b, tasks=tasks).estimate == pytest.approx(np.mean(means))
    for wrong in (a[:3], np.full(40, np.nan)):
        with pytest.raises(ValueError, match="on the same prompts"):
            compare_runs(a, wrong)


def test_an_interval_over_prompts_covers_what_it_promises() -> None:
    """Binary scores in two tasks of 25 prompts; 1,000 pairs of equally good runs."""
    rng = np.random.default_rng(1)
    tasks, covered = ["x"] * 25 + ["y"] * 25, 0
    for _ in range(1000):
        hard = rng.random(50)
        found = compare_runs(*(rng.random((2, 50)) < hard).astype(float), tasks=tasks)
        covered += found.low <= 0 <= found.high
    assert 0.93 <= covered / 1000 <= 0.97


def test_scores_settings_images_and_cost_stand_side_by_side(runs: list[Path]) -> None:
    found = compare(runs)
    assert list(found.names) == ["A", "B", "C"] and "vae_fm, seed 0" in found.names["B"]
    rows = {row[0]: row for row in found.headlines[0].rows}
    assert re.fullmatch(r"-0\.\d+ \(-0\.\d+ to -0\.\d+\) \*", rows["whole prompts right (fraction)"][3])
    assert re.fullmatch(r"[+-]\d+\.\d+", rows["Fréchet distance (lower is better)"][3]), "no interval without prompts"
    settings = {row[0]: row[1:] for row in found.settings.rows}
    assert settings["encoder.name"] == ("clip", "vae", "clip") and settings["encoder.patch"][0] == "not set"
    assert settings["seed"] == ("0", "0", "1") and "training.samples" not in settings and "hash of head" not in settings
    cost = {row[0]: row[1:] for row in found.cost.rows}
    assert cost["training time"] == ("500.0 s", "500.0 s", "10.0 min")
    assert len(found.images) == 12 and all(len(own) == 3 for _, own in found.images)


def test_the_terminal_has_80_columns_and_the_page_is_whole(
    runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.StringIO()
    side_by_side.show(compare(runs), Console(file=stream, width=80))
    lines = stream.getvalue().splitlines()
    assert max(len(line) for line in lines if "seed" not in line) <= 80
    monkeypatch.setenv("COLUMNS", "80")
    done = runner.invoke(app, ["compare", *map(str, runs[:2]), "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    page = (tmp_path / "compare.html").read_text()
    assert page.count('src="data:image/png') == 24 and "<script>" not in page and "&lt;script&gt;" in page
    assert HOSTILE not in page and "Settings that differ" in page and "encoder.name" in page


def test_what_cannot_be_compared_is_said(runs: list[Path], tmp_path: Path) -> None:
    for folders, message in (
        (runs[:1], "give two to 8 runs"),
        ([runs[0], runs[0]], "given twice"),
        ([runs[0], tmp_path], "is no finished run: it has no result.json"),
    ):
        refused = runner.invoke(app, ["compare", *map(str, folders)])
        assert refused.exit_code == 2 and message in refused.stderr
    write_run(tmp_path / "other", "vae_fm", 0)
    path = tmp_path / "other" / "result.json"
    path.write_text(path.read_text().replace('"protocol": {"mean of"', '"protocol": {"judge": "x", "mean of"'))
    rows = {row[0]: row for row in compare([runs[0], path.parent]).headlines[0].rows}
    assert rows["whole prompts right (fraction)"][3].startswith("not comparable: runs measured geneval/overall")
