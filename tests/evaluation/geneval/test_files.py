"""GenEval's metadata and image folder: what is written is read back, and what is wrong is named."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from unimm.evaluation.geneval.files import load_images, read_image_folder, read_metadata, write_image_folder
from unimm.evaluation.geneval.prompts import generate_prompts, metadata_text

SINGLE = {"tag": "single_object", "include": [{"class": "bench", "count": 1}], "prompt": "a photo of a bench"}
CLAUSE = {"class": "cow", "count": 1}
TEXT = st.text(min_size=1, max_size=12)


@st.composite
def metadata(draw: st.DrawFn) -> dict[str, Any]:
    """Any well-formed prompt, keys that only others know included."""
    names = draw(st.lists(TEXT, min_size=1, max_size=3))
    include: list[dict[str, Any]] = [{"class": name, "count": draw(st.integers(1, 4))} for name in names]
    for number, clause in enumerate(include):
        if draw(st.booleans()):
            clause["color"] = draw(st.sampled_from(["red", "white"]))
        if number and draw(st.booleans()):
            clause["position"] = [draw(st.sampled_from(["left of", "below"])), draw(st.integers(0, number - 1))]
    exclude = [{"class": draw(TEXT), "count": 5}] if draw(st.booleans()) else []
    extra = draw(st.dictionaries(st.sampled_from(["detailed_caption", "index"]), TEXT))
    return {"tag": draw(TEXT), "include": include, "exclude": exclude, "prompt": draw(TEXT), **extra}


@settings(max_examples=40, deadline=None)
@given(prompts=st.lists(metadata(), min_size=1, max_size=4, unique_by=lambda m: json.dumps(m, sort_keys=True)))
def test_metadata_round_trip(prompts: list[dict[str, Any]]) -> None:
    """Characters that only some call line breaks (U+2028) included, with and without the last newline."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "prompts.jsonl"
        lines = "\n".join(json.dumps(prompt, ensure_ascii=False) for prompt in prompts)
        for text in (metadata_text(prompts), lines, f"\n{lines}\n\n"):
            path.write_text(text, encoding="utf-8", newline="")
            assert read_metadata(path) == prompts


def test_official_metadata_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "evaluation_metadata.jsonl"
    path.write_text(metadata_text(generate_prompts()))
    assert metadata_text(read_metadata(path)) == path.read_text()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"tag": "t", "include": [CLAUSE]}, "prompt: Field required"),
        ({"tag": "t", "include": [], "prompt": "p"}, "include: List should have at least 1 item"),
        ({"tag": "t", "include": [{"class": "cow"}], "prompt": "p"}, "include.0.count: Field required"),
        ({"tag": "t", "include": [{"class": "cow", "count": "1"}], "prompt": "p"}, "include.0.count: Input should be"),
        ({"tag": "t", "include": [CLAUSE | {"color": "teal"}], "prompt": "p"}, "include.0.color: .*red|orange"),
        ({"tag": "t", "include": [CLAUSE | {"position": ["above", 0]}], "prompt": "p"}, "include.0.position: target 0"),
        (
            {"tag": "t", "include": [CLAUSE | {"colour": "red"}], "prompt": "p"},
            "include.0.colour: nothing reads it; did you mean 'color'?",
        ),
        ([1], "line: Input should be an object"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, wrong: Any, message: str) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text(f"{json.dumps(SINGLE)}\n\n{json.dumps(wrong)}\n")
    with pytest.raises(ValueError, match=rf"prompts\.jsonl, line 3: {message}"):
        read_metadata(path)


def test_no_json_no_prompts_and_repeats_are_errors(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text("{")
    with pytest.raises(ValueError, match="line 1: line: Invalid JSON"):
        read_metadata(path)
    path.write_text("\n")
    with pytest.raises(ValueError, match="no prompts"):
        read_metadata(path)
    path.write_text(f"{json.dumps(SINGLE)}\n" * 2)
    with pytest.raises(ValueError, match="line 2: the same prompt as line 1"):
        read_metadata(path)


def write(folder: Path, images_per_prompt: int = 2) -> tuple[list[dict[str, Any]], torch.Tensor]:
    prompts = generate_prompts()[:12]
    shape = (len(prompts), images_per_prompt, 3, 5, 7)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    write_image_folder(folder, prompts, images)
    return prompts, images


def test_image_folder_round_trip(tmp_path: Path) -> None:
    prompts, images = write(tmp_path)
    found = read_image_folder(tmp_path, prompts, images_per_prompt=2)
    assert [one.metadata for one in found] == prompts
    assert torch.equal(torch.stack([load_images(one.paths) for one in found]), images)
    assert found[11].paths[1] == tmp_path / "00011" / "samples" / "00001.png"
    assert (tmp_path / "00011" / "metadata.jsonl").read_text() == json.dumps(prompts[11])


def test_four_digit_names_are_read(tmp_path: Path) -> None:
    prompts, _ = write(tmp_path)
    samples = tmp_path / "00003" / "samples"
    (samples / "00001.png").rename(samples / "0001.png")
    assert read_image_folder(tmp_path, prompts, 2)[3].paths[1].name == "0001.png"


def test_missing_images_are_listed(tmp_path: Path) -> None:
    prompts, _ = write(tmp_path)
    (tmp_path / "00003" / "samples" / "00001.png").unlink()
    with pytest.raises(ValueError, match=r"lacks 1 of 24 images: 00003/samples/00001\.png;"):
        read_image_folder(tmp_path, prompts, 2)
    with pytest.raises(ValueError, match=r"lacks 25 of 48 images: 00000/samples/00002\.png, .*, \.\.\.;") as caught:
        read_image_folder(tmp_path, prompts, 4)
    assert len(re.findall(r"\.png", str(caught.value))) == 10


def test_surplus_images_and_prompts_are_errors(tmp_path: Path) -> None:
    prompts, _ = write(tmp_path)
    with pytest.raises(ValueError, match="holds more than 12 prompts x 1 images"):
        read_image_folder(tmp_path, prompts, 1)
    with pytest.raises(ValueError, match=r"holds more than 11 prompts x 2 images: .*00011"):
        read_image_folder(tmp_path, prompts[:11], 2)
    samples = tmp_path / "00003" / "samples"
    (samples / "0001.png").write_bytes((samples / "00001.png").read_bytes())
    with pytest.raises(ValueError, match="two images of the same number"):
        read_image_folder(tmp_path, prompts, 2)


def test_images_of_other_prompts_are_refused(tmp_path: Path) -> None:
    prompts, _ = write(tmp_path)
    with pytest.raises(ValueError, match=r"is for .* not for"):
        read_image_folder(tmp_path, prompts[::-1], 2)
    (tmp_path / "00000" / "metadata.jsonl").unlink()
    with pytest.raises(ValueError, match="is missing"):
        read_image_folder(tmp_path, prompts, 2)


def test_images_of_one_prompt_have_one_size(tmp_path: Path) -> None:
    for side in (4, 5):
        write_image_folder(tmp_path / f"{side}", [SINGLE], torch.zeros(1, 1, 3, side, side, dtype=torch.uint8))
    with pytest.raises(ValueError, match="differ in size"):
        load_images(sorted(tmp_path.glob("*/00000/samples/*.png")))


def test_images_must_match_the_prompts(tmp_path: Path) -> None:
    images = torch.zeros(3, 1, 3, 4, 4, dtype=torch.uint8)
    with pytest.raises(ValueError, match="images for 3 of 4 prompts"):
        write_image_folder(tmp_path, generate_prompts()[:4], images)
    with pytest.raises(ValueError, match="more images than the 2 prompts"):
        write_image_folder(tmp_path, generate_prompts()[:2], images)


@pytest.mark.parametrize(("mode", "shade"), [("RGB", (9, 9, 9)), ("L", 9)])
def test_a_transparent_colour_is_refused_where_the_image_holds_it(tmp_path: Path, mode: str, shade: Any) -> None:
    image, path = Image.new(mode, (8, 8), shade), tmp_path / "0.png"
    image.save(path, transparency=shade)
    with pytest.raises(ValueError, match="has transparent pixels"):
        load_images([path])
    other = (8, 8, 8) if mode == "RGB" else 8
    image.save(path, transparency=other)
    assert load_images([path]).shape == (1, 3, 8, 8)
