"""`unimm export`: loads in a fresh process without the run, draws the same pixels, and notices damage."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from typer.testing import CliRunner

from unimm import UnimmPipeline
from unimm.cli import app
from unimm.components import Decoder
from unimm.export.export import export_run
from unimm.export.parts import write_parts
from unimm.export.sample import write_samples
from unimm.runs.run import Run

CIRCLE, SQUARES = "a photo of a red circle", "a photo of two blue squares"
FRESH = """
import sys
from unimm import UnimmPipeline
for model in sys.argv[3:]:
    UnimmPipeline.from_pretrained(model)(sys.argv[1], seed=int(sys.argv[2])).images[0].save(f"{model}.png")
"""


@pytest.fixture(scope="module")
def model(flow_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "clip_fm"
    export_run(flow_run, folder)
    return folder


@pytest.fixture(scope="module")
def pipeline(model: Path) -> UnimmPipeline:
    return UnimmPipeline.from_pretrained(model)


@pytest.mark.slow
def test_a_fresh_process_draws_what_sample_draws(flow_run: Path, regression_run: Path, tmp_path: Path) -> None:
    elsewhere, drawn = tmp_path / "elsewhere", {}
    elsewhere.mkdir()
    for model, run in (("flow", flow_run), ("regression", regression_run)):
        folder = Path(shutil.copytree(run, tmp_path / model / "run"))
        drawn[model] = write_samples(folder, [CIRCLE], [7], tmp_path / model / "drawn").files[0]
        export_run(folder, tmp_path / model / "exported")
        shutil.rmtree(folder)
        (tmp_path / model / "exported").rename(elsewhere / model)
    command = [sys.executable, "-c", FRESH, CIRCLE, "7", *drawn]
    env = {**os.environ, "UNIMM_CACHE": str(tmp_path / "none"), "HF_HUB_OFFLINE": "1"}
    subprocess.run(command, cwd=elsewhere, env=env, check=True, capture_output=True, timeout=280)
    for model, image in drawn.items():
        assert np.array_equal(np.asarray(Image.open(elsewhere / f"{model}.png")), np.asarray(Image.open(image))), model


def test_prompts_seeds_and_numbers_of_images(pipeline: UnimmPipeline) -> None:
    output = pipeline([CIRCLE, SQUARES], num_images=2, seed=5)
    assert output.prompts == [CIRCLE, CIRCLE, SQUARES, SQUARES]
    assert output.seeds == [5, 6, 5, 6]
    assert len({image.tobytes() for image in output.images}) == 4
    alone = pipeline(SQUARES, seed=6)
    assert alone.images[0].tobytes() == output.images[3].tobytes()


def test_batches_draw_the_same_but_for_rounding(pipeline: UnimmPipeline) -> None:
    one = pipeline([CIRCLE, SQUARES], seed=1).images
    both = pipeline([CIRCLE, SQUARES], seed=1, batch_size=2).images
    for single, batched in zip(one, both, strict=True):
        assert np.abs(np.asarray(single, dtype=int) - np.asarray(batched, dtype=int)).max() <= 1


def test_a_generator_moves_on_and_starts_again(pipeline: UnimmPipeline) -> None:
    generator = torch.Generator().manual_seed(3)
    first, second = pipeline(CIRCLE, generator=generator), pipeline(CIRCLE, generator=generator)
    again = pipeline(CIRCLE, generator=torch.Generator().manual_seed(3))
    assert first.seeds == again.seeds != second.seeds
    assert first.images[0].tobytes() == again.images[0].tobytes()
    assert pipeline(CIRCLE, seed=first.seeds[0]).images[0].tobytes() == first.images[0].tobytes()
    assert pipeline(CIRCLE).seeds != pipeline(CIRCLE).seeds


def test_guidance_and_steps_count_where_the_objective_has_them(
    pipeline: UnimmPipeline, regression_run: Path, tmp_path: Path
) -> None:
    default = pipeline(CIRCLE, seed=0).images[0].tobytes()
    assert pipeline(CIRCLE, seed=0, guidance=1.0).images[0].tobytes() != default
    assert pipeline(CIRCLE, seed=0, steps=5).images[0].tobytes() != default
    assert pipeline(CIRCLE, seed=0, guidance=3.0, steps=2).images[0].tobytes() == default
    export_run(regression_run, tmp_path / "model")
    regression = UnimmPipeline.from_pretrained(tmp_path / "model")
    for setting in ({"guidance": 2.0}, {"steps": 5}):
        with pytest.raises(ValueError, match=f"MeanSquaredError reads no {next(iter(setting))}"):
            regression(CIRCLE, seed=0, **setting)


def test_the_names_that_diffusers_has_are_the_same_settings(pipeline: UnimmPipeline) -> None:
    import inspect

    from diffusers import StableDiffusionPipeline

    theirs = {"guidance_scale": "guidance", "num_inference_steps": "steps", "num_images_per_prompt": "num_images"}
    assert set(theirs) <= set(inspect.signature(StableDiffusionPipeline.__call__).parameters)
    ours = pipeline(CIRCLE, seed=0, guidance=1.5, steps=3, num_images=2)
    same = pipeline(CIRCLE, seed=0, guidance_scale=1.5, num_inference_steps=3, num_images_per_prompt=2)
    assert [image.tobytes() for image in ours.images] == [image.tobytes() for image in same.images]
    for name, own in theirs.items():
        with pytest.raises(ValueError, match=f"{own} and {name} are the same setting: give one of them"):
            pipeline(CIRCLE, seed=0, **{name: 2, own: 2})


def test_devices_and_bad_arguments(pipeline: UnimmPipeline) -> None:
    assert pipeline.to("cpu") is pipeline
    assert pipeline.device == torch.device("cpu")
    with pytest.raises(ValueError, match="not both"):
        pipeline(CIRCLE, seed=0, generator=torch.Generator())
    with pytest.raises(ValueError, match="at least one prompt"):
        pipeline([])


@pytest.mark.parametrize(
    "name", ["head/model.safetensors", "backbone/model.safetensors", "scheduler/scheduler_config.json", "config.yaml"]
)
def test_truncated_altered_and_missing_files(name: str, model: Path, tmp_path: Path) -> None:
    shutil.copytree(model, tmp_path / "model")
    path = tmp_path / "model" / name
    whole = path.read_bytes()
    for broken in (whole[:-4], whole[:-4] + b"0000"):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match="truncated or altered") as caught:
            UnimmPipeline.from_pretrained(tmp_path / "model")
        assert name in str(caught.value)
    path.unlink()
    with pytest.raises(ValueError, match=f"{name} is missing"):
        UnimmPipeline.from_pretrained(tmp_path / "model")


def test_the_index_and_what_it_does_not_list(model: Path, tmp_path: Path) -> None:
    copy = tmp_path / "model"
    shutil.copytree(model, copy)
    (copy / "README.md").write_text("edited where it was published")
    (copy / ".gitattributes").write_text("*.safetensors filter=lfs\n")
    UnimmPipeline.from_pretrained(copy)
    (copy / "backbone" / "adapter_config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"adapter_config.json is not part of the model"):
        UnimmPipeline.from_pretrained(copy)
    index = json.loads((copy / "model_index.json").read_text())
    for change, message in (({"_class_name": "FluxPipeline"}, "holds a FluxPipeline"), ({"format": 9}, "newer")):
        (copy / "model_index.json").write_text(json.dumps(index | change))
        with pytest.raises(ValueError, match=message):
            UnimmPipeline.from_pretrained(copy)
    (copy / "model_index.json").write_text('{"files": ')
    with pytest.raises(ValueError, match=r"model_index\.json is cut short or no JSON"):
        UnimmPipeline.from_pretrained(copy)
    for folder, message in ((tmp_path / "absent", "no folder"), (tmp_path, "holds no exported model")):
        with pytest.raises(ValueError, match=message):
            UnimmPipeline.from_pretrained(folder)


def test_the_card(model: Path, flow_run: Path) -> None:
    card = (model / "README.md").read_text()
    _, front, body = card.split("---\n", 2)
    assert yaml.safe_load(front)["pipeline_tag"] == "text-to-image"
    assert {"clip", "flow_matching", "sequential"} <= set(yaml.safe_load(front)["tags"])
    result = json.loads((flow_run / "result.json").read_text())
    config = yaml.safe_load((flow_run / "config.yaml").read_text())
    overall = next(score for score in result["scores"] if score["name"] == "geneval/overall")
    assert config["question"] in body
    row = next(line for line in body.splitlines() if line.startswith("| GenEval tasks | overall"))
    assert f"{overall['value']:.3f}" in row
    assert f"| {overall['n']:,} |" in row
    assert f"{result['counts']['generation_samples']:,}" in body
    assert "One run with one seed" in body
    for name, protocol in ((score["name"], score["protocol"]) for score in result["scores"]):
        assert name in body
        assert all(str(key) in body for key in protocol)


def test_the_exported_files_are_readable_and_hold_no_pickles(model: Path) -> None:
    files = [path for path in model.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".json", ".jinja", ".md", ".safetensors", ".yaml"}
    assert len({path.stat().st_mode for path in files}) == 1


def test_a_folder_that_holds_something_is_refused(flow_run: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    result = CliRunner().invoke(app, ["export", str(flow_run), str(tmp_path)])
    assert result.exit_code == 2
    assert "not empty" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    (tmp_path / "empty").mkdir()
    assert CliRunner().invoke(app, ["export", str(flow_run), str(tmp_path / "empty")]).exit_code == 0
    assert (tmp_path / "empty" / "model_index.json").exists()
    index = json.loads((tmp_path / "empty" / "model_index.json").read_text())
    assert list(index["_code"]) == ["unimm"] and len(index["_code"]["unimm"]["files"]) == 16, "which code exported it"


def test_an_unfinished_run_leaves_nothing_behind(flow_run: Path, tmp_path: Path) -> None:
    shutil.copytree(flow_run, tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    result = CliRunner().invoke(app, ["export", str(tmp_path / "run"), str(tmp_path / "model")])
    assert result.exit_code == 2
    assert "unfinished" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_decoder_without_settings_says_what_it_lacks(flow_run: Path, tmp_path: Path) -> None:
    class Enlarge(Decoder):
        def decode(self, latents, noise, keys):
            raise NotImplementedError

    run = Run.finished(flow_run)
    parts = run.model().pipeline()
    parts.decoder = Enlarge()
    with pytest.raises(ValueError, match="Enlarge cannot be exported: give the class `settings`"):
        write_parts(parts, run.config, tmp_path)
