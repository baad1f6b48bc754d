"""Controls of the flip map that train nothing: other ways through the frozen parts, and what predicted tokens tell.

    python experiments/controls.py pictures scenes-nano-2     # scenes through the VAE, CLIP, and both in turn
    python experiments/controls.py shapes RUN [RUN ...]       # shapes read off real and predicted tokens

``pictures``: if scenes that went through the VAE lose nothing more by CLIP's encoder and decoder than scenes themselves
do, CLIP's tokens hold what the VAE's images show, and an arm of CLIP that draws worse does so for another reason.
``shapes``: a linear probe reads the shape of a single object off the tokens of real scenes. On the tokens that a run
predicts it says whether the head knew the shape that was asked for; what the judge then finds says what the decoder
made of it. A probe that is right where the judge is not blames the decoder, one that is wrong blames the head.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from unimm.arm import Arm
from unimm.data.scenes import SceneSet
from unimm.encoders.clip import Clip
from unimm.encoders.vae import Vae
from unimm.evaluation.metric import Evidence
from unimm.evaluation.metrics.geneval import GenEvalStyle
from unimm.foundation.folder import Foundation
from unimm.noise import NoiseSource
from unimm.runs.ceilings import real_scenes, reconstructed, rendered
from unimm.runs.run import Run
from unimm.scenes.prompts import Metadata, prompt_set
from unimm.scenes.worded_prompts import worded_prompts

CPU, STEPS = torch.device("cpu"), 5
NAMES = ("atoms/shape", "atoms/colour", "atoms/count", "atoms/overall", "geneval/overall")
LEARNED, TESTED, PROMPTS, RIDGE = 1500, 300, 96, 10.0
WORDING = {"long": "long", "placed": "place", "short": ""}


def pictures(foundation: Foundation, per_task: int = 25) -> Iterator[tuple[str, dict[str, float | None]]]:
    """Scores of scenes that fulfil test prompts: as they are, and after each way through the frozen parts."""
    prompts = prompt_set(foundation.world, "test", per_task)
    scenes = real_scenes(prompts, foundation.world)
    assert scenes is not None, "the world's own prompts fit into it"
    real = rendered(scenes, foundation.resolution)
    vae, clip = Vae.build(Vae.Config(), foundation), Clip.build(Clip.Config(), foundation)

    def through(encoder: Vae | Clip, images: UInt8[Tensor, "m 3 s s"]) -> UInt8[Tensor, "m 3 s s"]:
        return reconstructed(encoder, encoder.decoder(foundation, STEPS), images, CPU)

    by_vae = through(vae, real)
    ways = {"scenes": real, "VAE": by_vae, "CLIP": through(clip, real), "VAE, then CLIP": through(clip, by_vae)}
    judge = GenEvalStyle(GenEvalStyle.Config(), foundation)
    for name, images in ways.items():
        scores = {score.name: score.value for score in judge.score(Evidence(images=images, prompts=prompts))}
        yield name, {key: scores[key] for key in NAMES}


class Probe:
    """Ridge regression of one-hot classes on flattened, standardised tokens."""

    def __init__(self, tokens: Float[Tensor, "m n d"], classes: Int[Tensor, " m"]) -> None:
        flat = tokens.flatten(1).double()
        self.mean, self.std = flat.mean(0), flat.std(0) + 1e-6
        x = (flat - self.mean) / self.std
        wanted = torch.nn.functional.one_hot(classes).double()
        self.centre = wanted.mean(0)
        penalty = RIDGE * torch.eye(x.shape[1], dtype=torch.float64)
        self.weights = torch.linalg.solve(x.T @ x + penalty, x.T @ (wanted - self.centre))

    def share_right(self, tokens: Float[Tensor, "m n d"], classes: Int[Tensor, " m"]) -> float:
        """The share of samples whose class has the largest output."""
        x = (tokens.flatten(1).double() - self.mean) / self.std
        return float(((x @ self.weights + self.centre).argmax(1) == classes).double().mean())


@torch.inference_mode()
def real_tokens(arm: Arm, split: str, count: int) -> tuple[Tensor, Tensor]:
    """Tokens of ``count`` scenes with a single object, and the number of its shape."""
    world = arm.foundation.world
    data = SceneSet(world, split, 3 * count, arm.foundation.resolution)  # one scene in three has a single object
    single = [i for i, sample in enumerate(data.samples) if len(sample.scene.items) == 1][:count]
    classes = torch.tensor([world.shapes.index(data.samples[i].scene.items[0].shape) for i in single])
    tokens = [arm.encoder.encode(data.images(torch.tensor(single[b : b + 64]))) for b in range(0, len(single), 64)]
    return torch.cat(tokens), classes


def asked(run: Run) -> list[Metadata]:
    """Test prompts for one coloured object, in the wording of most of the run's captions."""
    world, data = run.arm.foundation.world, run.config.data
    shares = {kind: getattr(data, f"{kind}_caption_share") for kind in WORDING}
    wording = WORDING[max(shares, key=lambda kind: shares[kind])]
    prompts = [prompt for prompt in prompt_set(world, "test", PROMPTS) if prompt["tag"] == "colors"]
    return [worded.metadata for worded in worded_prompts(prompts, world, wording)] if wording else prompts


def shapes(run: Run) -> dict[str, float]:
    """Shares of shapes read rightly off real tokens, off predicted ones, and by the judge off their images."""
    arm, prompts, noise = run.model(), asked(run), NoiseSource(0, "evaluation")
    probe = Probe(*real_tokens(arm, "train", LEARNED))
    wanted = torch.tensor([arm.foundation.world.shapes.index(prompt["include"][0]["class"]) for prompt in prompts])
    keys, pipeline = [f"{number}/0" for number in range(len(prompts))], arm.pipeline()
    texts, found = [str(prompt["prompt"]) for prompt in prompts], []
    for begin in range(0, len(prompts), 64):
        part = slice(begin, begin + 64)
        found.append(pipeline.latents(texts[part], keys[part], noise))
    tokens = torch.cat(found)
    judged = GenEvalStyle(GenEvalStyle.Config(), arm.foundation).score(
        Evidence(images=pipeline.decoded(tokens, keys, noise), prompts=prompts)
    )
    return {
        "real tokens, probe": probe.share_right(*real_tokens(arm, "test", TESTED)),
        "predicted tokens, probe": probe.share_right(tokens, wanted),
        "their images, judge": float(next(score.value for score in judged if score.name == "atoms/shape") or 0),
        "chance": 1 / len(arm.foundation.world.shapes),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one control's table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("control", choices=("pictures", "shapes"))
    parser.add_argument("of", nargs="+", help="a foundation for pictures; folders of finished runs for shapes")
    given = parser.parse_args(arguments)
    for name in given.of:
        if given.control == "pictures":
            for way, scores in pictures(Foundation(name)):
                print(f"{name}: {way}: " + ", ".join(f"{key} {value:.3f}" for key, value in scores.items()))
        else:
            run = Run.finished(Path(name), CPU)
            print(f"{name}: " + ", ".join(f"{key} {value:.3f}" for key, value in shapes(run).items()))


if __name__ == "__main__":
    main()
