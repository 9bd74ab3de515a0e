"""Files that installed packages bring along."""

from __future__ import annotations

import importlib.util
from pathlib import Path


def packaged_file(package: str, inside: str) -> Path:
    """A file of an installed package, found without importing the package; the last of several that match."""
    spec = importlib.util.find_spec(package)
    assert spec is not None and spec.submodule_search_locations, f"the package {package} is not installed"
    found = sorted(Path(next(iter(spec.submodule_search_locations))).glob(inside))
    assert found, f"{package} has no {inside}"
    return found[-1]
