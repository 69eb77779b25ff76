"""Settings that are kept between sessions; never a token."""

from __future__ import annotations

import getpass
import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from ..files import write_atomically

DEFAULT_SERVER = "http://127.0.0.1:8000"
MOST_SERVERS = 10


@dataclass
class Settings:
    """A user's choices.

    Attributes:
        server: the address used last.
        servers: addresses that answered, newest first.
        client_id: the annotator's name, kept with each label; the login name at first.
        model: the task that Segment uses.
        strategy: the order in which scans are offered.
        segment_on_open: whether a scan without label is segmented when it opens.
        load_sequences: whether the other scans of the visit are opened too.
        refine_at_once: whether every click refines, or only the button.
        min_island_ml: default of "remove small".
        margin_mm: default of "margin".
        smooth_mm: default of "smooth".
        overlay_opacity: 0 to 1.
    """

    server: str = DEFAULT_SERVER
    servers: list[str] = field(default_factory=list)
    client_id: str = ""
    model: str = "segment"
    strategy: str = "random"
    segment_on_open: bool = False
    load_sequences: bool = True
    refine_at_once: bool = True
    min_island_ml: float = 0.1
    margin_mm: float = 1.0
    smooth_mm: float = 2.0
    overlay_opacity: float = 0.5

    def __post_init__(self) -> None:
        """Fill in the annotator's name."""
        if not self.client_id:
            self.client_id = login_name()

    def remember_server(self, url: str) -> None:
        """Note an address that answered."""
        self.server = url
        self.servers = [url, *(other for other in self.servers if other != url)][:MOST_SERVERS]


def login_name() -> str:
    """Return the name of the logged-in user; "annotator" if the system does not know it."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return "annotator"


def load_settings(path: Path) -> Settings:
    """Read settings; defaults for what is missing, of another type, or no longer known."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return Settings()
    if not isinstance(stored, dict):
        return Settings()
    default = Settings()
    kept = {
        f.name: stored[f.name]
        for f in fields(Settings)
        if f.name in stored and isinstance(stored[f.name], type(getattr(default, f.name)))
    }
    return Settings(**kept)


def save_settings(settings: Settings, path: Path) -> None:
    """Write settings atomically.

    Raises:
        FileFormatError: the folder cannot be written to.
    """
    write_atomically(path, json.dumps(asdict(settings), indent=2).encode())
