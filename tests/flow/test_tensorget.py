"""AI.TENSORGET: formats, reply types in RESP2 and RESP3, and errors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from harness import OK, Error, RedisBinary, Server, Wire, default_binary, flat, wait_until
from harness.tensors import DTYPES, SAMPLES, blob_of, put

MISSING = Error("ERR tensor key is empty or in a different shard")
WRONG_TYPE = Error("WRONGTYPE Operation against a key holding the wrong kind of value")
UNSUPPORTED_FORMAT = Error("ERR unsupported data format")
BOTH_FORMATS = Error("ERR both BLOB and VALUES specified")


@pytest.mark.parametrize("arguments", [(), ("k", "META", "BLOB", "BLOB"), ("k", "META", "BLOB", "VALUES")])
def test_wrong_number_of_arguments(server: Server, wire: Wire, arguments: tuple[str, ...]) -> None:
    assert wire("AI.TENSORGET", *arguments) == server.arity_error("AI.TENSORGET")


def test_missing_key_is_found_before_a_bad_format(wire: Wire) -> None:
    assert wire("AI.TENSORGET", "absent") == MISSING
    assert wire("AI.TENSORGET", "absent", "JUNK") == MISSING


def test_key_of_another_type_is_found_before_a_bad_format(wire: Wire) -> None:
    wire("SET", "k", "v")
    assert wire("AI.TENSORGET", "k") == WRONG_TYPE
    assert wire("AI.TENSORGET", "k", "JUNK") == WRONG_TYPE


@pytest.mark.parametrize(
    ("formats", "error"),
    [
        (("JUNK",), UNSUPPORTED_FORMAT),
        (("META", "JUNK"), UNSUPPORTED_FORMAT),
        (("JUNK", "META"), UNSUPPORTED_FORMAT),
        (("",), UNSUPPORTED_FORMAT),
        (("BLOB", "JUNK"), UNSUPPORTED_FORMAT),
        (("BLOB", "VALUES"), BOTH_FORMATS),
        (("VALUES", "BLOB"), BOTH_FORMATS),
    ],
)
def test_bad_formats(wire: Wire, formats: tuple[str, ...], error: Error) -> None:
    put(wire, "k", SAMPLES["FLOAT"])
    assert wire("AI.TENSORGET", "k", *formats) == error


META = [b"dtype", b"INT16", b"shape", [3]]
BLOB = b"\1\0\2\0\xff\xff"
VALUES = [1, 2, -1]


@pytest.mark.parametrize(
    ("formats", "reply"),
    [
        ((), [*META, b"blob", BLOB]),
        (("META",), META),
        (("BLOB",), BLOB),
        (("VALUES",), VALUES),
        (("META", "BLOB"), [*META, b"blob", BLOB]),
        (("BLOB", "META"), [*META, b"blob", BLOB]),
        (("META", "VALUES"), [*META, b"values", VALUES]),
        (("VALUES", "META"), [*META, b"values", VALUES]),
        (("meta", "values"), [*META, b"values", VALUES]),
        (("META", "META"), META),
        (("BLOB", "BLOB"), BLOB),
        (("VALUES", "VALUES"), VALUES),
    ],
)
@pytest.mark.parametrize("protocol", [2, 3])
def test_formats(server: Server, wire: Wire, protocol: int, formats: tuple[str, ...], reply: object) -> None:
    put(wire, "k", np.array(VALUES, np.int16))
    with server.wire(protocol=protocol) as connection:
        assert flat(connection("AI.TENSORGET", "k", *formats)) == reply


@pytest.mark.parametrize("dtype", DTYPES)
def test_meta_and_blob_of_every_dtype(wire: Wire, dtype: str) -> None:
    put(wire, "k", SAMPLES[dtype])
    expected = [b"dtype", dtype.encode(), b"shape", [2, 2], b"blob", blob_of(SAMPLES[dtype])]
    assert wire("AI.TENSORGET", "k", "META", "BLOB") == expected


@pytest.mark.parametrize("dtype", [dtype for dtype in DTYPES if "INT" in dtype or dtype == "BOOL"])
@pytest.mark.parametrize("protocol", [2, 3])
def test_integers_and_booleans_are_integer_replies(server: Server, wire: Wire, dtype: str, protocol: int) -> None:
    put(wire, "k", SAMPLES[dtype])
    with server.wire(protocol=protocol) as connection:
        values = connection("AI.TENSORGET", "k", "VALUES")
    expected = [int(element) for element in SAMPLES[dtype].ravel()]
    assert [int(element) for element in values] == expected
    # RESP2, and modules of redis-server 6.2, have no integers above 63 bits: there they are bulk strings.
    has_large = protocol == 3 and server.binary.version >= (7, 0, 0)
    assert [type(v) is bytes for v in values] == [v > 2**63 - 1 and not has_large for v in expected]


@pytest.mark.parametrize("dtype", ["FLOAT", "DOUBLE", "FLOAT16"])
def test_floating_point_values_are_bulk_strings_in_resp2(wire: Wire, dtype: str) -> None:
    put(wire, "k", SAMPLES[dtype])
    values = wire("AI.TENSORGET", "k", "VALUES")
    assert all(isinstance(element, bytes) for element in values)
    assert [float(element) for element in values] == SAMPLES[dtype].astype(np.float64).ravel().tolist()


@pytest.mark.parametrize("dtype", ["FLOAT", "DOUBLE", "FLOAT16"])
def test_floating_point_values_are_doubles_in_resp3(server: Server, wire: Wire, dtype: str) -> None:
    put(wire, "k", SAMPLES[dtype])
    with server.wire(protocol=3) as connection:
        values = connection("AI.TENSORGET", "k", "VALUES")
    assert all(isinstance(element, float) for element in values)
    assert values == SAMPLES[dtype].astype(np.float64).ravel().tolist()


def test_a_float_that_is_an_integer_has_no_point(wire: Wire) -> None:
    wire("AI.TENSORSET", "k", "FLOAT", 3, "VALUES", 1, -3, "inf")
    assert wire("AI.TENSORGET", "k", "VALUES") == [b"1", b"-3", b"inf"]


def test_a_float_shows_all_its_digits(wire: Wire) -> None:
    wire("AI.TENSORSET", "k", "FLOAT", 1, "VALUES", "5.1")
    assert float(wire("AI.TENSORGET", "k", "VALUES")[0]) == 5.0999999046325684


@pytest.mark.parametrize("protocol", [2, 3])
def test_string_values_have_no_nul_and_string_blobs_have_all(server: Server, wire: Wire, protocol: int) -> None:
    wire("AI.TENSORSET", "k", "STRING", 3, "VALUES", "one", b"\0", b"\xff")
    with server.wire(protocol=protocol) as connection:
        assert connection("AI.TENSORGET", "k", "VALUES") == [b"one", b"", b"\xff"]
        assert connection("AI.TENSORGET", "k", "BLOB") == b"one\0\0\xff\0"


def test_shape_of_a_scalar_is_empty(wire: Wire) -> None:
    wire("AI.TENSORSET", "k", "INT64", "VALUES", 7)
    assert wire("AI.TENSORGET", "k", "META") == [b"dtype", b"INT64", b"shape", []]
    assert wire("AI.TENSORGET", "k", "VALUES") == [7]
    assert wire("AI.TENSORGET", "k", "META", "VALUES") == [b"dtype", b"INT64", b"shape", [], b"values", [7]]


def test_large_blob_comes_back_whole(wire: Wire) -> None:
    array = np.random.default_rng(1).standard_normal((500, 1000), np.float32)
    put(wire, "k", array)
    assert wire("AI.TENSORGET", "k", "BLOB") == array.tobytes()


def test_reading_changes_nothing(wire: Wire) -> None:
    put(wire, "k", SAMPLES["FLOAT"])
    wire("EXPIRE", "k", 100)
    before = wire("DUMP", "k")
    for formats in ((), ("VALUES",), ("META",)):
        wire("AI.TENSORGET", "k", *formats)
    assert wire("DUMP", "k") == before
    assert wire("TTL", "k") > 90


def test_copy_is_independent_of_its_source(wire: Wire) -> None:
    put(wire, "k", SAMPLES["STRING"])
    assert wire("COPY", "k", "other") == 1
    put(wire, "k", SAMPLES["FLOAT"])
    assert wire("AI.TENSORGET", "other", "BLOB") == blob_of(SAMPLES["STRING"])
    wire("DEL", "k")
    assert wire("AI.TENSORGET", "other", "BLOB") == blob_of(SAMPLES["STRING"])


def test_memory_usage_covers_the_data(wire: Wire) -> None:
    assert wire("AI.TENSORSET", "small", "FLOAT", 1) == OK
    assert wire("AI.TENSORSET", "large", "FLOAT", 250_000) == OK
    assert wire("MEMORY", "USAGE", "small") < 1000
    assert 1_000_000 <= wire("MEMORY", "USAGE", "large") < 1_010_000


def awkward_doubles() -> list[float]:
    """Of every size, around powers of ten, halves between two texts, and whole ones."""
    generator = np.random.default_rng(1)
    bits = generator.integers(0, 1 << 63, 3000, dtype=np.uint64)
    near = [np.nextafter(10.0**power, direction) for power in range(-6, 20) for direction in (0, 1e300)]
    ends = [0.0, -0.0, 1e-4, 1e17, 5e-324, 1.7976931348623157e308, float("inf"), float("-inf"), float("nan")]
    halves = (generator.integers(0, 1 << 53, 500) / 2.0 ** generator.integers(0, 60, 500)).tolist()
    sizes = (generator.standard_normal(3000) * 10.0 ** generator.integers(-5, 18, 3000)).tolist()
    singles = generator.standard_normal(1000).astype(np.float32).astype(float).tolist()
    values = [*bits.view(np.float64).tolist(), *near, *ends, *halves, *sizes, *singles, *(10.0 ** np.arange(-6, 20))]
    return [sign * value for value in values for sign in (1, -1)]


def test_doubles_are_written_exactly(make_server: Callable[..., Server], redis_binary: RedisBinary) -> None:
    server = make_server(binary=redis_binary)
    values = awkward_doubles()
    with server.wire() as wire:
        put(wire, "k", np.array(values))
        texts = [text.decode() for text in wire("AI.TENSORGET", "k", "VALUES")]
        numbers = [(text, x) for text, x in zip(texts, values, strict=True) if np.isfinite(x) and x != 0]
        wire.pipeline(*[("ZADD", "scores", value, number) for number, (_, value) in enumerate(numbers)])
        scores = wire.pipeline(*[("ZSCORE", "scores", number) for number in range(len(numbers))])
    np.testing.assert_array_equal(np.array([float(text) for text in texts]), values)
    if redis_binary.version < (7, 2, 0):
        assert [text for text, _ in numbers] == [f"{value:.17g}" for _, value in numbers]
    assert [text for text, _ in numbers] == [score.decode() for score in scores]
    with server.wire() as resp3:
        resp3("HELLO", 3)
        np.testing.assert_array_equal(resp3("AI.TENSORGET", "k", "VALUES"), values)


# ---- replies that are kept (module/src/kept_replies.c) --------------------------------

OFTEN = 200
KEPT = 1024  # tensors


def read_often(wire: Wire, key: str, *arguments: str) -> object:
    """The reply, which must always be the same."""
    first = wire("AI.TENSORGET", key, *arguments)
    for _ in range(OFTEN):
        assert wire("AI.TENSORGET", key, *arguments) == first
    return first


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_reply_stays_the_same_however_often_it_is_read(server: Server, wire: Wire, dtype: str) -> None:
    values = SAMPLES[dtype]
    put(wire, "k", values)
    put(wire, "other", values[:1])
    expected = wire("AI.TENSORGET", "k", "META", "BLOB")
    assert read_often(wire, "k", "BLOB", "META") == expected
    assert read_often(wire, "k") == expected
    assert wire("AI.TENSORGET", "k", "META") == expected[:4]
    assert wire("AI.TENSORGET", "other") != expected
    with server.wire() as resp3:
        resp3("HELLO", 3)
        assert flat(read_often(resp3, "k")) == expected
    assert wire("EVAL", "return redis.call('AI.TENSORGET', KEYS[1], 'META', 'BLOB')", 1, "k") == expected
    wire("MULTI")
    wire("AI.TENSORGET", "k", "META", "BLOB")
    assert wire("EXEC") == [expected]


def test_a_reply_that_is_read_often_is_made_by_one_call_for_each_protocol(server: Server, wire: Wire) -> None:
    put(wire, "k", np.array([1, 2], np.int8))
    put(wire, "large", np.zeros(1025, np.int8))
    for key, made in (("k", 1 if default_binary().version < (7, 0, 0) else 2), ("large", 0)):
        assert wire("CONFIG", "RESETSTAT") == OK
        read_often(wire, key)
        statistics = {name.lower(): text for name, text in server.info("commandstats").items()}
        assert statistics["cmdstat_ai.tensorget"].startswith(f"calls={OFTEN + 1 + made},")


def test_a_kept_reply_goes_with_its_tensor(wire: Wire) -> None:
    put(wire, "k", np.array([1, 2], np.int8))
    one = read_often(wire, "k")
    put(wire, "k", np.array([3, 4], np.int8))
    assert wire("AI.TENSORGET", "k", "BLOB") == b"\x03\x04"
    two = read_often(wire, "k")
    assert two != one and two == wire("AI.TENSORGET", "k")
    assert wire("RENAME", "k", "j") == OK
    assert wire("AI.TENSORGET", "k") == MISSING
    assert read_often(wire, "j") == two
    assert wire("COPY", "j", "k") == 1 and wire("DEL", "j") == 1
    assert read_often(wire, "k") == two
    assert wire("PEXPIRE", "k", 1) == 1
    wait_until(lambda: wire("AI.TENSORGET", "k") == MISSING)


def test_a_kept_reply_is_of_its_database(wire: Wire) -> None:
    for database in (3, 7):
        wire("SELECT", database)
        put(wire, "k", np.array([database], np.int8))
        reply = read_often(wire, "k")
        assert reply == wire("AI.TENSORGET", "k") and reply[-1] == bytes([database])
    wire("SELECT", 3)
    assert wire("AI.TENSORGET", "k", "BLOB") == b"\x03"
    assert wire("AI.TENSORGET", "k")[-1] == b"\x03"


def test_more_tensors_are_read_often_than_are_kept(server: Server, wire: Wire) -> None:
    count = KEPT + 100
    for number in range(count):
        put(wire, f"k{number}", np.array([number], np.int32))
    for _ in range(3):
        for number in range(count):
            for _ in range(40):
                wire.send("AI.TENSORGET", f"k{number}")
            for _ in range(40):
                assert wire.read()[-1] == np.array([number], np.int32).tobytes()
    assert wire("FLUSHALL", "ASYNC") == OK
    wait_until(lambda: server.live_objects()["tensors"] == 0)
    put(wire, "k0", np.array([-1], np.int32))
    assert read_often(wire, "k0")[-1] == b"\xff\xff\xff\xff"
