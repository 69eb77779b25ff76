"""Hides packages: with this folder on PYTHONPATH, every Python process finds those alone that ONLY_PACKAGES names.

Beside them the standard library and private modules (with a leading underscore) are found, as on a machine where
nothing else is installed.
"""

import os
import sys
from importlib.machinery import BuiltinImporter, FrozenImporter, PathFinder

_FOUND = frozenset(sys.stdlib_module_names) | frozenset(os.environ["ONLY_PACKAGES"].split())


class OnlyNamed(PathFinder):
    """The finder of files, blind to all other packages."""

    @classmethod
    def find_spec(cls, fullname, path=None, target=None):
        top = fullname.partition(".")[0]
        return PathFinder.find_spec(fullname, path, target) if top in _FOUND or top.startswith("_") else None


sys.meta_path[:] = [BuiltinImporter, FrozenImporter, OnlyNamed]
