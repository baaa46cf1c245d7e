"""Makes the helpers of the suite (`processes`) importable."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
