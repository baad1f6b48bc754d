"""Tiny random checkpoints of every family, saved by the family's own library: real file formats in milliseconds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

TOWER = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
TEXT = {**TOWER, "num_hidden_layers": 1, "vocab_size": 64, "max_position_embeddings": 16}
SIDE, PATCH = 32, 4
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
OPENAI = ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711])


def stirred(model: Any) -> Any:
    """The model in evaluation mode with every weight moved, so that none is the zero or one it started as."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def open_clip(folder: Path, vision: dict[str, Any] | None = None) -> None:
    from open_clip.model import CLIP, CustomTextCLIP
    from safetensors.torch import save_file

    own = {"image_size": SIDE, "patch_size": PATCH, "width": 32, "layers": 2, "head_width": 16}
    text = {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1}
    model_cfg: dict[str, Any] = {"embed_dim": 16, "vision_cfg": vision or own, "text_cfg": text}
    model = stirred((CustomTextCLIP if vision else CLIP)(**model_cfg))
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, folder / WEIGHTS["open_clip"])
    model_cfg |= {"custom_text": True} if vision else {}
    preprocess = {"mean": OPENAI[0], "std": OPENAI[1], "interpolation": "bicubic", "resize_mode": "shortest"}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": model_cfg, "preprocess_cfg": preprocess}))


def open_clip_timm(folder: Path) -> None:
    """A tower from timm, as EVA-CLIP's are."""
    vision = {"image_size": 224, "timm_model_name": "vit_tiny_patch16_224", "timm_model_pretrained": False}
    open_clip(folder, {**vision, "timm_pool": "token", "timm_proj": None})


def clip_vision(folder: Path) -> None:
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel

    stirred(CLIPVisionModel(CLIPVisionConfig(**TOWER, image_size=SIDE, patch_size=PATCH))).save_pretrained(folder)
    _processor(CLIPImageProcessor, folder, size={"shortest_edge": SIDE}, crop_size=SIDE)


def clip_whole(folder: Path) -> None:
    """With its text tower, as CLIP checkpoints come."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    vision = {**TOWER, "image_size": SIDE, "patch_size": PATCH}
    text = {**TEXT, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    stirred(CLIPModel(CLIPConfig(text_config=text, vision_config=vision))).save_pretrained(folder)
    _processor(CLIPImageProcessor, folder, size={"shortest_edge": SIDE}, crop_size=SIDE)


def siglip(folder: Path) -> None:
    """SigLIP, and SigLIP 2 of a fixed resolution: the same classes."""
    from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel

    vision = {**TOWER, "image_size": SIDE, "patch_size": PATCH}
    text = {**TEXT, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    stirred(SiglipModel(SiglipConfig(text_config=text, vision_config=vision))).save_pretrained(folder)
    _processor(SiglipImageProcessor, folder, size={"height": SIDE, "width": SIDE})


def siglip2_naflex(folder: Path) -> None:
    from transformers import Siglip2ImageProcessor, Siglip2VisionConfig, Siglip2VisionModel

    config = Siglip2VisionConfig(**TOWER, patch_size=PATCH, num_patches=(SIDE // PATCH) ** 2)
    stirred(Siglip2VisionModel(config)).save_pretrained(folder)
    _processor(Siglip2ImageProcessor, folder, patch_size=PATCH, max_num_patches=(SIDE // PATCH) ** 2)


def dinov2(folder: Path) -> None:
    from transformers import BitImageProcessor, Dinov2Config, Dinov2Model

    stirred(Dinov2Model(Dinov2Config(**TOWER, image_size=48, patch_size=PATCH))).save_pretrained(folder)
    _processor(BitImageProcessor, folder, size={"shortest_edge": 36}, crop_size=SIDE, **IMAGENET)


def dinov2_registers(folder: Path) -> None:
    from transformers import BitImageProcessor, Dinov2WithRegistersConfig, Dinov2WithRegistersModel

    config = Dinov2WithRegistersConfig(**TOWER, image_size=48, patch_size=PATCH, num_register_tokens=3)
    stirred(Dinov2WithRegistersModel(config)).save_pretrained(folder)
    _processor(BitImageProcessor, folder, size={"shortest_edge": 36}, crop_size=SIDE, **IMAGENET)


def _processor(processor_class: Any, folder: Path, **settings: Any) -> None:
    processor_class(**settings).save_pretrained(folder)


def autoencoder_kl(folder: Path, **settings: Any) -> None:
    from diffusers import AutoencoderKL

    sizes: dict[str, Any] = {"block_out_channels": (8, 8, 8, 8), "latent_channels": 4, "norm_num_groups": 4}
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    model = AutoencoderKL(**sizes, **blocks, layers_per_block=1, **({"scaling_factor": 0.18215} | settings))
    stirred(model).save_pretrained(folder)


def autoencoder_flux(folder: Path) -> None:
    """As FLUX and SD3 have it: a shift, and no quantisation convolutions."""
    autoencoder_kl(folder, scaling_factor=0.3611, shift_factor=0.1159, use_quant_conv=False, use_post_quant_conv=False)


def autoencoder_dc(folder: Path) -> None:
    from diffusers import AutoencoderDC

    levels: dict[str, Any] = {}
    for part in ("encoder", "decoder"):
        levels |= {
            f"{part}_block_types": ("ResBlock", "ResBlock", "EfficientViTBlock"),
            f"{part}_block_out_channels": (8, 8, 8),
            f"{part}_layers_per_block": (1, 1, 1),
            f"{part}_qkv_multiscales": ((), (), (5,)),
        }
    stirred(AutoencoderDC(**levels, latent_channels=4, attention_head_dim=4, scaling_factor=0.41407)).save_pretrained(
        folder
    )


def autoencoder_tiny(folder: Path) -> None:
    from diffusers import AutoencoderTiny

    widths = {"encoder_block_out_channels": (8,) * 4, "decoder_block_out_channels": (8,) * 4}
    blocks = {"num_encoder_blocks": (1,) * 4, "num_decoder_blocks": (1,) * 4}
    stirred(AutoencoderTiny(**widths, **blocks)).save_pretrained(folder)


def autoencoder_rae(folder: Path) -> None:
    from diffusers import AutoencoderRAE

    encoder = {"encoder_hidden_size": 64, "encoder_patch_size": 14, "encoder_num_hidden_layers": 1}
    decoder = {"decoder_hidden_size": 32, "decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 2}
    generator = torch.Generator().manual_seed(2)
    statistics = {
        "latents_mean": torch.randn(64, 4, 4, generator=generator),
        "latents_std": 0.5 + torch.rand(64, 4, 4, generator=generator),
    }
    model = AutoencoderRAE(
        **encoder, **decoder, **statistics, decoder_intermediate_size=32, encoder_input_size=56, patch_size=16
    )
    stirred(model).save_pretrained(folder)


WORDS = [
    "Please generate an image based on the following caption: a photo of a red circle and two blue squares",
    "yes no zero one two three four five six red green blue yellow black white grey orange pink purple brown",
    "how many triangles are there ? what colour is the circle ? is the square left of the star ? describe the image .",
    "user assistant system You are a helpful assistant. Today Date: Cutting Knowledge",
]
CHATML = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}<|im_start|>system\n"
    "You are a helpful assistant.<|im_end|>\n{% endif %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for content in message['content'] %}"
    "{% if content['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ content['text'] }}"
    "{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
THINKING = (
    CHATML[: -len("{% endif %}")]
    + "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
LLAMA = (
    "{{- bos_token }}{%- if not date_string is defined %}{%- if strftime_now is defined %}"
    "{%- set date_string = strftime_now('%d %b %Y') %}{%- else %}{%- set date_string = '26 Jul 2024' %}{%- endif %}"
    "{%- endif %}{{- '<|start_header_id|>system<|end_header_id|>\n\nToday Date: ' + date_string + '\n\n<|eot_id|>' }}"
    "{%- for message in messages %}{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' }}"
    "{{- message['content'] | trim + '<|eot_id|>' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif %}"
)
MARKS = {
    "qwen": ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>"],
    "qwen_vl": [
        "<|endoftext|>",
        "<|im_start|>",
        "<|im_end|>",
        "<|vision_start|>",
        "<|vision_end|>",
        "<|image_pad|>",
        "<|video_pad|>",
    ],
    "llama": ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
}
LANGUAGE = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 512,
}


def tokenizer(kind: str, template: str | None, **special: Any) -> Any:
    """A byte-level BPE tokenizer, as these models have, trained on a few sentences."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=480, special_tokens=MARKS[kind], initial_alphabet=alphabet, show_progress=False
    )
    core.train_from_iterator([*WORDS, *(f"{word}" for line in WORDS for word in line.split())], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=core, chat_template=template, **special)


def llama(folder: Path, template: str | None = LLAMA) -> None:
    """As Llama 3.2: its template writes today's date, and its tokenizer has no padding token."""
    from transformers import LlamaConfig, LlamaForCausalLM

    words = tokenizer("llama", template, bos_token="<|begin_of_text|>", eos_token="<|eot_id|>")
    config = LlamaConfig(**LANGUAGE, vocab_size=len(words), tie_word_embeddings=True, bos_token_id=0, eos_token_id=3)
    stirred(LlamaForCausalLM(config)).save_pretrained(folder)
    words.save_pretrained(folder)


def llama_base(folder: Path) -> None:
    """Not instruction-tuned: no chat template."""
    llama(folder, template=None)


def qwen3(folder: Path) -> None:
    """As Qwen3: its template leaves room to think, and its embedding has more rows than its tokenizer ids."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    words = tokenizer("qwen", THINKING, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    config = Qwen3Config(**LANGUAGE, head_dim=16, vocab_size=512, tie_word_embeddings=False)
    stirred(Qwen3ForCausalLM(config)).save_pretrained(folder)
    words.save_pretrained(folder)


def qwen2_5_vl(folder: Path) -> None:
    from transformers import (
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2_5_VLProcessor,
        Qwen2VLImageProcessor,
        Qwen2VLVideoProcessor,
    )

    words = tokenizer("qwen_vl", CHATML, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    ids = {name: words.convert_tokens_to_ids(f"<|{name.removesuffix('_token_id')}|>") for name in VISION_IDS}
    ids = {VISION_IDS[name]: number for name, number in ids.items()}
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]}
    text = {**LANGUAGE, "vocab_size": len(words), "rope_parameters": rope}
    vision = {"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "out_hidden_size": 32}
    vision |= {"patch_size": 14, "window_size": 56, "fullatt_block_indexes": [1]}
    config = Qwen2_5_VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=False, **ids)
    stirred(Qwen2_5_VLForConditionalGeneration(config)).save_pretrained(folder)
    pixels = {"min_pixels": 56 * 56, "max_pixels": 224 * 224}
    images, videos = Qwen2VLImageProcessor(**pixels), Qwen2VLVideoProcessor(**pixels)
    Qwen2_5_VLProcessor(images, words, videos, chat_template=CHATML).save_pretrained(folder)


VISION_IDS = {
    "image_pad": "image_token_id",
    "video_pad": "video_token_id",
    "vision_start": "vision_start_token_id",
    "vision_end": "vision_end_token_id",
}
WEIGHTS = {"open_clip": "open_clip_model.safetensors", "diffusers": "diffusion_pytorch_model.safetensors"}
TOWERS: dict[str, Callable[[Path], None]] = {
    "clip_vision": clip_vision,
    "clip_whole": clip_whole,
    "siglip": siglip,
    "siglip2_naflex": siglip2_naflex,
    "dinov2": dinov2,
    "dinov2_registers": dinov2_registers,
}
AUTOENCODERS: dict[str, Callable[[Path], None]] = {
    "autoencoder_kl": autoencoder_kl,
    "autoencoder_flux": autoencoder_flux,
    "autoencoder_dc": autoencoder_dc,
    "autoencoder_tiny": autoencoder_tiny,
    "autoencoder_rae": autoencoder_rae,
}
SAVERS: dict[str, Callable[[Path], None]] = {
    "open_clip": open_clip,
    "open_clip_timm": open_clip_timm,
    **TOWERS,
    **AUTOENCODERS,
    "llama": llama,
    "llama_base": llama_base,
    "qwen3": qwen3,
    "qwen2_5_vl": qwen2_5_vl,
}


def save(name: str, folder: Path) -> Path:
    """The checkpoint called ``name`` in a new folder, always with the same weights."""
    from tiny_backbones import BACKBONES
    from tiny_judges import JUDGES
    from tiny_targets import TARGETS

    folder.mkdir(parents=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        (SAVERS | BACKBONES | JUDGES | TARGETS)[name](folder)
    return folder
