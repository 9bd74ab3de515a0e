"""Damaged payloads of all three types and all encodings, through RESTORE and in RDB files.

The checksum is right, so that they reach the module. Each is refused with Redis' error and
a line in the log, or is a value after all; none harms the server, or makes it allocate what
the payload only claims to hold.

``REDISAI_TEST_MUTATIONS`` raises the number of random payloads of each kind.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable

import pytest

import models
from harness import OK, Error, Server, Wire, wait_until
from harness import payload as rdb
from harness.server import CRASH
from harness.tensors import SAMPLES, blob_of

Servers = Callable[..., Server]

MUTATIONS = int(os.environ.get("REDISAI_TEST_MUTATIONS", "60"))
BAD_FORMAT = Error("ERR Bad data format")
SOURCE = "def f(tensors: List[Tensor], keys: List[str], args: List[str]):\n    return tensors[0]\n"
BLOB = models.two_outputs()
FLOATS = blob_of(SAMPLES["FLOAT"])
NAMES = {"inputs": ["a", "b"], "outputs": ["sum", "difference"]}

IDENTITY = 10  # bytes before the items: type, length code, id
HUGE = (2**20, 2**31, 2**32, 2**40, 2**60, 2**62, 2**63 - 1, 2**63, 2**64 - 1)


def intact(kind: str, version: int) -> bytes:
    if kind == "tensor":
        return rdb.tensor(version, "FLOAT", [2, 2], FLOATS)
    if kind == "string tensor":
        return rdb.tensor(4, "STRING", [2, 1], b"hi\0yo!\0", [0, 3])
    if kind == "model":
        return rdb.model(version, BLOB, tag="t", batch=(8, 2, 5), chunk=100, **NAMES)
    return rdb.script(version, SOURCE, tag="t", entry_points=["f"])


KINDS = [(kind, version) for kind in ("tensor", "model", "script") for version in range(5)] + [("string tensor", 4)]
every_kind = pytest.mark.parametrize(("kind", "version"), KINDS, ids=[f"{kind} v{version}" for kind, version in KINDS])


@pytest.fixture(scope="module")
def server(module_servers: Servers) -> Server:
    return module_servers(rdbcompression="no")


def use(wire: Wire, key: str) -> None:
    """Everything that reads a value; the replies do not matter, only that there are some."""
    for command in ("AI.TENSORGET", "AI.MODELGET", "AI.SCRIPTGET", "DUMP", "AI.INFO"):
        wire(command, key)
    wire("AI.TENSORGET", key, "VALUES")
    wire("MEMORY", "USAGE", key)
    wire("DEBUG", "DIGEST")


def restore(wire: Wire, payload: bytes) -> bool:
    """Whether the payload was taken; it is then looked at, and deleted."""
    reply = wire("RESTORE", "k", 0, payload)
    if reply == OK:
        use(wire, "k")
        wire("DEL", "k")
        return True
    assert reply == BAD_FORMAT
    return False


@every_kind
def test_what_is_not_damaged_is_taken(wire: Wire, kind: str, version: int) -> None:
    assert restore(wire, intact(kind, version))


@every_kind
def test_every_truncation_is_refused(server: Server, wire: Wire, kind: str, version: int) -> None:
    body = rdb.body_of(intact(kind, version))
    for length in range(IDENTITY - 1, len(body)):
        # Redis would read on into the footer, whose bytes may happen to complete the value: opcodes that do
        # not exist stand before it.
        assert not restore(wire, rdb.sealed(body[:length] + b"\x3f" * len(body))), length
    name = kind.split()[-1]
    assert f"Experienced a short read while reading a {name} from RDB" in server.log


def items_of(payload: bytes) -> list[tuple[int, int]]:
    """Where the items of a payload begin and end."""
    body, at, found = rdb.body_of(payload), IDENTITY - 1, []
    while body[at : at + 1] != rdb.END:
        start, opcode = at, body[at : at + 1]
        value, at = length_at(body, at + 1)
        if opcode == rdb.STRING:
            at += value
        found.append((start, at))
    return found


def length_at(body: bytes, at: int) -> tuple[int, int]:
    first = body[at]
    if first < 0x40:
        return first, at + 1
    if first < 0x80:
        return (first & 0x3F) << 8 | body[at + 1], at + 2
    size = 4 if first == 0x80 else 8
    return int.from_bytes(body[at + 1 : at + 1 + size], "big"), at + 1 + size


def replacements(item: bytes) -> list[bytes]:
    """What may stand in place of an item: numbers out of range, the other kind, nothing, twice, a lying length."""
    changed = [b"", item * 2, rdb.item(b"x") if item[:1] == rdb.UNSIGNED else rdb.item(1)]
    if item[:1] == rdb.UNSIGNED:
        return changed + [rdb.item(value) for value in (0, 1, 2, 3, 7, 64, *HUGE)]
    return changed + [rdb.item(b""), rdb.item(b"\0")] + [rdb.STRING + rdb.length(value) for value in HUGE]


@every_kind
def test_every_field_out_of_range(server: Server, wire: Wire, kind: str, version: int) -> None:
    payload = intact(kind, version)
    body = rdb.body_of(payload)
    restore(wire, payload)
    before = server.peak_memory()
    taken = 0
    for start, end in items_of(payload):
        for replacement in replacements(body[start:end]):
            if body[:start] + replacement + body[end:] != body:
                taken += restore(wire, rdb.sealed(body[:start] + replacement + body[end:]))
    # What remains: free fields (tag, batching, device number, strides), names, and other sources.
    assert taken < 150
    wait_until(lambda: server.live_objects()["models"] == 0)
    assert server.peak_memory() - before < 150e6, "memory that a payload only claims to need was used"
    assert int(server.info("memory")["used_memory"]) < 50e6


@every_kind
def test_random_damage(server: Server, wire: Wire, kind: str, version: int) -> None:
    body = rdb.body_of(intact(kind, version))
    chance = random.Random(f"{kind} {version}")
    for _ in range(MUTATIONS):
        damaged = bytearray(body)
        for _ in range(chance.choice((1, 1, 2, 5, 20))):
            at = chance.randrange(IDENTITY - 1, len(damaged))
            how = chance.randrange(4)
            if how == 0:
                damaged[at] = chance.randrange(256)
            elif how == 1:
                damaged[at] ^= 1 << chance.randrange(8)
            elif how == 2:
                damaged[at:at] = chance.randbytes(chance.randrange(9))
            elif len(damaged) > IDENTITY + 1:
                del damaged[at : at + chance.randrange(1, 9)]
            at = min(at, len(damaged) - 1)
        restore(wire, rdb.sealed(bytes(damaged)))
    for _ in range(MUTATIONS):
        restore(wire, rdb.sealed(body[: IDENTITY - 1] + chance.randbytes(chance.randrange(200)) + b"\x3f"))
    server.check_health()


def give_up(make_server: Servers, data: bytes) -> str:
    """The log of a server that is started with an RDB file that it cannot load.

    What it runs then, redis-check-rdb, may take the file to be sound, and end with status 0; or, since it does not
    understand modules' values, not end at all when the file ends in one.
    """
    server = make_server(start=False)
    server.directory.mkdir(parents=True)
    (server.directory / "dump.rdb").write_bytes(data)
    server.start(online=False)
    wait_until(lambda: "Internal error in RDB reading" in server.log or "Terminating server" in server.log)
    server.kill()
    assert not CRASH.search(server.log), server.log
    assert "Ready to accept connections" not in server.log
    return server.log


@pytest.mark.parametrize(
    ("name", "payload"),
    [
        ("tensor", rdb.tensor(4, "FLOAT", [3], FLOATS)),
        ("model", rdb.module_value(rdb.MODEL, 4, [9, b"CPU\0", b"", 0, 0, 0, 0, 0, 0, 1, b""])),
        ("script", rdb.module_value(rdb.SCRIPT, 4, [b"CPU\0", b"t", b"x\0", 2**60, b"f\0"])),
    ],
)
def test_a_damaged_value_in_an_rdb_file_stops_the_start(make_server: Servers, name: str, payload: bytes) -> None:
    """As redis-server does for its own types: a log line that says why, and no crash."""
    log = give_up(make_server, rdb.rdb_file({"good": intact("string tensor", 4), "bad": payload}))
    assert f"Experienced a short read while reading a {name} from RDB" in log


@pytest.mark.parametrize("kind", ["tensor", "model", "script"])
@pytest.mark.parametrize("cut", [0.3, 0.6, 0.95])
def test_an_rdb_file_that_ends_in_a_value_stops_the_start(make_server: Servers, kind: str, cut: float) -> None:
    whole = rdb.rdb_file({"good": intact("string tensor", 4)})[:-9]
    value = rdb.rdb_file({"bad": intact(kind, 4)})[11:-9]
    items = len(b"\7\3bad") + IDENTITY - 1
    log = give_up(make_server, whole + value[: items + int((len(value) - items) * cut)])
    assert f"Experienced a short read while reading a {kind} from RDB" in log
    assert "Unexpected EOF reading RDB file" in log
