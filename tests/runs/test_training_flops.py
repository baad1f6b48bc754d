"""FLOPs of training: what one pass of each kind costs, times how many a run made, is what all its steps cost."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from flops_formula import Attention, Projection, analytic_flops

from unimm.arm import assemble, open_source
from unimm.config import load
from unimm.flops import count_flops, weights
from unimm.runs.cost import between_whole, efficiency, training_flops
from unimm.runs.record import Efficiency
from unimm.training.module import ArmModule
from unimm.training.passes import PassLog
from unimm.training.step_data import step_data

ABLATIONS = Path(__file__).parents[2] / "ablations"
CPU = torch.device("cpu")
STEPS, BATCH = 24, 4
assembled = pytest.mark.slow  # a tiny foundation is made first


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNIMM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def module_of(arm: str, seed: int, *overrides: str) -> ArmModule:
    settings = [f"seed={seed}", f"training.samples={STEPS * BATCH}", f"training.batch_size={BATCH}", *overrides]
    config = load(ABLATIONS / f"{arm}.yaml", ["profile=tiny", "training.device=cpu", *settings])
    built = assemble(config)
    data = step_data(config, built, CPU, open_source(config, built.foundation))
    built.backbone.forget()  # as after training: the prompts' pass counts, whatever a cache saved
    return ArmModule(built.backbone, built.head, built.objective, built.strategy.mix(), config.training, data)


def spent(module: ArmModule) -> Efficiency:
    """`efficiency` of a run; sampling is not what is tested."""

    def nothing(prompts: list[str], keys: list[str], noise: object) -> None:
        torch.ones(1, 1) @ torch.ones(1, 1)

    return efficiency(module, nothing, ["a"], 0)  # type: ignore[arg-type]


def all_steps(module: ArmModule) -> int:
    """FLOPs of every step of a run, each counted as it is trained; the run notes its passes meanwhile."""
    total = 0
    for number in range(STEPS):
        total += count_flops(lambda number=number: module.losses(number)[0].backward())  # type: ignore[misc]
    module.zero_grad(set_to_none=True)
    return total


@assembled
@pytest.mark.parametrize("arm", ["clip_fm", "clip_fm_joint"])
def test_the_figure_is_what_all_steps_together_cost(arm: str) -> None:
    module = module_of(arm, 0, "data.long_caption_share=0.3")
    whole = all_steps(module)
    found = spent(module)
    assert found.train_flops == pytest.approx(whole, rel=0.003)
    assert found.train_flops == pytest.approx(sum(made.samples * made.flops for made in found.passes), rel=1e-9)
    assert {made.kind for made in found.passes} >= {"generation: long", "generation: short"}
    generation = [made for made in found.passes if made.kind.startswith("generation")]
    assert sum(made.samples for made in generation) == STEPS * BATCH
    assert all(p.grad is None for p in module.parameters())


@assembled
def test_equal_configurations_differ_by_their_counts_alone() -> None:
    """The same passes noted in runs of two seeds give the same figure to the bit, whatever their first steps were."""
    modules = [module_of("clip_fm_joint", seed, "data.long_caption_share=0.3") for seed in (0, 1)]
    for module in modules:
        module.data.passes.generation(["short"] * 9, 12)
        module.data.passes.generation(["long"], 60)
        module.data.passes.understanding("short rows", 5, 30, 2)
    first, second = (spent(module) for module in modules)
    assert (first.train_flops, first.passes) == (second.train_flops, second.passes)
    short, long = (
        next(made.flops for made in first.passes if made.kind.endswith(kind)) for kind in (": short", ": long")
    )
    (row,) = (made.flops for made in first.passes if made.kind.startswith("understanding"))
    assert first.train_flops_per_sample == pytest.approx((9 * short + long + 5 * row) / 10)


@assembled
def test_a_longer_caption_costs_what_the_formula_says() -> None:
    """Joint training, where the whole sequence goes forwards and backwards: 48 more tokens in the language model."""
    module = module_of("clip_fm_joint", 0)
    module.data.passes.generation(["short"], 12)
    module.data.passes.generation(["long"], 60)
    long, short = training_flops(module)
    model: Any = module.backbone.model
    sizes = model.config
    layer = weights(model.model.layers)

    def formula(caption: int) -> int:
        tokens = caption + len(module.backbone.queries)
        width = sizes.num_attention_heads * sizes.head_dim
        attentions = [Attention(1, tokens, tokens, width)] * sizes.num_hidden_layers
        return analytic_flops([Projection(layer, tokens)], attentions, training=True)

    assert long.flops - short.flops == pytest.approx(formula(60) - formula(12), rel=0.02)


def test_a_mean_length_lies_between_whole_ones() -> None:
    def count(length: int, answer: int) -> float:
        return 3 * length + 10 * answer

    assert between_whole(count, 4.25, 2.5) == pytest.approx(3 * 4.25 + 10 * 2.5)
    assert between_whole(count, 4, 2) == 32


def test_the_log_of_passes_survives_a_checkpoint() -> None:
    log, again = PassLog(), PassLog()
    log.generation(["short", "plain"], 12)
    log.understanding("long rows", 3, 70, 40)
    again.restore(log.state())
    log.generation(["short"], 14)
    again.generation(["short"], 14)
    assert again.passes == log.passes
    assert [tuple(made) for made in log.passes] == [
        ("generation: plain", 1, 12.0, 0.0),
        ("generation: short", 2, 13.0, 0.0),
        ("understanding: long rows", 3, 70.0, 40.0),
    ]


@assembled
def test_a_run_of_a_version_that_noted_no_passes_is_counted_on_its_first_step() -> None:
    module = module_of("clip_fm", 0)
    found = spent(module)
    assert sum(made.samples for made in found.passes) == STEPS * BATCH and found.train_flops > 0
