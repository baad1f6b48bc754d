"""Names for components: `encoder: clip` in a YAML file finds `unimm.encoders.clip:Clip`.

Entries are classes or lazy "module:attribute" strings, so listing names imports nothing. Three ways in:
`encoders.register("mine", MyEncoder)`, an entry point in the group `unimm.encoders`, or, without registering,
the name "my_package.module:MyEncoder" itself. Importing this module does not import torch.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import sys
from collections.abc import Iterable
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from unimm.class_sources import ClassSource, find
from unimm.component_config import ComponentConfig

if TYPE_CHECKING:
    from unimm.components import Backbone, Decoder, Encoder, Head, Objective, Strategy
    from unimm.data.source import Source
    from unimm.evaluation.judge import Judge
    from unimm.evaluation.metric import Metric

T = TypeVar("T")


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """The choice that `word` was probably meant to be, or None when nothing is close."""
    matches = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.5)
    return matches[0] if matches else None


class Registry(Generic[T]):
    """Classes of one kind (plural, as in `unimm list encoders`), by name."""

    def __init__(
        self, kind: str, base: str | type[Any], builtins: dict[str, str], *, has_settings: bool = True
    ) -> None:
        self.kind = kind
        self._base = base
        self._has_settings = has_settings
        self._targets: dict[str, str | type[Any]] = dict(builtins)

    def register(self, name: str, target: str | type[T]) -> None:
        """Add a component; a name that is taken by something else is an error, and so is a class that `get` refuses."""
        if ":" in name or not name:
            raise ValueError(f"{self.kind}: {name!r} cannot be a name; use a short word without a colon")
        taken = self._all().get(name)
        if taken is not None and taken != target:
            raise ValueError(f"{self.kind}: {name!r} is already {_spell(taken)}; choose another name")
        if not isinstance(target, str):
            self._check(name, target)
        self._targets[name] = target

    def names(self) -> list[str]:
        """All registered names, sorted."""
        return sorted(self._all())

    def get(self, name: str) -> type[T]:
        """Import and check the class called `name`, or the class at "module:attribute"."""
        return self._check(name, self._resolve(name))

    def _check(self, name: str, cls: Any) -> type[T]:
        base = self._base_class
        spelled = f"{base.__module__}.{base.__name__}"
        if not (isinstance(cls, type) and issubclass(cls, base)):
            raise ValueError(f"{self.kind}: {name!r} must be a subclass of {spelled}")
        for old, (new, instead) in getattr(base, "REPLACED", {}).items():
            if any(old in vars(part) and new not in vars(part) for part in cls.__mro__):
                raise ValueError(f"{self.kind}: {name!r} defines {old}(), which nothing reads any more: {instead}")
        missing = _undefined(cls, base)
        if missing:
            them = "it" if len(missing) == 1 else "them"
            raise ValueError(
                f"{self.kind}: {name!r} lacks {', '.join(missing)}: define {them} ({spelled} says what they do)"
            )
        config = getattr(cls, "Config", None)
        if self._has_settings and not (isinstance(config, type) and issubclass(config, ComponentConfig)):
            raise ValueError(f"{self.kind}: {name!r} has no settings: nest `class Config(ComponentConfig)` in it")
        return cast("type[T]", cls)

    def name_of(self, cls: type[Any]) -> str:
        """The name under which `get` finds the class: a registered one, or "module:attribute"."""
        spelled = _spell(cls)
        return next((name for name, target in self._all().items() if _spell(target) == spelled), spelled)

    def config_class(self, name: str) -> type[ComponentConfig]:
        """The settings class of the component called `name`."""
        return cast("type[ComponentConfig]", self.get(name).Config)  # type: ignore[attr-defined]

    def ancestors(self, name: str, among: Iterable[str]) -> list[str]:
        """Those of the names ``among`` whose class the component ``name`` is or derives from, farthest first.

        Imports no other class: those that this one derives from are there once it is.
        """
        lineage = self.get(name).__mro__
        classes = {other: self._imported(other) for other in among}
        found = [other for other, cls in classes.items() if cls in lineage]
        return sorted(found, key=lambda other: -lineage.index(cast("type[Any]", classes[other])))

    def _imported(self, name: str) -> Any:
        """The class called ``name`` where its module has been imported, else None."""
        target = name if ":" in name else self._all()[name]
        if not isinstance(target, str):
            return target
        module, _, attribute = target.partition(":")
        return getattr(sys.modules.get(module), attribute, None)

    def holds(self, name: str) -> bool:
        """Whether `name` is registered here, or is the "module:attribute" of a class that derives from the base."""
        if ":" not in name:
            return name in self._all()
        cls = self._resolve(name)
        return isinstance(cls, type) and issubclass(cls, self._base_class)

    @property
    def _base_class(self) -> type[Any]:
        return _load(self._base) if isinstance(self._base, str) else self._base

    @property
    def description(self) -> str:
        """What components of this kind are: the first line of their base class, whose file is read, not imported."""
        base = find(_spell(self._base))
        assert base is not None, self._base
        return base.doc.partition("\n")[0]

    def describe(self, name: str) -> str:
        """First line of the component's docstring."""
        return self.source(name).doc.partition("\n")[0]

    def source(self, name: str) -> ClassSource:
        """What the component's source file says of it; imports the component only where its name leads to no class."""
        self.check_name(name)
        target = name if ":" in name else self._all()[name]
        found = find(_spell(target)) or find(_spell(self.get(name)))
        if found is None:
            raise ValueError(f"{self.kind}: the class of {name!r} ({_spell(target)}) has no source file to read")
        return found

    def check_name(self, name: str) -> None:
        """Raise a ValueError with the nearest name when `name` is unknown; imports nothing."""
        if ":" in name or name in self._all():
            return
        guess = nearest(name, self.names())
        hint = f"did you mean {guess!r}? " if guess else ""
        raise ValueError(f"{self.kind}: no {name!r}; {hint}choices: {', '.join(self.names())}")

    def _resolve(self, name: str) -> Any:
        self.check_name(name)
        target = name if ":" in name else self._all()[name]
        if not isinstance(target, str):
            return target
        try:
            return _load(target)
        except (ModuleNotFoundError, AttributeError) as error:
            raise ValueError(f"{self.kind}: cannot load {name!r} from {target}: {error}") from error

    def _all(self) -> dict[str, str | type[Any]]:
        for name, target in self._plugins.items():
            taken = self._targets.setdefault(name, target)
            if taken != target:
                raise ValueError(
                    f"{self.kind}: entry point {name!r} ({target}) collides with {_spell(taken)}; rename one of them"
                )
        return self._targets

    @cached_property
    def _plugins(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for point in cast("Iterable[EntryPoint]", entry_points(group=f"unimm.{self.kind}")):
            if found.setdefault(point.name, point.value) != point.value:
                raise ValueError(
                    f"{self.kind}: two packages offer {point.name!r} ({found[point.name]}, {point.value}); "
                    "uninstall one of them"
                )
        return found


def _undefined(cls: type[Any], base: type[Any]) -> list[str]:
    """Members that the base only declares and the class does not define: abstract ones, and class variables."""
    declared = (
        name
        for part in base.__mro__
        for name, annotation in inspect.get_annotations(part).items()
        if "ClassVar[" in str(annotation) and name != "Config"
    )
    absent = [name for name in declared if not hasattr(cls, name)]
    return sorted({*getattr(cls, "__abstractmethods__", ()), *absent})


def _load(target: str) -> Any:
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _spell(target: str | type[Any]) -> str:
    return target if isinstance(target, str) else f"{target.__module__}:{target.__qualname__}"


encoders: Registry[Encoder] = Registry(
    "encoders",
    "unimm.components:Encoder",
    {
        "clip": "unimm.encoders.clip:Clip",
        "clip_layers": "unimm.encoders.clip_layers:ClipLayers",
        "clip_pca": "unimm.encoders.clip_pca:ClipPca",
        "vae": "unimm.encoders.vae:Vae",
        "vae_lift": "unimm.encoders.vae_lift:VaeLift",
        "open_clip": "unimm.encoders.open_clip:OpenClip",
        "transformers_vision": "unimm.encoders.transformers_vision:TransformersVision",
        "timm_vision": "unimm.encoders.timm_vision:TimmVision",
        "side_by_side": "unimm.encoders.side_by_side:SideBySide",
        "autoencoder_kl": "unimm.encoders.autoencoder:AutoencoderKL",
        "autoencoder_dc": "unimm.encoders.autoencoder:AutoencoderDC",
        "autoencoder_tiny": "unimm.encoders.autoencoder:AutoencoderTiny",
        "autoencoder_rae": "unimm.encoders.autoencoder:AutoencoderRAE",
        "autoencoder_flux2": "unimm.encoders.autoencoder:AutoencoderKLFlux2",
        "autoencoder_qwen_image": "unimm.encoders.autoencoder:AutoencoderKLQwenImage",
        "autoencoder_wan": "unimm.encoders.autoencoder:AutoencoderKLWan",
        "pixels": "unimm.encoders.pixels:Pixels",
    },
)
decoders: Registry[Decoder] = Registry(
    "decoders",
    "unimm.components:Decoder",
    {
        "vae": "unimm.encoders.vae:VaeDecoder",
        "vae_lift": "unimm.encoders.vae_lift:LiftedDecoder",
        "clip_pca": "unimm.encoders.clip_pca:PrincipalDecoder",
        "diffusion": "unimm.encoders.token_decoder:DiffusionDecoder",
        "autoencoder": "unimm.encoders.autoencoder:AutoencoderDecoder",
        "pixels": "unimm.encoders.autoencoder:PixelDecoder",
        "trained": "unimm.encoders.token_decoder:TrainedDecoder",
        "rae": "unimm.encoders.rae_decoder:RaeDecoder",
        "part": "unimm.encoders.side_by_side:PartDecoder",
    },
    has_settings=False,
)
backbones: Registry[Backbone] = Registry(
    "backbones",
    "unimm.components:Backbone",
    {
        "causal_lm": "unimm.backbones.causal_lm:CausalLM",
        "pretrained_lm": "unimm.backbones.pretrained:PretrainedLM",
        "pretrained_vlm": "unimm.backbones.vision_language:PretrainedVLM",
    },
)
heads: Registry[Head] = Registry(
    "heads",
    "unimm.components:Head",
    {
        "dit": "unimm.heads.dit:DiffusionTransformer",
        "linear": "unimm.heads.linear:LinearHead",
        "per_token": "unimm.heads.per_token:PerTokenDiffusion",
        "unet": "unimm.heads.unet:UNetHead",
    },
)
objectives: Registry[Objective] = Registry(
    "objectives",
    "unimm.components:Objective",
    {
        "cosine": "unimm.objectives.cosine:CosineDistance",
        "ddpm": "unimm.objectives.ddpm:Ddpm",
        "epsilon_prediction": "unimm.objectives.epsilon_prediction:EpsilonPrediction",
        "flow_matching": "unimm.objectives.flow_matching:FlowMatching",
        "gaussian": "unimm.objectives.likelihood:Gaussian",
        "mean_flow": "unimm.objectives.mean_flow:MeanFlow",
        "mixture": "unimm.objectives.likelihood:Mixture",
        "mse": "unimm.objectives.mse:MeanSquaredError",
        "mse_cosine": "unimm.objectives.mse_cosine:MseCosine",
        "repa": "unimm.objectives.repa:Repa",
        "smooth_l1": "unimm.objectives.smooth_l1:SmoothL1",
        "x_prediction": "unimm.objectives.x_prediction:XPrediction",
    },
)
strategies: Registry[Strategy] = Registry(
    "strategies",
    "unimm.components:Strategy",
    {
        "sequential": "unimm.strategies.sequential:Sequential",
        "joint": "unimm.strategies.joint:Joint",
        "lora": "unimm.strategies.lora:LowRank",
        "replay": "unimm.strategies.replay:Replay",
        "sequential_unfrozen": "unimm.strategies.sequential:SequentialUnfrozen",
        "understanding_only": "unimm.strategies.understanding_only:UnderstandingOnly",
    },
)
metrics: Registry[Metric] = Registry(
    "metrics",
    "unimm.evaluation.metric:Metric",
    {
        "geneval": "unimm.evaluation.metrics.geneval:GenEvalStyle",
        "geneval_long": "unimm.evaluation.metrics.geneval:LongGenEvalStyle",
        "geneval_place": "unimm.evaluation.metrics.geneval:PlacedGenEvalStyle",
        "distance": "unimm.evaluation.metrics.distance:ImageDistance",
        "clip_score": "unimm.evaluation.metrics.clip_score:ClipScore",
        "diversity": "unimm.evaluation.metrics.diversity:PromptDiversity",
        "understanding": "unimm.evaluation.metrics.understanding:Understanding",
        "fid": "unimm.evaluation.metrics.fid:FidScore",
    },
)
detectors: Registry[Judge] = Registry(
    "detectors",
    "unimm.evaluation.judge:Judge",
    {
        "scenes": "unimm.evaluation.detectors.scenes:Scenes",
        "mask2former": "unimm.evaluation.detectors.mask2former:Mask2Former",
        "mask_rcnn": "unimm.evaluation.detectors.mask_rcnn:MaskRCNN",
        "open_vocabulary": "unimm.evaluation.detectors.open_vocabulary:OpenVocabulary",
        "vision_language": "unimm.evaluation.detectors.vision_language:VisionLanguage",
    },
)
sources: Registry[Source] = Registry(
    "sources",
    "unimm.data.source:Source",
    {
        "scenes": "unimm.data.scenes:Scenes",
        "degraded_scenes": "unimm.data.degraded_scenes:DegradedScenes",
        "shards": "unimm.data.shards:Shards",
        "remote_shards": "unimm.data.remote_shards:RemoteShards",
        "folder": "unimm.data.folder:Folder",
        "hf_disk": "unimm.data.hf_disk:HfDisk",
        "mixture": "unimm.data.mixture:Mixture",
    },
)

KINDS: dict[str, Registry[Any]] = {
    registry.kind: registry
    for registry in cast(
        "tuple[Registry[Any], ...]",
        (encoders, decoders, backbones, heads, objectives, strategies, metrics, detectors, sources),
    )
}
