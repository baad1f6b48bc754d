#!/usr/bin/env bash
# diffusers 0.42.1, FlowMatchEulerDiscreteScheduler with a fixed shift (as SD3's config has, shift=3).
#
# Guess, written first: set_timesteps(num_train_timesteps) gives back the sigmas that the scheduler was built with, since
# both are "1000 steps, shift 3"; the last step of any schedule is at sigma 0.0030 = 3 * 0.001 / (1 + 2 * 0.001).
#
# Seen: it does not. The constructor shifts its grid and keeps the ends of the *shifted* grid as sigma_min and sigma_max;
# set_timesteps spaces new sigmas between those ends and shifts them again. The top end (1.0) is a fixed point, the
# bottom end is not: the last step lies at 0.0089, and a model that was trained on `scheduler.sigmas` is never asked
# below that, however many steps are taken. With shift=1 the two agree. Whoever checks their own shifted schedule
# against this scheduler finds a difference at the clean end that is no fault of theirs.
#
# Output seen:
#   shift 1.0: built 0.0010, set 0.0010, largest difference 0.0000
#   shift 3.0: built 0.0030, set 0.0089, largest difference 0.0059
#   shift 3.0, 10 steps: last step at 0.0089; shifted twice 0.0089, once 0.0030
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet torch==2.14.1 diffusers==0.42.1 transformers==5.23.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PY' | tee "$folder/seen"
from diffusers import FlowMatchEulerDiscreteScheduler


def shifted(sigma, shift):
    return shift * sigma / (1 + (shift - 1) * sigma)


for shift in (1.0, 3.0):
    scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=shift)
    built = scheduler.sigmas.clone()
    scheduler.set_timesteps(1000)
    found = scheduler.sigmas[:-1].to(built)  # the appended 0 is no step
    print(f"shift {shift}: built {built[-1]:.4f}, set {found[-1]:.4f}, largest difference {(built - found).abs().max():.4f}")
scheduler.set_timesteps(10)
once = shifted(0.001, 3.0)
print(f"shift 3.0, 10 steps: last step at {scheduler.sigmas[-2]:.4f}; shifted twice {shifted(once, 3.0):.4f}, once {once:.4f}")
PY
diff "$folder/seen" - <<'SEEN'
shift 1.0: built 0.0010, set 0.0010, largest difference 0.0000
shift 3.0: built 0.0030, set 0.0089, largest difference 0.0059
shift 3.0, 10 steps: last step at 0.0089; shifted twice 0.0089, once 0.0030
SEEN
