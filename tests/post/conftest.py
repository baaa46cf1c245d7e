"""Makes `import validation` and `import samples` find the helpers of the suite."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
