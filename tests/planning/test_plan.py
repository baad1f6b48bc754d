"""Plans of presets: published parameter counts from the meta device, memory and time that add up, clear mistakes."""

from __future__ import annotations

import json
import re
import resource

import pytest
from rich.console import Console
from typer.testing import CliRunner

from unimm.cli import app
from unimm.config import load
from unimm.planning.cli import PRESETS, find
from unimm.planning.devices import device
from unimm.planning.outline import outline
from unimm.planning.plan import ArmPlan, make_plan, parameters
from unimm.planning.show import facts, show
from unimm.planning.work import adapter_parameters, trained_backbone

# Millions: BLIP3-o's head and EVA-CLIP-E (paper, appendix; open_clip), Llama 3.2 1B and Qwen2.5-VL (their model cards),
# OpenCLIP's ViT-bigG (its image tower, without the projection), DC-AE f32c32, DINOv3-L, SigLIP 2's towers with their
# pooling, Qwen3 and Qwen2.5 (their model cards).
PUBLISHED = {
    "paper_ablation": {"encoder": 4351, "backbone": 1236, "head": 1362},
    "blip3o_4b": {"encoder": 4351, "backbone": 3755, "head": 1362},
    "blip3o_8b": {"encoder": 4351, "backbone": 8292, "head": 1365},
    "metaquery_like": {"encoder": 312, "backbone": 3755, "head": 1356},
    "emu2_like": {"encoder": 4351, "backbone": 1236, "head": 3.67},
    "seedx_like": {"encoder": 1843, "backbone": 1236, "head": 3.41},
    "raev2_like": {"encoder": 303.1, "backbone": 596},
    "diffusionbench_like": {"encoder": 92.9, "backbone": 596},
    "scale_rae_like": {"encoder": 428, "backbone": 1544},
    "blip3o_next_like": {"encoder": 312, "backbone": 596},
}
TARGETS = dict.fromkeys(PUBLISHED, (64, 1792)) | {
    "metaquery_like": (256, 32),
    "seedx_like": (64, 1664),
    "raev2_like": (256, 1024),
    "diffusionbench_like": (256, 768),
    "scale_rae_like": (256, 1152),
    "blip3o_next_like": (1024, 32),
}
# Heads of the last four are BLIP3-o's architecture at the published width and depth; Scale-RAE calls its own 2.4 B.
TRAINED = {
    "emu2_like": 1236 + 3.67,
    "seedx_like": 22.54 + 3.41 + 0.13,
    "raev2_like": 1047.8,
    "diffusionbench_like": 698.3,
    "scale_rae_like": 1543.7 + 2334.3,
    "blip3o_next_like": 596 + 1354.4,
}
runner = CliRunner()


@pytest.fixture(scope="module")
def paper() -> ArmPlan:
    return make_plan(load(PRESETS / "paper_ablation.yaml"), device("h100"), 8, None, utilisation=0.4)


@pytest.fixture(scope="module")
def small() -> ArmPlan:
    return make_plan(load(PRESETS.parent / "clip_fm.yaml"), device("a100"), 8, None, utilisation=0.4)


def test_every_preset_is_listed_here() -> None:
    assert {path.stem for path in PRESETS.glob("*.yaml")} == PUBLISHED.keys()


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_presets_have_the_published_sizes(name: str) -> None:
    arm = outline(load(PRESETS / f"{name}.yaml"))
    parts = parameters(arm)
    found = {part.name: (part.trained, part.frozen) for part in parts}
    for part, millions in PUBLISHED[name].items():
        own = max(found[part]) if part == "backbone" else sum(found[part])
        assert own / 1e6 == pytest.approx(millions, rel=0.002), part
    assert (arm.spec.tokens, arm.spec.channels) == TARGETS[name]
    trained = sum(part.trained for part in parts) / 1e6
    assert trained == pytest.approx(TRAINED[name] if name in TRAINED else PUBLISHED[name]["head"], rel=0.005)


@pytest.mark.slow
def test_the_papers_work(paper: ArmPlan) -> None:
    """EVA-CLIP-E on 1,025 tokens: 9.4 TFLOP; the head: 0.46, or 0.6 to 0.7 as quoted with recomputation."""
    assert paper.work.encoder == pytest.approx(9.4e12, rel=0.01)
    assert paper.work.head * 4 / 3 == pytest.approx(0.65e12, rel=0.1)
    assert paper.work.understanding == 0
    assert paper.work.encoding == paper.work.encoder + paper.work.cached


@pytest.mark.slow
def test_nothing_is_allocated(paper: ArmPlan) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    arm = outline(paper.config)
    for module in (arm.encoder, arm.language_model, arm.head):
        assert all(parameter.is_meta for parameter in module.parameters())
    weights = 7e9 * 4
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < weights / 100


def test_memory_adds_up(small: ArmPlan) -> None:
    trained, parts = sum(part.trained for part in small.parts), {part.name: part for part in small.parts}
    whole, split = small.replicated, small.sharded
    assert (whole.gradients, whole.optimiser, whole.average) == (4 * trained, 8 * trained, 4 * trained)
    copied = whole.weights - 4 * trained - 4 * parts["backbone"].frozen
    assert 2 * parts["head"].trained < copied < 2 * (parts["head"].trained + parts["backbone"].frozen)
    assert split.gradients == pytest.approx(whole.gradients / 8, rel=1e-5)
    assert split.activations == whole.activations == small.config.training.batch_size // 8 * sum(small.kept)
    assert whole.weights / 8 < split.weights < whole.weights
    assert 0 < small.fitting(whole) < small.fitting(split)


def test_time_adds_up(small: ArmPlan) -> None:
    flops = small.work.cached
    assert small.rate(flops) == pytest.approx(8 * 312e12 / flops)
    assert small.days(flops, 0.4) == pytest.approx(small.samples / small.rate(flops, 0.4) / 86_400)
    assert small.samples == small.config.training.samples


def test_smaller_types_and_adapters_take_less() -> None:
    config = load(PRESETS / "paper_ablation.yaml", ["backbone.lora.rank=8", "strategy=sequential_unfrozen"])
    arm = outline(config)
    adapters = trained_backbone(arm)
    assert adapters.trained == adapter_parameters(arm.language_model, 8, "all-linear")
    assert adapters.frozen == 1_235_814_400
    per_layer = (2048 + 2048) * 2 + (2048 + 512) * 2 + (2048 + 8192) * 3
    assert adapters.trained == 8 * 16 * per_layer
    assert adapter_parameters(arm.language_model, 8, ("q_proj", "self_attn.v_proj")) == 8 * 16 * (4096 + 2560)
    assert adapter_parameters(arm.language_model, 8, r".*\.down_proj") == 8 * 16 * (2048 + 8192)


@pytest.mark.slow
def test_the_table_says_what_it_assumes(paper: ArmPlan) -> None:
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    show(paper, console)
    text = console.export_text()
    assert "paper_ablation on 8 x NVIDIA H100 SXM 80 GB" in text
    for fragment in (
        "1,362.3",
        "989.5 TFLOP/s",
        "64 tokens x 1792 channels",
        "140 tokens on average",
        "at 40% of it",
        "448 pixels a side",
    ):
        assert fragment in text
    assert re.search(r"encoder\s+0\s+9,39\d", text)


def test_the_target_follows_the_sources_resolution() -> None:
    arms = [outline(load(PRESETS.parent / "vae_fm.yaml", [f"source.resolution={side}"])) for side in (64, 128)]
    assert [(arm.resolution, arm.spec.tokens) for arm in arms] == [(64, 16), (128, 64)]
    plans = [
        make_plan(load(PRESETS / "metaquery_like.yaml", [f"source.resolution={side}"]), device("h100"), 8, None, 0.4)
        for side in (256, 512)
    ]
    assert [(plan.resolution, plan.latents) for plan in plans] == [(256, (64, 32)), (512, (256, 32))]
    assert plans[1].work.encoder == pytest.approx(4 * plans[0].work.encoder, rel=0.05)
    with pytest.raises(ValueError, match=r"multiple of 32 pixels, not 500: source.resolution=480 or 512"):
        outline(load(PRESETS / "metaquery_like.yaml", ["source.resolution=500"]))


def test_its_facts_for_scripts_add_up(small: ArmPlan) -> None:
    found = facts(small)
    assert (found["name"], found["gpus"], found["latents"]) == ("clip_fm", 8, {"tokens": 16, "channels": 128})
    cached = found["flops_a_sample"]["latents_cached"]
    assert found["samples_a_second_at_peak"]["latents_cached"] == pytest.approx(8 * 312e12 / cached)
    assert found["days"]["latents_cached"] == pytest.approx(
        found["samples"] / found["samples_a_second"]["latents_cached"] / 86_400
    )
    memory = found["bytes_a_gpu"]["replicated"]
    assert memory["all"] == sum(memory[part] for part in small.replicated._fields)


def test_the_command_takes_files_presets_and_overrides() -> None:
    arm = str(PRESETS.parent / "clip_fm.yaml")
    result = runner.invoke(app, ["plan", arm, "training.batch_size=64", "--gpus", "2", "--samples", "123456"])
    assert result.exit_code == 0, result.output
    assert "123,456 samples" in result.stdout
    assert "32 on each GPU at a time (micro-batches: 1)" in result.stdout
    assert find("emu2_like") == PRESETS / "emu2_like.yaml"
    result = runner.invoke(app, ["plan", arm, "--samples", "123456", "--json"])
    assert json.loads(result.stdout)["samples"] == 123456


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        (["paper_ablatoin"], "presets: blip3o_4b"),
        (["absent.yaml"], "no such file"),
        (["paper_ablation", "--device", "h1000"], "did you mean 'h100'?"),
        (["paper_ablation", "--gpus", "3"], "cannot be split over 3 GPUs: choose a multiple of 3"),
        (
            ["paper_ablation", "training.gradient_accumulation_steps=4", "--gpus", "24"],
            "cannot be split over 24 GPUs x 4 micro-batches: choose a multiple of 96",
        ),
    ],
)
def test_mistakes(arguments: list[str], fragment: str) -> None:
    result = runner.invoke(app, ["plan", *arguments])
    assert result.exit_code == 2
    assert fragment in result.stderr.replace("\n", " ")
