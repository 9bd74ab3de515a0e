"""AI.TENSORSET: every check in its order, every dtype, every way to give the data."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from harness import OK, Error, Server, Wire, as_dict, get, wait_until
from harness.tensors import DTYPES, NUMPY_TYPES, SAMPLES, assert_tensor, put, tensorset

WRONG_TYPE = Error("WRONGTYPE Operation against a key holding the wrong kind of value")
BAD_DTYPE = Error("ERR invalid data type")
BAD_SHAPE = Error("ERR invalid or negative value found in tensor shape")
ONE_BLOB = Error("ERR a single binary string should come after the BLOB argument in 'AI.TENSORSET' command")
WRONG_COUNT = Error("ERR wrong number of values was given in 'AI.TENSORSET' command")
WRONG_LENGTH = Error("ERR data length does not match tensor shape and type")
BAD_BOOL = Error("ERR BOOL tensor elements must be 0 or 1")
WRONG_STRINGS = Error("ERR Number of string elements in data blob does not match tensor length")
BAD_VALUE = Error("ERR invalid value")
NULL_CHARACTER = Error("ERR C-string value contains null character")

TORCH_NAMES = {"FLOAT16": "float16", "BFLOAT16": "bfloat16"}
INTEGERS = {name: np.iinfo(dtype) for name, dtype in NUMPY_TYPES.items() if np.issubdtype(dtype, np.integer)}


@pytest.mark.parametrize("arguments", [(), ("k",), ("k", "FLOAT"), ("k", "NO_SUCH_DTYPE")])
def test_too_few_arguments(server: Server, wire: Wire, arguments: tuple[str, ...]) -> None:
    assert wire("AI.TENSORSET", *arguments) == server.arity_error("AI.TENSORSET")


ERRORS = [
    # dtype
    (("FLOAT8", 2), BAD_DTYPE),
    (("UINT128", 2), BAD_DTYPE),
    (("BFLOAT", 2), BAD_DTYPE),
    (("INT", 2), BAD_DTYPE),
    (("INT128", 2), BAD_DTYPE),
    (("FLOA", 2), BAD_DTYPE),
    (("", 2), BAD_DTYPE),
    (("NO_SUCH_DTYPE", -1, "BLOB"), BAD_DTYPE),
    # shape
    (("FLOAT", 0), BAD_SHAPE),
    (("FLOAT", -1), BAD_SHAPE),
    (("FLOAT", 2, 0, "BLOB", ""), BAD_SHAPE),
    (("FLOAT", "1.5"), BAD_SHAPE),
    (("FLOAT", "+2"), BAD_SHAPE),
    (("FLOAT", "02"), BAD_SHAPE),
    (("FLOAT", " 2"), BAD_SHAPE),
    (("FLOAT", ""), BAD_SHAPE),
    (("FLOAT", "two"), BAD_SHAPE),
    (("FLOAT", 2**63), BAD_SHAPE),
    (("FLOAT", 2, "BLOBS", b"12345678"), BAD_SHAPE),
    # a shape whose number of elements or bytes overflows
    (("FLOAT", 2**32, 2**32, "BLOB", ""), BAD_SHAPE),
    (("FLOAT", 2**32, 2**32, "VALUES", 1), BAD_SHAPE),
    (("INT8", 2**62, 2), BAD_SHAPE),
    (("DOUBLE", 2**61), BAD_SHAPE),
    (("STRING", 2**32, 2**32, "BLOB", ""), BAD_SHAPE),
    # a shape that no memory can hold
    (("INT8", 2**60), BAD_SHAPE),
    (("STRING", 2**58), BAD_SHAPE),
    # the word after BLOB
    (("FLOAT", 2, "BLOB"), ONE_BLOB),
    (("FLOAT", 2, "BLOB", b"1234", b"5678"), ONE_BLOB),
    (("FLOAT", "BLOB"), ONE_BLOB),
    (("FLOAT", 2, "BLOB", b"12345678", "VALUES"), ONE_BLOB),
    # the number of VALUES
    (("FLOAT", 2, "VALUES"), WRONG_COUNT),
    (("FLOAT", 2, "VALUES", 1), WRONG_COUNT),
    (("FLOAT", 2, "VALUES", 1, 2, 3), WRONG_COUNT),
    (("FLOAT", 2, 2, "VALUES", 1, 2, 3), WRONG_COUNT),
    (("FLOAT", "VALUES"), WRONG_COUNT),
    (("FLOAT", "VALUES", 1, 2), WRONG_COUNT),
    (("FLOAT", 2**40, "VALUES", 1), WRONG_COUNT),
    (("FLOAT", 2, "VALUES", "x", "y", "z"), WRONG_COUNT),
    # the length of a blob
    (("FLOAT", 2, "BLOB", b"1234567"), WRONG_LENGTH),
    (("FLOAT", 2, "BLOB", b"123456789"), WRONG_LENGTH),
    (("FLOAT", 2, "BLOB", b""), WRONG_LENGTH),
    (("FLOAT", 2**40, "BLOB", b"1234"), WRONG_LENGTH),
    (("DOUBLE", "BLOB", b"1234"), WRONG_LENGTH),
    (("INT16", 3, "BLOB", b"12345"), WRONG_LENGTH),
    (("BOOL", 2, "BLOB", b"\1\1\2"), WRONG_LENGTH),
    # the content of a BOOL blob, its last byte included
    (("BOOL", 2, "BLOB", b"\2\0"), BAD_BOOL),
    (("BOOL", 2, "BLOB", b"\0\2"), BAD_BOOL),
    (("BOOL", 1, "BLOB", b"\5"), BAD_BOOL),
    (("BOOL", "BLOB", b"1"), BAD_BOOL),
    # the number of strings in a blob
    (("STRING", 2, "BLOB", b"a\0"), WRONG_STRINGS),
    (("STRING", 2, "BLOB", b"a\0b"), WRONG_STRINGS),
    (("STRING", 2, "BLOB", b"a\0b\0c\0"), WRONG_STRINGS),
    (("STRING", 1, "BLOB", b"a"), WRONG_STRINGS),
    (("STRING", 1, "BLOB", b""), WRONG_STRINGS),
    (("STRING", "BLOB", b""), WRONG_STRINGS),
    # strings among VALUES
    (("STRING", 1, "VALUES", b"a\0b"), NULL_CHARACTER),
    (("STRING", 1, "VALUES", b"a\0\0"), NULL_CHARACTER),
    (("STRING", 1, "VALUES", b""), NULL_CHARACTER),
    (("STRING", 2, "VALUES", b"a", b""), NULL_CHARACTER),
    # booleans among VALUES
    (("BOOL", 1, "VALUES", 2), BAD_VALUE),
    (("BOOL", 1, "VALUES", -1), BAD_VALUE),
    (("BOOL", 1, "VALUES", "true"), BAD_VALUE),
    (("BOOL", 2, "VALUES", 1, "1.0"), BAD_VALUE),
]


@pytest.mark.parametrize(("arguments", "error"), ERRORS)
def test_bad_arguments(wire: Wire, arguments: tuple[str | int | bytes, ...], error: Error) -> None:
    put(wire, "k", SAMPLES["INT64"])
    assert wire("AI.TENSORSET", "k", *arguments) == error
    assert_tensor(wire, "k", SAMPLES["INT64"])
    assert wire("AI.TENSORSET", "absent", *arguments) == error
    assert wire("EXISTS", "absent") == 0


@pytest.mark.parametrize(
    "value", ["nan", "NaN", " 1", "1 ", "", "one", "1,5", "--1", "1e400", "-1e400", "1e-400", b"1\0"]
)
@pytest.mark.parametrize("dtype", ["FLOAT", "DOUBLE"])
def test_what_is_no_number(wire: Wire, dtype: str, value: str) -> None:
    assert wire("AI.TENSORSET", "k", dtype, 2, "VALUES", 1, value) == BAD_VALUE


@pytest.mark.parametrize("value", ["1.0", "1.87", "1e2", "+1", "01", "-0", " 1", "", "one", "0x1", 2**64, -(2**63) - 1])
@pytest.mark.parametrize("dtype", INTEGERS)
def test_what_is_no_integer(wire: Wire, dtype: str, value: str) -> None:
    assert wire("AI.TENSORSET", "k", dtype, 2, "VALUES", 1, value) == BAD_VALUE


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_reach_from_min_to_max_of_their_dtype(wire: Wire, dtype: str) -> None:
    low, high = int(INTEGERS[dtype].min), int(INTEGERS[dtype].max)
    assert wire("AI.TENSORSET", "k", dtype, 3, "VALUES", low, high, 0) == OK
    assert get(wire, "k").tolist() == [low, high, 0]
    for outside in (low - 1, high + 1):
        assert wire("AI.TENSORSET", "k", dtype, 1, "VALUES", outside) == BAD_VALUE


def test_negative_integers_are_values(wire: Wire) -> None:
    assert wire("AI.TENSORSET", "k", "INT8", 2, "VALUES", -1, -128) == OK
    assert wire("AI.TENSORGET", "k", "VALUES") == [-1, -128]


@pytest.mark.parametrize(
    ("text", "number"),
    [("1", 1.0), ("-1", -1.0), ("0.5", 0.5), (".5", 0.5), ("1e3", 1000.0), ("-2.5E-3", -0.0025), ("1e308", 1e308)],
)
def test_decimal_and_scientific_numbers(wire: Wire, text: str, number: float) -> None:
    assert wire("AI.TENSORSET", "k", "DOUBLE", 1, "VALUES", text) == OK
    assert get(wire, "k").tolist() == [number]


@pytest.mark.parametrize("dtype", ["FLOAT", "DOUBLE"])
def test_infinity_is_a_number(wire: Wire, dtype: str) -> None:
    assert wire("AI.TENSORSET", "k", dtype, 2, "VALUES", "inf", "-inf") == OK
    assert get(wire, "k").tolist() == [np.inf, -np.inf]


@pytest.mark.parametrize("dtype", ["FLOAT16", "BFLOAT16"])
def test_every_16_bit_float_is_a_value(wire: Wire, dtype: str) -> None:
    """All bit patterns, through VALUES and back."""
    bits = np.arange(65536, dtype=np.uint16)
    put(wire, "k", bits.view(NUMPY_TYPES[dtype]))
    values = [float(value) for value in wire("AI.TENSORGET", "k", "VALUES")]
    expected = torch.from_numpy(bits.view(np.int16)).view(getattr(torch, TORCH_NAMES[dtype])).to(torch.float64)
    assert np.array_equal(np.array(values), expected.numpy(), equal_nan=True)
    numbers = [value for value in values if value == value]
    assert wire("AI.TENSORSET", "back", dtype, len(numbers), "VALUES", *map(repr, numbers)) == OK
    assert np.array_equal(np.frombuffer(wire("AI.TENSORGET", "back", "BLOB"), np.uint16), bits[~np.isnan(values)])


@pytest.mark.parametrize("dtype", ["FLOAT16", "BFLOAT16"])
def test_16_bit_floats_are_rounded_to_the_nearest(wire: Wire, dtype: str) -> None:
    random = np.random.default_rng(7)
    exponents = random.uniform(-10, 6, 3000)
    numbers = random.choice([-1, 1], 3000) * 10.0**exponents
    halves = random.integers(0, 2**11, 500) / 2.0**9 + 2.0**-10  # in the middle of two
    numbers = np.concatenate([numbers, halves, [65519.9, 65520, 1e300, 5e-324, 2.0**-24, 2.0**-25]])
    assert wire("AI.TENSORSET", "k", dtype, len(numbers), "VALUES", *map(repr, numbers.tolist())) == OK
    if dtype == "FLOAT16":
        with np.errstate(over="ignore"):
            expected = numbers.astype(np.float16).view(np.uint16)
    else:  # exact: the nearest of all values, the even one of two
        bits = np.arange(0x7F80 + 1, dtype=np.uint16)
        grid = torch.from_numpy(bits.view(np.int16)).view(torch.bfloat16).to(torch.float64).numpy()
        above = np.clip(np.searchsorted(grid, np.abs(numbers)), 1, len(grid) - 1)
        with np.errstate(invalid="ignore"):
            to_below, to_above = np.abs(numbers) - grid[above - 1], grid[above] - np.abs(numbers)
        up = (to_above < to_below) | ((to_above == to_below) & (above % 2 == 0))
        up |= np.abs(numbers) > grid[-2] * (1 + 2.0**-9)
        expected = (above - 1 + up).astype(np.uint16) | np.where(numbers < 0, 0x8000, 0).astype(np.uint16)
    assert np.array_equal(np.frombuffer(wire("AI.TENSORGET", "k", "BLOB"), np.uint16), expected)


def test_float_is_narrowed_from_double(wire: Wire) -> None:
    assert wire("AI.TENSORSET", "k", "FLOAT", 2, "VALUES", "5.1", "1e39") == OK
    assert get(wire, "k").tolist() == [float(np.float32(5.1)), np.inf]


@pytest.mark.parametrize("dtype", DTYPES)
def test_blob_of_every_dtype_is_stored_as_it_is(wire: Wire, dtype: str) -> None:
    put(wire, "k", SAMPLES[dtype])
    assert_tensor(wire, "k", SAMPLES[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtype_and_keywords_in_any_case(wire: Wire, dtype: str) -> None:
    assert wire("ai.tensorset", "a", dtype.lower(), 2, "values", 1, 1) == OK
    assert wire("Ai.TensorSet", "b", dtype.title(), 2, "VaLuEs", 1, 1) == OK
    assert wire("AI.TENSORGET", "a") == wire("AI.TENSORGET", "b")
    blob = wire("AI.TENSORGET", "a", "BLOB")
    assert wire("AI.TENSORSET", "c", dtype, 2, "bLoB", blob) == OK
    assert wire("AI.TENSORGET", "c") == wire("AI.TENSORGET", "a")


def test_dtype_ends_at_its_first_nul(wire: Wire) -> None:
    assert wire("AI.TENSORSET", "k", b"INT8\0junk", 1, "VALUES", 3) == OK
    assert wire("AI.TENSORGET", "k", "META") == [b"dtype", b"INT8", b"shape", [1]]


def test_keyword_as_data(wire: Wire) -> None:
    assert wire("AI.TENSORSET", "k", "INT8", 6, "BLOB", "VALUES") == OK
    assert wire("AI.TENSORGET", "k", "BLOB") == b"VALUES"
    assert wire("AI.TENSORSET", "k", "STRING", 2, "VALUES", "BLOB", "VALUES") == OK
    assert wire("AI.TENSORGET", "k", "VALUES") == [b"BLOB", b"VALUES"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_without_data_all_bytes_are_zero(wire: Wire, dtype: str) -> None:
    assert wire("AI.TENSORSET", "k", dtype, 2, 3) == OK
    size = 1 if dtype == "STRING" else np.dtype(NUMPY_TYPES[dtype]).itemsize
    assert as_dict(wire("AI.TENSORGET", "k")) == {
        "dtype": dtype.encode(),
        "shape": [2, 3],
        "blob": bytes(6 * size),
    }


@pytest.mark.parametrize("dtype", DTYPES)
def test_no_dims_make_a_scalar(wire: Wire, dtype: str) -> None:
    assert wire("AI.TENSORSET", "values", dtype, "VALUES", 1) == OK
    reply = wire("AI.TENSORGET", "values")
    assert reply[:4] == [b"dtype", dtype.encode(), b"shape", []]
    assert wire("AI.TENSORSET", "blob", dtype, "BLOB", reply[5]) == OK
    assert wire("AI.TENSORGET", "blob") == reply


def test_many_dims(wire: Wire) -> None:
    shape = [1] * 60 + [2] + [1] * 60
    assert wire("AI.TENSORSET", "k", "INT8", *shape, "VALUES", 1, 2) == OK
    assert as_dict(wire("AI.TENSORGET", "k", "META"))["shape"] == shape


def test_many_values(wire: Wire) -> None:
    values = list(range(20_000))
    assert wire("AI.TENSORSET", "k", "INT32", 20_000, "VALUES", *values) == OK
    assert get(wire, "k").tolist() == values


def test_string_values_with_and_without_final_nul(wire: Wire) -> None:
    assert wire("AI.TENSORSET", "k", "STRING", 3, "VALUES", "a", b"bc\0", b"\0") == OK
    assert wire("AI.TENSORGET", "k", "BLOB") == b"a\0bc\0\0"
    assert wire("AI.TENSORGET", "k", "VALUES") == [b"a", b"bc", b""]


def test_string_blob_with_empty_elements(wire: Wire) -> None:
    assert wire("AI.TENSORSET", "k", "STRING", 2, 2, "BLOB", b"\0a\0\0b\0") == OK
    assert wire("AI.TENSORGET", "k", "VALUES") == [b"", b"a", b"", b"b"]


@pytest.mark.parametrize("create", [("SET", "k", "v"), ("RPUSH", "k", "v"), ("HSET", "k", "f", "v")])
def test_key_of_another_type_is_found_first_and_kept(wire: Wire, create: tuple[str, ...]) -> None:
    wire(*create)
    before = wire("DUMP", "k")
    for arguments in (("FLOAT", 1, "VALUES", 1), ("NO_SUCH_DTYPE", 1), ("FLOAT", -1)):
        assert wire("AI.TENSORSET", "k", *arguments) == WRONG_TYPE
    assert wire("DUMP", "k") == before


def test_overwriting_replaces_dtype_shape_and_ttl(wire: Wire) -> None:
    put(wire, "k", SAMPLES["FLOAT"])
    wire("EXPIRE", "k", 100)
    put(wire, "k", SAMPLES["STRING"])
    assert wire("TTL", "k") == -1
    assert_tensor(wire, "k", SAMPLES["STRING"])


def test_a_refused_overwrite_keeps_the_ttl(wire: Wire) -> None:
    put(wire, "k", SAMPLES["FLOAT"])
    wire("EXPIRE", "k", 100)
    assert wire("AI.TENSORSET", "k", "FLOAT", 1, "VALUES", "x") == BAD_VALUE
    assert 90 < wire("TTL", "k") <= 100


def test_expired_tensor_is_gone(wire: Wire) -> None:
    put(wire, "k", SAMPLES["FLOAT"])
    wire("PEXPIRE", "k", 20)
    wait_until(lambda: wire("EXISTS", "k") == 0, 5)
    assert wire("AI.TENSORGET", "k") == Error("ERR tensor key is empty or in a different shard")


def test_tensor_belongs_to_the_selected_database(server: Server, wire: Wire) -> None:
    with server.wire(db=3) as other:
        put(other, "k", SAMPLES["INT8"])
        assert wire("EXISTS", "k") == 0
        assert_tensor(other, "k", SAMPLES["INT8"])


def test_pipelined_replies_keep_their_order(wire: Wire) -> None:
    good = tensorset("k", SAMPLES["FLOAT"])
    bad = ("AI.TENSORSET", "k", "FLOAT", -1)
    get_values = ("AI.TENSORGET", "k", "META")
    replies = wire.pipeline(*[good, bad, get_values] * 100)
    assert replies == [OK, BAD_SHAPE, [b"dtype", b"FLOAT", b"shape", [2, 2]]] * 100
