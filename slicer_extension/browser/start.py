"""Start the browser page: `python slicer_extension/browser/start.py --server http://127.0.0.1:8000`."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "StrokeLabel")]

from strokelabel_browser.app import main  # noqa: E402 - the folders first

if __name__ == "__main__":
    sys.exit(main())
