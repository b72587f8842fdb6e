"""The demo is a folder of modules beside app.py, as Python sees it when app.py is started."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
