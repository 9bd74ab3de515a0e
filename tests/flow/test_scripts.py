"""AI.SCRIPTSTORE, AI.SCRIPTSET, AI.SCRIPTGET, AI.SCRIPTDEL and AI._SCRIPTSCAN."""

from __future__ import annotations

import numpy as np
import pytest

from harness import OK, Error, Server, Status, Wire, as_dict, assert_tensor, payload, put, wait_until

WRONG_TYPE = Error("WRONGTYPE Operation against a key holding the wrong kind of value")
NO_ENTRY_POINTS = Error("ERR Insufficient arguments, missing script entry points")
NOT_A_NUMBER = Error("ERR Non numeric entry points number provided to AI.SCRIPTSTORE command")
NO_SOURCE = Error("ERR Insufficient arguments, missing script SOURCE")
MISSING = Error("ERR script key is empty")

SOURCE = """
def first(tensors: List[Tensor], keys: List[str], args: List[str]):
    return tensors[0]

def total(a, b):
    return a + b
"""
STORE = ("ENTRY_POINTS", 1, "first", "SOURCE", SOURCE)


def meta(wire: Wire, key: str) -> dict[str, object]:
    return as_dict(wire("AI.SCRIPTGET", key, "META"))


# ---- storing ---------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [(), ("s", "CPU"), ("s", "CPU", "ENTRY_POINTS", 1, "f", "SOURCE")])
def test_scriptstore_with_too_few_arguments(server: Server, wire: Wire, arguments: tuple[str | int, ...]) -> None:
    assert wire("AI.SCRIPTSTORE", *arguments) == server.arity_error("AI.SCRIPTSTORE")


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("s",),
        ("s", "CPU"),
        ("s", "CPU", "SOURCE"),
        ("s", "CPU", "TAG", "t", "SOURCE"),
        ("s", "CPU", "SOURCE", 1, 2),
    ],
)
def test_scriptset_with_a_wrong_number_of_arguments(
    server: Server, wire: Wire, arguments: tuple[str | int, ...]
) -> None:
    assert wire("AI.SCRIPTSET", *arguments) == server.arity_error("AI.SCRIPTSET")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("POINTS", 1, "first", "SOURCE", SOURCE, "x"), NO_ENTRY_POINTS),
        (("TAG", "t", "SOURCE", SOURCE, "x", "y"), NO_ENTRY_POINTS),
        (("ENTRY_POINTS", "x", "first", "SOURCE", SOURCE), NOT_A_NUMBER),
        (("ENTRY_POINTS", "1.5", "first", "SOURCE", SOURCE), NOT_A_NUMBER),
        (("ENTRY_POINTS", -1, "first", "SOURCE", SOURCE), NO_ENTRY_POINTS),
        (("ENTRY_POINTS", 4, "first", "SOURCE", SOURCE), NO_ENTRY_POINTS),
        (("ENTRY_POINTS", 3, "first", "SOURCE", SOURCE), NO_SOURCE),  # the count swallows them (Q50)
        (("ENTRY_POINTS", 1, "first", "SOURC", SOURCE), NO_SOURCE),
        (("ENTRY_POINTS", 1, "first", SOURCE, "SOURCE"), NO_SOURCE),
    ],
)
def test_scriptstore_grammar(wire: Wire, arguments: tuple[str | int, ...], error: Error) -> None:
    assert wire("AI.SCRIPTSTORE", "s", "CPU", *arguments) == error
    assert wire("EXISTS", "s") == 0


@pytest.mark.parametrize("arguments", [("SOURC", SOURCE), ("TAG", "t", "SOURC", SOURCE), ("TAGG", "t", "SOURCE", "x")])
def test_scriptset_without_source(wire: Wire, arguments: tuple[str, ...]) -> None:
    assert wire("AI.SCRIPTSET", "s", "CPU", *arguments) == NO_SOURCE


@pytest.mark.parametrize("device", ["XPU", "", "GPUU", "TPU:0"])
def test_a_device_that_nobody_knows(wire: Wire, device: str) -> None:
    assert wire("AI.SCRIPTSTORE", "s", device, *STORE) == Error("ERR unsupported device")
    assert wire("AI.SCRIPTSET", "s", device, "SOURCE", SOURCE) == Error("ERR unsupported device")


@pytest.mark.parametrize("device", ["cpu", "CPU:3", "CPUx"])
def test_the_device_is_kept_as_typed(wire: Wire, device: str) -> None:
    assert wire("AI.SCRIPTSTORE", "s", device, *STORE) == OK
    assert meta(wire, "s")["device"] == device.encode()


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("absent", "Function absent does not exist in the given script."),
        ("total", "Wrong number of inputs in function total. Expected 3 but was 2"),
        (
            "typed",
            "Wrong inputs type in function typed. Expected signature similar to: "
            "def typed(tensors: List[Tensor], keys: List[str], args: List[str])",
        ),
    ],
)
def test_entry_points_are_checked(wire: Wire, name: str, error: str) -> None:
    source = SOURCE + "\ndef typed(tensors: List[Tensor], keys: List[str], args: List[int]):\n    return tensors[0]\n"
    assert wire("AI.SCRIPTSTORE", "s", "CPU", "ENTRY_POINTS", 2, "first", name, "SOURCE", source) == Error(error)
    assert wire("EXISTS", "s") == 0


def test_a_compile_error_shows_the_line_of_the_script(wire: Wire) -> None:
    source = "def broken(a):\n    x = a + 1\n    return y + x\n"
    error = wire("AI.SCRIPTSET", "s", "CPU", "SOURCE", source)
    assert isinstance(error, Error)
    assert "undefined value y" in error.text
    assert "line 3" in error.text
    assert "return y + x" in error.text
    assert "\n" not in error.text


@pytest.mark.parametrize("source", ["def f(", "x = 1", "\0", "import os", "\xff"])
def test_source_that_is_no_script(wire: Wire, source: str) -> None:
    reply = wire("AI.SCRIPTSTORE", "s", "CPU", "ENTRY_POINTS", 1, "f", "SOURCE", source)
    assert isinstance(reply, Error)
    assert wire("EXISTS", "s") == 0


@pytest.mark.parametrize("body", ["a += torch.from_file('x', False, 4)", "torch.save(a, 'x')"])
def test_scripts_cannot_use_files_of_the_server(wire: Wire, body: str) -> None:
    reply = wire("AI.SCRIPTSET", "s", "CPU", "SOURCE", f"def f(a):\n    {body}\n    return a\n")
    assert isinstance(reply, Error)
    assert wire("EXISTS", "s") == 0


def test_scripts_cannot_call_python_functions_that_are_not_compiled(wire: Wire) -> None:
    error = Error("ERR TorchScript that calls Python functions is not supported")
    source = "def f(a):\n    return torch.ops.load_library(a, a)\n"
    assert wire("AI.SCRIPTSET", "s", "CPU", "SOURCE", source) == error
    assert wire("EXISTS", "s") == 0


DEPTH = 30_000
TOO_DEEP = Error("ERR the code is nested too deeply")


def blocks(depth: int) -> str:
    return "".join(" " * (level + 1) + "if a > 0:\n" for level in range(depth)) + " " * (depth + 1) + "a = 1\n return a"


def elifs(count: int) -> str:
    return " if a > 0:\n  b = 0\n" + " elif a > 1:\n  b = 0\n" * count + " else:\n  b = 0\n return b"


def chain(length: int, calls: str = "f{}(a)") -> str:
    functions = (f"def f{i}(a: int):\n return {calls.replace('{}', str(i + 1))}\n" for i in range(length))
    return f" return f0(a)\n{''.join(functions)}def f{length}(a: int):\n return a\n"


DEEP = {
    "parentheses": " return " + "(" * DEPTH + "a" + ")" * DEPTH,
    "lists": " return " + "[" * DEPTH + "a" + "]" * DEPTH,
    "signs": " return " + "-" * DEPTH + "a",
    "sum": " return " + "a + " * DEPTH + "a",
    "choices": " return " + "a if b else " * DEPTH + "a",
    "and": " return bool(" + "b and " * DEPTH + "b)",
    "comparisons": " return b" + " < b" * DEPTH,
    "attributes": " return a" + ".a" * DEPTH,
    "blocks": blocks(10_000),
    "elifs": elifs(10_000),
    "what Python does not parse": " async = 1\n return " + "-" * DEPTH + "a",
    "before a string without an end": " return " + "-" * DEPTH + "a + 'a",
    "type in a comment": " # type: (" + "List[" * DEPTH + "int" + "]" * DEPTH + ") -> int\n return a",
    "parts of many kinds": blocks(900).replace("a = 1", "a = " + "f(" * 900 + "a" + ")" * 900),
    "functions": chain(5000),
    "functions twice as large as the next": chain(40, "f{}(a) + f{}(a)"),
    "exits": " if a > 0:\n  return a\n" * 3000 + " return a",
}


@pytest.mark.parametrize("body", DEEP.values(), ids=DEEP.keys())
def test_what_would_overflow_the_stack_of_the_compiler_is_refused(wire: Wire, body: str) -> None:
    assert wire("AI.SCRIPTSET", "s", "CPU", "SOURCE", f"def f(a: int, b: bool):\n{body}\n") == TOO_DEEP


SHALLOW = {
    "terms": " return " + "a + " * 1500 + "a",
    "elements": " return [" + "(-1.5, -2 + 3), " * 3000 + "(1.5, 2)]",
    "words of strings and comments": " # " + "(" * DEPTH + '\n b = """' + "(-" * DEPTH + '"""\n return a',
    "statements": " a = (a + 1) * 2\n" * 3000 + " return a",
    "functions": chain(200),
    "a method of a function's name": " return abs(a)\ndef abs(x: int):\n b = torch.ones([x])\n return b.abs()",
    "exits of many functions": " return a\n" + "".join(f"def f{i}(a):\n return a\n" for i in range(1000)),
    "lines with other indentation inside": " b = (a +\n1 +\n   2)\n return b",
}


@pytest.mark.parametrize("body", SHALLOW.values(), ids=SHALLOW.keys())
def test_what_is_long_is_not_deep(wire: Wire, body: str) -> None:
    assert wire("AI.SCRIPTSET", "s", "CPU", "SOURCE", f"def f(a: int):\n{body}\n") == OK


@pytest.mark.parametrize("body", [blocks(1900), elifs(1900)], ids=["blocks", "elifs"])
def test_what_is_almost_too_deep_does_no_harm(wire: Wire, body: str) -> None:
    assert wire("AI.SCRIPTSET", "s", "CPU", "SOURCE", f"def f(a: int):\n{body}\n") in (OK, TOO_DEEP)
    assert wire("PING") == Status("PONG")


def test_long_scripts_are_compiled(wire: Wire) -> None:
    terms = " + ".join(["a"] * 1000)
    functions = "".join(f"def f{i}(a):\n    b = {terms}\n    return b\n" for i in range(20))
    assert wire("AI.SCRIPTSET", "s", "CPU", "SOURCE", functions) == OK


def test_the_last_line_of_a_script_needs_no_end(wire: Wire) -> None:
    source = "def f(a):\n    return a + 1"
    assert wire("AI.SCRIPTSET", "s", "CPU", "SOURCE", source) == OK
    assert wire("AI.SCRIPTGET", "s", "SOURCE") == source.encode()
    put(wire, "x", np.ones(2, np.float32))
    assert wire("AI.SCRIPTRUN", "s", "f", "INPUTS", "x", "OUTPUTS", "y") == OK
    assert_tensor(wire, "y", np.full(2, 2, np.float32))


def test_no_function_is_run_before_it_is_called(server: Server, wire: Wire) -> None:
    source = "def first(x):\n    return x\n"
    assert wire("AI.SCRIPTSET", "s", "CPU", "SOURCE", source) == OK
    before = server.peak_memory()
    source += "def gigabyte(x):\n    y = torch.zeros([250000000])\n    return x + y[0]\n"
    assert wire("AI.SCRIPTSET", "s", "CPU", "SOURCE", source) == OK
    assert server.peak_memory() - before < 200e6
    assert wire("AI.TENSORSET", "x", "FLOAT", 1, "VALUES", 2) == OK
    assert wire("AI.SCRIPTRUN", "s", "gigabyte", "INPUTS", "x", "OUTPUTS", "y") == OK
    assert wire("AI.TENSORGET", "y", "VALUES") == [b"2"]


def test_a_wrong_type_is_reported_after_compilation(wire: Wire) -> None:
    wire("SET", "k", "v")
    assert wire("AI.SCRIPTSTORE", "k", "CPU", *STORE) == WRONG_TYPE
    assert wire("AI.SCRIPTSET", "k", "CPU", "SOURCE", SOURCE) == WRONG_TYPE
    assert "undefined" in wire("AI.SCRIPTSET", "k", "CPU", "SOURCE", "def f():\n    return y\n").text
    assert wire("GET", "k") == b"v"


def test_storing_again_replaces_the_script_and_its_statistics(wire: Wire) -> None:
    assert wire("AI.SCRIPTSTORE", "s", "CPU", "TAG", "one", *STORE) == OK
    assert isinstance(wire("AI.SCRIPTRUN", "s", "absent", "INPUTS", "OUTPUTS"), Error)
    assert as_dict(wire("AI.INFO", "s"))["errors"] == 1
    assert wire("AI.SCRIPTSTORE", "s", "CPU", "TAG", "two", *STORE) == OK
    assert meta(wire, "s")["tag"] == b"two"
    assert as_dict(wire("AI.INFO", "s"))["errors"] == 0


def test_arguments_behind_the_source_are_ignored(wire: Wire) -> None:
    assert wire("AI.SCRIPTSTORE", "s", "CPU", *STORE, "whatever", 3) == OK


def test_no_entry_points_need_a_tag(server: Server, wire: Wire) -> None:
    assert wire("AI.SCRIPTSTORE", "s", "CPU", "ENTRY_POINTS", 0, "SOURCE", SOURCE) == server.arity_error(
        "AI.SCRIPTSTORE"
    )
    assert wire("AI.SCRIPTSTORE", "s", "CPU", "TAG", "t", "ENTRY_POINTS", 0, "SOURCE", SOURCE) == OK  # Q56
    assert wire("AI.SCRIPTSTORE", "s", "CPU", "ENTRY_POINTS", "1.0", "first", "SOURCE", SOURCE) == OK


def test_storing_in_a_transaction_and_in_lua(wire: Wire) -> None:
    wire("MULTI")
    wire("AI.SCRIPTSTORE", "s", "CPU", *STORE)
    wire("AI.SCRIPTGET", "s", "SOURCE")
    assert wire("EXEC") == [OK, SOURCE.encode()]
    lua = "return redis.call('AI.SCRIPTSET', KEYS[1], 'CPU', 'SOURCE', ARGV[1])"
    assert wire("EVAL", lua, 1, "l", SOURCE) == OK
    assert wire("AI.SCRIPTGET", "l", "SOURCE") == SOURCE.encode()


# ---- reading ---------------------------------------------------------------------------


def test_scriptget(server: Server, wire: Wire) -> None:
    source = SOURCE.encode()
    assert wire("AI.SCRIPTSTORE", "s", "CPU", "TAG", "v:1", *STORE) == OK
    fields = [b"device", b"CPU", b"tag", b"v:1", b"Entry Points", [b"first"]]
    assert wire("AI.SCRIPTGET", "s") == [*fields, b"source", source]
    assert wire("AI.SCRIPTGET", "s", "META") == fields
    assert wire("AI.SCRIPTGET", "s", "source") == source
    assert wire("AI.SCRIPTGET", "s", "SOURCE", "meta") == [*fields, b"source", source]
    assert wire("AI.SCRIPTGET", "s", "other", "META") == fields
    assert wire("AI.SCRIPTGET", "s", "META", "SOURCE", "x") == server.arity_error("AI.SCRIPTGET")
    assert wire("AI.SCRIPTGET") == server.arity_error("AI.SCRIPTGET")


def test_a_script_that_was_set_has_no_entry_points(wire: Wire) -> None:
    assert wire("AI.SCRIPTSET", "s", "CPU", "SOURCE", SOURCE) == OK
    assert meta(wire, "s") == {"device": b"CPU", "tag": b"", "Entry Points": []}


@pytest.mark.parametrize("command", ["AI.SCRIPTGET", "AI.SCRIPTDEL"])
def test_keys_without_a_script(server: Server, wire: Wire, command: str) -> None:
    wire("SET", "k", "v")
    wire("AI.TENSORSET", "t", "FLOAT", 1, "VALUES", 1)
    assert wire(command, "absent") == MISSING
    assert wire(command, "k") == WRONG_TYPE
    assert wire(command, "t") == WRONG_TYPE
    assert wire("AI.MODELGET", "k") == WRONG_TYPE


def test_models_and_scripts_are_not_confused(wire: Wire) -> None:
    assert wire("AI.SCRIPTSTORE", "s", "CPU", *STORE) == OK
    assert wire("AI.MODELGET", "s") == WRONG_TYPE
    assert wire("AI.MODELDEL", "s") == WRONG_TYPE
    assert wire("AI.TENSORGET", "s") == WRONG_TYPE
    assert wire("AI.MODELEXECUTE", "s", "INPUTS", 1, "a", "OUTPUTS", 1, "b") == WRONG_TYPE


def test_scriptdel(server: Server, wire: Wire) -> None:
    wire("AI.SCRIPTSTORE", "s", "CPU", *STORE)
    assert wire("AI.SCRIPTDEL", "s", "t") == server.arity_error("AI.SCRIPTDEL")
    assert wire("AI.SCRIPTDEL", "s") == OK
    assert wire("EXISTS", "s") == 0
    assert wire("AI.SCRIPTDEL", "s") == MISSING


def test_scriptscan_lists_scripts_only_and_follows_the_keyspace(server: Server, wire: Wire) -> None:
    wire("AI.SCRIPTSTORE", "s", "CPU", "TAG", "t", *STORE)
    wire("AI.SCRIPTSET", "r", "CPU", "SOURCE", SOURCE)
    assert sorted(wire("AI._SCRIPTSCAN")) == [[b"r", b""], [b"s", b"t"]]
    assert wire("AI._MODELSCAN") == []
    wire("RENAME", "r", "q")
    wire("COPY", "s", "c")
    assert sorted(wire("AI._SCRIPTSCAN")) == [[b"c", b"t"], [b"q", b""], [b"s", b"t"]]
    wire("FLUSHALL")
    assert wire("AI._SCRIPTSCAN") == []
    assert wire("AI._SCRIPTSCAN", "x") == server.arity_error("AI._SCRIPTSCAN")


def test_info_of_a_script(wire: Wire) -> None:
    wire("AI.SCRIPTSTORE", "s", "cpu", "TAG", "t", *STORE)
    wire("AI.TENSORSET", "x", "FLOAT", 2, "VALUES", 1, 2)
    assert wire("AI.SCRIPTRUN", "s", "total", "INPUTS", "x", "x", "OUTPUTS", "y") == OK
    info = as_dict(wire("AI.INFO", "s"))
    assert info.pop("duration") > 0
    assert info == {
        "key": b"s",
        "type": b"SCRIPT",
        "backend": b"TORCH",
        "device": b"cpu",
        "tag": b"t",
        "samples": -1,
        "calls": 1,
        "errors": 0,
    }
    assert wire("AI.INFO", "s", "RESETSTAT") == OK
    assert as_dict(wire("AI.INFO", "s"))["calls"] == 0


# ---- persistence -------------------------------------------------------------------------

PAYLOADS = {
    "v0": (
        "0781008fd209120f4c000504435055000503743100051f646566206728612c2062293a0a2020202072657475726e2061202b20620a"
        "00000900f3f7787c28efc5e5"
    ),
    "v1": (
        "0781008fd209120f4c0105044350550005027431051f646566206728612c2062293a0a2020202072657475726e2061202b20620a"
        "00000900e334037ca7d92c0c"
    ),
    "v4": (
        "0781008fd209120f4c04050443505500050005405764656620662874656e736f72733a204c6973745b54656e736f725d2c206b657973"
        "3a204c6973745b7374725d2c20617267733a204c6973745b7374725d293a0a2020202072657475726e2074656e736f72735b305d0a"
        "0002010502660000090065f147adf434a1cb"
    ),
}


@pytest.mark.parametrize("version", PAYLOADS)
def test_payloads_of_redisai(wire: Wire, version: str) -> None:
    assert wire("RESTORE", "s", 0, bytes.fromhex(PAYLOADS[version])) == OK
    fields = as_dict(wire("AI.SCRIPTGET", "s"))
    wire("AI.TENSORSET", "x", "FLOAT", 2, "VALUES", 1, 2)
    if version == "v4":
        assert fields["Entry Points"] == [b"f"]
        assert wire("AI.SCRIPTEXECUTE", "s", "f", "INPUTS", 1, "x", "OUTPUTS", 1, "y") == OK
        assert wire("AI.TENSORGET", "y", "VALUES") == [b"1", b"2"]
    else:
        assert fields == {
            "device": b"CPU",
            "tag": b"t1",
            "Entry Points": [],
            "source": b"def g(a, b):\n    return a + b\n",
        }
        assert wire("AI.SCRIPTEXECUTE", "s", "g", "INPUTS", 2, "x", "x", "OUTPUTS", 1, "y") == OK
        assert wire("AI.TENSORGET", "y", "VALUES") == [b"2", b"4"]


@pytest.mark.parametrize("payload", ["07 81008fd209120f4c05 050443505500", "07 81008fd209120f4c04 0504435055000500"])
def test_broken_payloads(wire: Wire, payload: str) -> None:
    assert isinstance(wire("RESTORE", "s", 0, bytes.fromhex(payload) + bytes(10)), Error)


def run_both(wire: Wire) -> None:
    assert wire("AI.SCRIPTEXECUTE", "s", "first", "INPUTS", 1, "x", "OUTPUTS", 1, "y") == OK
    assert wire("AI.SCRIPTRUN", "r", "total", "INPUTS", "x", "x", "OUTPUTS", "y") == OK
    assert wire("AI.TENSORGET", "y", "VALUES") == [b"2", b"4"]


def store_both(wire: Wire) -> tuple[object, object]:
    wire("AI.SCRIPTSTORE", "s", "CPU", "TAG", "t\0t", *STORE)
    wire("AI.SCRIPTSET", "r", "CPU", "TAG", "u", "SOURCE", SOURCE)
    wire("AI.TENSORSET", "x", "FLOAT", 2, "VALUES", 1, 2)
    return wire("AI.SCRIPTGET", "s"), wire("AI.SCRIPTGET", "r")


def test_reload_dump_and_copy(wire: Wire) -> None:
    before = store_both(wire)
    digest = wire("DEBUG", "DIGEST")
    assert wire("DEBUG", "RELOAD") == OK
    assert (wire("AI.SCRIPTGET", "s"), wire("AI.SCRIPTGET", "r")) == before
    assert wire("DEBUG", "DIGEST") == digest
    run_both(wire)
    assert wire("RESTORE", "d", 0, wire("DUMP", "s")) == OK
    wire("COPY", "s", "c")
    assert wire("AI.SCRIPTGET", "d") == wire("AI.SCRIPTGET", "c") == before[0]
    assert wire("AI.SCRIPTEXECUTE", "c", "first", "INPUTS", 1, "x", "OUTPUTS", 1, "y") == OK
    assert wire("MEMORY", "USAGE", "s") > len(SOURCE)


@pytest.mark.parametrize("preamble", ["yes", "no"])
def test_an_aof_brings_scripts_back(make_server, preamble: str) -> None:
    server = make_server(appendonly="yes", aof_use_rdb_preamble=preamble)
    with server.wire() as wire:
        before = store_both(wire)
        assert wire("DEBUG", "LOADAOF") == OK
        run_both(wire)
        wire("BGREWRITEAOF")
        wait_until(lambda: b"aof_rewrite_in_progress:0" in wire("INFO", "persistence"))
        assert wire("DEBUG", "LOADAOF") == OK
        assert (wire("AI.SCRIPTGET", "s"), wire("AI.SCRIPTGET", "r")) == before
        run_both(wire)


def test_a_replica_has_the_scripts(make_server) -> None:
    master = make_server()
    replica = make_server(replicaof=("127.0.0.1", master.port))
    with master.wire() as wire, replica.wire() as copy:
        before = store_both(wire)
        run_both(wire)
        assert wire("WAIT", 1, 20000) == 1
        assert (copy("AI.SCRIPTGET", "s"), copy("AI.SCRIPTGET", "r")) == before
        assert copy("AI.TENSORGET", "y", "VALUES") == [b"2", b"4"]
        assert wire("AI.SCRIPTDEL", "s") == OK
        assert wire("WAIT", 1, 20000) == 1
        assert copy("EXISTS", "s") == 0
        refused = copy("AI.SCRIPTEXECUTE", "r", "total", "INPUTS", 2, "x", "x", "OUTPUTS", 1, "z")
        assert isinstance(refused, Error) and refused.text.startswith("READONLY")


def test_a_script_that_no_longer_compiles_keeps_its_source(wire: Wire) -> None:
    """What cannot be compiled answers executions with the reason, and is saved again unchanged."""
    good, bad = b"def f(a):\n    return a + 1\n", b"def f(a):\n    return b + 1\n"
    wire("AI.SCRIPTSET", "s", "CPU", "SOURCE", good)
    body = payload.body_of(wire("DUMP", "s")).replace(good, bad)
    assert wire("RESTORE", "b", 0, payload.sealed(body)) == OK
    wire("AI.TENSORSET", "x", "FLOAT", 1, "VALUES", 1)
    error = wire("AI.SCRIPTRUN", "b", "f", "INPUTS", "x", "OUTPUTS", "y")
    assert isinstance(error, Error) and "undefined value b" in error.text
    assert wire("DEBUG", "RELOAD") == OK
    assert wire("AI.SCRIPTGET", "b", "SOURCE") == bad
