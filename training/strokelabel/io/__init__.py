"""Files in and out: NIfTI, DICOM folders, and writing that is whole or not at all."""

from strokelabel.io.atomic import atomic_path, atomic_write_json, atomic_write_text
from strokelabel.io.checks import check_volume
from strokelabel.io.file_search import search_images
from strokelabel.io.images import Image, read_image, read_label_image, write_nifti

__all__ = [
    "Image",
    "atomic_path",
    "atomic_write_json",
    "atomic_write_text",
    "check_volume",
    "read_image",
    "read_label_image",
    "search_images",
    "write_nifti",
]
