"""Checks of a head: shape, repeats, batches, steps of a sampler, gradients, and whether it reads noise as it says."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from unimm.component_checks.bench import Broken, Subject, close, normal, same, seconds_for
from unimm.components import Head, parameter_count
from unimm.seam_checks import check_prediction

BATCH, GRID, CHANNELS, WIDTH = 4, (4, 4), 8, 16
TOKENS = GRID[0] * GRID[1]
STIR = 0.05


def stirred(head: Head) -> Head:
    """The head with small random numbers added: fresh ones often predict zero whatever they are given."""
    with torch.no_grad():
        for number, parameter in enumerate(head.parameters()):
            if parameter.requires_grad:
                parameter.add_(STIR * normal(*parameter.shape, seed=number))
    return head


class HeadBench:
    """The head for 4 x 4 tokens of 8 channels, and a query a token of 16 channels."""

    def __init__(self, subject: Subject) -> None:
        self.subject, self.device = subject, subject.device

    @cached_property
    def head(self) -> Head:
        """Built and stirred, in evaluation mode."""
        torch.manual_seed(0)
        head: Head = self.subject.cls(self.subject.config, CHANNELS, GRID, WIDTH)
        return stirred(head).to(self.device).eval()

    @cached_property
    def inputs(self) -> tuple[Tensor, Tensor, Tensor]:
        """Noisy latents, times and conditions of a batch."""
        noisy, conditions = normal(BATCH, TOKENS, CHANNELS), normal(BATCH, TOKENS, WIDTH, seed=1)
        times = torch.linspace(0.1, 0.9, BATCH)
        return noisy.to(self.device), times.to(self.device), conditions.to(self.device)

    @torch.no_grad()
    def predict(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """The head's prediction."""
        predicted: Tensor = self.head(*inputs)
        return predicted


def _shape(bench: HeadBench) -> str:
    predicted = bench.predict(bench.inputs)
    check_prediction(bench.head, predicted, bench.inputs[0])
    if not bool(predicted.isfinite().all()):
        raise Broken("predicts NaN or infinite values for standard normal inputs")
    return f"{list(predicted.shape)} for latents of that shape, {parameter_count(bench.head, True):,} parameters train"


def _repeats(bench: HeadBench) -> str:
    return same(bench.predict(bench.inputs), bench.predict(bench.inputs), "the same inputs a second time")


def _batches(bench: HeadBench) -> str:
    one = tuple(part[:1] for part in bench.inputs)
    return close(bench.predict(one), bench.predict(bench.inputs)[:1], "a sample alone and among others")


def _conditions(bench: HeadBench) -> str:
    noisy, times, conditions = bench.inputs
    if torch.equal(bench.predict((noisy, times, conditions)), bench.predict((noisy, times, -conditions))):
        raise Broken("does not read the conditions: every prompt would give the same images")
    return "other conditions give another prediction"


def _given(bench: HeadBench) -> str:
    noisy, times, conditions = bench.inputs
    with torch.no_grad():
        predict = bench.head.given(conditions)
        steps = [(predict(noisy, part), bench.predict((noisy, part, conditions))) for part in (times, times / 2)]
    return [close(*step, "a prediction under conditions that were given before, and all at once") for step in steps][-1]


def _noise(bench: HeadBench) -> str:
    noisy, times, conditions = bench.inputs
    as_given = bench.predict(bench.inputs)
    reads = not torch.equal(as_given, bench.predict((-noisy, times, conditions)))
    reads_time = not torch.equal(as_given, bench.predict((noisy, times / 2, conditions)))
    if (reads or reads_time) != bench.head.sees_noise:
        word = "reads" if reads or reads_time else "ignores"
        raise Broken(f"{word} noisy latents or time, and sees_noise is {bench.head.sees_noise}: set it in the class")
    if bench.head.sees_noise and not (reads and reads_time):
        raise Broken(f"ignores {'time' if reads else 'the noisy latents'}: flow matching needs both")
    return "reads noisy latents and time" if reads else "reads neither noisy latents nor time, as it says"


def _gradients(bench: HeadBench) -> str:
    head = bench.head
    head.zero_grad()
    head(*bench.inputs).square().mean().backward()
    trained = [name for name, parameter in head.named_parameters() if parameter.requires_grad]
    still = [name for name, p in head.named_parameters() if p.requires_grad and p.grad is None]
    head.zero_grad()
    if still:
        raise Broken(
            f"{len(still)} of {len(trained)} parameters get no gradient, such as {still[0]}: use or freeze them"
        )
    return f"all {len(trained)} trained parameters get one"


def _seconds(bench: HeadBench) -> str:
    return f"{seconds_for(lambda: bench.predict(bench.inputs), bench.device):.2g} s for {BATCH} samples"


STEPS = {
    "shape": _shape,
    "repeats": _repeats,
    "batches": _batches,
    "conditions": _conditions,
    "given": _given,
    "noise": _noise,
    "gradients": _gradients,
    "seconds": _seconds,
}
