"""Send a server what its OpenAPI description allows, and what it does not, for some minutes (Schemathesis).

It serves good scans among the odd files and names that studies folders hold (`support.odd_studies`).

    PYTHONPATH=tests python -m support.fuzz --minutes 10

Every answer must come within 30 s and be no 5xx but 503; no file may appear outside the server's own folders; and
afterwards /info/ must answer in under 100 ms, and every good scan that was not deleted must be segmented. Ends with 1
when one of these does not hold.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from support import app_server
from support.app_scans import BIDS_SCAN, FLAT_SCAN, NESTED_SCAN, head, save
from support.app_server import Server
from support.bright_network import save_bright_model
from support.odd_studies import GOOD_IDS, ODD_IDS, write_odd_entries

_IMAGES = json.dumps(
    [BIDS_SCAN, FLAT_SCAN, NESTED_SCAN, *ODD_IDS, "../outside", "/etc/hostname", ""], ensure_ascii=False
)

CONFIG = f"""
request-timeout = 30.0
continue-on-failure = true
suppress-health-check = ["all"]

[checks]
not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", 503]

[dictionaries.images]
values = {_IMAGES}

[dictionaries.names]
values = ["segment", "segment_tissues", "refine", "refine_scribbles", "random", "first", "dice"]

[dictionaries.tags]
values = ["final", "original", "../../outside"]

[dictionaries.texts]
values = ["{{}}", '{{"label_info": [{{"name": "Segment_1", "idx": 1}}, {{"name": "b", "idx": "x"}}]}}',
    '{{"adapt_iterations": 2, "request_id": "0123456789abcdef"}}',
    '{{"label_tag": "../x"}}', '{{"device": "cpu", "save_label": true}}', '{{"x": NaN}}', "[1]", "{{"]

[parameters]
image = {{ dictionary = "images", probability = 0.6 }}
label = {{ dictionary = "images", probability = 0.6 }}
id = {{ dictionary = "images", probability = 0.3 }}
model = {{ dictionary = "names", probability = 0.7 }}
strategy = {{ dictionary = "names", probability = 0.7 }}
method = {{ dictionary = "names", probability = 0.7 }}
tag = {{ dictionary = "tags", probability = 0.7 }}
params = {{ dictionary = "texts", probability = 0.7 }}
info = {{ dictionary = "texts", probability = 0.7 }}
wsi = {{ dictionary = "texts", probability = 0.7 }}
"""

SLOW_TASKS_FROM_S = 120
"""Seconds of fuzzing from which on tasks that take as long as a hundred others are asked too."""


@dataclass
class Outcome:
    """What was found.

    Attributes:
        report: what Schemathesis wrote.
        failed: whether an answer was a 5xx, or none came.
        strangers: files that appeared or changed outside the server's own folders.
        info_ms: how long /info/ took afterwards.
        not_served: good scans that are there and can no longer be segmented.
        statuses: how many answers had which status, by the server's own log.
    """

    report: str
    failed: bool
    strangers: list[Path]
    info_ms: float
    not_served: list[str]
    statuses: Counter[int]

    @property
    def is_good(self) -> bool:
        """Whether all holds."""
        faults = [status for status in self.statuses if status >= 500 and status != 503]
        return not (self.failed or self.strangers or faults or self.not_served) and self.info_ms < 100


def fuzz(root: Path, model: Path, seconds: int, seed: int) -> Outcome:
    """Start a server on good phantoms among odd entries below an empty folder, and fuzz it.

    Args:
        root: holds everything, and what must not change.
        model: weights.
        seconds: how long.
        seed: of Schemathesis.
    """
    studies, folder = root / "inside" / "studies", root / "inside" / "server"
    for index, name in enumerate((f"sub-07/ses-2/anat/{BIDS_SCAN}", FLAT_SCAN, "patient-3/T1")):
        save(studies / f"{name}.nii.gz", head(index))
    write_odd_entries(studies)
    save(root / "inside" / "outside.nii.gz", head(5))
    folder.mkdir()
    server = app_server.start(folder, studies, "model", str(model), "max_upload_mb", "64")
    try:
        before = _around(root, server, folder)
        done = _run_schemathesis(server, root, seconds, seed)
        after = _around(root, server, folder)
        return Outcome(
            done.stdout + done.stderr,
            done.returncode != 0,
            sorted(path for path in after.keys() | before.keys() if after.get(path) != before.get(path)),
            _info_ms(server),
            _not_served(server),
            _statuses(studies / ".strokelabel" / "logs"),
        )
    finally:
        left = app_server.stop(server)
        assert not left, f"processes outlived the server: {left}"


def _run_schemathesis(
    server: Server, root: Path, seconds: int, seed: int
) -> subprocess.CompletedProcess[str]:
    config = root / "schemathesis.toml"
    text = (
        CONFIG if seconds < SLOW_TASKS_FROM_S else CONFIG.replace('"refine",', '"refine", "segment_adapted",')
    )
    config.write_text(text, encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "schemathesis.cli",
        f"--config-file={config}",
        "run",
        f"{server.url}/openapi.json",
        "--checks=not_a_server_error",
        "--phases=coverage,fuzzing",
        f"--max-time={seconds}",
        f"--seed={seed}",
        "--no-shrink",
        "--warnings=off",
    ]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=root, timeout=seconds + 300, check=False
    )


def _around(root: Path, server: Server, folder: Path) -> dict[Path, str]:
    """Checksums of all files that a server has no business with."""
    own = (server.studies, folder, root / "schemathesis.toml", root / ".hypothesis", root / ".schemathesis")
    files = [
        path for path in root.rglob("*") if path.is_file() and not any(path.is_relative_to(o) for o in own)
    ]
    app = [path for path in (folder / "monailabel_app").rglob("*.py") if path.is_file()]
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in [*files, *app]}


def _info_ms(server: Server) -> float:
    deadline = time.monotonic() + 30  # what was asked last may still be worked on
    best = float("inf")
    while time.monotonic() < deadline and best >= 100:
        started = time.perf_counter()
        assert server.get("/info/").status_code == 200
        best = min(best, (time.perf_counter() - started) * 1000)
    return best


def _not_served(server: Server) -> list[str]:
    """Good scans whose files are left, and that the server does not list or segment."""
    files = {
        BIDS_SCAN: f"sub-07/ses-2/anat/{BIDS_SCAN}",
        NESTED_SCAN: "patient-3/T1",
        **{name: name for name in (FLAT_SCAN, *GOOD_IDS)},
    }
    left = [name for name, file in files.items() if (server.studies / f"{file}.nii.gz").exists()]
    return [name for name in left if not server.infer("segment", name, "image").ok]


def _statuses(logs: Path) -> Counter[int]:
    lines = [line for file in logs.glob("server.jsonl*") for line in file.read_text("utf-8").splitlines()]
    entries = [json.loads(line) for line in lines]
    return Counter(entry["status"] for entry in entries if "status" in entry)


def main() -> int:
    """Fuzz, and say what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        model = save_bright_model(root / "bright.safetensors")
        outcome = fuzz(root, model, round(options.minutes * 60), options.seed)
    sys.stdout.write(outcome.report)
    sys.stdout.write(f"\nfiles outside: {[str(path) for path in outcome.strangers]}\n")
    sys.stdout.write(f"good scans that are not served: {outcome.not_served}\n")
    sys.stdout.write(f"answers by status: {dict(sorted(outcome.statuses.items()))}\n")
    sys.stdout.write(f"/info/ afterwards: {outcome.info_ms:.0f} ms\n")
    return 0 if outcome.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
