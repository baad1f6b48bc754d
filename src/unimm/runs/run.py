"""A run: one arm with one seed and the folder that holds it. The one place that loads trained weights.

Training starts from the arm as it was assembled, or from the weights that an earlier stage handed over
(``start.safetensors``, all that was trained so far). It leaves averages: the final one in ``weights.safetensors``,
snapshots in ``averages/``. They hold what the run itself trained, so the weights it started from go in first.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from unimm.arm import Arm, assemble, open_source
from unimm.components import Mix, weights_hash
from unimm.config import read as read_config
from unimm.data.source import Source
from unimm.devices import pick_device
from unimm.encoders.token_decoder import DiffusionDecoder
from unimm.encoders.vae import VaeDecoder
from unimm.evaluation.benchmark import Benchmark
from unimm.evaluation.metric import Metric
from unimm.files import AVERAGES, START, WEIGHTS, written
from unimm.noise import NoiseSource
from unimm.runs.code import Code, code_for
from unimm.runs.record import CONFIG, RESULT, Result, read_record
from unimm.schema import RunConfig, check_chosen
from unimm.seam_checks import check_images, check_prediction

# Parts of the foundation that a decoder is made of; one from elsewhere checks its own.
OF_FOUNDATION = {VaeDecoder: ("vae",), DiffusionDecoder: ("clip", "decoder", "decoder_noised", "vae")}


class Run:
    """The configuration, the folder, the device, and the arm, which is assembled once, when first asked for."""

    def __init__(self, config: RunConfig, folder: Path, device: torch.device | None = None) -> None:
        self.config, self.folder = config, folder
        self.device = device or pick_device(config.training.device)
        self._started = False

    @classmethod
    def finished(cls, folder: Path, device: torch.device | None = None) -> Run:
        """The finished run in ``folder``; of an arm with stages, its last one, whose weights are the arm's.

        Raises:
            ValueError: there is no such folder, it holds no run, or the run is unfinished.
        """
        if not folder.is_dir():
            raise ValueError(f"no folder {folder}: give the folder of a finished run, as `unimm run` printed it")
        if not (folder / CONFIG).is_file():
            raise ValueError(f"{folder} holds no run: it has no {CONFIG}")
        config = read_config(folder / CONFIG)
        if config.stages:
            return cls.finished(folder / list(config.stages)[-1], device)
        if not (folder / RESULT).is_file():
            raise ValueError(
                f"{folder} is unfinished: it has no {RESULT}; continue it with `unimm run ARM.yaml --out {folder} "
                "--resume`, and then do this"
            )
        if not (folder / WEIGHTS).is_file():
            raise ValueError(
                f"{folder} is finished, and its weights are not there: it has no {WEIGHTS}, which nobody commits; give "
                "the folder that trained it, or run the arm again"
            )
        run = cls(config, folder, device)
        run.result  # noqa: B018  a record that cannot be read is found before weights are loaded
        return run

    @cached_property
    def code(self) -> dict[str, Code]:
        """Which code computes, of unimm and of plug-in packages, as it was when first asked for."""
        return code_for(self.config.model_dump(mode="json"))

    @cached_property
    def arm(self) -> Arm:
        """The arm as it starts: pretrained parts, fresh head and queries."""
        return assemble(self.config)

    @cached_property
    def source(self) -> Source:
        """Where the run's images and captions come from."""
        return open_source(self.config, self.arm.foundation)

    @cached_property
    def result(self) -> Result:
        """``result.json`` as it was when first asked for; ValueError where it does not follow docs/result.md."""
        return read_record(self.folder / RESULT, Result)

    @cached_property
    def benchmark(self) -> Benchmark:
        """What the run is tested with."""
        return Benchmark(self.config.evaluation, self.arm.foundation)

    @property
    def metrics(self) -> list[Metric]:
        """What scores the run."""
        return self.benchmark.metrics

    def check(self) -> None:
        """ValueError for a test that cannot be held, a head that predicts no latents, a decoder whose images cannot
        be scored.

        Test and decoder are needed after training only: a mistake in either would cost the whole of it. One latent
        of zeros, which is the mean of standardised ones, is predicted and decoded.
        """
        check_chosen(self.config)
        arm, resolution = self.arm, self.arm.foundation.resolution
        self.benchmark.check(arm.encoder)
        spec, decoder = arm.encoder.latent_spec(), arm.decoder.to(self.device)
        latents = torch.zeros(1, spec.tokens, spec.channels, device=self.device)
        channels = arm.objective.head_channels(spec.channels)
        self._check_head(torch.zeros(1, spec.tokens, channels))
        with torch.inference_mode():  # around this alone: an arm that was assembled in it could never train
            images = decoder.decode(latents, NoiseSource(0, "check"), ["0"])
        decoder.cpu()
        check_images(decoder, images, 1)
        if images.shape[-1] != resolution:
            raise ValueError(
                f"the decoder of encoder={self.config.encoder.name} returns images of {images.shape[-1]} pixels a "
                f"side, and the run's have {resolution}: it has to return images of foundation.resolution "
                "(docs/checkpoints.md)"
            )

    def _check_head(self, latents: Tensor) -> None:
        """Without gradients, but not in inference mode: what a head keeps from its first call is trained with."""
        head, queries = self.arm.head, self.arm.backbone.queries
        training = head.training
        conditions = latents.new_zeros(len(latents), len(queries), self.arm.backbone.width)
        with torch.no_grad():
            predicted = head.eval()(latents, latents.new_zeros(len(latents)), conditions)
        head.train(training)
        check_prediction(head, predicted, latents)

    @property
    def mix(self) -> Mix:
        """What the strategy trains, and on which streams."""
        return self.arm.strategy.mix()

    @property
    def samples(self) -> int:
        """Generation samples of the whole training."""
        return self.config.training.steps * self.config.training.batch_size

    def start(self) -> None:
        """Put the weights that an earlier stage handed over into the arm, once; a run of its own starts as it is."""
        if not self._started and (self.folder / START).exists():
            self._load(self.folder / START)
        self._started = True

    def weights(self, file: Path | None = None) -> Arm:
        """The arm on the run's device with averaged weights, the final ones or those of a snapshot, to evaluate.

        Raises:
            ValueError: the file is damaged, or does not hold exactly what this arm trains.
        """
        self.start()
        file = file or self.folder / WEIGHTS
        found = self._load(file)
        missing = sorted(self.trained() - found)
        if missing:
            raise ValueError(f"{file} lacks {missing[0]}, which this arm trains; run the arm again with --overwrite")
        for part in (self.arm.backbone, self.arm.head, self.arm.decoder):
            part.to(self.device).eval()
        return self.arm

    def model(self) -> Arm:
        """The arm as a model for others: the final averaged weights, frozen, proved to be what was scored.

        Raises:
            ValueError: the weights are damaged, or the arm is not the one that ``result.json`` describes.
        """
        arm = self.weights()
        for part in (arm.backbone, arm.head):
            part.requires_grad_(False)
        self.check_unchanged()
        return arm

    def snapshots(self) -> list[tuple[int, Path]]:
        """Step and file of every averaged snapshot, in order."""
        files = sorted((self.folder / AVERAGES).glob("average-*.safetensors"))
        return [(int(file.stem.removeprefix("average-")), file) for file in files]

    def trained(self) -> set[str]:
        """Names of the parameters that the strategy trains, as averages call them."""
        arm = self.arm
        arm.backbone.set_trainable(self.mix.train_backbone)
        named = {"backbone": arm.backbone, "head": arm.head}
        return {f"{part}.{name}" for part in named for name, p in named[part].named_parameters() if p.requires_grad}

    def _load(self, file: Path) -> set[str]:
        """Put a file's weights into backbone and head; returns their names."""
        weights = read_weights(file)
        for part, module in (("backbone", self.arm.backbone), ("head", self.arm.head)):
            own = {name.removeprefix(f"{part}."): v for name, v in weights.items() if name.startswith(f"{part}.")}
            unexpected = module.load_state_dict(own, strict=False).unexpected_keys
            if unexpected:
                raise ValueError(f"{file} holds {unexpected[0]}, which this arm's {part} does not have")
        return set(weights)

    def hashes(self) -> dict[str, str]:
        """Of the foundation's parts and of the encoder; of the head and the backbone as they are now."""
        return self._latent_hashes() | {
            "head": weights_hash(self.arm.head)[:16],
            "backbone": weights_hash(self.arm.backbone)[:16],
        }

    def _latent_hashes(self) -> dict[str, str]:
        """Where the encoder is a part of the foundation and its latents are not what the part's hash says (statistics
        measured at another resolution), their own hash stands beside it as ``latents``."""
        encoder, foundation = self.config.encoder.name, self.arm.foundation
        own = self.arm.encoder.latent_spec().fingerprint
        parts = {encoder: own} | {part: foundation.fingerprint(part) for part in foundation.card["costs"]}
        return parts if parts[encoder] == own else {**parts, "latents": own}

    def check_unchanged(self) -> None:
        """ValueError where weights, encoder or the foundation's parts that make images are not what was scored.

        The parts that an arm starts from lie outside its folder. Where a foundation was rebuilt since, the run's
        weights would meet other parts than they were trained with and draw nonsense.
        """
        used = {self.config.encoder.name, "latents", "head", "backbone"}
        used |= set(OF_FOUNDATION.get(type(self.arm.decoder), ()))
        found = {part: value for part, value in self.hashes().items() if part in used}
        changed = sorted(part for part, value in found.items() if self.result.hashes.get(part, value) != value)
        if changed:
            raise ValueError(
                f"{self.folder}: the hashes of {', '.join(changed)} are not those in {RESULT}, so these parts are not "
                f"what was scored; bring back the foundation {self.config.foundation!r} and the checkpoints of that "
                "time, or run the arm again"
            )


def read_weights(file: Path) -> dict[str, Tensor]:
    """A safetensors file; ValueError where it is damaged."""
    try:
        return load_file(file)
    except SafetensorError as error:
        raise ValueError(f"{file} is truncated or altered ({error}); run the arm again with --overwrite") from error


def hand_over(earlier: Path, later: Path) -> None:
    """Let the run in folder ``later`` start from the averaged final weights of the finished one in ``earlier``."""
    weights = read_weights(earlier / START) if (earlier / START).exists() else {}
    weights |= read_weights(earlier / WEIGHTS)
    with written(later / START) as temporary:
        save_file(weights, temporary)
