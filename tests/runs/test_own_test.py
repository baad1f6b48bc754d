"""A run on a test of the user's own: scenes as files give the world's own scores, foreign prompts what can be had."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torchvision.io import write_png

from unimm.config import load
from unimm.evaluation.geneval.prompts import metadata_text
from unimm.files import WEIGHTS
from unimm.report.study import page as study_page
from unimm.runs import job
from unimm.runs.record import Result
from unimm.runs.run import Run
from unimm.runs.scoring import Scored, score_run
from unimm.study.expand import expand_study
from unimm.study.layout import unit_folder

ROOT = Path(__file__).parents[2]
ARM = ROOT / "ablations" / "clip_fm.yaml"
CPU = torch.device("cpu")
SMALL = ("profile=tiny", "evaluation.metrics=[geneval,distance]", "evaluation.prompts_per_task=2")
EXACT = ("geneval/", "atoms/", "combinations/", "frechet_distance", "kernel_distance", "density", "coverage", "copies/")


def scored(folder: Path, *overrides: str) -> Scored:
    """Scores of an arm whose head is random, the same in every call."""
    run = Run(load(ARM, [*SMALL, *overrides]), folder, CPU)
    run.check()
    folder.mkdir()
    torch.manual_seed(5)
    for name, parameter in run.arm.head.named_parameters():
        parameter.data.add_(0.05 * torch.randn_like(parameter)) if "weight" in name else None
    parts = {"backbone": run.arm.backbone, "head": run.arm.head}
    values = {f"{part}.{name}": p for part, module in parts.items() for name, p in module.named_parameters()}
    save_file({name: values[name].detach().contiguous() for name in run.trained()}, folder / WEIGHTS)
    run.weights()
    return score_run(run)


def numbers(found: Scored) -> dict[str, tuple[float | None, Any]]:
    return {s.name: (s.value, s.items) for s in found.scores if s.name.startswith(EXACT)}


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Scored:
    return scored(tmp_path_factory.mktemp("own") / "run")


def test_the_scenes_as_files_give_the_runs_own_scores_to_the_bit(own: Scored, tmp_path: Path) -> None:
    run = Run(load(ARM, [*SMALL]), tmp_path / "none", CPU)
    (tmp_path / "prompts.jsonl").write_text(metadata_text([metadata for metadata, _ in run.benchmark.asked]))
    reference = run.benchmark.reference()
    assert reference is not None
    (tmp_path / "real").mkdir()
    for number, image in enumerate(reference):
        write_png(image, str(tmp_path / "real" / f"{number:04d}.png"))
    chosen = [
        f"evaluation.prompts={tmp_path / 'prompts.jsonl'}",
        f"evaluation.reference={tmp_path / 'real'}",
        "evaluation.judge=scenes",
    ]
    files = scored(tmp_path / "run", *chosen)
    assert numbers(files) == numbers(own) and len(numbers(own)) > 15
    assert torch.equal(files.images, own.images)
    for name in ("real", "decoder"):
        assert own.ceilings[name] == files.ceilings[name]
    floors = [{s.name: s.value for s in found.floors["shuffled_prompts"]} for found in (own, files)]
    assert floors[0] == floors[1]
    assert files.left_out == [
        "the learning curve is left out: there are no prompts but the test's; set evaluation.validation_prompts=FILE"
    ]
    assert own.left_out == [] and files.card is not None, "the world knows scenes for these prompts"
    assert files.answers is None and own.answers is not None, "questions need the world's own reference"


def labelled_photos(folder: Path) -> Path:
    """Pictures of COCO's things, said to be so: a random detector cannot know what they show."""
    generator = torch.Generator().manual_seed(0)
    names, colours, lines = ("dog", "cat", "bus"), ("red", "blue", "brown"), []
    for number in range(12):
        image = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8, generator=generator)
        write_png(image, str(folder / f"{number}.png"))
        a, b = number % 3, (number + 1) % 3
        objects = [
            {"class": names[a], "color": colours[a], "box": [2, 20, 20, 40]},
            {"class": names[b], "color": colours[b], "box": [40, 20, 60, 40]},
        ]
        lines.append(json.dumps({"file": f"{number}.png", "objects": objects}))
    (folder / "labels.jsonl").write_text("\n".join(lines))
    return folder / "labels.jsonl"


def random_judge(checkpoint: Callable[[str], Path], folder: Path, confidence: float = 0.3) -> list[str]:
    source, colours = checkpoint("mask2former"), checkpoint("colours_clip")
    above = f"{{confidence: {confidence}, counting: {max(confidence, 0.9)}}}"
    return [
        "evaluation.reference=none",
        f"evaluation.judge={{name: mask2former, source: {source}, colours: {colours}, thresholds: {above}}}",
        f"evaluation.judge_labels={labelled_photos(folder)}",
        "evaluation.metrics=[geneval]",
    ]


@pytest.mark.slow
def test_foreign_prompts_are_judged_by_the_chosen_judge_and_its_card(
    checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    from unimm.evaluation.geneval.prompts import generate_prompts

    (tmp_path / "few.jsonl").write_text(metadata_text(generate_prompts()[::60]))
    judge = random_judge(checkpoint, tmp_path)
    found = scored(tmp_path / "run", f"evaluation.prompts={tmp_path / 'few.jsonl'}", *judge)
    name = "mask2former/mask2former"
    by_name = {score.name: score for score in found.scores}
    assert f"geneval[{name}]/overall" in by_name and "geneval/overall" not in by_name
    assert {s.name for s in found.floors["shuffled_prompts"]} == by_name.keys()
    assert found.correct() == [
        bool(by_name[f"geneval[{name}]/{p['tag']}"].items[i]) for i, p in enumerate(found.prompts)
    ]  # type: ignore[index]
    card = found.judge_cards[name]
    assert card.pictures == 12 and card.needed == ["object", "count", "colour", "relation"]
    assert found.card is None, "no scene of the world fulfils these prompts"
    Result.model_validate_json(
        json.dumps(
            {
                **json.loads((ROOT / "tests/data/result_v1.json").read_text()),
                "judge_cards": {k: v.model_dump() for k, v in found.judge_cards.items()},
            }
        )
    )


TINIEST = [
    *("training.samples=32", "training.snapshots=0", "data.train_scenes=16", "evaluation.reference_scenes=16"),
    *("head.width=16", "head.layers=1", "head.heads=2", "sampling.decoder_steps=1"),
]
CLAIMS = """
alpha: 0.05
claims:
  - {id: higher, text: CLIP follows prompts better., kind: difference, role: primary, direction: higher,
     metric: "geneval[mask2former/mask2former]/overall", budget: generation_samples, smallest_effect: 0.03,
     contrast: {clip: 1, vae: -1}}
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("prompts", [12, pytest.param(553, marks=pytest.mark.repeat)])
def test_a_study_by_a_judge_that_fails_its_card_ends_in_untestable(
    checkpoint: Callable[[str], Path], tmp_path: Path, prompts: int
) -> None:
    """Two arms and two seeds on official prompts, with a Mask2Former of random weights; 553 are all of them.

    So sure must it be that it names no colours, which would take most of the time.
    """
    from unimm.evaluation.geneval.prompts import generate_prompts

    official = generate_prompts()
    (tmp_path / "few.jsonl").write_text(metadata_text(official[:: len(official) // prompts]))
    asked = "geneval" if prompts == len(official) else str(tmp_path / "few.jsonl")
    settings = [
        f"evaluation.prompts={asked}",
        *random_judge(checkpoint, tmp_path, 0.999),
        "evaluation.images_per_prompt=1",
    ]
    (tmp_path / "claims.yaml").write_text(CLAIMS)
    study = tmp_path / "own.yaml"
    content = {
        "question": "Which features follow prompts?",
        "profile": "tiny",
        "seeds": 2,
        "arms": {"start": str(ARM), "grid": {"encoder": ["clip", "vae"]}},
        "overrides": [*settings, *TINIEST],
        "claims": "claims.yaml",
    }
    study.write_text(json.dumps(content))
    plan = expand_study(study)
    folder = tmp_path / "study"
    folder.mkdir()
    (folder / "plan.json").write_text(json.dumps(plan.content()))
    for unit in plan.units:
        config = load_arm(plan.arms[unit.arm].config, unit.number)
        job.run(config, unit_folder(folder, unit))
    report = study_page.build(folder)
    (answer,) = report.answers
    assert not report.study.missing
    assert answer.verdict.outcome.value == "untestable" and answer.effect == answer.interval == ""
    assert answer.sentence.startswith("Not tested: guard judge_card: mask2former/mask2former fails its card (")
    assert "object 0.50" in answer.sentence


def load_arm(config: dict[str, Any], seed: int) -> Any:
    from unimm.schema import RunConfig

    return RunConfig.model_validate({**config, "seed": seed})
