"""The grammar of the four DAG commands: every error, their order, and the keys that are reported."""

from __future__ import annotations

import numpy as np
import pytest

import models
from dags import COMMANDS, NA, dag
from harness import OK, Error, Server, Status, Wire, put
from harness.wire import Argument

NO_TENSOR = Error("ERR tensor key is empty or in a different shard")
NO_MODEL = Error("ERR model key is empty")
NO_SCRIPT = Error("ERR script key is empty")
WRONG_TYPE = Error("WRONGTYPE Operation against a key holding the wrong kind of value")
IN_TRANSACTION = Error("ERR Cannot run RedisAI command within a transaction or a LUA script")
NOTHING_SAID = Error(
    "ERR AI.DAGEXECUTE and AI.DAGEXECUTE_RO commands must contain at least one out of ROUTING, LOAD, PERSIST keywords"
)
EMPTY = Error("ERR DAG is empty")
NO_INPUT = Error("ERR INPUT key cannot be found in DAG")
NO_PERSIST = Error("ERR PERSIST key cannot be found in DAG")
UNSUPPORTED = Error("Unsupported command within DAG")
NO_TIMEOUT = Error("ERR TIMEOUT not allowed within a DAG command")
SOURCE = """
def entry(tensors: List[Tensor], keys: List[str], args: List[str]):
    return torch.tensor([len(tensors), len(keys), len(args)])

def add(a, b):
    return a + b
"""

EXECUTES = ["AI.DAGEXECUTE", "AI.DAGEXECUTE_RO"]
RUNS = ["AI.DAGRUN", "AI.DAGRUN_RO"]
SET = "|> AI.TENSORSET t FLOAT 1"


def unexpected(word: str) -> Error:
    return Error(f"ERR Invalid DAG command. Unexpected argument:  {word}")


@pytest.fixture(autouse=True)
def values(wire: Wire) -> None:
    """``m`` multiplies, ``s`` has functions, ``a`` and ``b`` are tensors, ``k`` is a string."""
    assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.multiply()) == OK
    assert wire("AI.SCRIPTSTORE", "s", "CPU", "ENTRY_POINTS", 1, "entry", "SOURCE", SOURCE) == OK
    put(wire, "a", np.array([1, 2], np.float32))
    put(wire, "b", np.array([10, 20], np.float32))
    wire("SET", "k", "v")


def run(wire: Wire, command: str, text: str) -> object:
    return wire(command, *text.split())


# ---- before the header -----------------------------------------------------------------


@pytest.mark.parametrize("command", EXECUTES)
@pytest.mark.parametrize("text", ["", "LOAD", "LOAD 1 a", "x y z w", "|> AI.TENSORGET a"])
def test_executes_need_six_words(wire: Wire, command: str, text: str) -> None:
    assert run(wire, command, text) == Error(f"ERR missing arguments for '{command}' command")
    assert run(wire, command.lower(), text) == Error(f"ERR missing arguments for '{command}' command")


@pytest.mark.parametrize("command", RUNS)
@pytest.mark.parametrize("text", ["", "LOAD", "LOAD 1"])
def test_runs_need_four_words(wire: Wire, command: str, text: str) -> None:
    assert run(wire, command, text) == Error(f"ERR wrong number of arguments for '{command}' command")


@pytest.mark.parametrize("command", COMMANDS)
def test_not_in_transactions_nor_in_lua(wire: Wire, command: str) -> None:
    wire("MULTI")
    assert wire(command) == Status("QUEUED")
    assert run(wire, command, f"ROUTING r {SET}") == Status("QUEUED")
    assert wire("EXEC") == [IN_TRANSACTION, IN_TRANSACTION]
    assert wire("EVAL", f"return redis.pcall('{command}', 'x')", 0) == IN_TRANSACTION
    script = f"return redis.pcall('{command}', 'ROUTING', 'r', '|>', 'AI.TENSORSET', 't', 'FLOAT', '1')"
    assert wire("EVAL", script, 0) == IN_TRANSACTION


# ---- the header -----------------------------------------------------------------------

FEW_LOAD = Error("ERR missing arguments after LOAD keyword in DAG command")
BAD_LOAD = Error("ERR invalid or negative value found in number of keys to LOAD")
SHORT_LOAD = Error("ERR number of keys to LOAD into DAG does not match the number of given arguments")
FEW_PERSIST = Error("ERR missing arguments after PERSIST keyword in DAG command")
BAD_PERSIST = Error("ERR invalid or negative value found in number of keys to PERSIST")
SHORT_PERSIST = Error("ERR number of keys to PERSIST after DAG execution does not match the number of given arguments")
NOT_UNIQUE = Error("ERR PERSIST keys must be unique")
NO_PERSIST_IN_RO = Error("ERR PERSIST cannot be specified in a read-only DAG")
NO_ROUTING = Error("ERR Missing ROUTING value")
FEW_KEYS = Error("ERR missing arguments after KEYS keyword in DAG command")
BAD_KEYS = Error("ERR invalid or negative value found in number of KEYS")
SHORT_KEYS = Error("ERR number of KEYS in DAG command does not match the number of given arguments")
NO_TIMEOUT_VALUE = Error("ERR No value provided for TIMEOUT")
BAD_TIMEOUT = Error("ERR Invalid value for TIMEOUT")

HEADERS: list[tuple[str, Error]] = [
    # LOAD
    ("ROUTING r ROUTING LOAD 1", unexpected("ROUTING")),
    ("ROUTING r TIMEOUT 1 LOAD", FEW_LOAD),
    ("ROUTING r TIMEOUT 1 LOAD 1", FEW_LOAD),
    (f"LOAD x a {SET}", BAD_LOAD),
    (f"LOAD 0 a {SET}", BAD_LOAD),
    (f"LOAD -1 a {SET}", BAD_LOAD),
    (f"LOAD 1.0 a {SET}", BAD_LOAD),
    (f"LOAD +1 a {SET}", BAD_LOAD),
    (f"LOAD 01 a {SET}", BAD_LOAD),
    (f"LOAD 9223372036854775808 a {SET}", BAD_LOAD),
    (f"LOAD 1 absent {SET}", NO_TENSOR),
    (f"LOAD 1 k {SET}", WRONG_TYPE),
    (f"LOAD 1 m {SET}", WRONG_TYPE),
    (f"LOAD 2 a {SET}", NO_TENSOR),  # |> is taken for a key
    ("LOAD 2 absent k |> |>", NO_TENSOR),
    ("LOAD 2 k absent |> |>", WRONG_TYPE),
    ("LOAD 5 a a b b", SHORT_LOAD),
    ("LOAD 9223372036854775807 a a b b", SHORT_LOAD),
    ("LOAD 5 a a absent b", NO_TENSOR),
    # ROUTING and its older form
    ("TIMEOUT 1 LOAD 1 a ROUTING", NO_ROUTING),
    ("TIMEOUT 1 LOAD 1 a KEYS", FEW_KEYS),
    ("TIMEOUT 1 LOAD 1 a KEYS 1", FEW_KEYS),
    (f"KEYS x a {SET}", BAD_KEYS),
    (f"KEYS 0 a {SET}", BAD_KEYS),
    (f"KEYS -3 a {SET}", BAD_KEYS),
    (f"KEYS 50 a {SET}", SHORT_KEYS),
    (f"KEYS 9223372036854775807 a {SET}", SHORT_KEYS),
    (f"KEYS 1 a ROUTING r {SET}", unexpected("ROUTING")),
    (f"ROUTING r KEYS 1 a {SET}", unexpected("KEYS")),
    # TIMEOUT
    ("ROUTING r LOAD 1 a TIMEOUT", NO_TIMEOUT_VALUE),
    (f"TIMEOUT x ROUTING r {SET}", BAD_TIMEOUT),
    (f"TIMEOUT 1.5 ROUTING r {SET}", BAD_TIMEOUT),
    (f"TIMEOUT 9223372036854775808 ROUTING r {SET}", BAD_TIMEOUT),
    # other words, repeated sections
    (f"ROUTING r x {SET}", unexpected("x")),
    (f"x ROUTING r {SET}", unexpected("x")),
    (f"LOAD 1 a b {SET}", unexpected("b")),
    (f"LOAD 1 a LOAD 1 a {SET}", unexpected("LOAD")),
    (f"ROUTING r ROUTING r {SET}", unexpected("ROUTING")),
    (f"TIMEOUT 1 TIMEOUT 1 {SET}", unexpected("TIMEOUT")),
    ("ROUTING r TIMEOUT 5 |>", unexpected("|>")),
    ("LOAD 1 a TIMEOUT 5", EMPTY),
    # the leftmost error wins
    (f"LOAD x a TIMEOUT x {SET}", BAD_LOAD),
    (f"TIMEOUT x LOAD x a {SET}", BAD_TIMEOUT),
    (f"ROUTING r LOAD 1 absent TIMEOUT x {SET}", NO_TENSOR),
    # the header comes before the operations
    ("ROUTING r TIMEOUT x |> what", BAD_TIMEOUT),
]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(("text", "error"), HEADERS)
def test_header(wire: Wire, command: str, text: str, error: Error) -> None:
    assert run(wire, command, text) == error


PERSISTS: list[tuple[str, Error]] = [
    ("ROUTING r TIMEOUT 1 PERSIST", FEW_PERSIST),
    ("ROUTING r TIMEOUT 1 PERSIST 1", FEW_PERSIST),
    (f"PERSIST x t {SET}", BAD_PERSIST),
    (f"PERSIST 0 t {SET}", BAD_PERSIST),
    (f"PERSIST -1 t {SET}", BAD_PERSIST),
    (f"PERSIST 2 t t {SET}", NOT_UNIQUE),
    ("PERSIST 5 t u t v", NOT_UNIQUE),
    ("PERSIST 50 t u v w", SHORT_PERSIST),
    ("PERSIST 9223372036854775807 t u v w", SHORT_PERSIST),
    (f"PERSIST 1 t PERSIST 1 u {SET}", unexpected("PERSIST")),
    (f"PERSIST 1 u {SET}", NO_PERSIST),
    (f"PERSIST 2 t u {SET}", NO_PERSIST),
    (f"PERSIST 1 u {SET} |> AI.TENSORGET x", NO_INPUT),
    (f"PERSIST 1 u {SET} |> what", UNSUPPORTED),
]


@pytest.mark.parametrize("command", ["AI.DAGEXECUTE", "AI.DAGRUN"])
@pytest.mark.parametrize(("text", "error"), PERSISTS)
def test_persist(wire: Wire, command: str, text: str, error: Error) -> None:
    assert run(wire, command, text) == error
    assert wire("EXISTS", "t", "u", "v", "w") == 0


@pytest.mark.parametrize("command", ["AI.DAGEXECUTE_RO", "AI.DAGRUN_RO"])
def test_persist_is_not_for_the_read_only_forms(wire: Wire, command: str) -> None:
    assert run(wire, command, f"PERSIST 1 t {SET}") == NO_PERSIST_IN_RO
    assert run(wire, command, f"PERSIST {SET}") == NO_PERSIST_IN_RO
    assert run(wire, command, f"LOAD 1 a PERSIST x {SET}") == NO_PERSIST_IN_RO
    assert run(wire, command, f"LOAD 1 absent PERSIST 1 t {SET}") == NO_TENSOR


@pytest.mark.parametrize("command", EXECUTES)
@pytest.mark.parametrize(
    "text", [f"TIMEOUT 100 {SET}", SET, "|> what is all this", "TIMEOUT 1 |> what |> AI.TENSORGET t"]
)
def test_executes_need_a_section_that_tells_their_keys(wire: Wire, command: str, text: str) -> None:
    assert run(wire, command, text) == NOTHING_SAID
    for section in ("KEYS 1 {tag}", "ROUTING {tag}", "LOAD 1 a"):
        assert run(wire, command, f"{section} {text}") != NOTHING_SAID


@pytest.mark.parametrize("command", RUNS)
def test_runs_need_no_section(wire: Wire, command: str) -> None:
    assert run(wire, command, SET) == [OK]
    assert run(wire, command, f"TIMEOUT 100 {SET}") == [OK]
    assert run(wire, command, "TIMEOUT 100 TIMEOUT") == unexpected("TIMEOUT")
    assert run(wire, command, "TIMEOUT 100 |>") == unexpected("|>")
    assert run(wire, command, "LOAD 1 a") == EMPTY


@pytest.mark.parametrize("command", COMMANDS)
def test_sections_in_any_order_and_any_case(wire: Wire, command: str) -> None:
    lower = command.lower()
    assert run(wire, lower, "Timeout 1000 routing r load 2 a b |> ai.tensorget b Values") == [[b"10", b"20"]]
    assert run(wire, command, "LOAD 1 a TIMEOUT 1000 ROUTING r |> AI.TensorGet a values") == [[b"1", b"2"]]
    assert run(wire, command, "KEYS 3 x y z LOAD 1 a |> AI.TENSORGET a VALUES") == [[b"1", b"2"]]
    assert run(wire, command, f"ROUTING LOAD {SET}") == [OK], "a keyword is a key where a key belongs"


def test_words_of_errors_are_binary_and_of_any_length(wire: Wire) -> None:
    words = ("|>", "AI.TENSORSET", "t", "FLOAT", 1)
    assert wire("AI.DAGRUN", b"a\r\nb", *words) == unexpected("a  b")
    assert wire("AI.DAGRUN", b"", *words) == unexpected("")
    assert wire("AI.DAGRUN", b"%s%n", *words) == unexpected("%s%n")
    reply = wire("AI.DAGRUN", b"x" * 100_000, *words)
    assert isinstance(reply, Error) and reply.text.startswith(unexpected("xxxx").text)


# ---- the operations -------------------------------------------------------------------

ARITY_GET = Error("wrong number of arguments for 'AI.TENSORGET' command")
ARITY_SET = Error("wrong number of arguments for 'AI.TENSORSET' command")
OPS: list[tuple[str, Error]] = [
    ("AI.TENSORGET", ARITY_GET),
    ("AI.TENSORGET a META BLOB VALUES", ARITY_GET),
    ("AI.TENSORGET a what", Error("ERR unsupported data format")),
    ("AI.TENSORGET a META what", Error("ERR unsupported data format")),
    ("AI.TENSORGET a BLOB VALUES", Error("ERR both BLOB and VALUES specified")),
    ("AI.TENSORGET x what", Error("ERR unsupported data format")),
    ("AI.TENSORGET x", NO_INPUT),
    ("AI.TENSORSET", ARITY_SET),
    ("AI.TENSORSET t", ARITY_SET),
    ("AI.TENSORSET t FLOAT", ARITY_SET),
    ("AI.TENSORSET t UINT128 1", Error("ERR invalid data type")),
    ("AI.TENSORSET t FLOAT 0", Error("ERR invalid or negative value found in tensor shape")),
    ("AI.TENSORSET t FLOAT 2 VALUES 1", Error("ERR wrong number of values was given in 'AI.TENSORSET' command")),
    ("AI.TENSORSET t FLOAT 1 VALUES x", Error("ERR invalid value")),
    ("AI.TENSORSET t FLOAT 1 BLOB x", Error("ERR data length does not match tensor shape and type")),
    ("", UNSUPPORTED),
    ("what", UNSUPPORTED),
    ("GET k", UNSUPPORTED),
    ("AI.TENSORSETX t FLOAT 1", UNSUPPORTED),
    ("AI.DAGEXECUTE ROUTING r", UNSUPPORTED),
    ("AI.INFO m", UNSUPPORTED),
]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(("text", "error"), OPS)
def test_operations(wire: Wire, command: str, text: str, error: Error) -> None:
    assert run(wire, command, f"LOAD 1 a |> {text} {SET}") == error
    assert run(wire, command, f"LOAD 1 a {SET} |> {text}") == error
    assert run(wire, command, f"LOAD 1 a {SET} |> {text} |> what |>") == (UNSUPPORTED if error == NO_INPUT else error)


def test_an_empty_operation(wire: Wire) -> None:
    for text in ("LOAD 1 a |> |>", f"LOAD 1 a {SET} |>", f"LOAD 1 a |> {SET}", f"LOAD 1 a {SET} |> {SET}"):
        assert run(wire, "AI.DAGEXECUTE", text) == UNSUPPORTED


EXECUTIONS: list[tuple[str, Error]] = [
    ("AI.MODELEXECUTE", Error("ERR wrong number of arguments for 'AI.MODELEXECUTE' command")),
    ("AI.MODELEXECUTE m INPUTS 1 a OUTPUTS 1", Error("ERR wrong number of arguments for 'AI.MODELEXECUTE' command")),
    ("AI.MODELEXECUTE absent INPUTS 2 a a OUTPUTS 1 c", NO_MODEL),
    ("AI.MODELEXECUTE a INPUTS 2 a a OUTPUTS 1 c", WRONG_TYPE),
    ("AI.MODELEXECUTE s INPUTS 2 a a OUTPUTS 1 c", WRONG_TYPE),
    ("AI.MODELEXECUTE m INPUTX 2 a a OUTPUTS 1 c", Error("ERR INPUTS not specified")),
    (
        "AI.MODELEXECUTE m INPUTS 3 a a a OUTPUTS 1 c",
        Error("Number of keys given as INPUTS here does not match model definition"),
    ),
    (
        "AI.MODELEXECUTE m INPUTS 2 a a OUTPUTS 2 c d",
        Error("Number of keys given as OUTPUTS here does not match model definition"),
    ),
    ("AI.MODELEXECUTE m INPUTS 2 a a OUTPUTS 1 c d", Error("Invalid argument: d")),
    ("AI.MODELEXECUTE m INPUTS 2 a a OUTPUTS 1 c TIMEOUT", NO_TIMEOUT_VALUE),
    ("AI.MODELEXECUTE m INPUTS 2 a a OUTPUTS 1 c TIMEOUT 0", BAD_TIMEOUT),
    ("AI.MODELEXECUTE m INPUTS 2 a a OUTPUTS 1 c TIMEOUT 10", NO_TIMEOUT),
    ("AI.MODELEXECUTE m INPUTS 2 a x OUTPUTS 1 c", NO_INPUT),
    ("AI.MODELEXECUTE m INPUTS 2 c a OUTPUTS 1 c", NO_INPUT),
    ("AI.MODELRUN m INPUTS a a OUTPUTS c", Error("Deprecated AI.MODELRUN cannot be used in AI.DAGEXECUTE command")),
    ("AI.MODELRUN", Error("Deprecated AI.MODELRUN cannot be used in AI.DAGEXECUTE command")),
    ("AI.SCRIPTRUN s add", Error("Deprecated AI.SCRIPTRUN cannot be used in AI.DAGEXECUTE command")),
]


@pytest.mark.parametrize("command", EXECUTES)
@pytest.mark.parametrize(("text", "error"), EXECUTIONS)
def test_executions_in_dagexecute(wire: Wire, command: str, text: str, error: Error) -> None:
    assert run(wire, command, f"LOAD 1 a |> {text} {SET}") == error


UNEXPECTED_IN_SCRIPT = "ERR Invalid AI.SCRIPTEXECUTE command. Unexpected argument: "
SCRIPTS: list[tuple[str, Error]] = [
    ("AI.SCRIPTEXECUTE", Error("ERR wrong number of arguments for 'AI.SCRIPTEXECUTE' command")),
    ("AI.SCRIPTEXECUTE s", Error("ERR wrong number of arguments for 'AI.SCRIPTEXECUTE' command")),
    ("AI.SCRIPTEXECUTE absent f", NO_SCRIPT),
    ("AI.SCRIPTEXECUTE m f", WRONG_TYPE),
    ("AI.SCRIPTEXECUTE s add what", Error(UNEXPECTED_IN_SCRIPT + "what")),
    (
        "AI.SCRIPTEXECUTE s add INPUTS 1 a INPUTS 1 a",
        Error("ERR Already Encountered INPUTS scope in AI.SCRIPTEXECUTE command"),
    ),
    ("AI.SCRIPTEXECUTE s add KEYS 0 x", Error("ERR Invalid or negative value found in number of KEYS")),
    ("AI.SCRIPTEXECUTE s add INPUTS 1 a TIMEOUT", Error("ERR No value provided for TIMEOUT in AI.SCRIPTEXECUTE")),
    ("AI.SCRIPTEXECUTE s add INPUTS 1 a TIMEOUT 10", NO_TIMEOUT),
    ("AI.SCRIPTEXECUTE s add INPUTS 2 a x OUTPUTS 1 c", NO_INPUT),
    ("AI.SCRIPTEXECUTE s add INPUTS 1 a LIST_INPUTS 1 x OUTPUTS 1 c", NO_INPUT),
]


@pytest.mark.parametrize(("text", "error"), SCRIPTS)
def test_scripts_in_dagexecute(wire: Wire, text: str, error: Error) -> None:
    assert run(wire, "AI.DAGEXECUTE", f"LOAD 1 a |> {text} {SET}") == error
    assert run(wire, "AI.DAGEXECUTE_RO", f"LOAD 1 a |> {text} {SET}") == Error(
        "ERR AI.SCRIPTEXECUTE command cannot be specified in a read-only DAG"
    )


IN_RUNS: list[tuple[str, Error]] = [
    ("AI.MODELEXECUTE", Error("AI.MODELEXECUTE cannot be used in a deprecated AI.DAGRUN command")),
    ("AI.SCRIPTEXECUTE s f", Error("AI.SCRIPTEXECUTE cannot be used in a deprecated AI.DAGRUN command")),
    ("AI.MODELRUN m INPUTS a", Error("ERR wrong number of arguments for 'AI.MODELRUN' command")),
    ("AI.MODELRUN absent INPUTS a a OUTPUTS c", NO_MODEL),
    ("AI.MODELRUN a INPUTS a a OUTPUTS c", WRONG_TYPE),
    ("AI.MODELRUN m TIMEOUT 0 INPUTS a a OUTPUTS c", BAD_TIMEOUT),
    ("AI.MODELRUN m TIMEOUT 10 INPUTS a a OUTPUTS c", NO_TIMEOUT),
    (
        "AI.MODELRUN m INPUTS a OUTPUTS c d",
        Error("Number of keys given as INPUTS here does not match model definition"),
    ),
    ("AI.MODELRUN m INPUTS a x OUTPUTS c", NO_INPUT),
    ("AI.SCRIPTRUN s", Error("ERR wrong number of arguments for 'AI.SCRIPTRUN' command")),
    ("AI.SCRIPTRUN absent f", NO_SCRIPT),
    ("AI.SCRIPTRUN s add what", Error("ERR Unrecongnized parameter to SCRIPTRUN")),
    ("AI.SCRIPTRUN s add TIMEOUT 10 INPUTS a a OUTPUTS c", NO_TIMEOUT),
    ("AI.SCRIPTRUN s add INPUTS a $ x OUTPUTS c", NO_INPUT),
]


@pytest.mark.parametrize("command", RUNS)
@pytest.mark.parametrize(("text", "error"), IN_RUNS)
def test_executions_in_dagrun(wire: Wire, command: str, text: str, error: Error) -> None:
    assert run(wire, command, f"LOAD 1 a |> {text} {SET}") == error


def test_operations_are_judged_in_order_and_names_after_them(wire: Wire) -> None:
    get, bad = "AI.TENSORGET x", "AI.MODELEXECUTE absent INPUTS 1 y OUTPUTS 1 z"
    assert run(wire, "AI.DAGEXECUTE", f"LOAD 1 a |> {get} |> {bad} |> what") == NO_MODEL
    assert run(wire, "AI.DAGEXECUTE", f"LOAD 1 a |> {get} |> what |> {bad}") == UNSUPPORTED
    assert run(wire, "AI.DAGEXECUTE", f"LOAD 1 a |> {get} {SET}") == NO_INPUT
    assert run(wire, "AI.DAGEXECUTE", f"LOAD 1 a |> AI.TENSORGET t {SET}") == NO_INPUT, "defined too late"


@pytest.mark.parametrize("command", RUNS)
def test_what_dagrun_allows(wire: Wire, command: str) -> None:
    words = "LOAD 2 a b |> AI.MODELRUN m INPUTS a b OUTPUTS c |> ai.scriptrun s add INPUTS c $ a OUTPUTS d"
    assert run(wire, command, f"{words} |> AI.TENSORGET d VALUES") == [OK, OK, [b"11", b"42"]]


def test_what_dagexecute_allows(wire: Wire) -> None:
    words = "LOAD 2 a b |> ai.modelexecute m inputs 2 a b outputs 1 c"
    script = "ai.scriptexecute s entry args 2 x y outputs 1 d keys 1 q inputs 3 a b c"
    get = "AI.TENSORGET d VALUES"
    assert run(wire, "AI.DAGEXECUTE", f"{words} |> {script} |> {get}") == [OK, OK, [3, 1, 2]]
    assert run(wire, "AI.DAGEXECUTE_RO", f"{words} |> AI.TENSORGET c VALUES") == [OK, [b"10", b"40"]]
    bare = "LOAD 1 a |> AI.SCRIPTEXECUTE s entry OUTPUTS 1 d |> AI.TENSORGET d VALUES"
    assert run(wire, "AI.DAGEXECUTE", bare) == [OK, [0, 0, 0]], "no scope must come first"


def test_a_thousand_names_and_operations(wire: Wire) -> None:
    """The table of names grows, and a small DAG after a large one finds it clean."""
    ops = [f"AI.TENSORSET name{number} FLOAT 1 VALUES {number}" for number in range(5000)]
    gets = [f"AI.TENSORGET name{number} VALUES" for number in (0, 1, 2500, 4999)]
    names = [f"name{number}" for number in range(5000)]
    reply = wire(*dag(*ops, *gets, persist=names))
    assert reply == [OK] * 5000 + [[b"0"], [b"1"], [b"2500"], [b"4999"]]
    assert wire("DBSIZE") == 5005
    assert wire(*dag("AI.TENSORGET name0")) == NO_INPUT
    assert wire(*dag("AI.TENSORSET t FLOAT 1", persist=["name1"])) == NO_PERSIST


def test_names_are_binary_safe_and_may_be_empty(wire: Wire) -> None:
    names: list[bytes] = [b"", b"\0", b"\0\0", b"a\r\nb", b"LOAD", b"\xff" * 1000]
    ops: list[list[Argument]] = [["AI.TENSORSET", name, "INT8", 1, "VALUES", i] for i, name in enumerate(names)]
    ops += [["AI.TENSORGET", name, "VALUES"] for name in names]
    assert wire(*dag(*ops, persist=names)) == [OK] * 6 + [[i] for i in range(6)]
    assert [wire("AI.TENSORGET", name, "VALUES") for name in names] == [[i] for i in range(6)]
    assert NA not in wire(*dag(*ops, load=names))


# ---- keys and flags ------------------------------------------------------------------------

KEYS = [
    ("LOAD 2 a b PERSIST 1 p ROUTING r TIMEOUT 5 |> AI.TENSORSET t FLOAT 1", "a b p r"),
    ("KEYS 2 x y |> AI.TENSORGET t", "x y"),
    ("ROUTING r |> AI.MODELEXECUTE m INPUTS 2 i j OUTPUTS 1 o", "r m"),
    ("ROUTING r |> ai.modelrun m INPUTS i j OUTPUTS o |> AI.SCRIPTRUN s f INPUTS i OUTPUTS o", "r m s"),
    ("ROUTING r |> AI.SCRIPTEXECUTE s f KEYS 2 k l INPUTS 1 i ARGS 1 z OUTPUTS 1 o", "r s k l"),
    ("ROUTING r |> AI.SCRIPTEXECUTE s f INPUTS 1 i KEYS 1 k |> AI.MODELEXECUTE m INPUTS 1 i OUTPUTS 1 o", "r s k m"),
    ("ROUTING r |> AI.SCRIPTEXECUTE s f KEYS {tag} INPUTS 1 i", "r s {tag}"),
    ("ROUTING r |> AI.TENSORSET AI.MODELEXECUTE FLOAT 1", "r"),  # a name is no keyword
    ("TIMEOUT 5 |> AI.MODELEXECUTE m", "m"),
    ("LOAD 9 a b", "a b"),
]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(("text", "keys"), KEYS)
def test_every_key_is_reported(wire: Wire, command: str, text: str, keys: str) -> None:
    assert wire("COMMAND", "GETKEYS", command, *text.split()) == [key.encode() for key in keys.split()]


@pytest.mark.parametrize(
    "text",
    ["", "x", "|>", "LOAD", "LOAD x a", "TIMEOUT", "ROUTING", "LOAD 0 a", "|> |> AI.MODELEXECUTE", "TIMEOUT 5 |> q"],
)
def test_broken_commands_report_no_keys(wire: Wire, text: str) -> None:
    assert isinstance(wire("COMMAND", "GETKEYS", "AI.DAGEXECUTE", *text.split()), Error)


def test_acl_sees_every_key_and_no_local_name(server: Server, wire: Wire) -> None:
    if server.binary.version < (7, 0, 0):
        pytest.skip("redis-server 6.2 asks no module for keys here")
    wire("ACL", "SETUSER", "limited", "on", ">p", "+@all", "~a", "~m", "~s", "~p", "~k")
    with server.wire() as limited:
        assert limited("AUTH", "limited", "p") == OK
        model = "AI.MODELEXECUTE m INPUTS 2 a a OUTPUTS 1 local"
        script = "AI.SCRIPTEXECUTE s entry KEYS 1 k INPUTS 1 local OUTPUTS 1 p"
        assert limited(*dag(model, script, load=["a"], persist=["p"], routing="k")) == [OK, OK]
        for refused in (
            dag(model, load=["a", "b"], routing=None),
            dag(model, load=["a"], persist=["local"], routing=None),
            dag(model, load=["a"], routing="other"),
            dag(model.replace(" m ", " other "), load=["a"], routing=None),
            dag(script.replace("KEYS 1 k", "KEYS 1 other").replace("local", "a"), load=["a"], routing=None),
            dag("AI.MODELRUN other INPUTS a a OUTPUTS b", load=["a"], routing=None, command="AI.DAGRUN"),
            dag("AI.SCRIPTRUN other f INPUTS a OUTPUTS b", load=["a"], routing=None, command="AI.DAGRUN_RO"),
        ):
            reply = limited(*refused)
            assert isinstance(reply, Error) and reply.text.startswith("NOPERM"), refused
    wire("ACL", "DELUSER", "limited")


@pytest.mark.parametrize("command", COMMANDS)
def test_flags(wire: Wire, command: str) -> None:
    [info] = wire("COMMAND", "INFO", command)
    flags = {flag.text for flag in info[2]}
    assert ("readonly" in flags) == command.endswith("_RO")
    assert ({"write", "denyoom"} <= flags) == (not command.endswith("_RO"))
    assert "movablekeys" in flags
    assert info[3:6] == [3, 3, 1]
