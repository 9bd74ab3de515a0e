"""redis.execute and redisAI.model_execute inside scripts."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

import models
from harness import OK, Error, RedisBinary, Server, Wire, as_dict, assert_tensor, put, wait_until

SOURCE = """
def run(tensors: List[Tensor], keys: List[str], args: List[str]):
    # Runs the command in args and returns the text of its reply as bytes.
    text = str(redis.execute(args[0], args[1:]))
    return torch.tensor([ord(character) for character in text])

def store(tensors: List[Tensor], keys: List[str], args: List[str]):
    redis.execute("SET", keys[0], args[0])
    redis.execute("RPUSH", "list:" + keys[0], "a", args[0])
    Redis.execute("HSET", ["hash:" + keys[0], "field", args[0]])
    return torch.tensor(len(str(redis.execute("GET", keys[0]))))

def nil(tensors: List[Tensor], keys: List[str], args: List[str]):
    return torch.tensor(str(redis.execute("GET", keys[0])) == "None")

def increase(tensors: List[Tensor], keys: List[str], args: List[str]):
    return torch.tensor(int(str(redis.execute("INCRBY", keys[0], args[0]))))

def average(tensors: List[Tensor], keys: List[str], args: List[str]):
    values = redis.asList(redis.execute("LRANGE", keys[0], "0", "-1"))
    total = 0.0
    for value in values:
        total += float(str(value))
    return torch.tensor(total / len(values))

def nested(tensors: List[Tensor], keys: List[str], args: List[str]):
    outer = redis.asList(redis.execute("EVAL", "return {1, {'two', {3, 'four'}}, false, {}}", "0"))
    inner = redis.asList(outer[1])
    innermost = redis.asList(inner[1])
    assert str(outer[2]) == "None"
    return torch.tensor([int(str(outer[0])), len(str(inner[0])), int(str(innermost[0])), len(redis.asList(outer[3]))])

def not_a_list(tensors: List[Tensor], keys: List[str], args: List[str]):
    return torch.tensor(len(redis.asList(redis.execute("PING", "x"))))

def copy(tensors: List[Tensor], keys: List[str], args: List[str]):
    redis.execute("SET", keys[1], str(redis.execute("GET", keys[0])))

def predict(tensors: List[Tensor], keys: List[str], args: List[str]):
    return redisAI.model_execute(keys[0], tensors, int(args[0]))

def scale_and_predict(a, b):
    return RedisAI.model_execute("m", [(a * 2).t(), b], 1)

def spin(tensors: List[Tensor], keys: List[str], args: List[str]):
    for i in range(int(args[0])):
        redis.execute("INCR", keys[0])
"""
ENTRY_POINTS = [line[4 : line.index("(")] for line in SOURCE.splitlines() if "args: List[str]" in line]


def store_script(wire: Wire) -> None:
    names = ("ENTRY_POINTS", len(ENTRY_POINTS), *ENTRY_POINTS)
    assert wire("AI.SCRIPTSTORE", "s", "CPU", *names, "SOURCE", SOURCE) == OK


@pytest.fixture
def script(wire: Wire) -> Wire:
    store_script(wire)
    return wire


def call(wire: Wire, function: str, *arguments: str | int | bytes) -> object:
    return wire("AI.SCRIPTEXECUTE", "s", function, *arguments)


def text_of(wire: Wire, *command: str | int | bytes) -> str:
    """What ``str`` makes of the reply to a command that a script ran."""
    reply = call(wire, "run", "KEYS", 1, "k", "ARGS", len(command), *command, "OUTPUTS", 1, "{k}text")
    assert reply == OK, reply
    return bytes(wire("AI.TENSORGET", "{k}text", "VALUES")).decode(errors="surrogateescape")


def error_of(wire: Wire, *command: str | int | bytes) -> str:
    reply = call(wire, "run", "KEYS", 1, "k", "ARGS", len(command), *command, "OUTPUTS", 1, "{k}text")
    assert isinstance(reply, Error), reply
    return reply.text


# ---- redis.execute -------------------------------------------------------------------------


def test_commands_with_words_and_with_lists(script: Wire) -> None:
    assert call(script, "store", "KEYS", 1, "k", "ARGS", 1, "value", "OUTPUTS", 1, "n") == OK
    assert script("GET", "k") == b"value"
    assert script("LRANGE", "list:k", 0, -1) == [b"a", b"value"]
    assert script("HGETALL", "hash:k") == [b"field", b"value"]
    assert script("AI.TENSORGET", "n", "VALUES") == [5]


@pytest.mark.parametrize(
    "value", [b"", b"plain", b"a\0b", b"\xff\xfe\0", "h\u00e9llo \u4e16".encode(), b" \r\n\t", b"x" * 100_000]
)
def test_strings_are_binary_safe(script: Wire, value: bytes) -> None:
    script("SET", "from", value)
    assert call(script, "copy", "KEYS", 2, "from", "to") == OK
    assert script("GET", "to") == value
    assert call(script, "store", "KEYS", 1, b"\xff\0key", "ARGS", 1, value, "OUTPUTS", 1, "n") == OK
    assert script("GET", b"\xff\0key") == value
    assert script("AI.TENSORGET", "n", "VALUES") == [len(value)]


def test_replies(script: Wire) -> None:
    assert text_of(script, "PING", "hello") == "hello"
    assert text_of(script, "SET", "k", "v") == "OK"
    assert text_of(script, "STRLEN", "k") == "1"
    assert text_of(script, "GET", "absent") == "None"
    assert call(script, "nil", "KEYS", 1, "absent", "OUTPUTS", 1, "n") == OK
    assert_tensor(script, "n", np.array(True))
    script("RPUSH", "l", "1.5", "2.5")
    assert call(script, "average", "KEYS", 1, "l", "OUTPUTS", 1, "n") == OK
    assert_tensor(script, "n", np.array(2, np.float32))
    assert call(script, "nested", "KEYS", 1, "l", "OUTPUTS", 1, "n") == OK
    assert_tensor(script, "n", np.array([1, 3, 3, 0]))


def test_integers_of_64_bits(script: Wire) -> None:
    assert call(script, "increase", "KEYS", 1, "k", "ARGS", 1, 1 << 40, "OUTPUTS", 1, "n") == OK
    assert_tensor(script, "n", np.array(1 << 40))
    assert call(script, "increase", "KEYS", 1, "k", "ARGS", 1, -(1 << 62), "OUTPUTS", 1, "n") == OK
    assert_tensor(script, "n", np.array((1 << 40) - (1 << 62)))


def test_errors_of_commands(script: Wire) -> None:
    script("RPUSH", "l", "1")
    prefix = "Redis command returned an error: "
    assert prefix + "WRONGTYPE Operation against a key" in error_of(script, "GET", "l")
    assert prefix + "Invalid argument" in error_of(script, "GET")
    assert prefix + "Invalid argument" in error_of(script, "GET", "a", "b")
    assert prefix + "No such file or directory" in error_of(script, "NOSUCHCOMMAND", "x")
    assert prefix + "ERR tensor key is empty" in error_of(script, "AI.TENSORGET", "absent")
    assert "in run" in error_of(script, "GET", "l")
    assert ".py" not in error_of(script, "GET", "l")  # nothing of ours, nor paths of the server
    reply = call(script, "not_a_list", "KEYS", 1, "k", "OUTPUTS", 1, "n")
    assert isinstance(reply, Error) and "the value is not a list" in reply.text


@pytest.mark.parametrize("command", [("CLIENT", "REPLY", "OFF"), ("CLIENT", "REPLY", "SKIP"), ("HELLO", 3)])
def test_commands_without_a_reply_or_with_one_that_scripts_do_not_know(
    script: Wire, command: tuple[str | int, ...]
) -> None:
    assert "Unexpected internal error" in error_of(script, *command)
    assert ".py" not in error_of(script, *command)
    assert text_of(script, "PING", "hello") == "hello"


@pytest.mark.parametrize(
    "command",
    [
        ("AI.SCRIPTEXECUTE", "s", "nil", "KEYS", 1, "k"),
        ("AI.SCRIPTRUN", "s", "nil", "INPUTS"),
        ("AI.MODELEXECUTE", "m", "INPUTS", 2, "a", "b", "OUTPUTS", 1, "c"),
        ("AI.CONFIG", "LOADBACKEND", "TF", "x"),
        ("SHUTDOWN", "NOSAVE"),
        ("DEBUG", "SEGFAULT"),
        ("MONITOR",),
        ("SUBSCRIBE", "channel"),
        ("PSYNC", "?", "-1"),
        ("MODULE", "UNLOAD", "ai"),
    ],
)
def test_commands_that_would_block_or_take_over_the_server(script: Wire, command: tuple[str | int, ...]) -> None:
    assert "Redis command returned an error: " in error_of(script, *command)


@pytest.mark.parametrize(
    "command", [("BLPOP", "absent", 0), ("WAIT", 1, 0), ("XREAD", "BLOCK", 0, "STREAMS", "x", "$")]
)
def test_blocking_commands_do_not_block(script: Wire, command: tuple[str | int, ...]) -> None:
    reply = call(script, "run", "KEYS", 1, "k", "ARGS", len(command), *command, "OUTPUTS", 1, "n")
    assert reply == OK or isinstance(reply, Error)
    assert script("PING").text == "PONG"


def test_commands_of_the_module(script: Wire) -> None:
    assert text_of(script, "AI.TENSORSET", "t", "INT32", 2, "VALUES", 1, -2) == "OK"
    assert_tensor(script, "t", np.array([1, -2], np.int32))
    assert text_of(script, "AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.multiply()) == "OK"
    assert text_of(script, "AI.SCRIPTSET", "r", "CPU", "SOURCE", "def f(a):\n    return a\n") == "OK"
    assert text_of(script, "AI.SCRIPTDEL", "r") == "OK"
    assert script("EXISTS", "m", "r") == 1


def test_the_database_of_the_client(server: Server, script: Wire) -> None:
    with server.wire(db=3) as other:
        store_script(other)
        assert call(other, "store", "KEYS", 1, "k", "ARGS", 1, "v", "OUTPUTS", 1, "n") == OK
        assert other("GET", "k") == b"v"
    assert script("EXISTS", "k") == 0


def test_effects_reach_replicas_and_the_aof(make_server, redis_binary: RedisBinary) -> None:
    master = make_server(binary=redis_binary, appendonly="yes")
    replica = make_server(binary=redis_binary, replicaof=("127.0.0.1", master.port))
    with master.wire() as wire, replica.wire() as copy:
        store_script(wire)
        wait_until(lambda: b"master_link_status:up" in copy("INFO", "replication"))
        for number in range(20):
            assert call(wire, "store", "KEYS", 1, f"k{number}", "ARGS", 1, "v", "OUTPUTS", 1, "n") == OK
        assert wire("WAIT", 1, 20000) == 1
        assert copy("MGET", "k0", "k19") == [b"v", b"v"]
        assert copy("LRANGE", "list:k7", 0, -1) == [b"a", b"v"]
        assert wire("DEBUG", "LOADAOF") == OK
        assert wire("LRANGE", "list:k7", 0, -1) == [b"a", b"v"]
        assert wire("DBSIZE") == copy("DBSIZE")


def test_commands_run_with_the_rights_of_the_caller(make_server, redis_binary: RedisBinary) -> None:
    """Redis before 7.0.6 lets only users that may do everything run commands in scripts."""
    server = make_server(binary=redis_binary)
    with server.wire() as admin, server.wire() as limited, server.wire() as full:
        store_script(admin)
        rules = ("on", ">secret", "~k*", "~s", "~{k}*", "-@all", "+ai.scriptexecute", "+ai.tensorget", "+get", "+ping")
        admin("ACL", "SETUSER", "limited", *rules)
        admin("ACL", "SETUSER", "full", "on", ">secret", "+@all", "~*")
        assert limited("AUTH", "limited", "secret") == OK
        assert full("AUTH", "full", "secret") == OK
        admin("SET", "key", "v")
        assert text_of(full, "SET", "other", "v") == "OK"
        assert "Redis command returned an error: NOPERM" in error_of(limited, "SET", "key", "w")
        assert "Redis command returned an error: NOPERM" in error_of(limited, "GET", "other")
        if redis_binary.version >= (7, 0, 6):
            assert text_of(limited, "GET", "key") == "v"
        else:
            assert "Redis command returned an error: NOPERM" in error_of(limited, "GET", "key")
        denied = limited("AI.SCRIPTEXECUTE", "s", "predict", "KEYS", 1, "k", "ARGS", 1, "1", "OUTPUTS", 1, "other")
        assert isinstance(denied, Error) and denied.text.startswith("NOPERM")  # Redis itself checks what it is told
        admin("ACL", "DELUSER", "full")
        assert admin("GET", "key") == b"v"


def test_many_scripts_that_call_redis_at_once(script: Wire, server: Server) -> None:
    """Scripts take Redis' lock while other scripts run, models load and clients send commands."""
    stop = threading.Event()

    def spin(key: str) -> None:
        with server.wire() as own:
            assert call(own, "spin", "KEYS", 1, key, "ARGS", 1, 500) == OK

    def store() -> None:
        with server.wire() as own:
            while not stop.is_set():
                assert own("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.multiply()) == OK
                own("MULTI")
                own("AI.SCRIPTSET", "r", "CPU", "SOURCE", "def f(a):\n    return a\n")
                assert own("EXEC") == [OK]

    spinners = [threading.Thread(target=spin, args=(f"k{number}",)) for number in range(4)]
    storer = threading.Thread(target=store)
    for thread in [*spinners, storer]:
        thread.start()
    for thread in spinners:
        thread.join()
    stop.set()
    storer.join()
    assert script("MGET", "k0", "k1", "k2", "k3") == [b"500"] * 4


def test_a_client_that_leaves_during_a_script(script: Wire, server: Server) -> None:
    other = server.wire()
    other.send("AI.SCRIPTEXECUTE", "s", "spin", "KEYS", 1, "k", "ARGS", 1, 2000)
    wait_until(lambda: script("GET", "k"))
    other.close()
    wait_until(lambda: script("GET", "k") == b"2000")
    assert call(script, "nil", "KEYS", 1, "absent", "OUTPUTS", 1, "n") == OK


def test_shutdown_while_scripts_call_redis(make_server) -> None:
    server = make_server()
    with server.wire() as wire:
        store_script(wire)
        others = [server.wire() for _ in range(4)]
        for number, other in enumerate(others):
            other.send("AI.SCRIPTEXECUTE", "s", "spin", "KEYS", 1, f"k{number}", "ARGS", 1, 1_000_000)
        time.sleep(0.2)
        server.stop()


# ---- redisAI.model_execute -----------------------------------------------------------------


@pytest.fixture
def with_model(script: Wire) -> Wire:
    """The model ``m`` multiplies two 3x2 matrices element by element."""
    assert script("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.multiply()) == OK
    return script


def test_model_execute(with_model: Wire) -> None:
    a, b = np.arange(6, dtype=np.float32).reshape(3, 2), np.full((3, 2), 10, np.float32)
    put(with_model, "a", a)
    put(with_model, "b", b)
    assert call(with_model, "predict", "KEYS", 1, "m", "INPUTS", 2, "a", "b", "ARGS", 1, 1, "OUTPUTS", 1, "c") == OK
    assert_tensor(with_model, "c", a * b)
    assert as_dict(with_model("AI.INFO", "m"))["calls"] == 0  # it is the script's run, not the model's
    # What is handed to the model is made contiguous first (Q42).
    put(with_model, "transposed", np.ascontiguousarray(a.T))
    assert with_model("AI.SCRIPTRUN", "s", "scale_and_predict", "INPUTS", "transposed", "b", "OUTPUTS", "c") == OK
    assert_tensor(with_model, "c", a * 2 * b)


def test_errors_of_model_execute(with_model: Wire) -> None:
    put(with_model, "a", np.ones((3, 2), np.float32))
    with_model("SET", "k", "v")

    def predict(model: str, count: int, *inputs: str) -> str:
        scopes = ("KEYS", 1, model, "INPUTS", len(inputs), *inputs, "ARGS", 1, count, "OUTPUTS", 1, "c")
        reply = call(with_model, "predict", *scopes)
        assert isinstance(reply, Error)
        return reply.text

    assert "ERR model key is empty" in predict("absent", 1, "a", "a")
    assert "WRONGTYPE Operation against a key holding the wrong kind of value" in predict("k", 1, "a", "a")
    assert "ERR Expected 2 inputs but got 1" in predict("m", 1, "a")
    assert "ERR Expected 1 outputs but got 2" in predict("m", 2, "a", "a")
    assert with_model("EXISTS", "c") == 0


def test_a_model_that_is_still_loading_is_waited_for(with_model: Wire) -> None:
    put(with_model, "a", np.ones((3, 2), np.float32))
    for _ in range(5):
        with_model("COPY", "m", "n", "REPLACE")
        assert call(with_model, "predict", "KEYS", 1, "n", "INPUTS", 2, "a", "a", "ARGS", 1, 1, "OUTPUTS", 1, "c") == OK


def test_a_model_that_asks_for_a_change_of_itself_is_asked_and_not_the_script(server: Server, script: Wire) -> None:
    """Heavy ONNX models get a second session, ``spin`` for as many turns as it is told."""
    logged = len(server.log)
    assert script("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.spin()) == OK
    put(script, "turns", np.full((1, 1), models.turns_for(0.01), np.float32))
    for _ in range(10):
        assert call(script, "predict", "KEYS", 1, "m", "INPUTS", 1, "turns", "ARGS", 1, 1, "OUTPUTS", 1, "c") == OK
    assert script("AI.SCRIPTSET", "later", "CPU", "SOURCE", "def f(a):\n    return a\n") == OK  # the same worker
    assert "job failed" not in server.log[logged:]
