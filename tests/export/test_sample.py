"""`unimm sample`: the same prompt and seed make the same image, and what cannot be drawn is said in a line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from unimm.cli import app
from unimm.export.sample import Wanted, contact_sheet, product, unknown_words, write_samples
from unimm.runs.run import Run

CIRCLE, SQUARES = "a photo of a red circle", "a photo of two blue squares"
runner = CliRunner()


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_images_do_not_depend_on_what_else_is_asked_for(flow_run: Path, tmp_path: Path) -> None:
    many = write_samples(flow_run, [SQUARES, CIRCLE], [3, 0], tmp_path / "many")
    one = write_samples(flow_run, [CIRCLE], [0], tmp_path / "one")
    assert [path.name for path in one.files] == [many.files[3].name]
    assert np.array_equal(pixels(one.files[0]), pixels(many.files[3]))
    assert len({pixels(path).tobytes() for path in many.files}) == 4


def test_regression_draws_one_image_for_all_seeds(regression_run: Path, tmp_path: Path) -> None:
    drawn = write_samples(regression_run, [CIRCLE, SQUARES], [0, 1], tmp_path)
    first, second, other, _ = map(pixels, drawn.files)
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)
    assert first.shape == (64, 64, 3)


def test_the_command_reads_several_seeds_and_several_prompts(flow_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "images"
    result = runner.invoke(app, ["sample", str(flow_run), CIRCLE, "a dog", "--seeds", "0", "1", "2", "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert len(list(out.glob("*seed[012].png"))) == 6
    assert Image.open(out / "sheet.png").width > 3 * 128
    assert "no word for dog" in result.stderr
    assert "6 images" in result.stdout


@pytest.mark.parametrize(
    "order",
    [
        ("RUN", CIRCLE, "--seeds", "4", "5"),
        ("--seeds", "4", "5", "--out", "OUT", "RUN", CIRCLE),
        ("RUN", CIRCLE, "--seeds=4", "5"),
        ("RUN", "--seeds", "4", "--seeds", "5", CIRCLE),
    ],
)
def test_seeds_may_stand_anywhere(order: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr("unimm.export.sample.write_samples", lambda *arguments: asked.append(arguments))
    runner.invoke(app, ["sample", *order])
    assert [(str(run), prompts, seeds) for run, prompts, seeds, _ in asked] == [("RUN", [CIRCLE], [4, 5])]


def test_unknown_and_unfinished_runs(flow_run: Path, tmp_path: Path) -> None:
    def refused(folder: Path) -> str:
        result = runner.invoke(app, ["sample", str(folder), CIRCLE, "--out", str(tmp_path / "images")])
        assert result.exit_code == 2
        assert not (tmp_path / "images").exists()
        return result.stderr

    assert "no folder" in refused(tmp_path / "absent")
    assert "holds no run" in refused(tmp_path)
    for name in ("result.json", "weights.safetensors"):
        copy = tmp_path / name
        shutil.copytree(flow_run, copy)
        (copy / name).unlink()
        assert f": it has no {name}" in refused(copy)


def test_damaged_or_other_weights_are_refused(flow_run: Path, tmp_path: Path) -> None:
    shutil.copytree(flow_run, tmp_path / "run")
    path = tmp_path / "run" / "weights.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-8])
    with pytest.raises(ValueError, match="truncated"):
        Run.finished(tmp_path / "run").model()
    path.write_bytes(whole)
    weights = load_file(path)
    weights["backbone.queries"] += 1
    save_file(weights, path)
    with pytest.raises(ValueError, match="hashes of backbone are not those"):
        Run.finished(tmp_path / "run").model()


def test_the_same_thing_twice_and_empty_prompts_are_refused(tmp_path: Path) -> None:
    for prompts, seeds, message in (([CIRCLE] * 2, [0], "prompt is given twice"), ([CIRCLE], [1, 1], "seed is given")):
        with pytest.raises(ValueError, match=message):
            write_samples(tmp_path, prompts, seeds, tmp_path)
    with pytest.raises(ValueError, match="empty"):
        write_samples(tmp_path, [" "], [0], tmp_path)


def test_file_names_tell_prompts_apart_and_stay_in_their_folder() -> None:
    alike = {
        Wanted(prompt, 0).file for prompt in ("a circle", "A circle", "a circle!", "../a circle", "///", "a" * 500)
    }
    assert len(alike) == 6
    assert all(name == Path(name).name and len(name) < 100 for name in alike)
    assert [image.seed for image in product("ab", [1, 2])] == [1, 2, 1, 2]


def test_words_that_the_model_does_not_know(flow_run: Path) -> None:
    tokenizer = Run.finished(flow_run).model().backbone.tokenizer
    assert unknown_words(tokenizer, "a Photo of a red dog") == ["Photo", "dog"]
    assert unknown_words(tokenizer, CIRCLE) == []


def test_the_sheet_has_a_cell_for_every_image() -> None:
    colours = ["red", "green", "blue", "black"]
    sheet = contact_sheet(
        ["one", "a much longer prompt " * 9], [0, 1], [Image.new("RGB", (64, 64), c) for c in colours]
    )
    shown = {colour: count for count, colour in sheet.getcolors(10_000)}
    for red_green_blue in ((255, 0, 0), (0, 128, 0), (0, 0, 255)):
        assert shown[red_green_blue] == 128 * 128


def test_a_rebuilt_foundation_is_refused(flow_run: Path, tmp_path: Path) -> None:
    shutil.copytree(flow_run, tmp_path / "run")
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    for part, refused in (("features", False), ("decoder", True), ("clip", True)):
        changed = {**result, "hashes": {**result["hashes"], part: "0" * 16}}
        (tmp_path / "run" / "result.json").write_text(json.dumps(changed))
        if refused:
            with pytest.raises(ValueError, match=f"hashes of {part} are not those"):
                Run.finished(tmp_path / "run").model()
        else:
            Run.finished(tmp_path / "run").model()
