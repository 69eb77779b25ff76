"""Preparation and checks of every request, before a task runs."""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests
from monailabel.config import settings
from monailabel.interfaces.datastore import Datastore, DefaultLabelTag

from lib.infers.progress import followed
from lib.infers.simulation import simulation_offer
from lib.refusals import InvalidRequestError, UnknownNameError, answered_as_http, named
from lib.request_values import as_flag
from lib.scoring.method import QueuedScoring
from lib.server.server_options import ServerOptions
from lib.studies.datastore_file import labels_folder
from lib.studies.review import PSEUDO
from lib.studies.scan_list import IMAGE_SUFFIXES, check_name, session_sequences, split_suffix
from lib.studies.uploads import is_session_image, is_upload, removed_on_failure

if TYPE_CHECKING:
    from lib.model import ServedModel

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RequestedImage:
    """Image of a request.

    Attributes:
        path: the file, or the folder of DICOM files.
        name: what to call it in messages: paths of the server mean nothing to a client.
        stored: whether it is in the datastore, so that labels can be kept for it.
    """

    path: Path
    name: str
    stored: bool


class CheckedApp(QueuedScoring):
    """A MONAI Label app that refuses what cannot be served before it is tried."""

    _model: ServedModel

    def on_init_complete(self) -> None:
        """Finish start-up; the server calls this once the app is built."""
        from monailabel.app import app as server  # not needed, and slow, in the processes of background tasks

        from lib.server.endpoints.label_review import add_label_routes, add_report_routes
        from lib.server.startup import harden

        harden(server, self)
        add_report_routes(server)
        add_label_routes(server)
        super().on_init_complete()

    @cached_property
    def server_options(self) -> ServerOptions:
        """Security settings of the server, chosen by its owner.

        Raises:
            OptionError: something impossible.
        """
        return ServerOptions.from_conf(self.conf)

    @cached_property
    def labels_folder(self) -> str:
        """Folder of everything that the server writes; the web address of studies that have one.

        Raises:
            OptionError: it holds the labels of other studies.
        """
        return labels_folder(self.studies, self.conf)

    def info(self) -> dict[str, Any]:
        """Return the entries of /info/: MONAI Label's, and what POST /simulate takes."""
        return {**super().info(), "simulation": simulation_offer()}

    def model_version(self) -> str:
        """Return the name and version of the weights in use, as of the last request that needed them."""
        spec = self._model.last_spec
        return f"{spec.name} {spec.version}"

    def image_ids(self) -> list[str]:
        """Return the ids of all images, or their names; those of a DICOMweb server are only counted,
        without a request.
        """
        return [] if "://" in self.studies else list(self.datastore().list_images())

    def cleanup_sessions(self) -> None:
        """Delete sessions that have expired."""
        from lib.server.endpoints.sessions import remove_expired

        if self.sessions() is not None:
            remove_expired(self.sessions())

    def _local_request(self, url: str, params: dict[str, Any] | None, action: str) -> Any:  # noqa: ANN401
        """Ask the server from the process of a background task, which must show the token too."""
        token = self.server_options.token
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        address = f"http://127.0.0.1:{settings.MONAI_LABEL_SERVER_PORT}{url}"
        try:
            answer = requests.post(address, json=params or {}, headers=headers, timeout=60)
        except requests.RequestException as error:
            logger.error(f"{action} could not be triggered: {type(error).__name__}")
            return None
        return answer.json() if answer.status_code == 200 else None

    @answered_as_http()
    def infer(self, request: dict[str, Any], datastore: Datastore | None = None) -> dict[str, Any]:
        """Segment one image.

        Reimplemented because MONAI Label's own opens `image` as a path of the server when there is such a
        file, relative to wherever the server was started.

        Args:
            request: "model", "image" (an id; or a path that the server itself made for an upload or a
                session), "save_label", "label_tag", "request_id" (by which the client asks for progress), and the
                options of the task.
            datastore: where ids are looked up and labels kept; the app's own by default.

        Returns:
            "file" (path of the result), "params" (JSON for the client), "label" and "tag".

        Raises:
            HTTPException: 4xx with a sentence for everything that the client can mend.
        """
        store = datastore or self.datastore()
        with removed_on_failure(request.get("image"), request.get("label")):
            task = named(self._infers, request.get("model"), "model")
            image = self._requested_image(request.get("image"), store)
            keep = image.stored and as_flag(request.get("save_label"), "save_label", default=False)
            tag = request.get("label_tag") or DefaultLabelTag.ORIGINAL
            check_name(getattr(tag, "value", tag), "label_tag")  # before the work, not after
            known = {
                "image": str(image.path),
                "image_name": image.name,
                # used by few tasks, and may take requests to a server of images
                "stored_label": partial(_label, image, store),
                "sequences": partial(_sequences, image, store),
            }
            with followed(request.get("request_id"), request["model"], image.name):
                file, params = task({**request, **known})
        label = file
        if keep:
            info = {"model": request["model"], "params": params, "status": PSEUDO}
            label = store.save_label(image.name, file, tag, info)
        return {"label": label, "tag": DefaultLabelTag.ORIGINAL, "file": file, "params": params}

    def infer_wsi(self, request: dict[str, Any], datastore: Datastore | None = None) -> dict[str, Any]:
        """Refuse inference on whole-slide images: there are no such models, and MONAI Label's own opens any path."""
        return self.infer(request, datastore)

    @answered_as_http()
    def next_sample(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the image to label next, by the requested strategy; {} when all are labelled.

        Raises:
            HTTPException: 404 for an unknown strategy.
        """
        strategy = request.get("strategy") or "random"
        named(self._strategies, strategy, "strategy")
        self.score_for(strategy)
        return super().next_sample(request)

    def _requested_image(self, image: object, store: Datastore) -> RequestedImage:
        if not isinstance(image, str):
            raise InvalidRequestError(f"image: expected an id, found {type(image).__name__}.")
        uri = store.get_image_uri(image) if image else ""
        if uri:
            return RequestedImage(Path(uri), image, stored=True)
        path = Path(image)
        if is_upload(path):
            return RequestedImage(path, "the uploaded file", stored=False)
        if image and is_session_image(path, getattr(self.sessions(), "store_path", None)):
            return RequestedImage(path, "the session's image", stored=False)
        raise UnknownNameError(
            f"No image {image!r} in this datastore, and no such session; "
            f"{_did_you_mean(image, self.image_ids())}GET /datastore/?output=all lists the ids."
        )


def _did_you_mean(image: str, ids: Iterable[str]) -> str:
    """Return the id that a file name, a path or another spelling stands for; "" for none."""

    def plain(name: str) -> str:
        stem = split_suffix(name.strip().replace("\\", "/").removeprefix("./"), IMAGE_SUFFIXES)[0]
        return unicodedata.normalize("NFC", stem).casefold().replace("/", "_")

    wanted = plain(image)
    alike = [known for known in ids if wanted and f"_{wanted}".endswith(f"_{plain(known)}")]
    meant = max(alike, key=len, default=None)
    return "" if meant is None else f"did you mean {meant!r}? "


def _label(image: RequestedImage, store: Datastore) -> tuple[str, dict[str, Any]] | None:
    """Return the path of an image's label (the annotator's, else a model's), and the information about it."""
    for tag in (DefaultLabelTag.FINAL, DefaultLabelTag.ORIGINAL) if image.stored else ():
        if uri := store.get_label_uri(image.name, tag):
            return uri, store.get_label_info(image.name, tag) or {}
    return None


def _sequences(image: RequestedImage, store: Datastore) -> list[tuple[str, str]]:
    """Return the path and id of the other sequences of an image's BIDS subject and session."""
    others = session_sequences(image.name, store.list_images()) if image.stored else []
    return [(store.get_image_uri(other), other) for other in others]
