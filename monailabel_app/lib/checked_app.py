"""What every request passes before a task sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.datastore import Datastore, DefaultLabelTag

from lib.infers.options import as_flag
from lib.refusals import InvalidRequestError, UnknownNameError, answered_as_http
from lib.uploads import is_session_image, is_upload, removed_on_failure

T = TypeVar("T")


@dataclass(frozen=True)
class RequestedImage:
    """The image of a request.

    Attributes:
        path: the file, or the folder of DICOM files.
        name: what to call it in messages: paths of the server mean nothing to a client.
        stored: whether it is in the datastore, so that labels can be kept for it.
    """

    path: Path
    name: str
    stored: bool


class CheckedApp(MONAILabelApp):
    """A MONAI Label app that refuses what cannot be served before it is tried."""

    def on_init_complete(self) -> None:
        """Called by the server, and only by the server, once the app is built."""
        from monailabel.app import app as server  # not needed, and slow, in the processes of background tasks

        from lib.batch.routes import batch_off_the_event_loop
        from lib.endpoints import infer_off_the_event_loop
        from lib.labels.routes import add_label_routes
        from lib.trainers.routes import train_off_the_event_loop

        infer_off_the_event_loop(server)
        train_off_the_event_loop(server)
        batch_off_the_event_loop(server)
        add_label_routes(server)
        super().on_init_complete()

    @answered_as_http()
    def infer(self, request: dict[str, Any], datastore: Datastore | None = None) -> dict[str, Any]:
        """Segment one image.

        Written anew because MONAI Label's own opens `image` as a path of the server when there is such a
        file, relative to wherever the server was started.

        Args:
            request: "model", "image" (an id; or a path that the server itself made for an upload or a
                session), "save_label", "label_tag", and the options of the task.
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
            known = {"image": str(image.path), "image_name": image.name, "stored_label": _label(image, store)}
            file, params = task({**request, **known})
        label = file
        if keep:
            tag = request.get("label_tag", DefaultLabelTag.ORIGINAL)
            label = store.save_label(image.name, file, tag, {"model": request["model"], "params": params})
        return {"label": label, "tag": DefaultLabelTag.ORIGINAL, "file": file, "params": params}

    def infer_wsi(self, request: dict[str, Any], datastore: Datastore | None = None) -> dict[str, Any]:
        """Like `infer`: there are no whole-slide models, and MONAI Label's own opens any path that exists."""
        return self.infer(request, datastore)

    @answered_as_http()
    def next_sample(self, request: dict[str, Any]) -> dict[str, Any]:
        """The image to label next, by the strategy asked for; {} when all are labelled.

        Raises:
            HTTPException: 404 for an unknown strategy.
        """
        named(self._strategies, request.get("strategy") or "random", "strategy")
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
            "GET /datastore/?output=all lists the ids."
        )


def _label(image: RequestedImage, store: Datastore) -> str:
    """Path of the label that an image has: the annotator's, else a model's; "" when it has none."""
    tags = (DefaultLabelTag.FINAL, DefaultLabelTag.ORIGINAL) if image.stored else ()
    return next((uri for tag in tags if (uri := store.get_label_uri(image.name, tag))), "")


def named(choices: Mapping[str, T], name: object, what: str) -> T:
    """Look up a task by the name in a request.

    Raises:
        UnknownNameError: listing the names that exist.
    """
    if not isinstance(name, str) or name not in choices:
        raise UnknownNameError(f"No {what} {name!r}; there are: {', '.join(sorted(choices))}.")
    return choices[name]
