"""DUMP payloads of the module's values, and RDB files, built item by item.

The layout is that of an RDB module value: type byte, 64-bit id with the
encoding version in its low ten bits, items, an end opcode, then the footer of
DUMP (RDB version, CRC-64).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

MODULE_VALUE = b"\x07"
UNSIGNED = b"\x02"
STRING = b"\x05"
END = b"\x00"
RDB_VERSION = b"\x09\x00"

TENSOR = 0x8FD310D48E4400
MODEL = 0x8FFF30E0C42C00
SCRIPT = 0x8FD209120F4C00

TF, TFLITE, TORCH = 0, 1, 2

ONNX = 3

# dtype -> (DLPack code, bits)
DTYPE_CODES = {
    "FLOAT": (2, 32),
    "FLOAT16": (2, 16),
    "BFLOAT16": (4, 16),
    "UINT32": (1, 32),
    "UINT64": (1, 64),
    "DOUBLE": (2, 64),
    "INT8": (0, 8),
    "INT16": (0, 16),
    "INT32": (0, 32),
    "INT64": (0, 64),
    "UINT8": (1, 8),
    "UINT16": (1, 16),
    "BOOL": (6, 8),
    "STRING": (7, 8),
}


@functools.cache
def _crc_table() -> tuple[int, ...]:
    reflected_polynomial = 0x95AC9329AC4BC9B5
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = (value >> 1) ^ (reflected_polynomial if value & 1 else 0)
        table.append(value)
    return tuple(table)


def crc64(data: bytes) -> int:
    """The checksum of RDB files: Jones polynomial, reflected, from zero."""
    table = _crc_table()
    crc = 0
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc


def sealed(body: bytes) -> bytes:
    """A body with the footer that RESTORE verifies."""
    data = body + RDB_VERSION
    return data + crc64(data).to_bytes(8, "little")


def body_of(payload: bytes) -> bytes:
    """A payload without version and checksum."""
    return payload[:-10]


def length(value: int) -> bytes:
    if value < 1 << 6:
        return bytes([value])
    if value < 1 << 14:
        return bytes([0x40 | value >> 8, value & 0xFF])
    if value < 1 << 32:
        return b"\x80" + value.to_bytes(4, "big")
    return b"\x81" + value.to_bytes(8, "big")


def item(value: int | bytes) -> bytes:
    """One saved integer (negative: two's complement) or string."""
    if isinstance(value, int):
        return UNSIGNED + length(value & (1 << 64) - 1)
    return STRING + length(len(value)) + value


def module_value(type_id: int, version: int, items: Sequence[int | bytes]) -> bytes:
    identity = b"\x81" + (type_id + version).to_bytes(8, "big")
    return sealed(MODULE_VALUE + identity + b"".join(map(item, items)) + END)


def tensor(version: int, dtype: str, dims: Sequence[int], data: bytes, offsets: Sequence[int] = ()) -> bytes:
    """A tensor as RedisAI of that encoding version wrote it."""
    code, bits = DTYPE_CODES[dtype]
    if version >= 4:
        return module_value(TENSOR, version, [code, bits, len(dims), *dims, data, *offsets])
    strides = []
    stride = 1
    for dim in reversed(dims):
        strides.insert(0, stride)
        stride *= dim
    device_type, device_id, lanes, byte_offset = 1, 0, 1, 0
    head: list[int | bytes] = [device_type, device_id, bits, code, lanes, len(dims), *dims, *strides]
    return module_value(TENSOR, version, [*head, byte_offset, data])


def model(
    version: int,
    blob: bytes,
    *,
    backend: int = ONNX,
    device: str = "CPU",
    tag: str = "",
    batch: tuple[int, int, int] = (0, 0, 0),
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
    chunk: int | None = None,
) -> bytes:
    """A model as RedisAI of that encoding version wrote it; with ``chunk``, under that MODEL_CHUNK_SIZE."""
    batch_size, min_batch_size, min_batch_timeout = batch
    items: list[int | bytes] = [backend, c_string(device)]
    items += [c_string(tag) if version == 0 else tag.encode(), batch_size, min_batch_size]
    if version >= 2:
        items.append(min_batch_timeout)
    items += [len(inputs), *map(c_string, inputs), len(outputs), *map(c_string, outputs)]
    if version == 0:
        items.append(blob)
    else:
        chunks = chunks_of(blob, chunk or len(blob) + 1)
        items += [len(blob), len(chunks), *chunks]
    return module_value(MODEL, version, items)


def c_string(text: str) -> bytes:
    return text.encode() + b"\0"


def chunks_of(blob: bytes, size: int) -> list[bytes]:
    """How RedisAI divides a blob: one chunk more than fit wholly, and that one may be empty."""
    return [blob[start : start + size] for start in range(0, len(blob) + 1, size)]


def script(version: int, source: str, *, device: str = "CPU", tag: str = "", entry_points: Sequence[str] = ()) -> bytes:
    """A script as RedisAI of that encoding version wrote it."""
    items: list[int | bytes] = [c_string(device), c_string(tag) if version == 0 else tag.encode(), c_string(source)]
    if version >= 3:
        items += [len(entry_points), *map(c_string, entry_points)]
    return module_value(SCRIPT, version, items)


def rdb_file(values: Mapping[str, bytes], *, checksum: bool = True) -> bytes:
    """A dump.rdb of database 0: DUMP payloads, or their bodies, by key."""
    parts = [b"REDIS0009", b"\xfe\x00"]
    for key, payload in values.items():
        body = payload[:-10] if payload.endswith(crc64(payload[:-8]).to_bytes(8, "little")) else payload
        parts += [body[:1], length(len(key)), key.encode(), body[1:]]
    data = b"".join([*parts, b"\xff"])
    return data + (crc64(data) if checksum else 0).to_bytes(8, "little")
