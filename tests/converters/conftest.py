"""Makes `import validation`, `import samples` and `import trip` find the helpers of the suite."""

import sys
from pathlib import Path

sys.path += [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]
