"""TorchScript that runs without Python: programs, on workers and, the very short ones, on the event loop.

That they give what PyTorch's package gives is tested where the commands are: test_torch.py and
test_scriptexecute.py run twice, with the compiled interpreter and without it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from harness import OK, Error, Server, Wire, as_dict, assert_tensor, get, put, torch_backend
from harness.workers import becomes_short, is_short_too, runs_at_once
from redisai_py import extension

torch = pytest.importorskip("torch")

import dags  # noqa: E402
import torch_models as models  # noqa: E402

if not extension.is_compiled() and shutil.which("c++") is None:
    pytest.skip("TORCH has no compiled part here, and there is no C++ compiler", allow_module_level=True)

X = np.linspace(-1, 1, 30, dtype=np.float32).reshape(1, 30)
A = np.array([[1, 2, 3]], np.float32)
B = np.array([[10, 20, 30]], np.float32)
EXECUTE = ("AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", 1, "y")

SOURCE = """
def add(a, b):
    return a + b

def swap(a, b):
    return b, a

def entry(tensors: List[Tensor], keys: List[str], args: List[str]):
    return tensors[0] + tensors[1]

def words(tensors: List[Tensor], keys: List[str], args: List[str]):
    return tensors[0] + len(keys) + 10 * len(args)

def several(tensors: List[Tensor], keys: List[str], args: List[str]):
    return [tensors[1], tensors[0]]

def looped(a, b):
    while bool(a.sum() < 0):
        a = a + b
    return a + b

def branched(a, b):
    if bool(a.sum() > 0):
        a = b
    return a

def indices(a, b):
    return torch.where(a > 0)[0]

def difference(a, b):
    return torch.ones([10 - a.size(0)]) + a.sum()

def viewed(a, b):
    return a.view(a.size(0), -1) + b

def counted(a, b):
    redis.execute("INCR", "count")
    assert bool(a.sum() > 0), "the sum is not positive"
    return a + b
"""


@pytest.fixture
def mlp(wire: Wire) -> bytes:
    blob = models.saved(models.Mlp())
    assert wire("AI.MODELSTORE", "m", "TORCH", "CPU", "BLOB", blob) == OK
    put(wire, "x", X)
    return blob


@pytest.fixture
def script(wire: Wire) -> Iterator[Wire]:
    store = ("AI.SCRIPTSTORE", "s", "CPU", "ENTRY_POINTS", 3, "entry", "several", "words", "SOURCE", SOURCE)
    assert wire(*store) == OK
    put(wire, "a", A)
    put(wire, "b", B)
    yield wire


def call(function: str, outputs: int = 1, *options: str | int) -> tuple[str | int, ...]:
    names = [f"out{number}" for number in range(outputs)]
    return "AI.SCRIPTEXECUTE", "s", function, "INPUTS", 2, "a", "b", *options, "OUTPUTS", outputs, *names


def test_a_short_model_runs_on_the_event_loop(server: Server, wire: Wire, mlp: bytes) -> None:
    expected = models.loaded(mlp)(torch.from_numpy(X)).detach().numpy()
    becomes_short(server, wire, "m", *EXECUTE)
    wire("DEL", "y")
    assert wire(*EXECUTE) == OK
    assert np.allclose(get(wire, "y"), expected)


def test_its_errors_are_those_of_a_worker(server: Server, wire: Wire, mlp: bytes) -> None:
    put(wire, "wrong", np.zeros((1, 3), np.float32))
    put(wire, "wrong_type", np.zeros((1, 30), np.int8))
    commands = [("AI.MODELEXECUTE", "m", "INPUTS", 1, key, "OUTPUTS", 1, "z") for key in ("wrong", "wrong_type")]
    before = [wire(*command) for command in commands]
    becomes_short(server, wire, "m", *EXECUTE)
    assert [wire(*command) for command in commands] == before
    assert all(isinstance(error, Error) for error in before)
    assert as_dict(wire("AI.INFO", "m"))["errors"] == 4
    assert wire("EXISTS", "z") == 0


@pytest.mark.parametrize(
    ("function", "expected"),
    [("add", [A + B]), ("swap", [B, A]), ("viewed", [A + B]), ("entry", [A + B]), ("several", [B, A])],
)
def test_a_short_function_runs_on_the_event_loop(
    server: Server, script: Wire, function: str, expected: list[np.ndarray]
) -> None:
    command = call(function, len(expected))
    becomes_short(server, script, "s", *command)
    script("DEL", "out0", "out1")
    assert script(*command) == OK
    for number, array in enumerate(expected):
        assert_tensor(script, f"out{number}", array)


def test_scriptrun_does_too(server: Server, script: Wire) -> None:
    command = ("AI.SCRIPTRUN", "s", "swap", "TIMEOUT", 1000, "INPUTS", "a", "b", "OUTPUTS", "c", "d")
    becomes_short(server, script, "s", *command)
    assert_tensor(script, "c", B)
    assert_tensor(script, "d", A)


def test_each_function_of_a_script_is_known_by_itself(server: Server, script: Wire) -> None:
    becomes_short(server, script, "s", *call("add"))
    assert not runs_at_once(server, script, *call("looped"))
    becomes_short(server, script, "s", *call("entry"))
    is_short_too(server, script, call("add"), call("entry"))


@pytest.mark.parametrize("options", [("ARGS", 1, "x"), ("KEYS", 1, "k")])
def test_an_entry_point_gets_its_keys_and_arguments(
    server: Server, script: Wire, options: tuple[str | int, ...]
) -> None:
    becomes_short(server, script, "s", *call("entry"))
    assert not runs_at_once(server, script, *call("entry", 1, *options))
    assert script(*call("words", 1, *options)) == OK
    assert_tensor(script, "out0", A + (10 if "ARGS" in options else 1))


@pytest.mark.parametrize("command", [call("add", 2), call("entry", 0), call("add", 1, "LIST_INPUTS", 1, "a")])
def test_calls_that_do_not_fit_are_a_workers(server: Server, script: Wire, command: tuple[str | int, ...]) -> None:
    before = script(*command)
    becomes_short(server, script, "s", *call("add"))
    becomes_short(server, script, "s", *call("entry"))
    assert script(*command) == before


def test_failures_end_runs_on_the_event_loop(server: Server, script: Wire) -> None:
    """They are found out there, and done again by a worker."""
    becomes_short(server, script, "s", *call("add"))
    put(script, "wrong", B[:, :2])
    for _ in range(2000):
        assert isinstance(script("AI.SCRIPTRUN", "s", "add", "INPUTS", "a", "wrong", "OUTPUTS", "z"), Error)
    assert as_dict(script("AI.INFO", "s"))["errors"] == 2000
    put(script, "a", A[:, :2])
    put(script, "b", B[:, :2])
    assert not runs_at_once(server, script, *call("add"))


@pytest.mark.parametrize("function", ["looped", "branched", "indices", "difference"])
def test_what_does_not_follow_from_the_shapes_never_runs_there(server: Server, script: Wire, function: str) -> None:
    for _ in range(8):
        assert not runs_at_once(server, script, *call(function))


def test_a_function_with_effects_runs_once_even_if_it_fails(script: Wire) -> None:
    put(script, "a", -A)
    for count in range(1, 4):
        reply = script(*call("counted"))
        assert isinstance(reply, Error) and "the sum is not positive" in reply.text
        assert script("GET", "count") == str(count).encode()


def test_a_dag_of_a_short_model_and_a_short_function(server: Server, script: Wire, mlp: bytes) -> None:
    becomes_short(server, script, "m", *EXECUTE)
    becomes_short(server, script, "s", *call("add"))
    ops = [dags.execute("m", "x", "y"), dags.call("s", "add", "a b", "c"), "AI.TENSORGET c VALUES"]
    words = dags.dag(*ops, load=["x", "a", "b"])
    is_short_too(server, script, tuple(words), EXECUTE, call("add"))
    assert script(*words) == [OK, OK, [b"11", b"22", b"33"]]


@pytest.mark.parametrize("wrong", [False, True])
def test_a_batch(server: Server, wire: Wire, wrong: bool) -> None:
    """The error of a batch is found by PyTorch's package, and is everybody's."""
    store = ("AI.MODELSTORE", "m", "TORCH", "CPU", "BATCHSIZE", 4, "MINBATCHSIZE", 4)
    assert wire(*store, "BLOB", models.saved(models.Mlp())) == OK
    width = 3 if wrong else 30
    rows = np.arange(4 * width, dtype=np.float32).reshape(4, width) / 100
    replies: dict[int, object] = {}

    def execute(number: int) -> None:
        with server.wire() as own:
            put(own, f"x{number}", rows[number : number + 1])
            replies[number] = own("AI.MODELEXECUTE", "m", "INPUTS", 1, f"x{number}", "OUTPUTS", 1, f"y{number}")

    threads = [threading.Thread(target=execute, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if wrong:
        assert all(isinstance(reply, Error) and "mat1 and mat2" in reply.text for reply in replies.values())
        return
    expected = models.loaded(models.saved(models.Mlp()))(torch.from_numpy(rows)).detach().numpy()
    assert list(replies.values()) == [OK] * 4
    for number in range(4):
        assert np.allclose(get(wire, f"y{number}"), expected[number], atol=1e-6)


def test_outputs_reach_a_replica(server: Server, module_servers: Callable[..., Server], script: Wire) -> None:
    replica = module_servers(replicaof=("127.0.0.1", server.port))
    server.wait_for_replica(replica)
    becomes_short(server, script, "s", *call("add"))
    script("DEL", "out0")
    assert script(*call("add")) == OK
    script("WAIT", 1, 1000)
    with replica.wire() as mirror:
        assert_tensor(mirror, "out0", A + B)


def test_a_backend_without_its_source(make_server: Callable[..., Server], tmp_path: Path) -> None:
    arguments = torch_backend.load_arguments("package", tmp_path)
    Path(arguments[1]).with_name("interpreter.cpp").unlink()
    with make_server(*arguments).wire() as wire:
        assert wire("AI.MODELSTORE", "m", "TORCH", "CPU", "BLOB", models.saved(models.Identity())) == OK


def test_compile_is_done_once() -> None:
    words = [sys.executable, "-m", "redisai_py", "compile"]
    outputs = [subprocess.run(words, capture_output=True, text=True, check=True).stdout for _ in range(2)]
    assert outputs[0] == outputs[1] and outputs[0].rstrip().endswith(".so")
