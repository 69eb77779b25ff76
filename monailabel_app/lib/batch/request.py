"""Which scans a batch labels, and with what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from monailabel.interfaces.datastore import Datastore, DefaultLabelTag
from monailabel.interfaces.tasks.batch_infer import BatchInferImageType

from lib.infers.options import as_number
from lib.refusals import InvalidRequestError, UnknownNameError
from lib.studies import check_name

_GROUPS = tuple(group.value for group in BatchInferImageType)


@dataclass(frozen=True)
class BatchRequest:
    """A request for a batch.

    Attributes:
        model: name of the infer task.
        images: "all", "labeled", "unlabeled", or a list of ids.
        label_tag: which labels to write; "original" is where viewers look for a model's.
        most: how many scans at most; 0 for all.
        options: of the infer task.
    """

    model: str
    images: str | list[str]
    label_tag: str
    most: int
    options: dict[str, Any]

    @classmethod
    def from_request(cls, request: Mapping[str, Any]) -> BatchRequest:
        """Read a request, passing over MONAI Label's options that mean nothing here (workers, GPUs).

        Raises:
            InvalidRequestError: naming the option that cannot be used.
        """
        images = request.get("images") or BatchInferImageType.IMAGES_ALL
        images = getattr(images, "value", images)
        if not (images in _GROUPS if isinstance(images, str) else _is_list_of_names(images)):
            raise InvalidRequestError(f"images: expected one of {', '.join(_GROUPS)}, or a list of ids.")
        tag = request.get("label_tag") or DefaultLabelTag.ORIGINAL
        most = as_number(request.get("max_batch_size"), "max_batch_size", default=0.0)
        if most < 0 or not most.is_integer():
            raise InvalidRequestError(f"max_batch_size: expected a whole number from 0 on, found {most:g}.")
        device = request.get("device")
        options = {key: value for key, value in request.items() if key not in ("images", "image", "label")}
        # MONAI Label's own default is "cuda" on every computer
        options["device"] = None if device == "cuda" else device
        return cls(
            model=str(request.get("model")),
            images=images,
            label_tag=check_name(getattr(tag, "value", tag), "label_tag"),
            most=int(most),
            options=options,
        )

    def choose(self, datastore: Datastore) -> list[str]:
        """The ids of the scans, in order.

        Raises:
            UnknownNameError: an id that is not in the datastore.
        """
        known = sorted(datastore.list_images())
        if self.images == BatchInferImageType.IMAGES_LABELED:
            known = sorted(datastore.get_labeled_images())
        elif self.images == BatchInferImageType.IMAGES_UNLABELED:
            known = sorted(datastore.get_unlabeled_images())
        elif not isinstance(self.images, str):
            missing = [image for image in self.images if image not in known]
            if missing:
                raise UnknownNameError(f"images: not in this datastore: {', '.join(missing[:5])}.")
            known = list(dict.fromkeys(self.images))
        return known[: self.most] if self.most else known


def _is_list_of_names(images: object) -> bool:
    return isinstance(images, list) and all(isinstance(image, str) for image in images)
