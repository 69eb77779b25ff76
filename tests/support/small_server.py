"""A small HTTP server that answers like MONAI Label, for what the real one would make slow or cannot be told to do."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
from scipy import ndimage
from StrokeLabelLib.client.transport import parts_of
from StrokeLabelLib.nifti import decode_nifti, encode_nifti
from StrokeLabelLib.volume import Volume


def _parameter(name: str, title: str, unit: str, default: float, low: float, high: float) -> dict[str, Any]:
    numbers = {"default": default, "low": low, "high": high, "step": 0.01}
    return {"name": name, "title": title, "unit": unit, "kind": "number", **numbers}


SIMULATION: dict[str, Any] = {
    "sequences": [
        {
            "name": "flair",
            "title": "FLAIR",
            "equation": "S = PD |1 − 2 e^(−R1 TI)|",
            "parameters": [
                _parameter("echo_time", "TE", "s", 0.12, 0.01, 0.3),
                _parameter("inversion_time", "TI", "s", 2.5, 0.1, 4),
            ],
        },
        {
            "name": "spgr",
            "title": "spoiled gradient echo",
            "equation": "S = PD sin α",
            "parameters": [
                _parameter("flip_angle", "Flip angle", "degrees", 20, 1, 90),
                {"name": "mt_pulse", "title": "MT pulse", "unit": "", "kind": "flag", "default": True},
            ],
        },
    ],
    "lesions": ["none", "lesion-acute"],
    "lesion": "lesion-acute",
    "field": {"default": 3.0, "low": 0.2, "high": 7.0, "step": 0.1},
}
"""Simulations that a server may offer."""

MODELS = {"segment": "segmentation", "segment_tissues": "segmentation", "refine": "deepgrow"}


@dataclass
class Store:
    """What the server holds, and how it misbehaves.

    Attributes:
        scans: id -> volume.
        labels: (id, tag) -> (volume, info).
        maps: whether it knows probability and uncertainty.
        token: asked for, if not "".
        refuse: path -> (status, detail) for the next requests.
        cut: path -> how many of its next answers are cut off, after the requests were carried out.
        train: what GET /train/ says; None before the first training.
        seen: method and path of all requests.
        bodies: JSON bodies by path.
        left_out: files that it does not serve, a sentence each.
        hold: answers of models wait for it.
        progress: what GET /infer/progress says; None for a server that lacks it.
        structures: that the lesion touches, as an answer of `segment` has them; None for a server without them.
        outcome: what `segment` answers of the stroke's outcome, by its stage; None for a server that estimates none.
        config: options of `segment`.
        params: of the requests to models.
        simulation: what it offers to simulate; None for a server that simulates nothing.
        simulated: the requests for simulations.
        requested, asked_about: ids of requests to models, and of those whose progress was asked for.
    """

    scans: dict[str, Volume] = field(default_factory=dict)
    labels: dict[tuple[str, str], tuple[Volume, dict[str, Any]]] = field(default_factory=dict)
    maps: bool = True
    token: str = ""
    refuse: dict[str, tuple[int, str]] = field(default_factory=dict)
    cut: dict[str, int] = field(default_factory=dict)
    train: dict[str, Any] | None = None
    seen: list[str] = field(default_factory=list)
    bodies: dict[str, Any] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    hold: threading.Event | None = None
    progress: dict[str, Any] | None = None
    structures: dict[str, Any] | None = None
    outcome: dict[str, dict[str, Any]] | None = None
    config: dict[str, Any] = field(default_factory=dict)
    params: list[dict[str, Any]] = field(default_factory=list)
    simulation: dict[str, Any] | None = None
    simulated: list[dict[str, Any]] = field(default_factory=list)
    requested: list[str] = field(default_factory=list)
    asked_about: list[str] = field(default_factory=list)


@contextmanager
def serving(store: Store, port: int = 0) -> Iterator[str]:
    """Serve on a free port of this computer, or a given one; yield the address."""

    class Handler(_Handler):
        held = store

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    held: Store
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def _serve(self) -> None:
        address, store = urlsplit(self.path), self.held
        query = {key: values[0] for key, values in parse_qs(address.query).items()}
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        store.seen.append(f"{self.command} {address.path}")
        if store.token and self.headers.get("Authorization") != f"Bearer {store.token}":
            return self._answer(401, {"detail": ""})
        if address.path in store.refuse:
            status, detail = store.refuse[address.path]
            return self._answer(status, {"detail": detail})
        status, kind, content = self._route(address.path, query, body)
        if store.cut.get(address.path, 0) > 0:
            store.cut[address.path] -= 1
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return None
        return self._send(status, kind, content)

    def _answer(self, status: int, body: Any) -> None:
        self._send(status, "application/json", json.dumps(body).encode())

    def _send(self, status: int, kind: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _route(self, path: str, query: dict[str, str], body: bytes) -> tuple[int, str, bytes]:
        kind = self.headers.get("Content-Type", "")
        if path == "/infer/progress":
            store = self.held
            store.asked_about.append(query["request_id"])
            lacks_it = store.progress is None
            return _json(405, {"detail": "Method Not Allowed"}) if lacks_it else _json(200, store.progress)
        if path.startswith("/infer/"):
            params = json.loads(_form(kind, body)["params"])
            self.held.params.append({"model": path.rpartition("/")[2], **params})
            self.held.requested.append(params.get("request_id", ""))
            if self.held.hold is not None:
                self.held.hold.wait(20)
            if params.get("result") == "report":
                return _multipart({}, PAGE)
            return self._infer(path.rpartition("/")[2], query["image"], _form(kind, body))
        if path == "/simulate":
            self.held.simulated.append(json.loads(body))
            return _json(200, _simulated(self.held.simulated[-1]))
        if path == "/datastore/image" and self.command == "GET":
            scan = self.held.scans.get(query["image"])
            return (
                _json(404, {"detail": ""}) if scan is None else (200, "application/gzip", encode_nifti(scan))
            )
        if path == "/datastore/label" and self.command == "GET":
            volume, _ = self.held.labels[query["label"], query["tag"]]
            return 200, "application/gzip", encode_nifti(volume)
        return _json(200, self._objects(path, query, kind, body))

    def _objects(self, path: str, query: dict[str, str], kind: str, body: bytes) -> Any:
        store = self.held
        if path == "/info/":
            return self._info()
        if path == "/datastore/":
            return {"objects": {name: self._entry(name) for name in store.scans}}
        if path.startswith("/activelearning/"):
            left = [name for name in store.scans if (name, "final") not in store.labels]
            return {"id": left[0]} if left else {}
        if path in ("/datastore/image", "/datastore/label"):
            return self._take(path, query, _form(kind, body))
        if path.startswith("/train/") and self.command != "GET":
            running = self.command == "POST"
            store.train = {"status": "RUNNING" if running else "STOPPED", "details": ["step 1/9"]}
        if body:
            store.bodies[path] = json.loads(body)
        return store.train or {}

    def _take(self, path: str, query: dict[str, str], form: dict[str, bytes]) -> Any:
        store = self.held
        if path == "/datastore/image":
            store.scans[query["image"]] = decode_nifti(form["file"], "upload")
        else:
            params = json.loads(form["params"])
            info = {"ts": int(time.time()), "client_id": params["client_id"], "params": params}
            store.labels[query["image"], query["tag"]] = decode_nifti(form["label"], "label"), info
        return query

    def _entry(self, name: str) -> Any:
        labels = {
            tag: {"info": info} for (image, tag), (_, info) in self.held.labels.items() if image == name
        }
        return {"image": {"info": {}, "ext": ".nii.gz"}, "labels": labels}

    def _info(self) -> Any:
        models = {name: {"type": kind, "labels": {"lesion": 1}} for name, kind in MODELS.items()}
        models["segment"]["config"] = dict(self.held.config)
        if self.held.outcome is not None:
            models["segment"]["config"]["stroke_stage"] = list(self.held.outcome)
        stats = {"segment": {"epoch": 3, "total_epochs": 20, "best_metric": 0.5}}
        offered = {} if self.held.simulation is None else {"simulation": self.held.simulation}
        return {
            **offered,
            "name": "StrokeLabel",
            "version": "0",
            "models": models,
            "trainers": {"segment": {"config": {"max_epochs": 20}}},
            "strategies": {"random": {}, "first": {}},
            "train_stats": stats,
            "datastore": {
                "total": len(self.held.scans),
                "completed": 0,
                "left_out": self.held.left_out,
                "left_out_total": len(self.held.left_out),
            },
        }

    def _about_lesion(self, params: Any) -> dict[str, Any]:
        told = {} if self.held.structures is None else {"structures": self.held.structures}
        if self.held.outcome is not None:
            told["outcome"] = self.held.outcome[params.get("stroke_stage", "unknown")]
        return told

    def _infer(self, model: str, image: str, form: dict[str, bytes]) -> tuple[int, str, bytes]:
        scan, params = self.held.scans[image], json.loads(form["params"])
        lesion = scan.data > 200
        result = lesion.astype(np.uint8)
        if model == "refine":
            result = decode_nifti(form["label"], "label").data.copy()
            for key, value in (("foreground", 1), ("background", 0)):
                for i, j, k in params.get(key, []):
                    result[i - 1 : i + 2, j - 1 : j + 2, k - 1 : k + 2] = value
            labels, _ = ndimage.label(result)
            for i, j, k in params.get("remove_island", []):
                if not labels[i, j, k]:
                    return _json(400, {"detail": "expected a lesion at the click, found no lesion there"})
                result[labels == labels[i, j, k]] = 0
            if params.get("add_region"):
                result |= lesion.astype(result.dtype)
        elif model == "segment_tissues":
            result = np.where(lesion, 5, scan.data > 50).astype(np.uint8)
        elif params.get("result") in ("probability", "uncertainty") and self.held.maps:
            likely = ndimage.gaussian_filter(lesion.astype(np.float32), 1.2)
            result = likely if params["result"] == "probability" else 4 * likely * (1 - likely)
        answer = {"label_names": {"lesion": 1}, "notes": ["No orientation codes."], "model": {"version": "7"}}
        if model == "segment":
            answer |= self._about_lesion(params)
        return _multipart(answer, encode_nifti(scan.with_data(result)))


PAGE = b"<!DOCTYPE html><title>A report</title>"


def _simulated(request: dict[str, Any]) -> dict[str, Any]:
    """An answer whose picture is the name of the sequence."""
    rows = [
        {"name": "csf", "pd": 98, "t1_ms": 4308, "t2_ms": 1667, "t2_star_ms": 200, "signal": -3.5},
        {"name": "lesion", "pd": 81, "t1_ms": 1724, "t2_ms": 102, "t2_star_ms": 59, "signal": 13.4},
    ]
    signals = {"csf": [-9.0, 0.0, 5.0], "lesion": [1.0, 2.0, 3.0]}
    return {
        "picture": base64.b64encode(request["sequence"].encode()).decode(),
        "white": 14.0,
        "tissues": rows,
        "slices": [{"name": "axial", "mm": 26.0}],
        "curve": {"parameter": request["along"], "values": [0.1, 2.5, 4.0], "signals": signals},
        "notes": [],
    }


def _json(status: int, body: Any) -> tuple[int, str, bytes]:
    return status, "application/json", json.dumps(body).encode()


def _form(kind: str, body: bytes) -> dict[str, bytes]:
    if kind.startswith("multipart/"):
        return parts_of(kind, body)
    return {key: values[0].encode() for key, values in parse_qs(body.decode()).items()}


def _multipart(params: Any, image: bytes) -> tuple[int, str, bytes]:
    head = 'Content-Disposition: form-data; name="{}"\r\n\r\n'
    body = b"".join(
        [
            b"--mark\r\n" + head.format("params").encode() + json.dumps(params).encode() + b"\r\n",
            b"--mark\r\n" + head.format('image"; filename="a.nii.gz').encode() + image + b"\r\n--mark--\r\n",
        ]
    )
    return 200, "multipart/form-data; boundary=mark", body
