"""Tiny random language models and vision-language models of more families, saved by `transformers` itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tiny_checkpoints import CHATML, LANGUAGE, MARKS, TOWER, VISION_IDS, stirred, tokenizer

PARTS_ONLY = (
    "{% for message in messages %}{{ message['role'].upper() + ': '}}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\n' }}{% endfor %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ content['text'] + ' '}}"
    "{% endfor %}{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
SMOLVLM = (
    "<|im_start|>{% for message in messages %}{{message['role'] | capitalize}}"
    "{% if message['content'][0]['type'] == 'image' %}{{':'}}{% else %}{{': '}}{% endif %}"
    "{% for line in message['content'] %}{% if line['type'] == 'text' %}{{line['text']}}"
    "{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% for message in messages %}{{ '<start_of_turn>' + message['role'] + '\n' }}"
    "{% if message['content'] is string %}{{ message['content'] | trim }}{% else %}"
    "{% for item in message['content'] %}{% if item['type'] == 'image' %}{{ '<start_of_image>' }}"
    "{% elif item['type'] == 'text' %}{{ item['text'] | trim }}{% endif %}{% endfor %}{% endif %}"
    "{{ '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"
)
MARKS |= {
    "llava": ["<pad>", "<s>", "</s>", "<image>"],
    "smolvlm": [
        *("<pad>", "<|im_start|>", "<end_of_utterance>", "<image>"),
        *("<fake_token_around_image>", "<global-img>"),
    ],
    "gemma": [
        *("<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"),
        *("<start_of_image>", "<end_of_image>", "<image_soft_token>"),
    ],
}
GEMMA_IMAGE = {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"}


def chat_words() -> Any:
    return tokenizer("qwen", CHATML, eos_token="<|im_end|>", pad_token="<|endoftext|>")


def language_model(folder: Path, model_class: str, config_class: str, **settings: Any) -> None:
    """A model of the class with these settings, and a tokenizer with a chat template."""
    import transformers

    words = chat_words()
    config = getattr(transformers, config_class)(vocab_size=len(words), **settings)
    stirred(getattr(transformers, model_class)(config)).save_pretrained(folder)
    words.save_pretrained(folder)


def gpt2(folder: Path) -> None:
    """With learned positions: a longer prompt is an IndexError."""
    language_model(folder, "GPT2LMHeadModel", "GPT2Config", n_embd=32, n_layer=2, n_head=2, n_positions=256)


def gemma_text(folder: Path) -> None:
    """Its embedding scales by the root of the width."""
    language_model(folder, "GemmaForCausalLM", "GemmaConfig", **LANGUAGE, head_dim=16)


def granite(folder: Path) -> None:
    """It scales embeddings in its forward pass, whatever they come from."""
    scales = {"embedding_multiplier": 12.0, "logits_scaling": 8.0}
    language_model(folder, "GraniteForCausalLM", "GraniteConfig", **LANGUAGE, **scales)


def mamba(folder: Path) -> None:
    sizes = {"hidden_size": 32, "state_size": 8, "num_hidden_layers": 2}
    language_model(folder, "MambaForCausalLM", "MambaConfig", **sizes)


def rwkv(folder: Path) -> None:
    sizes = {"hidden_size": 32, "attention_hidden_size": 32, "num_hidden_layers": 2}
    language_model(folder, "RwkvForCausalLM", "RwkvConfig", **sizes)


def llama4_text(folder: Path) -> None:
    sizes = {**LANGUAGE, "head_dim": 16, "num_local_experts": 2, "intermediate_size_mlp": 64}
    language_model(folder, "Llama4ForCausalLM", "Llama4TextConfig", **sizes)


def jamba(folder: Path) -> None:
    """Half of its layers are recurrent, and padding or a cached prompt changes what they compute."""
    layers = {"attn_layer_period": 2, "attn_layer_offset": 1, "mamba_d_state": 8, "use_mamba_kernels": False}
    language_model(folder, "JambaForCausalLM", "JambaConfig", **LANGUAGE, **layers, num_experts=2)


def llava(folder: Path) -> None:
    """Its template renders content in parts only; its pad token is not its end of a turn."""
    import transformers as library

    words = tokenizer("llava", None, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    config = library.LlavaConfig(
        vision_config=library.CLIPVisionConfig(**TOWER, image_size=32, patch_size=8, projection_dim=16),
        text_config=library.LlamaConfig(**LANGUAGE, vocab_size=len(words)),
        image_token_index=words.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
    )
    stirred(library.LlavaForConditionalGeneration(config)).save_pretrained(folder)
    library.LlavaProcessor(
        library.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32),
        words,
        patch_size=8,
        vision_feature_select_strategy="default",
        chat_template=PARTS_ONLY,
        num_additional_image_tokens=1,
    ).save_pretrained(folder)


def smolvlm(folder: Path) -> None:
    """As Idefics3 and SmolVLM: parts only, and an image is cut into several with words between them."""
    import transformers as library

    words = tokenizer("smolvlm", None, bos_token="<|im_start|>", eos_token="<end_of_utterance>", pad_token="<pad>")
    config = library.Idefics3Config(
        vision_config={**TOWER, "image_size": 32, "patch_size": 8},
        text_config=library.LlamaConfig(**LANGUAGE, vocab_size=len(words), pad_token_id=0),
        image_token_id=words.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        pad_token_id=0,
    )
    stirred(library.Idefics3ForConditionalGeneration(config)).save_pretrained(folder)
    images = library.Idefics3ImageProcessor(size={"longest_edge": 64}, max_image_size={"longest_edge": 32})
    library.Idefics3Processor(images, words, image_seq_len=4, chat_template=SMOLVLM).save_pretrained(folder)


def gemma3(folder: Path) -> None:
    """Its images have a start, soft tokens that see each other both ways, and an end."""
    import transformers as library

    special: dict[str, Any] = {"eos_token": "<end_of_turn>", "pad_token": "<pad>", "extra_special_tokens": GEMMA_IMAGE}
    words = tokenizer("gemma", None, bos_token="<bos>", **special)
    number = words.convert_tokens_to_ids
    text = {**LANGUAGE, "head_dim": 16, "vocab_size": len(words), "pad_token_id": 0}
    config = library.Gemma3Config(
        text_config={**text, "sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]},
        vision_config={**TOWER, "image_size": 32, "patch_size": 8, "model_type": "siglip_vision_model"},
        mm_tokens_per_image=4,
        **{f"{name}_index": number(token) for name, token in GEMMA_IMAGE.items()},
    )
    stirred(library.Gemma3ForConditionalGeneration(config)).save_pretrained(folder)
    images = library.Gemma3ImageProcessor(size={"height": 32, "width": 32})
    library.Gemma3Processor(images, words, chat_template=GEMMA, image_seq_length=4).save_pretrained(folder)


def qwen3_vl(folder: Path) -> None:
    """Features of two blocks of its tower enter inside of its language model (deepstack)."""
    import transformers as library

    words = tokenizer("qwen_vl", CHATML, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    ids = {key: words.convert_tokens_to_ids(f"<|{name}|>") for name, key in VISION_IDS.items()}
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 2, 2], "mrope_interleaved": True}
    text = {**LANGUAGE, "num_hidden_layers": 3, "head_dim": 16, "vocab_size": len(words), "rope_parameters": rope}
    vision = {"depth": 3, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "out_hidden_size": 32}
    vision |= {"patch_size": 16, "deepstack_visual_indexes": [0, 1], "num_position_embeddings": 64}
    config = library.Qwen3VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=False, **ids)
    stirred(library.Qwen3VLForConditionalGeneration(config)).save_pretrained(folder)
    size = {"shortest_edge": 32 * 32, "longest_edge": 256 * 256}
    images, videos = library.Qwen2VLImageProcessor(patch_size=16, size=size), library.Qwen3VLVideoProcessor(size=size)
    library.Qwen3VLProcessor(images, words, videos, chat_template=CHATML).save_pretrained(folder)


BACKBONES: dict[str, Callable[[Path], None]] = {
    "gpt2": gpt2,
    "gemma_text": gemma_text,
    "granite": granite,
    "mamba": mamba,
    "rwkv": rwkv,
    "llama4_text": llama4_text,
    "jamba": jamba,
    "llava": llava,
    "smolvlm": smolvlm,
    "gemma3": gemma3,
    "qwen3_vl": qwen3_vl,
}
