"""Likelihoods: a head of constants reaches the entropy of known distributions, and its samples have their moments."""

from __future__ import annotations

import math
from typing import Any

import pydantic
import pytest
import torch
from known_distributions import CONDITIONS, GAUSSIAN, KEYS, SHAPE, TWO, Constant, World, fit
from torch.distributions import Categorical, MixtureSameFamily, Normal

from unimm.noise import NoiseSource
from unimm.objectives.likelihood import Gaussian, Mixture

NOISE = NoiseSource(1, "t")


def mixture(**changes: Any) -> Mixture:
    return Mixture(Mixture.Config(**{"components": 2, "of": "token", "floor": 0.01} | changes))


def entropy(world: World, values: torch.Tensor) -> float:
    """Of the values drawn, which no density beats by more than chance."""
    parts = Normal(torch.tensor(world.means), torch.full((len(world.means),), world.std))
    return -float(MixtureSameFamily(Categorical(torch.tensor(world.weights)), parts).log_prob(values).mean())


def test_a_gaussian_reaches_the_entropy_and_its_moments() -> None:
    tested, head, latents = Gaussian(Gaussian.Config()), Constant(2 * SHAPE[1]), GAUSSIAN.draw()
    assert tested.head_channels(SHAPE[1]) == 2 * SHAPE[1]
    found = fit(head, lambda: tested.loss(head, latents, CONDITIONS, NOISE, KEYS))
    assert found == pytest.approx(0.5 * math.log(2 * math.pi * math.e * GAUSSIAN.std**2), abs=0.02)
    GAUSSIAN.check(tested.sample(head, CONDITIONS, SHAPE, NoiseSource(2, "s"), KEYS))


def test_one_gaussian_has_one_mode_for_two_components() -> None:
    """What mixtures are for: the Gaussian has the mixture's mean and variance, and none of its values."""
    tested, head, latents = Gaussian(Gaussian.Config()), Constant(2 * SHAPE[1]), TWO.draw()
    fit(head, lambda: tested.loss(head, latents, CONDITIONS, NOISE, KEYS))
    samples = tested.sample(head, CONDITIONS, SHAPE, NoiseSource(2, "s"), KEYS)
    assert float(samples.mean()) == pytest.approx(float(latents.mean()), abs=0.02)
    assert float(samples.std()) == pytest.approx(float(latents.std()), abs=0.02)
    between = ((samples > -0.5) & (samples < 0.1)).float().mean()
    assert float(between) > 0.15 > 0.01 > float(((latents > -0.5) & (latents < 0.1)).float().mean())


@pytest.mark.parametrize("world", [GAUSSIAN, TWO], ids=["gaussian", "two"])
def test_a_mixture_of_each_value_reaches_the_entropy_and_its_moments(world: World) -> None:
    """Tokens of one channel, so that their components are the values'."""
    tested, latents = mixture(), world.draw().flatten(1)[..., None]
    head, shape = Constant(tested.head_channels(1)), (latents.shape[1], 1)
    found = fit(head, lambda: tested.loss(head, latents, CONDITIONS, NOISE, KEYS), steps=200)
    assert found == pytest.approx(entropy(world, latents), abs=0.01)
    world.check(tested.sample(head, CONDITIONS, shape, NoiseSource(3, "s"), KEYS))


def test_the_density_of_an_image_is_that_of_torch() -> None:
    """Of the whole image: one choice for all tokens, whose weights are the mean of the tokens' logits."""
    tested, generator = mixture(of="image", components=3), torch.Generator().manual_seed(4)
    latents, channels = torch.randn(12, 4, 5, generator=generator), tested.head_channels(5)
    head = Constant(channels)
    values = head.values.detach()
    logits, (mean, raw) = values[:3], values[3:].unflatten(-1, (3, 2, 5)).unbind(1)
    scale = 0.01 + torch.nn.functional.softplus(raw + math.log(math.e - 1))
    parts = torch.distributions.Independent(Normal(mean[:, None].expand(3, 4, 5), scale[:, None].expand(3, 4, 5)), 2)
    reference = MixtureSameFamily(Categorical(logits=logits), parts).log_prob(latents)
    torch.testing.assert_close(tested.loss(head, latents, CONDITIONS, NOISE, KEYS), -reference.mean() / 20)


@pytest.mark.parametrize(("of", "mixed"), [("image", False), ("token", True)])
def test_tokens_of_an_image_follow_one_choice_or_make_their_own(of: str, mixed: bool) -> None:
    tested = mixture(of=of)
    head = Constant(tested.head_channels(1))
    head.values.data = torch.tensor([0.0, 0.0, -5.0, -9.0, 5.0, -9.0])
    samples = tested.sample(head, CONDITIONS, (40, 1), NoiseSource(5, "s"), KEYS)[..., 0]
    up = (samples > 0).float().mean(1)
    assert bool(((up > 0) & (up < 1)).any()) is mixed
    assert 0 < float(up.mean()) < 1, "images differ"


def test_samples_follow_their_keys_and_no_batch() -> None:
    tested = mixture(of="image", components=3)
    head = Constant(tested.head_channels(5))
    whole = tested.sample(head, CONDITIONS, (4, 5), NoiseSource(6, "s"), KEYS)
    parts = [
        tested.sample(head, CONDITIONS[p], (4, 5), NoiseSource(6, "s"), KEYS[p]) for p in (slice(0, 5), slice(5, 12))
    ]
    torch.testing.assert_close(torch.cat(parts), whole)
    assert not (tested.deterministic or Gaussian.deterministic)


def at(tested: Any, temperature: float) -> Any:
    """The objective at another temperature."""
    return type(tested)(tested.config.model_copy(update={"temperature": temperature}))


@pytest.mark.parametrize("temperature", [0.0, 0.5, 2.0])
def test_temperature_scales_a_gaussian_s_deviation(temperature: float) -> None:
    tested, head = Gaussian(Gaussian.Config()), Constant(2 * SHAPE[1])
    mean, scale = 0.7, 0.05 + 1.0  # a raw 0 is the floor and 1
    head.values.data = torch.tensor([mean, 0.0]).repeat_interleave(SHAPE[1])
    samples = at(tested, temperature).sample(head, CONDITIONS, SHAPE, NoiseSource(7, "s"), KEYS)
    assert float(samples.mean()) == pytest.approx(mean, abs=0.03 * max(1, temperature))
    assert float(samples.var()) == pytest.approx((temperature * scale) ** 2, rel=0.03)


@pytest.mark.parametrize("temperature", [0.0, 0.5, 1.5])
def test_temperature_scales_a_component_s_deviation_and_leaves_weights_and_means(temperature: float) -> None:
    """Components lie 10 deviations apart and more, so that each sample tells whose it is."""
    tested, shape = mixture(), (1000, 1)
    head = Constant(tested.head_channels(1))
    means, shares = torch.tensor([-5.0, 5.0]), torch.tensor([0.3, 0.7])
    raw = torch.tensor([-1.0, -0.5])
    head.values.data = torch.cat([shares.log(), torch.stack([means, raw], dim=1).flatten()])
    scales = tested.predicted(head, CONDITIONS[:1], shape)[1].stddev[0, 0, :, 0]
    samples = at(tested, temperature).sample(head, CONDITIONS, shape, NoiseSource(8, "s"), KEYS)
    own = tested.sample(head, CONDITIONS, shape, NoiseSource(8, "s"), KEYS)
    assert torch.equal(samples > 0, own > 0), "the same noise draws the same components"
    for number, chosen in enumerate((samples < 0, samples > 0)):
        assert float(chosen.float().mean()) == pytest.approx(float(shares[number]), abs=0.02)
        assert float(samples[chosen].mean()) == pytest.approx(float(means[number]), abs=0.05)
        assert float(samples[chosen].var()) == pytest.approx((temperature * float(scales[number])) ** 2, rel=0.05)


def test_the_default_temperature_draws_what_was_drawn_before_there_was_one() -> None:
    """To the bit: mean + scale * noise of the stream ``start``."""
    tested, head = Gaussian(Gaussian.Config()), Constant(2 * SHAPE[1])
    values, noise = tested.predicted(head, CONDITIONS, SHAPE), NoiseSource(9, "s")
    before = values.mean + values.stddev * noise.child("start").normal(KEYS, SHAPE)
    assert torch.equal(tested.sample(head, CONDITIONS, SHAPE, noise, KEYS), before)
    image = mixture(of="image")
    wide = Constant(image.head_channels(SHAPE[1]))
    weights, parts = image.predicted(wide, CONDITIONS, SHAPE)
    first = torch.special.ndtr(noise.child("component").normal(KEYS, (1, 1)))[:, 0, 0] <= weights.exp()[:, 0, 0]
    chosen = torch.where(first, 0, 1)
    rows = torch.arange(len(KEYS))
    mean, scale = parts.mean[rows, :, chosen], parts.stddev[rows, :, chosen]
    before = mean + scale * noise.child("start").normal(KEYS, SHAPE)
    assert torch.equal(image.sample(wide, CONDITIONS, SHAPE, noise, KEYS), before)


def test_scales_keep_their_floor() -> None:
    tested, head = Gaussian(Gaussian.Config(floor=0.3)), Constant(2)
    head.values.data = torch.tensor([0.0, -50.0])
    assert float(tested.predicted(head, CONDITIONS, (4, 1)).stddev.max()) == pytest.approx(0.3)
    head.values.data.zero_()
    assert float(tested.predicted(head, CONDITIONS, (4, 1)).stddev.max()) == pytest.approx(1.3)
    with pytest.raises(pydantic.ValidationError):
        Mixture.Config(components=1)
