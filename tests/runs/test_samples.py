"""The images that a run keeps: what the sheet holds, and what is read of it and of runs with a file for every image."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import TypeAdapter
from torchvision.utils import save_image

from unimm.report.opening import spread
from unimm.runs.outcome import save_grid
from unimm.runs.samples import GRID, SHEET, Sample, read_image, write_sheet
from unimm.runs.scoring import Scored

NANO = Path(__file__).parents[2] / "reports" / "nano" / "clip-fm"
SIDE = 16


def noise(count: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, SIDE, SIDE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def rows(count: int) -> list[dict[str, Any]]:
    return [{"prompt": f"prompt {n}", "tag": "colors", "correct": n % 2 == 0, "index": 10 * n} for n in range(count)]


def listed(run_dir: Path) -> list[Sample]:
    return TypeAdapter(list[Sample]).validate_json((run_dir / GRID).read_text(encoding="utf-8"))


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    write_sheet(tmp_path, noise(8).permute(0, 2, 3, 1).numpy(), rows(8))
    return tmp_path


def test_a_run_keeps_one_sheet_whose_images_are_the_files_of_before(tmp_path: Path) -> None:
    images, prompts = noise(80), [{"prompt": f"prompt {n}", "tag": "colors"} for n in range(80)]
    scored = SimpleNamespace(images=images, prompts=prompts, correct=lambda: [n % 3 == 0 for n in range(80)])
    save_grid(cast(Scored, scored), tmp_path)
    assert sorted(file.name for file in (tmp_path / "samples").iterdir()) == ["grid.json", "sheet.png"]
    assert Image.open(tmp_path / SHEET).size == (6 * SIDE, 6 * SIDE)
    samples = listed(tmp_path)
    assert [sample.index for sample in samples] == [number * 80 // 36 for number in range(36)]
    for sample in samples:
        assert (sample.prompt, sample.correct) == (f"prompt {sample.index}", sample.index % 3 == 0)
        before = io.BytesIO()
        save_image(images[sample.index].float() / 255, before, format="png")
        assert read_image(tmp_path, sample) == before.getvalue()


def test_places_count_from_the_top_left(run_dir: Path) -> None:
    samples = listed(run_dir)
    assert samples[0].box == (0, 0, SIDE, SIDE) and samples[7].box == (SIDE, SIDE, 2 * SIDE, 2 * SIDE)
    assert [samples[n].place for n in (0, 5, 7)] == ["row 1, column 1", "row 1, column 6", "row 2, column 2"]
    assert Image.open(run_dir / SHEET).size == (6 * SIDE, 2 * SIDE)


def test_fewer_images_than_columns_make_a_narrow_sheet(tmp_path: Path) -> None:
    write_sheet(tmp_path, noise(2).permute(0, 2, 3, 1).numpy(), rows(2))
    assert Image.open(tmp_path / SHEET).size == (2 * SIDE, SIDE)


def test_a_run_with_a_file_for_every_image_still_reads(tmp_path: Path) -> None:
    (tmp_path / "samples").mkdir()
    row = rows(1)[0] | {"file": "samples/00010.png"}
    save_image(noise(1)[0].float() / 255, tmp_path / row["file"])
    (tmp_path / GRID).write_text(json.dumps([row]))
    (sample,) = listed(tmp_path)
    assert sample.box is None and sample.place is None
    assert read_image(tmp_path, sample) == (tmp_path / row["file"]).read_bytes()


def test_a_sheet_replaces_the_files_of_before_and_is_read_anew(run_dir: Path) -> None:
    (run_dir / "samples" / "00018.png").write_bytes(b"png")
    (run_dir / "samples" / "mine.png").write_bytes(b"png")
    first = read_image(run_dir, listed(run_dir)[0])
    write_sheet(run_dir, 255 - noise(8).permute(0, 2, 3, 1).numpy(), rows(8))
    assert sorted(file.name for file in (run_dir / "samples").glob("*.png")) == ["mine.png", "sheet.png"]
    np.testing.assert_array_equal(pixels(read_image(run_dir, listed(run_dir)[0])), 255 - pixels(first))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"file": "../secret.png"}, "outside the run folder"),
        ({"file": "samples/none.png"}, r"none\.png is missing: sample the run again, or drop it"),
        ({"box": (0, 0, SIDE, 3 * SIDE)}, r"places image 0 at \(0, 0, 16, 48\), but .* has 96 x 32 pixels"),
        ({"box": (SIDE, 0, SIDE, SIDE)}, "places image 0 at"),
        ({"file": "samples/grid.json"}, "cannot be read as an image: restore it"),
    ],
)
def test_a_sample_that_is_not_there_is_named(run_dir: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_image(run_dir, listed(run_dir)[0].model_copy(update=change))


def test_a_sheet_that_was_cut_short_is_named(run_dir: Path) -> None:
    (run_dir / SHEET).write_bytes((run_dir / SHEET).read_bytes()[:500])
    with pytest.raises(ValueError, match=r"sheet\.png cannot be read as an image"):
        read_image(run_dir, listed(run_dir)[0])


def test_a_committed_sheet_has_the_images_that_its_page_shows() -> None:
    shown = re.findall(r'src="data:image/png;base64,([^"]+)" alt="Generated for', (NANO / "report.html").read_text())
    samples = listed(NANO)
    assert len(shown) == len(samples) == 36
    first = spread(samples)
    order = [*first, *(place for place in range(36) if place not in first)]
    for image, sample in zip(shown, [samples[place] for place in order], strict=True):
        np.testing.assert_array_equal(pixels(read_image(NANO, sample)), pixels(base64.b64decode(image)))
