"""Makes the compiled modules that are linked into redisai_core.so importable.

They are built-in modules whose names have a package in front, which the import
system only looks for since a patch release of Python 3.11. Imported, in the
embedded interpreter only, before the first of them.
"""

from __future__ import annotations

import sys

# importlib.machinery and typing have the same names, and cost milliseconds that every start of a server would pay.
from _frozen_importlib import BuiltinImporter, ModuleSpec


class LinkedModules:
    """A finder for built-in modules below ``redisai_py``."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        return BuiltinImporter.find_spec(name) if name.startswith("redisai_py.") else None


sys.meta_path.insert(0, LinkedModules)
