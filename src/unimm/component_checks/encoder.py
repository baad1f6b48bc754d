"""Checks of an encoder with its decoder, on scenes: shapes, ranges, repeats, batches, scale, ceiling, seconds."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from unimm.component_checks.bench import Broken, Doubt, Subject, close, keys_for, same, seconds_for
from unimm.components import Decoder, Encoder, LatentSpec
from unimm.data.scenes import Scenes
from unimm.data.source import Context
from unimm.encoders.calibrated import calibrate, calibration_images
from unimm.noise import NoiseSource
from unimm.runs.preflight import IMAGES, ceiling, scale
from unimm.seam_checks import check_finite, check_images, check_latents, checked_spec

CALIBRATED_ON = 256
DECODER_STEPS = 10
NOISE = NoiseSource(0, "check")


class EncoderBench:
    """The encoder, calibrated on scenes where it asks for that, and what it makes of some of them."""

    def __init__(self, subject: Subject) -> None:
        self.subject, self.foundation, self.device = subject, subject.foundation, subject.device

    @cached_property
    def source(self) -> Scenes:
        """Scenes of the foundation's world and of its images' side."""
        return Scenes.build(Scenes.Config(), Context(self.foundation.world, self.foundation.resolution, CALIBRATED_ON))

    @cached_property
    def encoder(self) -> Encoder:
        """As a run builds it, but for the decoder that it may still lack."""
        encoder: Encoder = self.subject.cls.build(self.subject.config, self.foundation)
        calibrate(encoder, calibration_images(self.source), self.device)
        return encoder.to(self.device)

    @cached_property
    def decoder(self) -> Decoder:
        """What turns its latents back into images."""
        return self.encoder.decoder(self.foundation, DECODER_STEPS).to(self.device)

    @cached_property
    def pixels(self) -> Tensor:
        """Some scenes, as bytes."""
        return self.source.scenes.between(0, IMAGES)

    @cached_property
    def spec(self) -> LatentSpec:
        """What it promises of its latents."""
        return checked_spec(self.encoder)

    @cached_property
    def latents(self) -> Tensor:
        """Of the scenes."""
        return self.encode(self.pixels)

    @torch.inference_mode()
    def encode(self, pixels: Tensor) -> Tensor:
        """Latents of images that are given as bytes."""
        return self.encoder.encode(pixels.to(self.device).float() / 255)

    @torch.inference_mode()
    def decode(self, count: int) -> Tensor:
        """Images of the first latents."""
        return self.decoder.decode(self.latents[:count], NOISE, keys_for(count))


def _shapes(bench: EncoderBench) -> str:
    check_latents(bench.encoder, bench.spec, bench.latents, len(bench.pixels))
    check_finite(bench.encoder, bench.latents, bench.source.key)
    rows, columns = bench.spec.grid
    return f"{bench.spec.tokens} tokens ({rows} x {columns}) of {bench.spec.channels} channels, all finite"


def _frozen(bench: EncoderBench) -> str:
    moving = [name for name, parameter in bench.encoder.named_parameters() if parameter.requires_grad]
    if moving:
        raise Broken(f"{moving[0]} requires gradients: call self.requires_grad_(False).eval() in __init__")
    parameters = sum(parameter.numel() for parameter in bench.encoder.parameters())
    if parameters and bench.encoder.training:
        return Doubt("is in training mode, in which dropout and batch norms differ: call self.eval() in __init__")
    return f"{parameters:,} parameters, none of which trains"


def _repeats(bench: EncoderBench) -> str:
    return same(bench.latents, bench.encode(bench.pixels), "the same images a second time")


def _batches(bench: EncoderBench) -> str:
    return close(bench.encode(bench.pixels[:1]), bench.latents[:1], "an image alone and among others")


def _scale(bench: EncoderBench) -> str:
    found = scale(bench.encoder, bench.pixels, bench.device)
    if found.is_far:
        return Doubt(
            f"{found}: derive the class from unimm.encoders.calibrated.CalibratedEncoder, or state raw latents"
        )
    return f"{found.near:.0%} of the channels lie within a factor of 4 of unit scale"


def _images(bench: EncoderBench) -> str:
    images, side = bench.decode(2), bench.foundation.resolution
    check_images(bench.decoder, images, 2)
    if images.shape[-1] != side:
        raise Broken(f"images have {images.shape[-1]} pixels a side, and foundation.resolution is {side}")
    return f"{side} x {side} pixels, values in [{float(images.min()):.3g}, {float(images.max()):.3g}]"


def _repeats_images(bench: EncoderBench) -> str:
    return same(bench.decode(2), bench.decode(2), "the same latents with the same noise a second time")


def _batches_images(bench: EncoderBench) -> str:
    return close(bench.decode(1), bench.decode(4)[:1], "an image alone and among others")


def _ceiling(bench: EncoderBench) -> str:
    found = ceiling(bench.encoder, bench.decoder, bench.foundation, bench.device)
    return Doubt(f"{found}: no training can score higher") if found.is_low else str(found)


def _seconds(bench: EncoderBench) -> str:
    count = 8
    encoding = seconds_for(lambda: bench.encode(bench.pixels[:count]), bench.device) / count
    decoding = seconds_for(lambda: bench.decode(count), bench.device) / count
    return f"{encoding:.2g} s to encode an image, {decoding:.2g} s to decode one, on {bench.device.type}"


STEPS = {
    "shapes": _shapes,
    "frozen": _frozen,
    "repeats": _repeats,
    "batches": _batches,
    "scale": _scale,
    "images": _images,
    "images repeat": _repeats_images,
    "images in batches": _batches_images,
    "ceiling": _ceiling,
    "seconds": _seconds,
}
