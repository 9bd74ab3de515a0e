"""Archives of models: what is one, and how it is unpacked without harm."""

from __future__ import annotations

import io
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from redisai_py.backend import BackendError

ZIP, GZIP = b"PK\x03\x04", b"\x1f\x8b"
MOST_MEMBERS = 10_000
MOST_EXPANSION = 200  # times the size of the archive: far above what weights compress to
ALWAYS_FINE = 64 << 20  # bytes that any archive may expand to
PIECE = 1 << 20

Member = tuple[str, int, IO[bytes]]  # path, stated size, content


def is_archive(blob: bytes) -> bool:
    return blob.startswith((ZIP, GZIP)) or is_tar(blob)


def is_tar(blob: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(blob[:512], "utf-8", "surrogateescape")
        return blob[257:262] == b"ustar"
    except tarfile.HeaderError:
        return False


def unpack(blob: bytes, directory: Path) -> None:
    """Writes the files of a zip or tar archive below ``directory``; raises BackendError for what is not plain."""
    to_go = max(ALWAYS_FINE, MOST_EXPANSION * len(blob))
    try:
        for count, (name, size, content) in enumerate(members(blob)):
            if count == MOST_MEMBERS:
                raise BackendError("ERR the archive has too many members")
            target = directory / safe_path(name)
            to_go -= size
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as file:
                to_go -= copy(content, file, size, to_go)
    except (OSError, EOFError, ValueError, RuntimeError, NotImplementedError, zlib.error) as error:
        raise BackendError(f"ERR the archive cannot be read: {error}") from error
    except (tarfile.TarError, zipfile.BadZipFile) as error:
        raise BackendError(f"ERR the archive cannot be read: {error}") from error


def copy(content: IO[bytes], file: IO[bytes], size: int, to_go: int) -> int:
    """Copies a member; returns by how much it exceeds its stated size. Raises when it exceeds what is left."""
    written = 0
    while piece := content.read(PIECE):
        written += len(piece)
        if written > size + to_go or to_go < 0:
            raise BackendError("ERR the archive expands to too many bytes")
        file.write(piece)
    return max(0, written - size)


def members(blob: bytes) -> Iterator[Member]:
    """The files of an archive; raises BackendError for links, devices and the like."""
    source = io.BytesIO(blob)
    if blob.startswith(ZIP):
        with zipfile.ZipFile(source) as archive:
            for entry in archive.infolist():
                kind = entry.external_attr >> 28  # of the Unix mode; 0: it has none
                if kind not in (0, 4, 8):
                    raise not_plain(entry.filename)
                if not entry.is_dir():
                    with archive.open(entry) as opened:
                        yield entry.filename, entry.file_size, opened
        return
    with tarfile.open(fileobj=source, mode="r|gz" if blob.startswith(GZIP) else "r|") as archive:
        for member in archive:
            if member.isdir():
                continue
            if not member.isreg():
                raise not_plain(member.name)
            content = archive.extractfile(member)
            if content is not None:
                yield member.name, member.size, content


def safe_path(name: str) -> PurePosixPath:
    """A member's path, which must stay below the folder that it is unpacked to."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or not path.parts:
        raise BackendError(f"ERR the archive has a member outside it: {name}")
    return path


def not_plain(name: str) -> BackendError:
    return BackendError(f"ERR the archive has a member that is not a plain file: {name}")
