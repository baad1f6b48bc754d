#!/usr/bin/env bash
# transformers 5.23.0: continuing a causal language model from its cache. All are models of mixed layers (attention beside
# recurrent ones) with random weights, on the reference PyTorch path.
#
# Guess, written first: what a model computes of four tokens after a cached prompt of eight is what it computes of them in
# one pass over all twelve, up to rounding, whether they come one at a time or together, and whether position_ids are
# given or left to the model. Attention models (Qwen3) do so, and so do mixed ones that were tried before (Qwen3-Next,
# LFM2, GraniteMoeHybrid): a model that accepts past_key_values and several tokens computes them.
#
# Seen: two do not, without an error or a warning.
# Jamba is right one token at a time and wrong for several at once: its recurrent layers start the chunk from an empty
# state. Whoever puts learned queries, a suffix, or speculated tokens after a cached prefix gets other states.
# Bamba is right if position_ids are given and wrong if they are not, even for a single next token: its attention counts
# the new tokens from position 0 instead of from the length of the cache (generate() gives positions, so it does not
# show there). With positions given, several tokens at once are right too.
# Differences are several per cent of the largest logit and more, far from rounding.
#
# Output seen:
#   Qwen3Next: one by one same, together same, one by one without positions same
#   Lfm2: one by one same, together same, one by one without positions same
#   Jamba: one by one same, together differs, one by one without positions same
#   Bamba: one by one same, together same, one by one without positions differs
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet torch==2.14.1 transformers==5.23.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PY' 2>/dev/null | tee "$folder/seen"
import torch
import transformers

SIZES = dict(vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=4, num_attention_heads=4)
SIZES |= dict(num_key_value_heads=2)
HEADS = dict(linear_num_key_heads=2, linear_num_value_heads=2, linear_key_head_dim=8, linear_value_head_dim=8)
EXPERTS = dict(num_experts=2, num_experts_per_tok=1, moe_intermediate_size=32, shared_expert_intermediate_size=32)
MAMBA = dict(mamba_n_heads=4, mamba_d_head=16, mamba_d_state=8, mamba_n_groups=1)
MODELS = {
    "Qwen3Next": dict(head_dim=8, **HEADS, **EXPERTS),
    "Lfm2": dict(full_attn_idxs=[1, 3]),
    "Jamba": dict(
        attn_layer_period=2, attn_layer_offset=1, expert_layer_period=2, expert_layer_offset=1, num_experts=2,
        mamba_d_state=8, mamba_dt_rank=4, pad_token_id=0,
    ),
    "Bamba": dict(attn_layer_indices=[1, 3], **MAMBA),
}


def continued(model, ids, at_once, positions):
    """Logits of tokens 8 to 11 after a cached pass over those before."""
    past, found = model(ids[:, :8], use_cache=True).past_key_values, []
    for begin in range(8, 12, at_once):
        given = {"position_ids": torch.arange(begin, begin + at_once)[None]} if positions else {}
        output = model(ids[:, begin : begin + at_once], past_key_values=past, use_cache=True, **given)
        past = output.past_key_values
        found.append(output.logits)
    return torch.cat(found, 1)


for name, own in MODELS.items():
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**SIZES, **own)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    for key, weight in model.named_parameters():  # fresh weights are small, and so are their effects
        if weight.ndim >= 2 and "norm" not in key:
            weight.data.mul_(8)
    ids = torch.randint(1, 64, (1, 12))
    with torch.no_grad():
        whole = model(ids).logits[:, 8:]
        ways = {"one by one": (1, True), "together": (4, True), "one by one without positions": (1, False)}
        said = []
        for way, (at_once, positions) in ways.items():
            off = (continued(model, ids, at_once, positions) - whole).abs().max() / whole.abs().max()
            said.append(f"{way} {'same' if off < 1e-4 else 'differs' if off > 1e-2 else 'unclear'}")
    print(f"{name}: {', '.join(said)}")
PY
diff "$folder/seen" - <<'SEEN'
Qwen3Next: one by one same, together same, one by one without positions same
Lfm2: one by one same, together same, one by one without positions same
Jamba: one by one same, together differs, one by one without positions same
Bamba: one by one same, together same, one by one without positions differs
SEEN
