"""Another process at the same studies folder, as batch inference or training is: opens it and labels scans.

python other_process.py APP STUDIES LABEL READY STOP; works from when it wrote READY until there is a file STOP.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

app, studies, label, ready, stop = sys.argv[1:]
sys.path.insert(0, app)

from lib.studies.datastore import StudiesDatastore  # noqa: E402 - the app's modules are in its folder

while not Path(stop).exists():
    datastore = StudiesDatastore(studies)  # looks for files that came or went, and enters them
    Path(ready).touch()
    for image in datastore.list_images()[:10]:
        datastore.save_label(image, label, "original", {"model": "segment"})
        time.sleep(0.01)  # or it would hold the lock nearly all the time
