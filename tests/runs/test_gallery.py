"""All images of a run on WebP sheets: what stands where, what is lost, and what it is not used for."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image

from unimm.evaluation.metric import Score
from unimm.runs import gallery
from unimm.runs.gallery import LISTED, KeptImage, write_gallery
from unimm.runs.outcome import save_gallery
from unimm.runs.record import read_record
from unimm.runs.scoring import Scored
from unimm.scenes.render import render
from unimm.scenes.stream import scene_sample
from unimm.scenes.world import WORLDS

TASKS = ("single_object", "counting", "position")
SIDE = 64
WORLD = WORLDS["scenes-nano"]


def rows(count: int) -> list[dict[str, Any]]:
    return [
        {
            "prompt": f"prompt {n}",
            "tag": TASKS[n % 3],
            "key": f"{n}/0",
            "correct": n % 2 == 0,
            "reason": "",
            "found": [],
        }
        for n in range(count)
    ]


def kept(run_dir: Path) -> list[KeptImage]:
    return read_record(run_dir / LISTED, list[KeptImage])


def cut(run_dir: Path, image: KeptImage) -> np.ndarray:
    return np.asarray(Image.open(run_dir / image.file).crop(image.box))


@pytest.fixture(scope="module")
def scenes() -> np.ndarray:
    return np.stack([render(scene_sample(WORLD, "test", 5, i).scene, SIDE) for i in range(36)])


def test_every_image_stands_where_the_list_says(tmp_path: Path, scenes: np.ndarray) -> None:
    write_gallery(tmp_path, scenes, rows(36))
    images = kept(tmp_path)
    assert [image.index for image in images] == list(range(36))
    assert {image.tag: image.file for image in images} == {
        tag: f"samples/images-0{n}.webp" for n, tag in enumerate(TASKS)
    }
    for image, exact in zip(images, scenes, strict=True):
        error = (cut(tmp_path, image).astype(float) - exact) ** 2
        assert 10 * math.log10(255**2 / error.mean()) > 30, "decibels; another image's would be below 20"


def test_a_task_of_many_images_takes_several_sheets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery, "SIDE", 32)
    images = np.zeros((45, 16, 16, 3), dtype=np.uint8)
    write_gallery(tmp_path, images, [row | {"tag": "counting"} for row in rows(45)])
    sizes = [Image.open(file).size for file in sorted(tmp_path.glob("samples/*.webp"))]
    assert sizes == [(160, 32), (160, 32), (80, 16)]
    assert kept(tmp_path)[44].box == (64, 0, 80, 16) and kept(tmp_path)[44].file == "samples/images-02.webp"


def test_a_second_scoring_leaves_no_sheet_of_the_first(tmp_path: Path) -> None:
    images = np.zeros((6, 16, 16, 3), dtype=np.uint8)
    write_gallery(tmp_path, images, rows(6))
    write_gallery(tmp_path, images[:1], rows(1))
    assert [file.name for file in (tmp_path / "samples").iterdir() if file.suffix == ".webp"] == ["images-00.webp"]
    assert len(kept(tmp_path)) == 1


def test_what_is_kept_is_what_the_judge_finds_on_the_exact_images(tmp_path: Path) -> None:
    samples = [scene_sample(WORLD, "test", 5, i) for i in range(12)]
    images = torch.from_numpy(np.stack([render(sample.scene, SIDE) for sample in samples])).permute(0, 3, 1, 2)
    right = [sample.metadata for sample in samples]
    four = {"tag": "counting", "prompt": "four circles", "include": [{"class": "circle", "count": 4}]}
    for prompts, fulfilled in ((right, True), ([four] * 12, False)):
        scored = SimpleNamespace(
            images=images, prompts=prompts, keys=[f"{n}/0" for n in range(12)],
            scores=[Score("geneval/overall", 0.5, 12, {})], correct=lambda: [False] * 12,
        )  # fmt: skip
        save_gallery(cast(Scored, scored), WORLD, tmp_path)
        for image, sample in zip(kept(tmp_path), samples, strict=True):
            truly = sorted((item.shape, item.colour) for item in sample.scene.items)
            assert sorted((found.shape, found.colour) for found in image.found) == truly
            assert (image.reason == "") == fulfilled and image.correct is False
    assert kept(tmp_path)[0].reason.startswith("expected circle>=4, found ")


def test_a_run_that_asked_no_judge_says_so(tmp_path: Path) -> None:
    images = torch.zeros(2, 3, SIDE, SIDE, dtype=torch.uint8)
    prompts = [{"prompt": "a red dog", "tag": "mine"}] * 2
    scored = SimpleNamespace(
        images=images, prompts=prompts, keys=["0/0", "0/1"], scores=[], correct=lambda: [False] * 2
    )
    save_gallery(cast(Scored, scored), WORLD, tmp_path)
    assert [(image.correct, image.found, image.key) for image in kept(tmp_path)] == [
        (None, [], "0/0"),
        (None, [], "0/1"),
    ]
