"""Makes the helpers `degrade` and `fake_inception` importable: tests are no package."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
