"""Velocity, data and noise predicted along one path: known optima, equal paths, right moments, diffusers' times."""

from __future__ import annotations

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from known_distributions import CONDITIONS, GAUSSIAN, KEYS, SHAPE, TWO, Known, World, fit, straight
from torch import Tensor

from unimm.noise import NoiseSource
from unimm.objectives.epsilon_prediction import EpsilonPrediction
from unimm.objectives.flow_matching import FlowMatching
from unimm.objectives.x_prediction import XPrediction

KINDS = {"v": FlowMatching, "x": XPrediction, "eps": EpsilonPrediction}
PLAIN = {"condition_dropout": 0.0, "guidance": 1.0, "shift": 1.0, "time_sampling": "uniform"}


def objective(kind: str, **changes) -> FlowMatching:
    cls = KINDS[kind]
    return cls(cls.Config(**PLAIN | changes))


def perfect(kind: str, world: World) -> Known:
    def predicted(noisy: Tensor, time: Tensor, _: Tensor) -> Tensor:
        x, eps = straight(world, noisy, time)
        return {"x": x, "eps": eps, "v": eps - x}[kind]

    return Known(predicted)


def least(time: Tensor, std: float) -> Tensor:
    """The variance of eps - x given x_t, where x has a standard deviation: what no predictor of the velocity beats."""
    seen, shared = ((1 - time) * std).square() + time.square(), time - (1 - time) * std**2
    return 1 + std**2 - shared.square() / seen


@pytest.mark.parametrize("kind", KINDS)
def test_the_perfect_predictor_has_the_least_loss_there_is(kind: str) -> None:
    tested, noise = objective(kind, **({} if kind == "v" else {"floor": 0.01})), NoiseSource(1, "t")
    loss = tested.loss(perfect(kind, GAUSSIAN), GAUSSIAN.draw(), CONDITIONS, noise, KEYS)
    time = tested.times(noise, KEYS, 1.0)
    assert float(loss) == pytest.approx(float(least(time, GAUSSIAN.std).mean()), rel=0.02)


@pytest.mark.parametrize("world", [GAUSSIAN, TWO], ids=["gaussian", "two"])
@pytest.mark.parametrize("kind", KINDS)
def test_training_leaves_the_perfect_predictor_where_it_is(kind: str, world: World) -> None:
    tested, head, latents = objective(kind), perfect(kind, world), world.draw()
    fit_to = NoiseSource(2, "t")
    at_best = tested.loss(head, latents, CONDITIONS, fit_to, KEYS)
    assert fit(head, lambda: tested.loss(head, latents, CONDITIONS, fit_to, KEYS)) == pytest.approx(
        float(at_best), rel=2e-3
    )
    assert abs(head.shift.item()) < 0.03 and abs(head.slope.item()) < 0.03


@pytest.mark.parametrize("world", [GAUSSIAN, TWO], ids=["gaussian", "two"])
@pytest.mark.parametrize("kind", KINDS)
def test_samples_of_the_perfect_predictor_have_the_data_s_moments(kind: str, world: World) -> None:
    floor = {} if kind == "v" else {"floor": 0.01}
    samples = objective(kind, steps=100, **floor).sample(
        perfect(kind, world), CONDITIONS, SHAPE, NoiseSource(3, "s"), KEYS
    )
    world.check(samples)


@pytest.mark.parametrize("world", [GAUSSIAN, TWO], ids=["gaussian", "two"])
@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_data_and_velocity_predictors_walk_the_same_path(world: World, shift: float) -> None:
    seen: dict[str, list[Tensor]] = {}
    for kind in ("v", "x"):
        head = perfect(kind, world)
        seen[kind] = path = []
        inner = head.function
        head.function = lambda noisy, time, c, inner=inner, path=path: (path.append(noisy), inner(noisy, time, c))[1]
        floor = {"floor": 0.001} if kind == "x" else {}
        path.append(
            objective(kind, steps=20, shift=shift, **floor).sample(head, CONDITIONS, SHAPE, NoiseSource(4, "s"), KEYS)
        )
    assert len(seen["v"]) == len(seen["x"]) == 21
    for ours, theirs in zip(seen["v"], seen["x"], strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_training_mixes_data_and_noise_as_diffusers_does(kind: str) -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000)
    latents, noise, given = TWO.draw(), NoiseSource(5, "t"), []
    head = Known(lambda noisy, time, _: (given.append((noisy, time)), torch.zeros_like(noisy))[1])
    objective(kind).loss(head, latents, CONDITIONS, noise, KEYS)
    (noisy, time), eps = given[0], noise.child("eps").normal(KEYS, SHAPE)
    scheduler.timesteps = torch.cat([scheduler.timesteps, time * 1000])
    scheduler.sigmas = torch.cat([scheduler.sigmas[:1000], time])
    torch.testing.assert_close(noisy, scheduler.scale_noise(latents, time * 1000, eps), atol=1e-6, rtol=1e-6)


def test_guidance_mixes_predictions_and_so_velocities() -> None:
    """A prediction is linear in the velocity, so that guiding one guides the other."""
    velocity = Known(lambda noisy, time, c: torch.tanh(noisy) + c.mean((1, 2))[:, None, None])
    data = Known(lambda noisy, time, c: noisy - time[:, None, None] * velocity.function(noisy, time, c))
    conditions = torch.ones_like(CONDITIONS)
    arguments = (conditions, SHAPE, NoiseSource(6, "s"), KEYS)
    ours = objective("x", guidance=2.5, steps=8, floor=0.001).sample(data, *arguments)
    torch.testing.assert_close(
        ours, objective("v", guidance=2.5, steps=8).sample(velocity, *arguments), atol=1e-4, rtol=1e-4
    )


def test_noise_prediction_never_divides_by_less_than_its_floor() -> None:
    tested, times = objective("eps", floor=0.1, steps=5), []
    head = Known(lambda noisy, time, _: (times.append(time), noisy)[1])
    tested.loss(head, TWO.draw(), CONDITIONS, NoiseSource(7, "t"), KEYS)
    tested.sample(head, CONDITIONS, SHAPE, NoiseSource(7, "s"), KEYS)
    assert float(torch.stack(times).max()) == pytest.approx(0.9, abs=1e-6)
