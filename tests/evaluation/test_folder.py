"""A folder of images from anywhere: complete, well-named, scored by every metric that applies."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.io import read_image, write_png
from typer.testing import CliRunner

from unimm.cli import app
from unimm.data.scenes import SceneSet
from unimm.evaluation import folder as module
from unimm.evaluation.detectors.base import Detector, Thresholds
from unimm.evaluation.detectors.scenes import Scenes
from unimm.evaluation.folder import read_evidence, read_reference, score_folder
from unimm.evaluation.geneval.files import write_image_folder
from unimm.evaluation.images import fingerprint
from unimm.evaluation.metric import Evidence
from unimm.evaluation.metrics.geneval import GenEvalStyle
from unimm.foundation.folder import Foundation
from unimm.scenes.prompts import Metadata, prompt_set
from unimm.scenes.render import render
from unimm.scenes.stream import compose
from unimm.scenes.world import world
from unimm.schema import EvaluationConfig

NANO = world("scenes-nano")
runner = CliRunner()
PER_PROMPT = 2


@pytest.fixture(scope="module")
def foundation() -> Foundation:
    return Foundation("scenes-nano")


@pytest.fixture(autouse=True, scope="module")
def few_real_scenes() -> Iterator[int]:
    """How many real images there are here: as many as by default would take ten seconds to draw at each resolution."""
    assert EvaluationConfig().reference_scenes == module.REFERENCE_SCENES, "a folder is held against as many as a run"
    module._test_scenes.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "REFERENCE_SCENES", 100)
        yield 100
    module._test_scenes.cache_clear()


def draw(metadata: Metadata, seed: int, side: int = 64) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    scene = None
    while scene is None:
        scene = compose(metadata, NANO, rng)
    return torch.from_numpy(render(scene, side)).permute(2, 0, 1).contiguous()


@pytest.fixture
def prompts() -> list[Metadata]:
    chosen = {p["prompt"]: p for p in prompt_set(NANO, "test", 3)}
    return list(chosen.values())


@pytest.fixture
def folder(tmp_path: Path, prompts: list[Metadata]) -> Path:
    images = tmp_path / "images"
    images.mkdir()
    for number, metadata in enumerate(prompts):
        for image in range(PER_PROMPT):
            write_png(draw(metadata, image), str(images / f"{number:05d}_{image}.png"))
    (tmp_path / "prompts.jsonl").write_text("\n".join(json.dumps({**p, "rewritten": "x"}) for p in prompts))
    (tmp_path / "prompts.txt").write_text("\n".join(str(p["prompt"]) for p in prompts))
    return images


def values(*arguments: object) -> dict[str, float | None]:
    return {score.name: score.value for score in score_folder(*arguments)}  # type: ignore[arg-type]


def test_clean_renders_score_one_and_every_metric_that_applies_runs(folder: Path, foundation: Foundation) -> None:
    scores = values(folder, folder.parent / "prompts.jsonl", None, foundation, PER_PROMPT, None)
    assert scores["geneval/overall"] == 1.0 and scores["atoms/overall"] == 1.0
    assert {"frechet_distance", "kernel_distance", "clip_score/a", "clip_score/b"} <= scores.keys()
    assert not any(name.startswith(("diversity", "understanding")) for name in scores)


def test_another_resolution_is_judged_as_it_is(
    tmp_path: Path, prompts: list[Metadata], foundation: Foundation, few_real_scenes: int
) -> None:
    for number, metadata in enumerate(prompts):
        write_png(draw(metadata, 0, side=96), str(tmp_path / f"{number}.png"))
    lines = tmp_path / "p.jsonl"
    lines.write_text("\n".join(map(json.dumps, prompts)))
    scores = score_folder(tmp_path, lines, ["geneval", "distance"], foundation, 1, None)
    by_name = {score.name: score for score in scores}
    assert by_name["geneval/overall"].value == 1.0
    protocol = by_name["frechet_distance"].protocol
    assert protocol["resize"] == "bicubic, antialiased, to 64"
    # The real scenes are as large as the images, so that both go through the same resize.
    real = SceneSet(foundation.world, "test", few_real_scenes, 96).pixels
    assert protocol["reference"] == f"{few_real_scenes} real images, sha256 {fingerprint(real)}"


def test_official_folders_are_read_too(tmp_path: Path, prompts: list[Metadata], foundation: Foundation) -> None:
    images = (torch.stack([draw(metadata, seed) for seed in range(PER_PROMPT)]) for metadata in prompts)
    write_image_folder(tmp_path / "out", prompts, images)
    lines = tmp_path / "p.jsonl"
    lines.write_text("\n".join(map(json.dumps, prompts)))
    assert values(tmp_path / "out", lines, ["geneval"], foundation, PER_PROMPT, None)["geneval/overall"] == 1.0


def test_plain_texts_serve_clip_score_but_no_judge(folder: Path, foundation: Foundation) -> None:
    texts = folder.parent / "prompts.txt"
    assert "clip_score/a" in values(folder, texts, ["clip_score"], foundation, PER_PROMPT, None)
    with pytest.raises(ValueError, match="'geneval' needs prompts"):
        score_folder(folder, texts, ["geneval"], foundation, PER_PROMPT, None)


def test_detectors_score_under_their_own_names(folder: Path, foundation: Foundation) -> None:
    lines = folder.parent / "prompts.jsonl"
    nano, wide = Scenes(Scenes.Config(world="scenes-nano")), Scenes(Scenes.Config(world="scenes"))
    wide.name = "scenes-judge of eight shapes"
    rows = score_folder(folder, lines, ["geneval"], foundation, PER_PROMPT, None, [nano, wide])
    scores = {row.name: row for row in rows}
    assert scores["geneval/overall"].value == 1.0
    for name in ("scenes-judge", "scenes-judge of eight shapes"):
        assert scores[f"geneval[{name}]/overall"].value == 1.0
        assert scores[f"geneval[{name}]/correct_prompts"].n == len(rows[0].items) // PER_PROMPT
        assert scores[f"geneval[{name}]/overall"].protocol["name"] == f"GenEval-protocol, detector={name}"


def test_a_detector_alone_runs_no_other_metric_and_averages_three_ways(
    folder: Path, prompts: list[Metadata], foundation: Foundation
) -> None:
    lines = folder.parent / "prompts.jsonl"
    wrong = prompts[0]["tag"]
    empty = np.full((64, 64, 3), 128, dtype=np.uint8)
    write_png(torch.from_numpy(empty).permute(2, 0, 1).contiguous(), str(folder / "00000_0.png"))
    scores = values(folder, lines, None, foundation, PER_PROMPT, None, [Scenes(Scenes.Config(world="scenes-nano"))])
    images, same = PER_PROMPT * len(prompts), sum(p["tag"] == wrong for p in prompts)
    tasks = len({p["tag"] for p in prompts})
    assert all(name.startswith("geneval[scenes-judge]/") for name in scores)
    assert scores["geneval[scenes-judge]/correct_images"] == pytest.approx(1 - 1 / images)
    assert scores["geneval[scenes-judge]/overall"] == pytest.approx(1 - 1 / (PER_PROMPT * same) / tasks)
    assert scores["geneval[scenes-judge]/correct_prompts"] == 1.0


def test_the_command_writes_genevals_results_and_sums_them_up(folder: Path, prompts: list[Metadata]) -> None:
    """The file has the official evaluator's columns, one line an image, and its sum is the score that was printed."""
    grey = torch.full((3, 64, 64), 128, dtype=torch.uint8)
    write_png(grey, str(folder / "00000_0.png"))
    lines, file = folder.parent / "prompts.jsonl", folder.parent / "new" / "results.jsonl"
    scored = ["score", str(folder), "--prompts", str(lines), "--images-per-prompt", str(PER_PROMPT)]
    written = runner.invoke(
        app,
        [*scored, "--detector", "scenes world=scenes-nano", "--geneval-results", str(file), "--out", f"{file}.json"],
    )
    assert written.exit_code == 0, written.output
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert list(rows[0]) == ["filename", "tag", "prompt", "correct", "reason", "metadata", "details"]
    assert [row["filename"] for row in rows] == [str(path) for path in sorted(folder.glob("*.png"))]
    assert [row["correct"] for row in rows] == [False] + [True] * (len(rows) - 1)
    assert json.loads(rows[0]["metadata"])["prompt"] == rows[0]["prompt"] == prompts[0]["prompt"]
    scores = {score["name"]: score["value"] for score in json.loads(Path(f"{file}.json").read_text())}

    summary = runner.invoke(app, ["score", str(file)])
    assert summary.exit_code == 0, summary.output
    assert summary.stdout.startswith(f"results.jsonl: {len(rows)} images of {len(prompts)} prompts\n")
    assert f"overall          {scores['geneval[scenes-judge]/overall']:.5f}" in summary.stdout


def test_results_are_of_one_detector_and_a_results_file_takes_no_options(folder: Path) -> None:
    scored = ["score", str(folder), "--prompts", str(folder.parent / "prompts.jsonl"), "--images-per-prompt", "2"]
    for detectors in ([], ["--detector", "scenes", "--detector", "scenes"]):
        refused = runner.invoke(app, [*scored, *detectors, "--geneval-results", "results.jsonl"])
        assert refused.exit_code == 2 and "give --detector once" in refused.stderr
    refused = runner.invoke(app, ["score", "results.jsonl", "--geneval-results", "other.jsonl"])
    assert refused.exit_code == 2 and "with --prompts FILE" in refused.stderr
    assert runner.invoke(app, ["score", str(folder / "absent.jsonl")]).exit_code == 2


def test_a_detector_needs_metadata_and_the_judge_prompts_of_its_world(folder: Path, foundation: Foundation) -> None:
    scenes = Scenes(Scenes.Config())
    with pytest.raises(ValueError, match="'detector scenes-judge' needs prompts"):
        score_folder(folder, folder.parent / "prompts.txt", None, foundation, PER_PROMPT, None, [scenes])
    blank = torch.full((1, 3, 64, 64), 128, dtype=torch.uint8)
    benches = [
        {"tag": "colors", "include": [{"class": "bench", "count": 1, "color": "pink"}], "prompt": "a pink bench"}
    ]
    with pytest.raises(ValueError, match="knows no bench, pink: give the foundation"):
        GenEvalStyle(GenEvalStyle.Config(), foundation).score(Evidence(images=blank, prompts=benches))


def test_missing_surplus_and_misnamed_images_are_named(folder: Path, foundation: Foundation) -> None:
    lines = folder.parent / "prompts.jsonl"
    with pytest.raises(ValueError, match=r"lacks .* images: 00000_2\.png"):
        score_folder(folder, lines, None, foundation, PER_PROMPT + 1, None)
    with pytest.raises(ValueError, match=r"00000_1\.png belongs to no prompt"):
        score_folder(folder, lines, None, foundation, 1, None)
    (folder / "cover.png").write_bytes((folder / "00000_0.png").read_bytes())
    with pytest.raises(ValueError, match="name images by prompt number"):
        score_folder(folder, lines, None, foundation, PER_PROMPT, None)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [(lambda image: 255 - image, "the images are inverted"), (lambda image: image.flip(0), "red and blue exchanged")],
)
def test_images_saved_the_wrong_way_round_are_refused(folder: Path, foundation: Foundation, spoil, message) -> None:
    for path in folder.iterdir():
        write_png(spoil(read_image(str(path))), str(path))
    with pytest.raises(ValueError, match=message):
        score_folder(folder, folder.parent / "prompts.jsonl", ["geneval"], foundation, PER_PROMPT, None)


def test_wrong_colours_alone_are_not_taken_for_inverted(folder: Path, foundation: Foundation) -> None:
    for path in folder.iterdir():
        write_png(read_image(str(path))[[1, 2, 0]], str(path))
    score_folder(folder, folder.parent / "prompts.jsonl", ["geneval"], foundation, PER_PROMPT, None)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (
            Image.new("I;16", (64, 64)),
            "pixels of kind I;16, which have .*; save it again, as RGB with 8 bits",
        ),
        (Image.new("RGBA", (64, 64), (9, 9, 9, 0)), "has transparent pixels"),
    ],
)
def test_files_that_lose_something_in_rgb_are_refused(folder: Path, foundation: Foundation, image, message) -> None:
    image.save(folder / "00000_0.png")
    with pytest.raises(ValueError, match=message):
        score_folder(folder, folder.parent / "prompts.jsonl", ["geneval"], foundation, PER_PROMPT, None)


def test_images_of_zeros_and_ones_are_refused(folder: Path, foundation: Foundation) -> None:
    for path in folder.iterdir():
        write_png((read_image(str(path)) > 127).byte(), str(path))
    with pytest.raises(ValueError, match="no pixel is above 1 of 255"):
        score_folder(folder, folder.parent / "prompts.jsonl", ["geneval"], foundation, PER_PROMPT, None)


def test_unknown_metrics_and_files_are_named(folder: Path, foundation: Foundation) -> None:
    lines = folder.parent / "prompts.jsonl"
    with pytest.raises(ValueError, match="did you mean 'distance'"):
        score_folder(folder, lines, ["distances"], foundation, PER_PROMPT, None)
    with pytest.raises(ValueError, match="no such prompts file"):
        score_folder(folder, folder.parent / "absent.jsonl", None, foundation, PER_PROMPT, None)
    with pytest.raises(ValueError, match="no such folder"):
        score_folder(folder / "absent", lines, None, foundation, PER_PROMPT, None)


@pytest.mark.parametrize("bad", [torch.zeros(2, 3, 8, 8), torch.zeros(2, 1, 8, 8, dtype=torch.uint8)])
def test_what_is_no_batch_of_bytes_is_refused(bad: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="must be uint8"):
        Evidence(images=bad)


def test_images_and_prompts_must_pair_up() -> None:
    with pytest.raises(ValueError, match="1 images for 2 prompts"):
        Evidence(images=torch.zeros(1, 3, 8, 8, dtype=torch.uint8), captions=["a", "b"])


def test_two_names_of_one_image_are_refused(folder: Path, foundation: Foundation) -> None:
    (folder / "00000.png").write_bytes((folder / "00000_0.png").read_bytes())
    with pytest.raises(ValueError, match=r"00000\.png and .*00000_0\.png are the same image of prompt 0"):
        score_folder(folder, folder.parent / "prompts.jsonl", ["geneval"], foundation, PER_PROMPT, None)


class Blind(Detector):
    """Stands for a detector of photographs, which takes images of any sides."""

    name, thresholds = "blind", Thresholds()

    def __init__(self) -> None:
        pass

    def detect(self, images: torch.Tensor) -> list[dict[str, list[list[object]]]]:
        return [{} for _ in images]


def crop(folder: Path) -> None:
    for path in folder.iterdir():
        write_png(read_image(str(path))[:, :48].contiguous(), str(path))


@pytest.mark.parametrize("metrics", [None, ["geneval"], ["distance"], ["clip_score"]])
def test_images_that_are_not_square_are_refused(folder: Path, foundation: Foundation, metrics) -> None:
    crop(folder)
    with pytest.raises(ValueError, match=r"images are 64 x 48; make them square first"):
        score_folder(folder, folder.parent / "prompts.jsonl", metrics, foundation, PER_PROMPT, None)


def test_only_detectors_of_photographs_take_images_that_are_not_square(folder: Path, foundation: Foundation) -> None:
    crop(folder)
    lines, scenes = folder.parent / "prompts.jsonl", Scenes(Scenes.Config(world="scenes-nano"))
    with pytest.raises(ValueError, match="make them square first"):
        score_folder(folder, lines, None, foundation, PER_PROMPT, None, [scenes])
    assert score_folder(folder, lines, None, foundation, PER_PROMPT, None, [Blind()])


def test_black_images_are_wrong_and_no_mistake_in_saving(folder: Path, foundation: Foundation) -> None:
    for path in folder.iterdir():
        write_png(torch.zeros(3, 64, 64, dtype=torch.uint8), str(path))
    scores = values(folder, folder.parent / "prompts.jsonl", None, foundation, PER_PROMPT, None)
    # To the judge, an image that is black throughout is one large black square, and right where one is asked for.
    assert scores["geneval/overall"] < 0.1 and scores["frechet_distance"] > 0


def test_two_prompts_of_one_image_have_distances_without_an_error(tmp_path: Path, prompts, foundation) -> None:
    for number, metadata in enumerate(prompts[:2]):
        write_png(draw(metadata, 0), str(tmp_path / f"{number}.png"))
    lines = tmp_path / "p.jsonl"
    lines.write_text("\n".join(map(json.dumps, prompts[:2])))
    rows = {row.name: row for row in score_folder(tmp_path, lines, ["distance"], foundation, 1, None)}
    assert rows["frechet_distance"].value > 0 and rows["frechet_distance"].stderr is None


ODD = "a photo of a\u2028\x85\x0csquare"
CIRCLE = {"tag": "t", "include": [{"class": "circle", "count": 1}], "prompt": "a photo of a circle"}
LINES = [json.dumps(clause, ensure_ascii=False) for clause in (CIRCLE, CIRCLE | {"prompt": ODD})]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("prompts.txt", f"\ufeffa photo of a circle\r\n{ODD}\n\n"),
        ("prompts.jsonl", "\ufeff" + "\n".join(LINES)),
    ],
)
def test_prompts_end_at_line_breaks_only_and_a_byte_order_mark_is_no_text(tmp_path: Path, name: str, text: str) -> None:
    for number in range(2):
        write_png(torch.full((3, 8, 8), 9, dtype=torch.uint8), str(tmp_path / f"{number}.png"))
    (tmp_path / name).write_bytes(text.encode())
    read = read_evidence(tmp_path, tmp_path / name, 1)
    assert read.captions == ["a photo of a circle", ODD]
    (tmp_path / name).write_bytes(text.removeprefix("\ufeff").encode("utf-16"))
    with pytest.raises(ValueError, match=rf"{name} is not UTF-8"):
        read_evidence(tmp_path, tmp_path / name, 1)


@pytest.mark.parametrize(("orientation", "turn"), [(3, 180), (6, 90), (8, 270)])
@pytest.mark.parametrize("official", [False, True])
def test_pictures_are_turned_as_their_exif_entry_says(
    tmp_path: Path, prompts: list[Metadata], foundation: Foundation, orientation: int, turn: int, official: bool
) -> None:
    """A stored picture turned by so much, with the entry that turns it back: what GenEval's own evaluator looks at."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    images = torch.stack([draw(metadata, 0) for metadata in prompts])
    for number, image in enumerate(images):
        place = tmp_path / "i" / (f"{number:05d}/samples/00000.png" if official else f"{number}.png")
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy()).rotate(turn).save(place, exif=exif)
        if official:
            (place.parent.parent / "metadata.jsonl").write_text(json.dumps(prompts[number]))
    lines = tmp_path / "p.jsonl"
    lines.write_text("\n".join(map(json.dumps, prompts)))
    evidence = read_evidence(tmp_path / "i", lines, 1)
    assert evidence.images is not None
    assert torch.equal(evidence.images, images)
    assert values(tmp_path / "i", lines, ["geneval"], foundation, 1, None)["geneval/overall"] == 1.0


def test_a_reference_is_every_picture_that_training_reads(
    tmp_path: Path, foundation: Foundation, capsys: pytest.CaptureFixture[str]
) -> None:
    """Suffixes of any case, folders below, and kinds that training reads; other files are none."""
    names = ["0.jpg", "1.JPG", "2.jpeg", "3.PNG", "4.png", "5.webp", "6.WebP", "sub/7.png", "sub/8.jpg"]
    for number, name in enumerate(names):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        picture = Image.new("CMYK" if name == "0.jpg" else "RGB", (8, 8), (9 + number,) * 3)
        picture.save(tmp_path / name)
    for name in ("notes.txt", "._4.png", "Thumbs.db"):
        (tmp_path / name).write_bytes(b"x")
    read = read_reference(foundation, tmp_path, 8)
    assert len(read) == len(names)
    said = capsys.readouterr().err
    assert f"reference: 9 pictures of {tmp_path} (1 jpeg, 3 jpg, 3 png, 2 webp)" in said
    (tmp_path / "sub" / "9.bmp").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"9\.bmp: only jpg, jpeg, png, webp are read"):
        read_reference(foundation, tmp_path, 8)


def test_images_that_are_scored_may_be_of_every_kind_too(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("a\nb\nc\n")
    for number, name in enumerate(["0.JPG", "00001.webp", "2.PNG"]):
        Image.new("RGB", (8, 8), (40 * number + 9,) * 3).save(tmp_path / name)
    evidence = read_evidence(tmp_path, tmp_path / "p.txt", 1)
    assert evidence.images is not None
    assert [int(image.float().mean().round()) for image in evidence.images] == [9, 49, 89]
    Image.new("RGB", (8, 8)).save(tmp_path / "00000.png")
    with pytest.raises(ValueError, match="are the same image of prompt 0"):
        read_evidence(tmp_path, tmp_path / "p.txt", 1)


def unknown_to_evaluators(folder: Path) -> Path:
    """The prompts with a word that the evaluators' tokenizers do not have, where the judge reads metadata only."""
    file = folder.parent / "words.jsonl"
    lines = (folder.parent / "prompts.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    file.write_text("\n".join(json.dumps({**row, "prompt": f"{row['prompt']}, zebra"}) for row in rows))
    return file


def test_a_metric_that_refuses_loses_no_other_ones_scores(folder: Path) -> None:
    """By default that is said and well; of metrics asked for by name it is a mistake, after the scores are kept."""
    file, out = unknown_to_evaluators(folder), folder.parent / "scores.json"
    asked = ["score", str(folder), "--prompts", str(file), "--images-per-prompt", str(PER_PROMPT), "--out", str(out)]
    for named, code in (([], 0), (["--metrics", "geneval,clip_score"], 2)):
        done = runner.invoke(app, [*asked, *named])
        assert done.exit_code == code, done.output
        assert "geneval/overall" in done.stdout and "clip_score" not in done.stdout
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("not scored")]
        assert "not scored: clip_score: " in line and "zebra" in line
        rows = {row["name"]: row for row in json.loads(out.read_text())}
        assert rows["geneval/overall"]["value"] == 1.0
        assert rows["clip_score"]["value"] is None and "zebra" in rows["clip_score"]["protocol"]["not scored"]
    assert runner.invoke(app, [*asked, "--metrics", "clip_score"]).exit_code == 2
