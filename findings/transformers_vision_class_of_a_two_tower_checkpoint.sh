#!/usr/bin/env bash
# transformers 5.23.0: the vision class of a family reads the folder of its two-tower model, as in
# CLIPVisionModel.from_pretrained(folder of a CLIPModel), which is how an image tower is usually taken out of one.
#
# Guess, written first: every family does what CLIP does. The class finds its tower under the prefix of the whole
# model, and what is left over is the text tower.
#
# Seen: of fourteen families eight do so (CLIP, SigLIP, SigLIP 2, Chinese-CLIP, MetaCLIP 2, CLIPSeg, OWLv2, GroupViT).
# In five (AIMv2, BLIP, ALIGN, X-CLIP, FLAVA) not one tensor of the tower is found, and AltCLIP finds 7 of 39 and draws
# the other 32 anew, so that its tower is half itself. No error is raised: the model runs, gives features of the right
# shape, and says so only in the table that loading logs, which is the same kind of table that a harmless left-over text
# tower gives. A comparison of encoders would score random weights under the name of a pretrained tower.
# Tiny configurations with random weights; each folder was written by save_pretrained of the same version, so that a
# change of format between versions is not the cause.
#
# Output seen (drawn anew / tensors of the tower):
#   CLIP 0/39
#   Siglip 0/48
#   Siglip2 0/48
#   ChineseCLIP 0/39
#   MetaClip2 0/39
#   CLIPSeg 0/39
#   Owlv2 0/39
#   GroupViT 0/287
#   AltCLIP 32/39
#   Aimv2 28/28
#   Blip 30/30
#   Align 1192/1192
#   XCLIP 63/63
#   Flava 201/201
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet torch==2.14.1 transformers==5.23.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PY' 2>/dev/null | tee "$folder/seen"
import tempfile

import torch
import transformers

SIZES = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4)
VISION = dict(SIZES, image_size=32, patch_size=8)
TEXT = dict(SIZES, vocab_size=99)
OWN = {"Align": dict(vision_config=dict(image_size=64, hidden_dim=64))}
CLASSES = {"Flava": "FlavaImageModel"}
FAMILIES = "CLIP Siglip Siglip2 ChineseCLIP MetaClip2 CLIPSeg Owlv2 GroupViT AltCLIP Aimv2 Blip Align XCLIP Flava"

for family in FAMILIES.split():
    sizes = {"text_config": dict(TEXT), "vision_config": dict(VISION)} | OWN.get(family, {})
    config = getattr(transformers, f"{family}Config")(**sizes)
    whole = getattr(transformers, f"{family}Model")(config)
    tower_class = getattr(transformers, CLASSES.get(family, f"{family}VisionModel"))
    with tempfile.TemporaryDirectory() as saved:
        whole.save_pretrained(saved)
        tower, told = tower_class.from_pretrained(saved, output_loading_info=True)
    print(f"{family} {len(told['missing_keys'])}/{len(tower.state_dict())}")
PY
diff "$folder/seen" - <<'SEEN'
CLIP 0/39
Siglip 0/48
Siglip2 0/48
ChineseCLIP 0/39
MetaClip2 0/39
CLIPSeg 0/39
Owlv2 0/39
GroupViT 0/287
AltCLIP 32/39
Aimv2 28/28
Blip 30/30
Align 1192/1192
XCLIP 63/63
Flava 201/201
SEEN
