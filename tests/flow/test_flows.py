"""Flows: calls, events, streams, errors, rights, and that the event loop never waits for them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import models
import torch_models
from flow_files import FLOWS, flow, flow_info
from harness import OK, Error, RedisBinary, Server, Status, Wire, assert_tensor, put, wait_until
from harness.tensors import array_of

Servers = Callable[..., Server]

SOURCE = """
def double(x):
    return 2 * x

def add_all(first, rest: List[Tensor]):
    total = first
    for each in rest:
        total = total + each
    return total

def square(x):
    return x * x

def fail(x):
    raise RuntimeError("on purpose")
    return x

def note(x):
    redis.execute("SET", "note", "written")
    return x
"""


@pytest.fixture(scope="module")
def server(redis_binary: RedisBinary, module_servers: Servers) -> Server:
    server = module_servers("FLOWS", FLOWS, binary=redis_binary)
    with server.wire() as wire:
        assert wire("AI.FLOW", "echo") == []  # all files are loaded
        wait_until(lambda: "state=loading" not in str(server.info()))
    return server


@pytest.fixture(autouse=True)
def values(server: Server, wire: Wire) -> Iterator[None]:
    put(wire, "a", np.array([1, 2, 3], np.float32))
    put(wire, "b", np.array([10, 20, 30], np.float32))
    yield


@pytest.fixture
def stored(wire: Wire) -> None:
    assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.multiply()) == OK
    assert wire("AI.MODELSTORE", "torch", "TORCH", "CPU", "BLOB", torch_models.saved(torch_models.Multiply())) == OK
    assert wire("AI.SCRIPTSET", "s", "CPU", "SOURCE", SOURCE) == OK


# ---- replies --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "resp2", "resp3"),
    [
        ("text", "héllo".encode(), "héllo".encode()),
        ("bytes", b"\x00\xff", b"\x00\xff"),
        ("integer", -(2**62), -(2**62)),
        ("large", b"%d" % 2**70, b"%d" % 2**70),
        ("float", b"2.5", 2.5),
        ("number", b"0.5", 0.5),
        ("nil", None, None),
        ("true", 1, True),
        ("list", [1, b"two", [b"3.5", None], [4]], [1, b"two", [3.5, None], [4]]),
        ("array", [[1, 2], [3, 4]], [[1, 2], [3, 4]]),
    ],
)
def test_values_as_replies(server: Server, wire: Wire, kind: str, resp2: object, resp3: object) -> None:
    assert flow(wire, "reply", kind) == resp2
    if server.binary.version >= (7, 0, 0):
        with server.wire(protocol=3) as connection:
            assert flow(connection, "reply", kind) == resp3


def test_maps_and_tensors_as_replies(server: Server, wire: Wire) -> None:
    assert flow(wire, "reply", "map") == [b"a", 1, b"b", [1]]
    reply = flow(wire, "reply", "tensor")
    assert reply[0:4] == [b"dtype", b"INT16", b"shape", [2, 1]]  # type: ignore[index]
    assert array_of(reply).tolist() == [[7], [-8]]  # type: ignore[arg-type]
    if server.binary.version >= (7, 0, 0):
        with server.wire(protocol=3) as connection:
            assert flow(connection, "reply", "map") == {b"a": 1, b"b": [True]}


def test_values_that_are_no_reply(wire: Wire) -> None:
    assert flow(wire, "reply", "object") == Error("ERR TypeError: a flow cannot return object")
    assert flow(wire, "reply", "deep") == Error("ERR TypeError: a reply cannot be that deep")
    assert flow(wire, "reply", "exception") == Error("CODE of its own")


def test_arguments_survive_whatever_bytes_they_are(wire: Wire) -> None:
    words = [b"", b"plain", "\u20ac".encode(), b"\xff\x00\xfe", bytes(range(256))]
    assert flow(wire, "echo", *words) == words


def test_a_flow_is_a_command_among_others(server: Server, wire: Wire) -> None:
    """In a pipeline, in order; not in MULTI."""
    replies = wire.pipeline(*[("AI.FLOW", "echo", i) for i in range(50)], ("PING",))
    assert replies == [[b"%d" % i] for i in range(50)] + [Status("PONG")]
    wire("MULTI")
    wire("AI.FLOW", "echo")
    refused = Error("ERR Cannot run RedisAI command within a transaction or a LUA script")
    assert wire("EXEC") == [refused]
    assert wire("AI.FLOW") == server.arity_error("AI.FLOW")


# ---- errors ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "text", "function"),
    [
        (("fail", "value"), "ERR ValueError: a text of two lines", "fail"),
        (("fail", "deeper"), "ERR RuntimeError", "deeper"),
        (("fail", "exit"), "ERR FlowExit: SystemExit: out", "fail"),
        (("exit",), "ERR FlowExit: SystemExit: out", "leave"),
        (("reply", "unknown"), "ERR KeyError: 'unknown'", "reply"),
    ],
)
def test_an_exception_names_the_line_of_the_flow(
    wire: Wire, arguments: tuple[str, ...], text: str, function: str
) -> None:
    reply = flow(wire, *arguments)
    assert isinstance(reply, Error) and reply.text.startswith(text), reply
    lines = (FLOWS / "everything.py").read_text().splitlines()
    name, line, place = reply.text.rsplit("(", 1)[1].rstrip(")").split(", ")
    assert name == "everything.py" and place == f"in {function}"
    assert "raise" in lines[int(line.removeprefix("line ")) - 1] or "values[kind]" in lines[int(line[5:]) - 1]


def test_an_error_of_redis_keeps_its_code(wire: Wire) -> None:
    wire("RPUSH", "a list", 1)
    reply = flow(wire, "fail", "redis")
    assert isinstance(reply, Error)
    assert reply.text.startswith("WRONGTYPE Operation against a key holding the wrong kind of value (everything.py, ")


def test_wrong_arguments_of_a_flow_are_an_error(wire: Wire) -> None:
    reply = flow(wire, "reply", "too", "many")
    assert isinstance(reply, Error) and "takes 1 positional argument but 2 were given" in reply.text


def test_files_that_fail_are_named_in_the_log_and_in_info(server: Server, wire: Wire) -> None:
    info = server.info()
    files = {
        value.split("name=")[1]: field
        for field, value in info.items()
        if field.startswith("ai_flow_file_") and "state=" in value
    }
    assert set(files) == {
        "broken_at_load.py,state=failed",
        "broken_syntax.py,state=failed",
        "everything.py,state=loaded",
        "failures.py,state=loaded",
        "gears_texts.py,state=loaded",
        "twice.py,state=failed",
    }
    errors = {file.split(",")[0]: info.get(field + "_error") for file, field in files.items()}
    assert errors["broken_at_load.py"] == "KeyError: 'no model' (broken_at_load.py, line 14, in <module>)"
    assert errors["broken_syntax.py"] == "SyntaxError: invalid syntax (broken_syntax.py, line 5)"
    assert errors["twice.py"] is not None and "there is a flow 'echo' already (twice.py, line 4" in errors["twice.py"]
    assert "flow broken_at_load.py failed to load: KeyError: 'no model'" in server.log
    for name in ("half", "never", "absent"):
        assert flow(wire, name) == Error(f"ERR there is no flow '{name}'")
    assert flow(wire, "echo", 1) == [b"1"]


# ---- time --------------------------------------------------------------------------------


def test_pure_python_stalls_nobody(server: Server, wire: Wire) -> None:
    """Other clients, other flows and models go on while flows spin."""
    assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.multiply()) == OK
    spinning = [server.wire() for _ in range(3)]
    for each in spinning:
        flow_before = time.monotonic()
        each.send("AI.FLOW", "spin", 1)
    latencies = []
    while not all(each.has_reply() for each in spinning):
        start = time.perf_counter()
        assert wire("PING") == Status("PONG")
        latencies.append(time.perf_counter() - start)
        time.sleep(0.002)
    assert time.monotonic() - flow_before > 0.9
    assert sorted(latencies)[len(latencies) // 2] < 0.02
    for each in spinning:
        assert each.read() > 0
        each.send("AI.FLOW", "spin", 0.5)
    assert flow(wire, "echo", 1) == [b"1"]
    assert wire("AI.MODELEXECUTE", "m", "INPUTS", 2, "a", "b", "OUTPUTS", 1, "c") == OK
    assert flow_info(server, "spin")["running"] == "3"
    for each in spinning:
        each.close()  # gone before the answer
    wait_until(lambda: flow_info(server, "spin")["running"] == "0")


def test_a_coroutine_is_cancelled_when_its_client_is_gone(server: Server, wire: Wire) -> None:
    with server.wire() as client:
        client.send("AI.FLOW", "sleep", 3600)
        wait_until(lambda: flow_info(server, "sleep")["running"] == "1")
    wait_until(lambda: "sleep was cancelled" in server.log)
    wait_until(lambda: flow_info(server, "sleep")["running"] == "0")


def test_functions_that_never_return_use_up_the_threads_and_no_more(
    make_server: Servers, redis_binary: RedisBinary
) -> None:
    """There are 32 threads: other plain functions wait for one, coroutines and everybody else do not."""
    server = make_server("FLOWS", FLOWS / "everything.py", binary=redis_binary)
    clients = [server.wire() for _ in range(33)]
    for client in clients:
        client.send("AI.FLOW", "nap", 3600)
    wait_until(lambda: flow_info(server, "nap")["running"] == "33")
    with server.wire() as wire, server.wire() as waiting:
        waiting.send("AI.FLOW", "execute", "PING")
        assert flow(wire, "echo", 1) == [b"1"]
        assert wire("SET", "k", 1) == OK
        assert not waiting.has_reply(0.1)
    server.stop()
    for client in clients:
        client.close()


def test_client_unblock(server: Server, wire: Wire) -> None:
    with server.wire() as client:
        identity = client("CLIENT", "ID")
        client.send("AI.FLOW", "sleep", 3600)
        wait_until(lambda: flow_info(server, "sleep")["running"] == "1")
        assert wire("CLIENT", "UNBLOCK", identity) == 1
        assert client.read() == Status("TIMEDOUT")
        assert client("PING") == Status("PONG")


@pytest.mark.parametrize("by", ["SHUTDOWN", "SIGTERM"])
def test_shutdown_while_flows_run(make_server: Servers, redis_binary: RedisBinary, by: str) -> None:
    server = make_server("FLOWS", FLOWS / "everything.py", binary=redis_binary)
    clients = [server.wire() for _ in range(3)]
    for client, name in zip(clients, ("spin", "sleep", "spin"), strict=True):
        client.send("AI.FLOW", name, 3600)
    wait_until(lambda: flow_info(server, "spin")["running"] == "2")
    start = time.monotonic()
    server.stop(by=by)
    assert time.monotonic() - start < 5
    for client in clients:
        client.close()


def test_a_call_waits_for_files_that_are_being_loaded(make_server: Servers, tmp_path: Path) -> None:
    (tmp_path / "a_slow.py").write_text("import time\ntime.sleep(0.5)\n")
    (tmp_path / "b.py").write_text("import redisAI\n\n\n@redisAI.flow('last')\ndef last():\n    return 1\n")
    server = make_server("FLOWS", tmp_path)
    with server.wire() as wire:
        start = time.monotonic()
        assert flow(wire, "last") == 1
        assert flow(wire, "absent") == Error("ERR there is no flow 'absent'")
        assert time.monotonic() - start < 10


# ---- keys ----------------------------------------------------------------------------------


def test_commands_and_their_replies(wire: Wire) -> None:
    assert flow(wire, "execute", "SET", "k", b"\xff\x00") == b"OK"
    assert flow(wire, "execute", "GET", "k") == b"\xff\x00"
    assert flow(wire, "raw", "GET", "k") == b"\xff\x00"
    assert flow(wire, "execute", "GET", "absent") is None
    assert flow(wire, "execute", "STRLEN", "k") == 2
    wire("RPUSH", "l", 1, 2)
    assert flow(wire, "execute", "LRANGE", "l", 0, -1) == [b"1", b"2"]
    for words in (("BLPOP", "absent", 0), ("AI.MODELEXECUTE", "m", "INPUTS", 1, "a", "OUTPUTS", 1, "c"), ("SHUTDOWN",)):
        reply = flow(wire, "execute", *words)
        assert reply is None or isinstance(reply, Error), reply


def test_tensors_in_keys(wire: Wire) -> None:
    assert flow(wire, "copy", "a", "c") is None
    assert_tensor(wire, "c", np.array([1, 2, 3], np.float32))
    assert flow(wire, "copy many", "a", "b") == 2
    assert_tensor(wire, "copy:b", np.array([10, 20, 30], np.float32))


def test_a_flow_uses_the_database_of_its_client(server: Server, wire: Wire) -> None:
    with server.wire(db=5) as other:
        put(other, "only here", np.ones(1, np.float32))
        assert flow(other, "copy", "only here", "c") is None
        assert flow(other, "execute", "SET", "k", "v") == b"OK"
        assert other("EXISTS", "c", "k") == 2
        other("FLUSHDB")
    assert wire("EXISTS", "c", "k") == 0


def test_what_flows_write_reaches_replicas_and_the_aof(make_server: Servers, redis_binary: RedisBinary) -> None:
    server = make_server("FLOWS", FLOWS / "everything.py", binary=redis_binary, appendonly="yes")
    replica = make_server("FLOWS", FLOWS / "everything.py", binary=redis_binary)
    with server.wire() as wire, replica.wire() as reader:
        reader("REPLICAOF", "127.0.0.1", server.port)
        wait_until(lambda: replica.info("replication").get("master_link_status") == "up")
        put(wire, "a", np.array([1, 2], np.float32))
        assert flow(wire, "copy", "a", "c") is None
        assert flow(wire, "execute", "SET", "k", "v") == b"OK"
        wire("SET", "user:1", "x")
        wire("XADD", "orders:1", "*", "n", 1)
        wait_until(lambda: wire("LLEN", "batches") == 1 and wire("LLEN", "changes") == 1)
        server.wait_for_replica(replica)
        assert_tensor(reader, "c", np.array([1, 2], np.float32))
        # Events are the master's affair: each change was handled once.
        assert reader("LLEN", "batches") == 1 and reader("LLEN", "changes") == 1
        assert reader("XPENDING", "orders:1", "flow:orders")[0] == 0
        refused = reader("AI.FLOW", "copy", "a", "d")
        assert isinstance(refused, Error) and refused.text.startswith("READONLY")
    replica.stop()
    server.restart()
    with server.wire() as wire:
        assert_tensor(wire, "c", np.array([1, 2], np.float32))
        wire("XADD", "orders:1", "*", "n", 2)
        wait_until(lambda: wire("LLEN", "batches") == 2)
        assert wire("LINDEX", "batches", -1) == b"orders:1/0: 2"


# ---- rights --------------------------------------------------------------------------------


def test_a_flow_has_the_rights_of_its_client(server: Server, wire: Wire, stored: None) -> None:
    """On Redis 6.2, where no command can be run as somebody, only who may do everything may use keys."""
    assert wire("ACL", "SETUSER", "guest", "on", ">pw", "~own:*", "+ai.flow", "+set", "+get") == OK
    put(wire, "own:a", np.ones(2, np.float32))
    with server.wire() as guest:
        assert guest("AUTH", "guest", "pw") == OK
        assert flow(guest, "echo", 1) == [b"1"]
        for words in (
            ("execute", "SET", "other", 1),
            ("execute", "DEL", "own:k"),
            ("copy", "a", "own:b"),
            ("copy", "own:a", "b"),
            ("model", "m", "own:a", "own:a"),
            ("script", "s", "note", "own:a"),
            ("dag in words", "|> AI.TENSORSET x FLOAT 1 VALUES 1 |> AI.MODELEXECUTE m INPUTS 2 x x OUTPUTS 1 y"),
        ):
            reply = flow(guest, *words)
            assert isinstance(reply, Error) and "NOPERM" in reply.text, (words, reply)
        if server.binary.version >= (7, 0, 0):
            assert flow(guest, "execute", "SET", "own:k", 1) == b"OK"
            assert flow(guest, "copy", "own:a", "own:b") is None
    assert wire("EXISTS", "other", "note") == 0
    wire("ACL", "DELUSER", "guest")


def test_scripts_that_a_flow_runs_have_the_rights_of_its_client(server: Server, wire: Wire, stored: None) -> None:
    assert flow(wire, "script", "s", "note", "a")[0][1] == b"FLOAT"  # type: ignore[index]
    assert wire("GET", "note") == b"written"
    if server.binary.version < (7, 0, 0):
        return
    assert wire("ACL", "SETUSER", "guest", "on", ">pw", "~s", "~a", "+ai.flow") == OK
    with server.wire() as guest:
        assert guest("AUTH", "guest", "pw") == OK
        reply = flow(guest, "script", "s", "note", "a")
        assert isinstance(reply, Error) and "NOPERM" in reply.text
        reply = flow(guest, "dag in words", "|> AI.TENSORSET x FLOAT 1 VALUES 1 |> AI.SCRIPTEXECUTE s note INPUTS 1 x")
        assert isinstance(reply, Error) and "NOPERM" in reply.text
    wire("ACL", "DELUSER", "guest")


def test_a_dag_in_words_needs_the_rights_to_just_the_keys_that_it_uses(server: Server, wire: Wire) -> None:
    """Words end at spaces and nowhere else."""
    for key in ("pub", "pub|>", "pub|>x", "pub\tx"):
        assert wire("AI.MODELSTORE", key, "ONNX", "CPU", "BLOB", models.multiply()) == OK
        assert wire("AI.SCRIPTSET", f"{key}:s", "CPU", "SOURCE", SOURCE) == OK
    assert wire("ACL", "SETUSER", "guest", "on", ">pw", "~pub", "~pub:s", "+ai.flow") == OK
    refused = "NOPERM this user has no permissions to access the "
    with server.wire() as guest:
        assert guest("AUTH", "guest", "pw") == OK

        def run(operation: str) -> object:
            words = f"|> AI.TENSORSET x FLOAT 1 VALUES 4 |> {operation} |> AI.TENSORGET y"
            return flow(guest, "dag in words", words.encode())

        for key in ("pub|>", "pub|>x", "pub\tx", "absent", "pub\N{NO-BREAK SPACE}"):
            reply = run(f"AI.MODELEXECUTE {key} INPUTS 2 x x OUTPUTS 1 y")
            assert isinstance(reply, Error) and reply.text.startswith(refused + "model's key ("), (key, reply)
            reply = run(f"ai.scriptexecute {key}:s no_function INPUTS 1 x")
            assert isinstance(reply, Error) and reply.text.startswith(refused + "key ("), (key, reply)
        if server.binary.version >= (7, 0, 0):
            for word in ("AI.MODELEXECUTE pub INPUTS 2 x x", "AI.SCRIPTEXECUTE pub:s square INPUTS 1 x"):
                (output,) = map(array_of, run(f"{word} OUTPUTS 1 y"))  # type: ignore[call-overload]
                assert output.tolist() == [16]
    wire("ACL", "DELUSER", "guest")


# ---- models, scripts, DAGs -----------------------------------------------------------------


def test_models(wire: Wire, stored: None) -> None:
    assert array_of(flow(wire, "model", "m", "a", "b")).tolist() == [10, 40, 90]  # type: ignore[arg-type]
    (output,) = flow(wire, "model in place", "torch", "a", "b")  # type: ignore[misc]
    assert array_of(output).tolist() == [10, 40, 90]
    reply = flow(wire, "model in place", "m", "a", "b")
    onnx = "ERR Cannot execute onnxruntime model synchronously, use async execution instead (everything.py"
    assert isinstance(reply, Error) and reply.text.startswith(onnx.replace("ERR ", "ERR "))
    put(wire, "five", np.ones(5, np.float32))
    reply = flow(wire, "model", "m", "a", "five")
    assert isinstance(reply, Error) and "(everything.py, line" in reply.text
    reply = flow(wire, "model", "absent", "a")
    assert isinstance(reply, Error) and reply.text.startswith("ERR given key do not contain RedisAI model")


def test_scripts(wire: Wire, stored: None) -> None:
    (output,) = flow(wire, "script", "s", "add_all", "a", "a", "b")  # type: ignore[misc]
    assert array_of(output).tolist() == [12, 24, 36]
    (output,) = flow(wire, "script in place", "s", "double", "a")  # type: ignore[misc]
    assert array_of(output).tolist() == [2, 4, 6]
    for name in ("script", "script in place"):
        reply = flow(wire, name, "s", "fail", "a")
        assert isinstance(reply, Error) and "on purpose" in reply.text


def test_dags(wire: Wire, stored: None) -> None:
    first, second = map(array_of, flow(wire, "dag", "m", "s", "a"))  # type: ignore[arg-type, call-overload]
    assert first.tolist() == [2, 8, 18] and second.tolist() == [1, 2, 3]
    words = "|> AI.TENSORSET x FLOAT 1 VALUES 4 |> AI.MODELEXECUTE m INPUTS 2 x x OUTPUTS 1 y |> AI.TENSORGET y"
    (output,) = map(array_of, flow(wire, "dag in words", words))  # type: ignore[arg-type, call-overload]
    assert output.tolist() == [16]


def test_runs_of_a_flow_are_batched(wire: Wire) -> None:
    assert wire("AI.MODELSTORE", "rows", "ONNX", "CPU", "BATCHSIZE", 8, "MINBATCHSIZE", 8, "BLOB", models.batch_size())
    put(wire, "row", np.ones((1, 1), np.float32))
    assert flow(wire, "many", "rows", "row", 16) == [[8]] * 16


def test_the_texts_of_redisgears(wire: Wire, stored: None) -> None:
    wire("SET", "string", "x")
    expected = (FLOWS / "gears_texts.txt").read_text().splitlines()
    replies = [text.decode() for text in flow(wire, "gears errors")]  # type: ignore[attr-defined]
    assert replies == ["error: " + text for text in expected]
    assert wire("EXISTS", "fresh") == 0, "all or nothing"


def test_the_values_of_redisgears(wire: Wire, stored: None) -> None:
    reply = flow(wire, "gears values")
    values = dict(zip(reply[::2], reply[1::2], strict=True))  # type: ignore[index]
    assert values == {
        b"floats": [b"1.5", b"-2"],
        b"integers": [1, 2, -3],
        b"booleans": [0, 1, 1],
        b"halves": [b"1.5", b"-2"] * 2,
        b"large": [b"%d" % 2**63],
        b"scalar": [b"4"],
        b"strings": b"a\0b\0",
        b"blob": [1, 2, 3, 4],
        b"strided": [1, 2, 3, 4],
        b"dims": [2, 2],
        b"data": b"\1\2",
        b"text of a tensor": b"[1.0, 2.0]",
        b"texts of runners": [b"PyGraphRunner to str", b"PyTorchScriptRunner to str", b"PyDAGRunner to str"],
        b"added": [1, 1, 1],
        b"output of a dag": [b"1"],
        b"a dag that was run": b"PyDAGRunner is invalid",
        b"a dag that failed": b"Exception: Function does not exist: no_func",
        b"the exception": b"gears.error",
    }


# ---- load arguments ---------------------------------------------------------------------------


def test_a_path_that_does_not_exist(make_server: Servers, tmp_path: Path) -> None:
    server = make_server("FLOWS", tmp_path / "absent", start=False)
    assert "ERR error processing argument: FLOWS" in server.start_refused()


def test_flows_come_from_load_arguments_only(make_server: Servers) -> None:
    server = make_server()
    with server.wire() as wire:
        assert wire("AI.CONFIG", "FLOWS", str(FLOWS)) == Error("ERR unsupported subcommand")
        assert wire("AI.CONFIG", "GET", "FLOWS") is None
        assert wire("AI.FLOW", "echo") == Error("ERR there are no flows: the load argument FLOWS names their files")
    assert not [field for field in server.info() if field.startswith("ai_flow")]


def test_the_module_cannot_be_unloaded(wire: Wire) -> None:
    assert isinstance(wire("MODULE", "UNLOAD", "ai"), Error)
    assert flow(wire, "echo", 1) == [b"1"]
