"""The control for joint training: the same questions, and no gradient of generation in the backbone."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from unimm.arm import assemble
from unimm.components import Mix
from unimm.config import load
from unimm.strategies.joint import Joint
from unimm.strategies.understanding_only import UnderstandingOnly
from unimm.training.module import ArmModule, held
from unimm.training.step_data import step_data

ABLATIONS = Path(__file__).parents[2] / "ablations"
SMALL = ("profile=tiny", "data.train_scenes=16", "training.batch_size=4", "training.samples=16")
JOINT = Mix(train_backbone=True, generation_weight=1.0, understanding_weight=1.0)
WEIGHT = 0.5


class Trained(NamedTuple):
    """Two arms that differ in their strategy alone."""

    joint: ArmModule
    control: ArmModule


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    made = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNIMM_CACHE", str(tmp_path_factory.mktemp("cache")))
        for strategy in ("joint", "understanding_only"):
            weight = f"strategy.understanding_weight={WEIGHT}"
            config = load(ABLATIONS / "clip_fm_joint.yaml", [*SMALL, f"strategy={strategy}", weight])
            arm, cpu = assemble(config), torch.device("cpu")
            data = step_data(config, arm, cpu)
            arm.head.load_state_dict({k: v + 0.02 for k, v in arm.head.state_dict().items()})  # its output starts at 0
            made.append(ArmModule(arm.backbone, arm.head, arm.objective, arm.strategy.mix(), config.training, data))
    return Trained(*made)


def gradients(module: ArmModule, loss: Tensor) -> dict[str, Tensor]:
    """Those that a loss gives the parameters, by name; none of those that it does not reach."""
    module.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


def of_backbone(module: ArmModule, found: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without the queries."""
    own = {id(parameter) for parameter in module.backbone.core_parameters()}
    names = {name for name, parameter in module.named_parameters() if id(parameter) in own}
    return {name: gradient for name, gradient in found.items() if name in names}


def test_the_backbone_s_gradient_is_that_of_the_questions_alone(trained: Trained) -> None:
    module = trained.control
    asked = module.understanding_loss(0, 0)
    assert asked is not None
    alone = of_backbone(module, gradients(module, WEIGHT * asked))
    whole = of_backbone(module, gradients(module, module.losses(0)[0]))
    assert whole.keys() == alone.keys() and len(whole) > 10
    assert all(torch.equal(whole[name], alone[name]) for name in whole)
    assert not of_backbone(module, gradients(module, module.generation_loss(0)))
    other = of_backbone(trained.joint, gradients(trained.joint, trained.joint.losses(0)[0]))
    assert other.keys() >= whole.keys()
    assert not any(torch.allclose(whole[name], other[name], rtol=0.01) for name in whole if "layers.0" in name)


def test_head_and_queries_train_as_in_the_joint_arm(trained: Trained) -> None:
    """The same losses and the same gradients, but for rounding: the prompt has a pass of its own."""
    found = [gradients(module, module.losses(0)[0]) for module in trained]
    names = [name for name in found[0] if name.startswith("head.") or name == "backbone.queries"]
    assert "backbone.queries" in names and len(names) > 5
    joint, control = (torch.cat([own[name].flatten() for name in names]) for own in found)
    assert float((control - joint).norm()) < 1e-4 * float(joint.norm())
    joint, control = (own["backbone.queries"] for own in found)
    assert float((control - joint).norm()) < 1e-4 * float(joint.norm()) and float(joint.norm()) > 0
    (whole, own), (other, same) = (module.losses(1) for module in trained)
    torch.testing.assert_close(other, whole)
    assert torch.equal(same["understanding_loss"], own["understanding_loss"]), "the very same questions"


def test_all_of_the_backbone_still_trains(trained: Trained) -> None:
    module = trained.control
    module.losses(0)
    assert all(parameter.requires_grad for parameter in module.backbone.core_parameters())
    assert module.trained_state().keys() == trained.joint.trained_state().keys()


def test_what_was_frozen_before_stays_frozen_after() -> None:
    free, frozen = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1), requires_grad=False)
    with held([free, frozen]):
        assert not (free.requires_grad or frozen.requires_grad)
    assert free.requires_grad and not frozen.requires_grad


def test_the_mix_is_joint_s_but_for_the_gradient() -> None:
    assert Joint(Joint.Config()).mix() == JOINT and JOINT.generation_gradient, "joint arms are what they were"
    control = UnderstandingOnly(UnderstandingOnly.Config(understanding_samples=64, start="understanding"))
    assert control.mix() == JOINT._replace(understanding_samples=64, generation_gradient=False)
    assert control.start == "understanding"
