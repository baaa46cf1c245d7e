"""Makes the helpers of the suite (`validation`, `samples`) and of this folder importable."""

import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
sys.path += [str(FOLDER.parent), str(FOLDER)]
