"""Packing: what comes out is what went in, bit by bit, and the same every time."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from unimm.curation.cli import app
from unimm.curation.inspection import open_path
from unimm.curation.pack import PackedSample, pack, scene_samples
from unimm.data.scenes import Scenes
from unimm.data.source import Context
from unimm.scenes.world import world

runner = CliRunner()


def run(*arguments: str | Path) -> str:
    result = runner.invoke(app, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    return result.stdout


def test_packed_scenes_are_the_scenes_that_runs_train_on(tmp_path: Path) -> None:
    text = run("pack", "--scenes", "scenes-nano", "--count", 25, "--resolution", 32, "--shard-size", 10, tmp_path / "t")
    assert text.startswith("25 samples in 3 tars")
    packed = open_path(tmp_path / "t", ["questions=questions", "min_side=32"], 32)
    scenes = Scenes.build(Scenes.Config(), Context(world("scenes-nano"), 32, 25))
    assert len(packed) == 25
    assert open_path(tmp_path / "t", ["resolution=48"]).image(0).shape == (3, 48, 48)
    for index in range(25):
        assert torch.equal(packed.image(index), scenes.image(index))
        texts = packed.texts(index)
        assert texts[:3] == scenes.texts(index)[:3]
        assert len(texts.questions) == 3
        assert all(question.endswith("?") for question, _ in texts.questions)
    run("pack", "--scenes", "scenes-nano", "--count", 25, "--resolution", 32, "--shard-size", 10, tmp_path / "again")
    for shard in ("00000.tar", "00002.tar"):
        assert (tmp_path / "t" / shard).read_bytes() == (tmp_path / "again" / shard).read_bytes()


def test_a_folder_is_packed_byte_for_byte_without_what_cannot_be_used(tmp_path: Path) -> None:
    rows, folder = [], tmp_path / "images"
    folder.mkdir()
    for number, kind in enumerate(("JPEG", "PNG", "WEBP")):
        stream = io.BytesIO()
        pixels = np.random.default_rng(number).integers(0, 256, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(stream, kind)
        (folder / f"{number}.img").write_bytes(stream.getvalue())
        rows.append({"file": f"{number}.img", "text": f"caption {number}"})
    (folder / "bad.png").write_bytes(b"x")
    rows.append({"file": "bad.png", "text": "bad"})
    (folder / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = run("pack", "--from", folder, tmp_path / "t", "caption=text")
    assert "3 samples in 1 tars" in text
    assert "left out bad.png: broken" in text
    packed = open_path(tmp_path / "t")
    assert [packed.image_bytes(i) for i in range(3)] == [(folder / f"{i}.img").read_bytes() for i in range(3)]
    assert [packed.texts(i).plain for i in range(3)] == [(f"caption {i}",) for i in range(3)]


def test_a_jpeg_of_several_pictures_is_packed_as_jpg(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    pictures = [Image.new("RGB", (48, 40), color) for color in ("red", "blue")]
    pictures[0].save(folder / "0.jpg", "MPO", save_all=True, append_images=pictures[1:])
    (folder / "c.jsonl").write_text('{"file": "0.jpg", "caption": "red"}\n')
    assert "1 samples in 1 tars" in run("pack", "--from", folder, tmp_path / "t")
    packed = open_path(tmp_path / "t")
    assert packed.image_bytes(0) == (folder / "0.jpg").read_bytes()
    assert packed.image(0)[0].float().mean() > 200


@pytest.mark.parametrize("setting", ["caption", "caption=[a", "caption={"])
def test_a_setting_that_cannot_be_read_is_named(tmp_path: Path, setting: str) -> None:
    (tmp_path / "c.jsonl").write_text("")
    with pytest.raises(ValueError, match=r"cannot read '.*'; write key=value"):
        open_path(tmp_path, [setting])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pack", "{}/t"], "give --scenes WORLD or --from PATH"),
        (["pack", "--scenes", "scenes-nano", "--from", "{}", "{}/t"], "give --scenes WORLD or --from PATH"),
        (["pack", "--scenes", "scenes-nan", "{}/t"], "unknown world"),
        (["pack", "--scenes", "scenes-nano", "--format", "gif", "{}/t"], "formats are png, jpg, webp"),
        (["pack", "--scenes", "scenes-nano", "{}/t", "caption=x"], "settings are for --from"),
        (["pack", "--from", "{}", "--count", "3", "{}/t"], "are for --scenes"),
        (["pack", "--from", "{}", "{}/t"], "holds no data set"),
        (["index", "{}"], "no .tar file there"),
        (["inspect", "{}/absent"], "no such folder"),
    ],
)
def test_mistakes_are_one_message(tmp_path: Path, arguments: list[str], message: str) -> None:
    result = runner.invoke(app, [argument.format(tmp_path) for argument in arguments])
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_tars_are_not_written_over(tmp_path: Path) -> None:
    arguments = ["pack", "--scenes", "scenes-nano", "--count", "2", "--resolution", "32", str(tmp_path)]
    assert runner.invoke(app, arguments).exit_code == 0
    result = runner.invoke(app, arguments)
    assert result.exit_code == 2
    assert "holds tars already" in result.stderr
    typo = runner.invoke(app, ["inspect", str(tmp_path), "captoin=x"])
    assert "shards reads no 'captoin'; did you mean 'caption'?" in typo.stderr


def test_a_stopped_packing_leaves_no_set_and_the_next_one_writes_over_it(tmp_path: Path) -> None:
    samples = list(scene_samples(world("scenes-nano"), "train", 5, 32, "png"))

    def stopped() -> Iterator[PackedSample]:
        yield from samples[:4]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack(stopped(), tmp_path / "out", 1, 5)
    assert not list((tmp_path / "out").glob("*.tar"))
    pack(samples, tmp_path / "out", 2, 5)
    pack(samples, tmp_path / "straight", 2, 5)
    names = ["00000.tar", "00001.tar", "00002.tar", "index.safetensors"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    for name in names[:3]:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "straight" / name).read_bytes()


def test_index_and_inspect_tell_what_is_there(tmp_path: Path) -> None:
    run("pack", "--scenes", "scenes-nano", "--count", 6, "--resolution", 40, "--format", "jpg", tmp_path / "t")
    assert "6 samples in 1 tars" in run("index", tmp_path / "t", "--out", tmp_path / "elsewhere")
    (tmp_path / "t" / "index.safetensors").write_bytes(b"damaged")
    assert "6 samples in 1 tars" in run("index", tmp_path / "t")
    text = run("inspect", tmp_path / "t", "--out", tmp_path / "facts.json")
    for part in ("samples    6", "JPEG 6", "width: min 40", "words of short captions", "words of long captions"):
        assert part in text
    facts = json.loads((tmp_path / "facts.json").read_text())
    assert facts["usable"] == facts["measured"]["height"]["n"] == 6
    assert "unusable   6 tiny" in run("inspect", tmp_path / "t", "min_side=41")
    assert "(2 inspected" in run("inspect", tmp_path / "t", "--count", 2)
