"""Any causal language model of `transformers` as the backbone, from a folder or the hub, with fresh queries.

Its chat template words every prompt. A language model without eyes sees images through a projector that training
teaches: from the foundation's CLIP tokens, or from those of the arm's own encoder. It may train through low-rank
adapters in its linear layers, by `peft` (the extra ``[lora]``).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from unimm.backbones.causal_lm import CausalLM, positions_of
from unimm.backbones.chat import TOKENIZER, ChatTokenizer, Limits
from unimm.backbones.conditions import Conditioning
from unimm.backbones.library_check import check_against_library, check_outputs
from unimm.backbones.lora import adapter_parameters, add_adapters
from unimm.checkpoints import check_complete, checkpoint_folder, config_folder, read_config, reading, weight_files
from unimm.components import Encoder, Inputs, Lora, Mix
from unimm.encoders.clip import Clip
from unimm.encoders.tower import DTYPES
from unimm.foundation.folder import Foundation

CONFIG = "config.json"
STEMS = ("model",)
FIX = "give the folder of an instruction-tuned model that save_pretrained wrote, with its tokenizer"


class ModelOutline(NamedTuple):
    """A backbone's model on the meta device, and the channels H of its states."""

    model: nn.Module
    width: int


class PretrainedLM(CausalLM):
    """Any pretrained causal language model of `transformers` with learnable queries, and LoRA where asked for."""

    of_foundation: ClassVar[bool] = False
    called: ClassVar[str] = "pretrained_lm"
    transformers_needed: ClassVar[int] = 4
    auto_class: ClassVar[str] = "AutoModelForCausalLM"
    mapping: ClassVar[str] = "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES"
    instead: ClassVar[str] = "no language model (vision-language models: backbone=pretrained_vlm)"

    class Config(Conditioning):
        """``pretrained``: local folder or hub name of the model; ``queries``: how many query tokens follow the prompt.

        ``dtype``: type of its weights; ``images``: whose tokens the projector reads when the model is asked about an
        image; ``lora``: low-rank adapters (rank, alpha, targets) in place of all weights, null for none.
        ``weights``: the checkpoint's, or random ones of the same architecture, drawn by the seed: a control of what
        its training is worth.
        """

        pretrained: str = Field(min_length=1)
        queries: int = Field(64, ge=1)
        dtype: Literal["float32", "bfloat16"] = "float32"
        images: Literal["foundation", "encoder"] = "foundation"
        lora: Lora | None = None
        weights: Literal["trained", "random"] = "trained"

    @classmethod
    def build(cls, config: Any, foundation: Foundation, encoder: Encoder, start: str, seed: int) -> CausalLM:
        folder = checkpoint_folder(config.pretrained)
        model = (cls.load_model if config.weights == "trained" else cls.fresh_model)(folder, config, seed)
        shown = _shown(config, foundation, encoder)
        backbone = cls(config, model, _tokenizer(folder, model, config), shown.latent_spec().channels, seed)
        check_against_library(backbone, folder)
        return backbone

    @classmethod
    def restore(cls, config: Any, model: Path, tokenizer: Path, image_channels: int) -> CausalLM:
        config = config.model_copy(update={"lora": None})  # merged when it was saved
        saved = cls.load_model(model, config, seed=0)
        return cls(config, saved, _tokenizer(tokenizer, saved, config), image_channels, seed=0)

    @classmethod
    def on_meta(cls, config: Any) -> ModelOutline:
        """The model without weights, for shapes, parameter counts and FLOPs."""
        import transformers

        folder = config_folder(config.pretrained)
        settings = cls.described(folder)
        with reading(folder, cls.auto_class), torch.device("meta"):
            model = getattr(transformers, cls.auto_class).from_config(settings)
        return ModelOutline(model.requires_grad_(False).eval(), int(settings.get_text_config().hidden_size))

    @classmethod
    def load_model(cls, folder: Path, config: Any, seed: int) -> Any:
        """The whole model, frozen but for adapters.

        Raises:
            ValueError: the folder holds another kind of model, or weights are missing, damaged or left over.
        """
        import transformers

        settings = cls.described(folder)
        weight_files(folder, STEMS)
        with reading(folder, cls.auto_class):
            model, report = getattr(transformers, cls.auto_class).from_pretrained(
                folder,
                config=settings,
                dtype=DTYPES[config.dtype],
                output_loading_info=True,
                ignore_mismatched_sizes=True,
            )
        check_complete(folder, type(model).__name__, report)
        return cls._frozen(model, folder, config, seed)

    @classmethod
    def fresh_model(cls, folder: Path, config: Any, seed: int) -> Any:
        """The checkpoint's architecture with weights that its library draws by ``seed``, frozen but for adapters."""
        import transformers

        settings = cls.described(folder)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = getattr(transformers, cls.auto_class).from_config(settings, dtype=DTYPES[config.dtype])
        return cls._frozen(model, folder, config, seed)

    @classmethod
    def _frozen(cls, model: Any, folder: Path, config: Any, seed: int) -> Any:
        model.requires_grad_(False).eval()
        check_outputs(model, folder)
        if config.lora is not None:
            add_adapters(model, config.lora, seed)
        return model

    @classmethod
    def described(cls, folder: Path) -> Any:
        """The configuration in ``config.json``, which has to be one of this kind of model.

        Raises:
            ValueError: it is not, or the installed transformers is older than this backbone or the model.
        """
        import transformers
        from transformers import CONFIG_MAPPING, AutoConfig
        from transformers.models.auto import modeling_auto

        installed = transformers.__version__
        if int(installed.split(".")[0]) < cls.transformers_needed:
            raise ValueError(
                f"backbone={cls.called} needs transformers {cls.transformers_needed} or newer, and {installed} is "
                f"installed: pip install 'transformers>={cls.transformers_needed}'"
            )
        content = read_config(folder, CONFIG, FIX)
        kind = content.get("model_type")
        if kind is not None and kind not in CONFIG_MAPPING:
            saved = content.get("transformers_version", "another version")
            raise ValueError(
                f"{folder / CONFIG}: the installed transformers {installed} knows no model_type {kind!r} (saved by "
                f"{saved}): install a version that does, or use another checkpoint"
            )
        if kind not in getattr(modeling_auto, cls.mapping):
            raise ValueError(f"{folder / CONFIG}: model_type {kind!r} is {cls.instead}; {FIX}")
        with reading(folder, cls.auto_class):
            return AutoConfig.from_pretrained(folder)

    def image_encoder(self, foundation: Foundation, encoder: Encoder) -> Encoder:
        return _shown(self.config, foundation, encoder)

    def understands(self, start: str) -> bool:
        return False  # a fresh projector shows it nothing

    def check(self, mix: Mix) -> None:
        if self.config.lora is not None and mix.adapters is not None:
            raise ValueError("backbone.lora and the strategy both bring adapters: remove backbone.lora")
        if self.config.lora is not None and not mix.train_backbone:
            raise ValueError(
                "backbone.lora adapts the backbone, but the strategy freezes it: use strategy=joint or "
                "strategy=sequential_unfrozen, or remove backbone.lora"
            )
        whole = self.config.lora is None and mix.adapters is None
        if whole and self.config.dtype != "float32" and mix.train_backbone:
            raise ValueError(
                f"backbone.dtype={self.config.dtype} is too coarse for weights that train: small steps would round "
                "away. Set backbone.dtype=float32 (training.precision=bf16 computes in bfloat16 all the same), or use "
                "backbone.lora"
            )

    def core_parameters(self) -> list[nn.Parameter]:
        """What a strategy may train: the adapters where there are any, else the language model; and the projector."""
        return [*self.language_parameters(), *self.projector.parameters()]

    def language_parameters(self) -> list[nn.Parameter]:
        """The language model with its embedding and its output layer, or its adapters."""
        model: Any = self.model
        parts = (model.get_decoder(), model.get_input_embeddings(), model.get_output_embeddings())
        own = dict.fromkeys(p for part in parts for p in part.parameters())
        return adapter_parameters(model) or list(own)

    def logits(self, inputs: Inputs, last: int) -> Float[Tensor, "b k v"]:
        """By the model's own forward pass: some cap or scale their logits, and a vocabulary can be large."""
        output = self.model(
            inputs_embeds=self.embed(inputs),
            attention_mask=inputs.mask.long(),
            position_ids=positions_of(inputs.mask),
            use_cache=False,
            logits_to_keep=last,
        )
        return output.logits  # type: ignore[no-any-return]


def _shown(config: Any, foundation: Foundation, encoder: Encoder) -> Encoder:
    """The encoder through whose tokens a model without eyes sees."""
    if config.images == "encoder":
        return encoder
    clip: Encoder = Clip.build(Clip.Config(grid=foundation.card["grid"]), foundation)
    return clip


def _tokenizer(folder: Path, model: Any, config: Any) -> ChatTokenizer:
    """The checkpoint's tokenizer, which has to fit the model's embedding."""
    from transformers import AutoTokenizer

    read_config(folder, TOKENIZER, FIX)
    with reading(folder, "a tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(folder)
    return ChatTokenizer(tokenizer, folder, limits_of(model, config))


def limits_of(model: Any, config: Any) -> Limits:
    """What the model can read, with this backbone's queries behind it."""
    rows = int(model.get_input_embeddings().weight.shape[0])
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return Limits(rows, positions, config.queries)
