"""What a run is tested with: the world's own test, others as chosen, and what a choice cannot answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision.io import write_png

from unimm.analysis.judging import failures
from unimm.config import ConfigError, load
from unimm.evaluation import benchmark
from unimm.evaluation.benchmark import Benchmark
from unimm.evaluation.geneval.prompts import generate_prompts, metadata_text
from unimm.foundation.folder import Foundation
from unimm.schema import EvaluationConfig, check_chosen

ARM = Path(__file__).parents[2] / "ablations" / "clip_fm.yaml"
DOGS = [
    {"tag": "single_object", "include": [{"class": name, "count": 1}], "prompt": f"a photo of a {name}"}
    for name in ("dog", "cat")
]


@pytest.fixture(scope="module")
def foundation() -> Foundation:
    return Foundation("scenes-nano")


def chosen(foundation: Foundation, **settings: Any) -> Benchmark:
    return Benchmark(
        EvaluationConfig.model_validate({"prompts_per_task": 2, "combination_prompts": 1, **settings}), foundation
    )


def test_the_worlds_own_test_is_what_it_was(foundation: Foundation) -> None:
    test = chosen(foundation)
    prompts, keys = test.test()
    assert len(prompts) == len(keys) == 6 * 2 * 2 + 2
    assert keys[:3] == ["0/0", "0/1", "1/0"] and keys[-1] == "13/0"
    assert test.knows_prompts and test.asks_questions and not test.left_out
    assert [type(metric).__name__ for metric in test.metrics][:2] == ["GenEvalStyle", "ImageDistance"]
    assert chosen(foundation, prompts="scenes", reference="scenes").test()[0] == prompts


def test_unset_choices_are_not_stored() -> None:
    """Configurations of before have none of them, and mean the same."""
    assert not {"prompts", "judge", "clip"} & EvaluationConfig().model_dump().keys()
    stored = EvaluationConfig(prompts="geneval", judge="scenes").model_dump()
    assert stored["prompts"] == "geneval" and [judge["name"] for judge in stored["judge"]] == ["scenes"]


def test_official_prompts_are_whole_and_curves_use_others(foundation: Foundation) -> None:
    test = chosen(foundation, prompts="geneval", images_per_prompt=1, reference="none")
    prompts, _ = test.test()
    assert prompts == generate_prompts() and len(prompts) == 553
    validation = test.validation(3)
    assert not {m["prompt"] for m in validation} & {m["prompt"] for m in prompts}
    assert {m["tag"] for m in validation} == {"two_object", "counting", "colors", "position", "color_attr"}
    left = " ".join(test.left_out)
    assert "geneval is left out: the judge of scenes-nano knows no" in left
    assert "distance is left out: there are no real images" in left
    assert "understanding is left out: its questions are about the embedded world's scenes" in left
    assert "clip_score is left out: clip_score: the evaluators were trained on scenes" in left
    assert test.metrics == [] and not test.knows_prompts


def test_a_test_by_which_nothing_can_be_scored_is_refused(foundation: Foundation) -> None:
    with pytest.raises(ValueError, match="nothing is left that could score the run: geneval is left out"):
        chosen(foundation, prompts="geneval", reference="none").check(torch.nn.Linear(1, 1))


def test_texts_alone_leave_judges_out(foundation: Foundation, tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("a red circle\na blue square\n")
    test = chosen(foundation, prompts=str(tmp_path / "p.txt"), metrics=["geneval", "clip_score"])
    assert [type(metric).__name__ for metric in test.metrics] == ["ClipScore"]
    assert test.left_out == [
        "geneval is left out: prompts are texts alone, which do not say what an image has to "
        "show; give GenEval metadata (.jsonl)"
    ]


def test_a_file_needs_a_second_one_for_curves(foundation: Foundation, tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text(metadata_text(DOGS[:1]))
    (tmp_path / "v.jsonl").write_text(metadata_text(DOGS))
    prompts = {"prompts": str(tmp_path / "p.jsonl"), "metrics": ["geneval", "distance"], "judge": {"name": "scenes"}}
    assert chosen(foundation, **prompts).validation(5) == []
    with pytest.raises(ValueError, match="validation_prompts: 'a photo of a dog' is a prompt of the test"):
        chosen(foundation, **prompts, validation_prompts=str(tmp_path / "v.jsonl")).check(torch.nn.Linear(1, 1))


def test_pictures_of_a_folder_or_of_tars_are_the_reference(foundation: Foundation, tmp_path: Path) -> None:
    for number in range(12):
        write_png(torch.full((3, 64, 64), number, dtype=torch.uint8), str(tmp_path / f"{number:02d}.png"))
    read = chosen(foundation, reference=str(tmp_path), reference_scenes=6).reference()
    assert read is not None and read[:, 0, 0, 0].tolist() == [0, 2, 4, 6, 8, 10], "evenly among all, in order"
    (tmp_path / "few").mkdir()
    write_png(torch.zeros(3, 8, 8, dtype=torch.uint8), str(tmp_path / "few" / "0.png"))
    with pytest.raises(ValueError, match="few has 1 images, and distances need 6"):
        chosen(foundation, reference=str(tmp_path / "few")).check(torch.nn.Linear(1, 1))
    with pytest.raises(ValueError, match=r"evaluation\.reference: no folder"):
        chosen(foundation, reference=str(tmp_path / "absent")).reference()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"validation_prompts": "v.jsonl"}, "validation_prompts, as prompts are not of a file"),
        ({"judge_labels": "l.jsonl"}, "judge_labels, as there is no judge to try"),
        ({"judge": "scenes", "metrics": ["distance"]}, "judge, as metrics have no geneval"),
        ({"clip": "open_clip:x", "metrics": ["geneval"]}, "clip, as metrics have no clip_score"),
        ({"clip": "some/folder"}, "write open_clip:DIR"),
        ({"judge": "scnes"}, "did you mean 'scenes'"),
    ],
)
def test_a_choice_that_nothing_reads_is_an_error(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EvaluationConfig.model_validate(settings)


def test_other_images_than_scenes_must_choose_their_test() -> None:
    source = ["profile=tiny", "source=folder", "source.path=x"]
    with pytest.raises(
        ValueError, match=r"source=folder shows other images.*set evaluation.prompts and evaluation.refer"
    ):
        check_chosen(load(ARM, source))
    with pytest.raises(ValueError, match=r"set evaluation.reference \(prompts: a file, geneval or scenes"):
        check_chosen(load(ARM, [*source, "evaluation.prompts=scenes"]))
    check_chosen(load(ARM, [*source, "evaluation.prompts=scenes", "evaluation.reference=scenes"]))
    check_chosen(load(ARM, ["profile=tiny", "source=degraded_scenes"]))
    mixed = [
        "source=mixture",
        "source.parts=[{weight: 1, source: scenes}, {weight: 1, source: {name: folder, path: x}}]",
    ]
    with pytest.raises(ValueError, match="source=mixture shows other images"):
        check_chosen(load(ARM, ["profile=tiny", *mixed]))


@pytest.mark.parametrize(
    ("judge", "message"),
    [
        (
            "{name: mask2former, colours: x, sorce: y}",
            r"judge\.0\.sorce: judge mask2former reads no 'sorce'; did you mean",
        ),
        ("[scenes, {name: scenes, wrld: x}]", r"judge\.1\.wrld: judge scenes reads no 'wrld'; did you mean 'world'"),
        (
            "{name: mask2former, source: x, colours: y, thresholds: {confidnce: 0.2}}",
            "thresholds of judge mask2former reads no 'confidnce'; did you mean 'confidence'",
        ),
        ("{name: mask2former, source: x}", r"evaluation\.judge\.0\.colours: is required; set it$"),
    ],
)
def test_mistakes_in_a_judges_settings_say_the_key(judge: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(ARM, ["profile=tiny", f"evaluation.judge={judge}"])


def test_a_judge_of_another_world_and_two_of_one_name_are_refused(foundation: Foundation) -> None:
    with pytest.raises(ValueError, match="world=scenes, and the run's foundation is of scenes-nano"):
        chosen(foundation, judge={"name": "scenes", "world": "scenes"}).judging  # noqa: B018
    with pytest.raises(ConfigError, match="judge"):
        load(ARM, ["profile=tiny", "evaluation.judge={name: mask2former}"])


def test_labels_file_is_read_before_training(foundation: Foundation, checkpoint: Any, tmp_path: Path) -> None:
    (tmp_path / "labels.jsonl").write_text(json.dumps({"file": "absent.png", "objects": [{"class": "dog"}]}))
    judge = {
        "name": "mask2former",
        "source": str(checkpoint("mask2former")),
        "colours": str(checkpoint("colours_clip")),
    }
    settings = {"prompts": "geneval", "judge": judge, "judge_labels": str(tmp_path / "labels.jsonl")}
    with pytest.raises(ValueError, match=r"no picture 'absent\.png'"):
        chosen(foundation, **settings).check(torch.nn.Linear(1, 1))


def labelled(folder: Path, *lines: dict[str, Any]) -> str:
    write_png(torch.zeros(3, 8, 8, dtype=torch.uint8), str(folder / "0.png"))
    write_png(torch.zeros(3, 8, 8, dtype=torch.uint8), str(folder / "1.png"))
    (folder / "labels.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return str(folder / "labels.jsonl")


def test_labels_that_say_nothing_of_who_scores_are_refused_before_training(
    foundation: Foundation, checkpoint: Any, tmp_path: Path
) -> None:
    """Those with words that a judge lacks, those without two captions to choose from, and those that nothing reads."""
    unseen = [{"file": f"{n}.png", "objects": [{"class": name}]} for n, name in enumerate(("yeti", "dog"))]
    folders = {"source": str(checkpoint("mask2former")), "colours": str(checkpoint("colours_clip"))}
    judge = {"prompts": "geneval", "judge": {"name": "mask2former", **folders}}
    with pytest.raises(ValueError, match=r"knows no yeti, which 2 pictures by labels\.jsonl"):
        chosen(foundation, **judge, judge_labels=labelled(tmp_path, *unseen)).check(torch.nn.Linear(1, 1))
    whole = [{"file": f"{n}.png", "correct": n == 0, **DOGS[0]} for n in range(2)]
    clip = {"metrics": ["clip_score"], "clip": f"open_clip:{checkpoint('colours_clip')}"}
    with pytest.raises(ValueError, match="no captions that differ in one fact"):
        chosen(foundation, **clip, judge_labels=labelled(tmp_path, *whole)).check(torch.nn.Linear(1, 1))
    with pytest.raises(ValueError, match=r"evaluation\.judge_labels: nothing reads it, as the scenes' judge"):
        chosen(foundation, judge="scenes", judge_labels=labelled(tmp_path, *whole)).check(torch.nn.Linear(1, 1))


def test_the_clip_that_a_run_brings_has_a_card(foundation: Foundation, checkpoint: Any) -> None:
    """On scenes, as its prompts are of them; one of random weights guesses."""
    settings = {"metrics": ["clip_score"], "clip": f"open_clip:{checkpoint('colours_clip')}"}
    cards = chosen(foundation, **settings).cards()
    card = cards["own CLIP"]
    assert card.source.startswith("120 test scenes") and card.needed == ["object", "count", "colour", "relation"]
    assert len(failures(card)) >= 3, "a kind may come out well by luck"
    assert cards.keys() == {"own CLIP"}, "it takes the place of the foundation's"


def test_the_foundations_evaluators_are_tried_where_they_score(
    foundation: Foundation, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tried: list[list[str]] = []
    monkeypatch.setattr(benchmark, "evaluators_cards", lambda _, needed: tried.append(needed) or {})
    chosen(foundation).cards()
    (tmp_path / "p.txt").write_text("a red circle\n")
    chosen(foundation, prompts=str(tmp_path / "p.txt"), metrics=["clip_score"]).cards()
    assert tried == [["object", "count", "colour", "relation"], []], "texts alone do not say what they ask about"
    chosen(foundation, metrics=["geneval", "distance"]).cards()
    chosen(foundation, prompts="geneval", reference=str(tmp_path), metrics=["distance"]).cards()
    assert len(tried) == 2
