#!/usr/bin/env bash
# torchmetrics 1.9.0, CLIPScore. Its documentation gives the score of an image and its caption as
# max(100 * cos(E_I, E_C), 0).
#
# Guess, written first: every pair is clamped, then the mean is taken. Two pairs with cosines +0.6 and -0.2 score
# (60 + 0) / 2 = 30, and one pair with a negative cosine cannot lower what another one earned.
#
# Seen: the pairs are not clamped, only their mean is. The two pairs score (60 - 20) / 2 = 20; two pairs with +0.2 and
# -0.6 score 0.0, and so does every model below zero, however far: means near 0 are no longer ordered, and a standard
# error taken over the pairs belongs to another number than the one reported. update() and the functional form behave
# alike. A model whose captions and images do not match at all (a floor, an untrained arm) is where this shows.
#
# Output seen:
#   class:      20.0 0.0
#   functional: 20.0 0.0
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet torch==2.14.1 torchmetrics==1.9.0 transformers==5.23.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PY' | tee "$folder/seen"
import torch
from torchmetrics.functional.multimodal import clip_score
from torchmetrics.multimodal import CLIPScore


class Model(torch.nn.Module):
    """Stands in for CLIP: an image's embedding is its first two pixels, a text's is always the first axis."""

    class config:
        class text_config:
            max_position_embeddings = 77

    def get_image_features(self, pixels):
        return pixels.flatten(1)[:, :2]

    def get_text_features(self, ids, mask):
        return torch.tensor([[1.0, 0.0]]).repeat(len(ids), 1)


class Processor:
    def __call__(self, text=None, images=None, return_tensors=None, padding=None):
        found = {}
        if images is not None:
            found["pixel_values"] = torch.stack(list(images))
        if text is not None:
            found["input_ids"] = torch.ones(len(text), 3, dtype=torch.long)
            found["attention_mask"] = torch.ones(len(text), 3, dtype=torch.long)
        return found


def images(*cosines):
    made = torch.zeros(len(cosines), 3, 4, 4)
    for row, cosine in zip(made, cosines):
        row[0, 0, 0], row[0, 0, 1] = cosine, (1 - cosine**2) ** 0.5
    return made


def parts():
    return Model(), Processor()


cases = (images(0.6, -0.2), images(0.2, -0.6))
metric = CLIPScore(model_name_or_path=parts)
scores = []
for shown in cases:
    metric.reset()
    metric.update(shown, ["a", "b"])
    scores.append(f"{metric.compute():.1f}")
print("class:     ", *scores)
print("functional:", *(f"{clip_score(shown, ['a', 'b'], model_name_or_path=parts):.1f}" for shown in cases))
PY
diff "$folder/seen" - <<'SEEN'
class:      20.0 0.0
functional: 20.0 0.0
SEEN
