"""Files in and out: NIfTI, DICOM folders, and writing that is whole or not at all."""

from strokelabel.io.atomic import atomic_path, atomic_write_json, atomic_write_text
from strokelabel.io.checks import check_volume
from strokelabel.io.discovery import find_images
from strokelabel.io.images import Image, read_image, read_label_image
from strokelabel.io.write import write_nifti

__all__ = [
    "Image",
    "atomic_path",
    "atomic_write_json",
    "atomic_write_text",
    "check_volume",
    "find_images",
    "read_image",
    "read_label_image",
    "write_nifti",
]
