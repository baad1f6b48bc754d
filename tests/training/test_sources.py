"""Training data from tars: the same as from scenes where the tars hold scenes, and questions about its own images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from unimm.arm import Arm, assemble
from unimm.config import load
from unimm.curation.pack import pack, scene_samples
from unimm.schema import RunConfig
from unimm.training.step_data import DESCRIBE, StepData, step_data

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
SIZE = 48
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    patch = pytest.MonkeyPatch()
    patch.setenv("UNIMM_CACHE", str(tmp_path_factory.mktemp("cache")))
    yield tmp_path_factory.mktemp("data")
    patch.undo()


@pytest.fixture(scope="module")
def tars(cache: Path) -> Path:
    from unimm.scenes.world import world

    pack(scene_samples(world("scenes-nano"), "train", SIZE, 64, "png"), cache / "tars", 20, SIZE)
    return cache / "tars"


def arm_of(name: str, *overrides: str) -> tuple[RunConfig, Arm]:
    settings = ["profile=tiny", "training.samples=96", f"data.train_scenes={SIZE}", "data.long_caption_share=0.5"]
    config = load(ROOT / "ablations" / f"{name}.yaml", [*settings, *overrides])
    return config, assemble(config)


@pytest.fixture(scope="module")
def joint(cache: Path) -> tuple[RunConfig, Arm]:
    return arm_of("clip_fm_joint", "strategy.understanding_samples=96")


def data_from(joint: tuple[RunConfig, Arm], **source: object) -> StepData:
    config, arm = joint
    changed = RunConfig.model_validate({**config.model_dump(), "source": source})
    return step_data(changed, arm, CPU)


@pytest.mark.parametrize("latents", ["cache", "encode"])
def test_tars_of_scenes_are_trained_on_as_scenes_are(joint: tuple[RunConfig, Arm], tars: Path, latents: str) -> None:
    scenes = data_from(joint, name="scenes")
    packed = data_from(joint, name="shards", path=str(tars), latents=latents)
    kinds = set()
    for step in range(6):
        expected, actual = scenes.generation(step), packed.generation(step)
        assert actual[0] == expected[0]
        assert torch.allclose(actual[1], expected[1], atol=1e-4)
        assert actual[2] == expected[2] == list(range(16 * step, 16 * step + 16))
        kinds |= {caption.kind for caption in packed.seen.captions}
        assert len({caption.kind for caption in packed.seen.captions}) == 1
    assert kinds == {"short", "long"}


def answers_of(arm: Arm, rows: list) -> list[tuple[str, str]]:  # type: ignore[type-arg]
    """(prompt without image placeholders, answer) of rows."""
    decode = arm.backbone.tokenizer.decode
    pairs = ((decode(row.ids[: -row.answer]), decode(row.ids[-row.answer :])) for row in rows)
    return [(prompt.replace("<|image|> ", ""), answer.removesuffix(" <|im_end|>")) for prompt, answer in pairs]


def test_captions_describe_images_of_the_source_between_questions_about_scenes(
    joint: tuple[RunConfig, Arm], tars: Path
) -> None:
    arm = joint[1]
    packed = data_from(joint, name="shards", path=str(tars), latents="encode")
    scenes = data_from(joint, name="scenes")
    longs = {sample.long: index for index, sample in enumerate(scenes.visits.source.scenes.samples)}  # type: ignore[attr-defined]
    eyes = arm.backbone.image_encoder(arm.foundation, arm.encoder)
    described = 0
    for step in range(6):
        rows, tokens = packed.understanding(step)
        assert tokens is not None
        assert len(rows) == len(tokens) == 16
        own = (16 * (step + 1)) // 5 - 16 * step // 5
        described += own
        for (prompt, answer), shown in zip(answers_of(arm, rows)[-own:], tokens[-own:], strict=True):
            assert DESCRIBE in prompt
            image = scenes.visits.source.image(longs[answer])[None].float() / 255  # type: ignore[attr-defined]
            assert torch.allclose(shown, eyes.encode(image)[0], atol=1e-4)
    assert described == 96 // 5


def test_questions_of_the_source_replace_those_about_scenes(joint: tuple[RunConfig, Arm], tars: Path) -> None:
    arm = joint[1]
    packed = data_from(joint, name="shards", path=str(tars), questions="questions", latents="cache")
    texts = [packed.visits.source.texts(index) for index in range(SIZE)]  # type: ignore[attr-defined]
    asked = {pair for each in texts for pair in each.questions}
    longs = {each.long[0] for each in texts}
    anew = data_from(joint, name="shards", path=str(tars), questions="questions")
    kinds = []
    for step in range(6):
        rows, tokens = packed.understanding(step)
        assert rows == anew.understanding(step)[0]
        assert tokens is not None
        for prompt, answer in answers_of(arm, rows):
            question = prompt.removeprefix("<|im_start|> user ").partition(" <|im_end|>")[0]
            kinds.append(question == DESCRIBE)
            assert answer in longs if question == DESCRIBE else (question, answer) in asked
    assert sum(kinds) == 96 // 5
