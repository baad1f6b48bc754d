"""`unimm sample --prompts FILE`: `unimm score` reads what it leaves, and what was stopped ends with the same images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from unimm.cli import app
from unimm.evaluation.geneval.files import read_image_folder
from unimm.export.sample import write_samples
from unimm.export.sample_file import write_sample_file
from unimm.pipeline import Pipeline
from unimm.scenes.prompts import Metadata, prompt_set
from unimm.scenes.world import world

K, BATCH = 2, 3
runner = CliRunner()


@pytest.fixture(scope="module")
def prompts() -> list[Metadata]:
    chosen = {p["prompt"]: p for p in prompt_set(world("scenes-nano"), "test", 1)}
    return list(chosen.values())[:4]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, prompts: list[Metadata]) -> Path:
    path = tmp_path_factory.mktemp("prompts") / "prompts.jsonl"
    path.write_text("\n".join(map(json.dumps, prompts)))
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, flow_run: Path, file: Path) -> Path:
    """A set that was drawn without a stop."""
    out = tmp_path_factory.mktemp("set") / "whole"
    assert write_sample_file(flow_run, file, K, "flat", out, BATCH).drawn == 4 * K
    return out


def images(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.png")}


def test_a_set_is_scored_as_it_lies(whole: Path, file: Path) -> None:
    assert sorted(images(whole)) == [f"0000{prompt}_{image}.png" for prompt in range(4) for image in range(K)]
    scored = ["score", str(whole), "--prompts", str(file), "--images-per-prompt", str(K), "--metrics", "geneval"]
    done = runner.invoke(app, [*scored, "--out", str(whole.parent / "scores.json")])
    assert done.exit_code == 0, done.output
    scores = {row["name"]: row for row in json.loads((whole.parent / "scores.json").read_text())}
    assert scores["geneval/overall"]["n"] == 4 * K


def test_genevals_folders_hold_the_same_images(
    flow_run: Path, file: Path, prompts: list[Metadata], whole: Path, tmp_path: Path
) -> None:
    asked = ["sample", str(flow_run), "--prompts", str(file), "--images-per-prompt", str(K), "--layout", "geneval"]
    done = runner.invoke(app, [*asked, "--batch", str(BATCH), "--out", str(tmp_path / "g")])
    assert done.exit_code == 0 and f"score them: unimm score {tmp_path / 'g'} --prompts {file}" in done.stdout
    found = read_image_folder(tmp_path / "g", prompts, K)
    flat = images(whole)
    for entry in found:
        assert [path.read_bytes() for path in entry.paths] == [flat[f"0000{entry.number}_{k}.png"] for k in range(K)]


def test_a_set_that_was_stopped_anywhere_goes_on_to_the_same_images(
    flow_run: Path, file: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in the second batch, and again with one file of a drawn batch gone, as a kill leaves it."""
    out, latents, calls = tmp_path / "set", Pipeline.latents, []

    def stopping(self: Pipeline, *arguments: object) -> object:
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return latents(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Pipeline, "latents", stopping)
    asked = ["sample", str(flow_run), "--prompts", str(file), "--images-per-prompt", str(K)]
    asked += ["--batch", str(BATCH), "--out", str(out)]
    stopped = runner.invoke(app, asked)
    assert stopped.exit_code == 130 and "the same command goes on" in stopped.stderr
    assert len(images(out)) == BATCH
    (out / "00000_1.png").unlink()
    again = runner.invoke(app, asked)
    assert again.exit_code == 0 and len(calls) == 2 + 3
    assert images(out) == images(whole)
    (out / "00003_0.png").unlink()
    last = runner.invoke(app, asked)
    assert len(calls) == 6 and "6 of them from before" in last.stdout
    assert images(out) == images(whole)


def test_an_image_is_that_of_its_prompt_and_number_wherever_the_prompt_stands(flow_run: Path, tmp_path: Path) -> None:
    """One at a time, to the bit; a text that comes again goes on counting."""
    circle, square = "a photo of a red circle", "a photo of a blue square"
    (tmp_path / "p.txt").write_text(f"{square}\n{circle}\n{circle}\n")
    write_sample_file(flow_run, tmp_path / "p.txt", 1, "flat", tmp_path / "set", batch=1)
    alone = write_samples(flow_run, [circle], [0, 1], tmp_path / "alone")
    for path, name in zip(alone.files, ("00001.png", "00002.png"), strict=True):
        assert np.array_equal(np.asarray(Image.open(path)), np.asarray(Image.open(tmp_path / "set" / name)))
    assert len(set(images(tmp_path / "set").values())) == 3


def test_another_question_in_the_same_folder_is_refused(
    flow_run: Path, file: Path, whole: Path, tmp_path: Path
) -> None:
    (tmp_path / "p.txt").write_text("a circle\n")
    for message, *arguments in (
        ("images_per_prompt was 2 and is 3", file, 3, "flat", whole, BATCH),
        ("batch was 3 and is 4", file, K, "flat", whole, 4),
        ("has no metadata, which --layout geneval writes", tmp_path / "p.txt", 1, "geneval", tmp_path / "o", BATCH),
        ("holds files that no sampling", file, K, "flat", tmp_path, BATCH),
    ):
        with pytest.raises(ValueError, match=message):
            write_sample_file(flow_run, *arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["a circle", "--prompts", "p.txt"], "nothing reads prompts of your own"),
        (["--prompts", "p.txt", "--seeds", "0", "1"], "nothing reads --seeds"),
        (["a circle", "--layout", "flat"], "--layout is for --prompts FILE"),
        ([], "give prompts, or --prompts FILE"),
    ],
)
def test_options_of_the_other_way_are_refused(options: list[str], message: str) -> None:
    refused = runner.invoke(app, ["sample", "RUN", *options])
    assert refused.exit_code == 2 and message in refused.stderr
