"""AI.SCRIPTEXECUTE and AI.SCRIPTRUN: grammar, how calls reach functions, and what comes back."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from harness import OK, Error, Server, Status, Wire, as_dict, assert_tensor, get, put, torch_backend, wait_until

WRONG_TYPE = Error("WRONGTYPE Operation against a key holding the wrong kind of value")
NO_TENSOR = Error("ERR tensor key is empty or in a different shard")
IN_TRANSACTION = Error("ERR Cannot run RedisAI command within a transaction or a LUA script")

SOURCE = """
def entry(tensors: List[Tensor], keys: List[str], args: List[str]):
    total = torch.zeros([2])
    for tensor in tensors:
        total = total + tensor
    return [total, torch.tensor(len(keys)), torch.tensor(len(args))]

def words(tensors: List[Tensor], keys: List[str], args: List[str]):
    return torch.tensor([len(word) for word in keys + args])

def nothing(tensors: List[Tensor], keys: List[str], args: List[str]):
    pass

def add(a, b):
    return a + b

def double(a: Tensor):
    return a * 2

def both(a, b):
    return a, b

def pack(first, rest: List[Tensor]):
    return [first] + rest

def two_lists(first, left: List[Tensor], right: List[Tensor]):
    return first, torch.tensor(len(left)), torch.tensor(len(right)), torch.stack(left + right).sum()

def number(a: int):
    return a

def text(a):
    return "text"

def mixed(a):
    return a, 1

def write(a):
    a.add_(100)
    return a

def write_statistics(a):
    torch.batch_norm(torch.full([2, 2], 1001.0), None, None, a, torch.ones([2]), True, 0.1, 1e-5, False)
    return a

def remainders(a):
    n = int(a[0])
    rests = [-7 % n, 7 % n, 8 % n, 7 % 4]
    return torch.tensor(rests)

def eigenvalues(a):
    return torch.linalg.eigvals(a).real

def segments(a, n):
    return torch.segment_reduce(a, "sum", offsets=n)

def padded(a, n):
    return torch._pad_packed_sequence(a, n, False, 0.0, 2)[0]

def product_of_sparse(a, n):
    return torch.matmul(torch.sparse_csr_tensor(torch.arange(4), n, torch.ones([3]), [3, 3], dtype=torch.float32), a)

def fail(a):
    raise RuntimeError("on purpose")
    return a

def slow(a):
    n = int(a.sum())
    x = torch.zeros([64, 64])
    for i in range(n):
        x = torch.tanh(x @ x)
    return x
"""


@pytest.fixture(scope="module", params=torch_backend.FORMS)
def server(
    module_servers: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Server:
    return module_servers(*torch_backend.load_arguments(request.param, tmp_path_factory.mktemp("backend")))


@pytest.fixture
def script(wire: Wire) -> Wire:
    """A connection to a server that holds the script ``s`` and the tensors ``x`` and ``y``."""
    stored = wire("AI.SCRIPTSTORE", "s", "CPU", "ENTRY_POINTS", 3, "entry", "words", "nothing", "SOURCE", SOURCE)
    assert stored == OK
    put(wire, "x", np.array([1, 2], np.float32))
    put(wire, "y", np.array([10, 20], np.float32))
    return wire


def execute(wire: Wire, function: str, *arguments: str | int | bytes) -> object:
    return wire("AI.SCRIPTEXECUTE", "s", function, *arguments)


# ---- grammar of SCRIPTEXECUTE ------------------------------------------------------------

FIRST_SCOPE = "ERR KEYS or INPUTS scope must be provided first for AI.SCRIPTEXECUTE command"
FEW_KEYS = "ERR Number of pre declared KEYS to be used in the command does not match the number of given arguments"
BAD_KEYS = "ERR Invalid or negative value found in number of KEYS"
FEW = "ERR number of {} to AI.SCRIPTEXECUTE command does not match the number of given arguments"
AGAIN = "ERR Already Encountered {} scope in AI.SCRIPTEXECUTE command"
BAD_COUNT = "ERR Invalid argument for {} count in AI.SCRIPTEXECUTE"
UNEXPECTED = "ERR Invalid AI.SCRIPTEXECUTE command. Unexpected argument: "

GRAMMAR = [
    ((), FIRST_SCOPE),
    (("OUTPUTS", 1, "z"), FIRST_SCOPE),
    (("ARGS", 1, "z", "INPUTS", 1, "x"), FIRST_SCOPE),
    (("TIMEOUT", 1), FIRST_SCOPE),
    (("KEYS",), "ERR Missing arguments after KEYS keyword"),
    (("KEYS", 1), "ERR Missing arguments after KEYS keyword"),
    (("KEYS", "x", "k"), BAD_KEYS),
    (("KEYS", 0, "k"), BAD_KEYS),
    (("KEYS", -1, "k"), BAD_KEYS),
    (("KEYS", 2, "k"), FEW_KEYS),
    (("INPUTS",), "ERR Invalid arguments provided to AI.SCRIPTEXECUTE"),
    (("INPUTS", 1, "x", "ARGS"), "ERR Invalid arguments provided to AI.SCRIPTEXECUTE"),
    (("INPUTS", 1, "x", "OUTPUTS"), "ERR Invalid arguments provided to AI.SCRIPTEXECUTE"),
    (("INPUTS", "x", "x"), BAD_COUNT.format("inputs")),
    (("INPUTS", "1.0", "x"), BAD_COUNT.format("inputs")),
    (("INPUTS", 1, "x", "OUTPUTS", "z", "z"), BAD_COUNT.format("outputs")),
    (("INPUTS", 1, "x", "ARGS", "z", "z"), BAD_COUNT.format("keys")),
    (("INPUTS", 2, "x"), FEW.format("inputs")),
    (("INPUTS", 1, "x", "ARGS", 2, "z"), FEW.format("args")),
    (("INPUTS", 1, "x", "OUTPUTS", 2, "z"), FEW.format("outputs")),
    (("INPUTS", 1 << 40, "x"), FEW.format("inputs")),
    (("KEYS", 1, "k", "KEYS", 1, "k"), AGAIN.format("KEYS")),
    (("INPUTS", 1, "x", "INPUTS", 1, "x"), AGAIN.format("INPUTS")),
    (("INPUTS", 1, "x", "ARGS", 1, "a", "ARGS", 1, "a"), AGAIN.format("ARGS")),
    (("INPUTS", 1, "x", "OUTPUTS", 1, "z", "OUTPUTS", 1, "z"), AGAIN.format("OUTPUTS")),
    (("INPUTS", 1, "x", "TIMEOUT"), "ERR No value provided for TIMEOUT in AI.SCRIPTEXECUTE"),
    (("INPUTS", 1, "x", "TIMEOUT", 0), "ERR Invalid value for TIMEOUT"),
    (("INPUTS", 1, "x", "TIMEOUT", "x"), "ERR Invalid value for TIMEOUT"),
    (("INPUTS", 1, "x", "TIMEOUT", 10, "OUTPUTS", 1, "z"), "ERR Encountered problem parsing AI.SCRIPTEXECUTE"),
    (("INPUTS", 1, "x", "what"), UNEXPECTED + "what"),
    (("INPUTS", 1, "x", "y", "OUTPUTS", 1, "z"), UNEXPECTED + "y"),
    (("INPUTS", 1, "x", "a\r\nb"), UNEXPECTED + "a  b"),
]


@pytest.mark.parametrize(("arguments", "error"), GRAMMAR)
def test_grammar_of_scriptexecute(script: Wire, arguments: tuple[str | int, ...], error: str) -> None:
    assert execute(script, "entry", *arguments) == Error(error)


def test_errors_before_the_grammar(script: Wire) -> None:
    arity = Error("ERR wrong number of arguments for 'AI.SCRIPTEXECUTE' command")
    assert script("AI.SCRIPTEXECUTE") == arity
    assert script("ai.scriptexecute", "s") == arity
    assert script("AI.SCRIPTEXECUTE", "absent", "f") == Error("ERR script key is empty")
    assert script("AI.SCRIPTEXECUTE", "x", "f") == WRONG_TYPE


def test_inputs_are_looked_up_last(script: Wire) -> None:
    script("SET", "k", "v")
    assert execute(script, "add", "INPUTS", 2, "x", "absent", "OUTPUTS", 1, "z") == NO_TENSOR
    assert execute(script, "add", "INPUTS", 2, "k", "absent", "OUTPUTS", 1, "z") == WRONG_TYPE
    assert execute(script, "add", "INPUTS", 2, "absent", "x", "what") == Error(UNEXPECTED + "what")


def test_scopes_in_any_order_and_any_case(script: Wire) -> None:
    arguments = ("outputs", 3, "a", "b", "c", "Args", 1, "one", "keys", 2, "k", "l", "timeout", 10000)
    assert execute(script, "entry", "inputs", 2, "x", "y", *arguments) == OK
    assert_tensor(script, "a", np.array([11, 22], np.float32))
    assert_tensor(script, "b", np.array(2))
    assert_tensor(script, "c", np.array(1))


@pytest.mark.parametrize("count", [0, -1])
def test_counts_of_nothing(script: Wire, count: int) -> None:
    arguments = ("INPUTS", count, "ARGS", count, "OUTPUTS", count)
    assert execute(script, "nothing", *arguments) == OK
    assert execute(script, "nothing", "KEYS", 1, "k") == OK


def test_not_in_transactions_nor_in_lua(script: Wire) -> None:
    script("MULTI")
    script("AI.SCRIPTEXECUTE", "s")
    script("AI.SCRIPTRUN", "s")
    assert script("EXEC") == [IN_TRANSACTION, IN_TRANSACTION]
    assert script("EVAL", "return redis.pcall('AI.SCRIPTEXECUTE', 's', 'f')", 0) == IN_TRANSACTION


# ---- grammar of SCRIPTRUN ------------------------------------------------------------------

IN_SCRIPTRUN = [
    (("x",), "ERR Unrecongnized parameter to SCRIPTRUN"),
    (("TIMEOUT", 10, "x"), "ERR Unrecongnized parameter to SCRIPTRUN"),
    (("TIMEOUT",), "ERR Invalid value for TIMEOUT"),
    (("TIMEOUT", 0), "ERR Invalid value for TIMEOUT"),
    (("TIMEOUT", 1, "TIMEOUT", 1), "ERR Already encountered an TIMEOUT section in SCRIPTRUN"),
    (("INPUTS", "x", "INPUTS"), "ERR Already encountered an INPUTS keyword in SCRIPTRUN"),
    (("INPUTS", "x", "OUTPUTS", "z", "INPUTS"), "ERR Already encountered an INPUTS section in SCRIPTRUN"),
    (("INPUTS", "x", "OUTPUTS", "z", "OUTPUTS"), "ERR Already encountered an OUTPUTS keyword in SCRIPTRUN"),
    (("$",), "ERR Encountered a variable size list of tensors outside of input section"),
    (
        ("INPUTS", "x", "OUTPUTS", "$"),
        "ERR Encountered a variable size list of tensors outside of input section",
    ),
    (("INPUTS", "x", "$", "x", "$"), "ERR Already encountered a variable size list of tensors"),
    (("INPUTS", "x", "absent", "OUTPUTS", "z"), NO_TENSOR.text),
]


@pytest.mark.parametrize(("arguments", "error"), IN_SCRIPTRUN)
def test_grammar_of_scriptrun(script: Wire, arguments: tuple[str | int, ...], error: str) -> None:
    assert script("AI.SCRIPTRUN", "s", "double", *arguments) == Error(error)


def test_errors_of_scriptrun_before_its_grammar(script: Wire) -> None:
    arity = Error("ERR wrong number of arguments for 'AI.SCRIPTRUN' command")
    assert script("AI.SCRIPTRUN") == arity
    assert script("AI.SCRIPTRUN", "s") == arity
    assert script("AI.SCRIPTRUN", "absent", "f") == Error("ERR script key is empty")
    assert script("AI.SCRIPTRUN", "x", "f") == WRONG_TYPE


@pytest.mark.parametrize(
    "arguments",
    [
        ("INPUTS", "x", "y", "OUTPUTS", "a", "b"),
        ("TIMEOUT", 10000, "INPUTS", "x", "y", "OUTPUTS", "a", "b"),
        ("INPUTS", "x", "TIMEOUT", 10000, "y", "OUTPUTS", "a", "b"),
        ("INPUTS", "x", "y", "OUTPUTS", "a", "TIMEOUT", 10000, "b"),
        ("INPUTS", "x", "y", "OUTPUTS", "a", "b", "TIMEOUT", 10000),
        ("INPUTS", "x", "$", "y", "OUTPUTS", "a", "b"),
    ],
)
def test_timeout_and_separator_anywhere(script: Wire, arguments: tuple[str | int, ...]) -> None:
    assert script("AI.SCRIPTRUN", "s", "both", *arguments) == OK
    assert_tensor(script, "a", np.array([1, 2], np.float32))
    assert_tensor(script, "b", np.array([10, 20], np.float32))


# ---- from calls to functions -----------------------------------------------------------------


def test_functions_that_are_no_entry_points_take_tensors(script: Wire) -> None:
    for command in (
        ("INPUTS", 2, "x", "y", "OUTPUTS", 1, "z"),
        ("KEYS", 1, "k", "INPUTS", 2, "x", "y", "OUTPUTS", 1, "z"),
    ):
        assert execute(script, "add", *command) == OK
        assert_tensor(script, "z", np.array([11, 22], np.float32))
    assert execute(script, "double", "INPUTS", 2, "x", "y", "OUTPUTS", 1, "z") == OK  # a surplus is ignored
    assert_tensor(script, "z", np.array([2, 4], np.float32))


def test_scriptrun_calls_entry_points_with_empty_lists(script: Wire) -> None:
    assert script("AI.SCRIPTRUN", "s", "entry", "INPUTS", "x", "y", "OUTPUTS", "a", "b", "c") == OK
    assert_tensor(script, "a", np.array([11, 22], np.float32))
    assert_tensor(script, "b", np.array(0))


def test_a_list_takes_the_rest(script: Wire) -> None:
    assert script("AI.SCRIPTRUN", "s", "pack", "INPUTS", "x", "$", "y", "x", "OUTPUTS", "a", "b", "c") == OK
    assert_tensor(script, "b", np.array([10, 20], np.float32))
    assert_tensor(script, "c", np.array([1, 2], np.float32))


def test_list_inputs(script: Wire) -> None:
    """The older form: each list goes to the next List[Tensor]."""
    lists = ("LIST_INPUTS", 2, "x", "y", "LIST_INPUTS", 1, "x", "OUTPUTS", 4, "a", "b", "c", "d")
    assert execute(script, "two_lists", "KEYS", "{tag}", "INPUTS", 1, "y", *lists) == OK
    assert_tensor(script, "a", np.array([10, 20], np.float32))
    assert_tensor(script, "b", np.array(2))
    assert_tensor(script, "c", np.array(1))
    assert_tensor(script, "d", np.array(36, np.float32))
    empty = ("LIST_INPUTS", 1, "x", "LIST_INPUTS", 0, "OUTPUTS", 4, "a", "b", "c", "d")
    assert execute(script, "two_lists", "INPUTS", 1, "y", *empty) == OK
    assert_tensor(script, "c", np.array(0))
    few = ("LIST_INPUTS", 1, "x", "OUTPUTS", 4, "a", "b", "c", "d")
    assert execute(script, "two_lists", "INPUTS", 1, "y", *few) == Error(
        "Wrong number of inputs provided to function: two_lists"
    )
    assert execute(script, "pack", "INPUTS", 1, "x", "LIST_INPUTS", 1, "absent", "OUTPUTS", 1, "z") == NO_TENSOR


def test_keys_and_arguments_are_binary_safe(script: Wire) -> None:
    words = ("KEYS", 2, b"\xff\x00\xfe", "", "ARGS", 1, "h\u00e9")
    assert execute(script, "words", *words, "OUTPUTS", 1, "z") == OK
    assert_tensor(script, "z", np.array([3, 0, 3]))


@pytest.mark.parametrize(
    ("function", "inputs", "error"),
    [
        ("absent", ["x"], "Function does not exist: absent"),
        ("add", ["x"], "Wrong number of inputs provided to function: add"),
        ("add", [], "Wrong number of inputs provided to function: add"),
        ("pack", ["x"], "Wrong number of inputs provided to function: pack"),
        ("number", ["x"], "Unsupported input type in function definition: number"),
        ("text", ["x"], "Function returned non-tensor valuestext"),
        ("mixed", ["x"], "Function returned non-tensor valuesmixed"),
        ("both", ["x", "y"], "Function returned unexpected number of outputs - both"),
        ("nothing", ["x"], "Function returned non-tensor valuesnothing"),
    ],
)
def test_errors_of_calls(script: Wire, function: str, inputs: list[str], error: str) -> None:
    assert execute(script, function, "INPUTS", len(inputs), *inputs, "OUTPUTS", 1, "z") == Error(error)
    assert script("AI.SCRIPTRUN", "s", function, "INPUTS", *inputs, "OUTPUTS", "z") == Error(error)
    assert script("EXISTS", "z") == 0
    assert as_dict(script("AI.INFO", "s"))["errors"] == 2


def test_results_are_not_looked_at_without_outputs(script: Wire) -> None:
    assert execute(script, "mixed", "INPUTS", 1, "x") == OK
    assert execute(script, "text", "INPUTS", 1, "x", "OUTPUTS", 0) == OK


def test_a_runtime_error_shows_the_line_of_the_script(script: Wire) -> None:
    error = execute(script, "fail", "INPUTS", 1, "x", "OUTPUTS", 1, "z")
    assert isinstance(error, Error)
    assert "on purpose" in error.text
    assert "in fail" in error.text
    script("AI.TENSORSET", "wide", "FLOAT", 3, "VALUES", 1, 2, 3)
    error = execute(script, "add", "INPUTS", 2, "x", "wide", "OUTPUTS", 1, "z")
    assert isinstance(error, Error)
    assert "return a + b" in error.text
    assert "must match" in error.text


@pytest.mark.parametrize("divisor", [4, -4, 1, 0])
def test_remainders_are_those_of_python(script: Wire, divisor: int) -> None:
    put(script, "n", np.array([divisor]))
    reply = execute(script, "remainders", "INPUTS", 1, "n", "OUTPUTS", 1, "z")
    if divisor == 0:
        assert isinstance(reply, Error) and "division by 0" in reply.text
    else:
        assert reply == OK
        assert_tensor(script, "z", np.array([-7 % divisor, 7 % divisor, 8 % divisor, 3]))


ROTATION = np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]])
UNCHECKED = {
    "eigenvalues": ([np.diag([2.0, 3.0])], [np.array([[1, np.nan], [0, 1]])], np.array([2.0, 3.0])),
    "segments": ([np.array([1.0, 2.0, 4.0]), np.array([0, 2, 3])], [np.array([-(2**60), 3])], np.array([3.0, 4.0])),
    "padded": ([np.ones((3, 1)), np.array([2, 1])], [np.array([0, 1])], np.array([[[1.0], [1.0]], [[1.0], [0.0]]])),
    "product_of_sparse": ([np.eye(3, dtype=np.float32), np.array([1, 2, 0])], [np.array([0, 1, 90_000_000])], ROTATION),
}


@pytest.mark.parametrize("function", UNCHECKED)
def test_what_ends_the_process_in_torch_is_an_error(script: Wire, function: str) -> None:
    good, bad, expected = UNCHECKED[function]
    inputs = ("x", "n")[: len(good)]
    for arrays, fits in ((good, True), (good[: -len(bad)] + bad, False), (good, True)):
        for key, array in zip(inputs, arrays, strict=True):
            put(script, key, array)
        reply = execute(script, function, "INPUTS", len(inputs), *inputs, "OUTPUTS", 1, "z")
        if fits:
            assert reply == OK
            np.testing.assert_allclose(get(script, "z"), expected)
        else:
            assert isinstance(reply, Error)


@pytest.mark.parametrize("function", ["write", "write_statistics"])
def test_scripts_cannot_change_stored_tensors(script: Wire, function: str) -> None:
    assert execute(script, function, "INPUTS", 1, "x", "OUTPUTS", 1, "z") == OK
    np.testing.assert_allclose(get(script, "z"), [101, 102] if function == "write" else [101, 101.9])
    assert_tensor(script, "x", np.array([1, 2], np.float32))


@pytest.mark.parametrize(
    "array",
    [
        np.array([[1.5, -2]], np.float32),
        np.array([1.5], np.float64),
        np.array(-3, np.int8),
        np.array([300, -300], np.int16),
        np.array([[1], [2]], np.int32),
        np.array([1 << 40], np.int64),
        np.array([255], np.uint8),
        np.array([True, False]),
    ],
    ids=lambda array: str(array.dtype),
)
def test_dtypes(script: Wire, array: np.ndarray) -> None:
    put(script, "in", array)
    script("AI.SCRIPTSET", "echo", "CPU", "SOURCE", "def echo(a):\n    return a\n")
    assert script("AI.SCRIPTRUN", "echo", "echo", "INPUTS", "in", "OUTPUTS", "out") == OK
    assert_tensor(script, "out", array)


@pytest.mark.parametrize(
    ("array", "error"),
    [
        (np.array([1], np.uint16), "Unsupported kUInt bits 16"),
        (np.array([b"a"], object), "Unsupported code 7"),
    ],
)
def test_dtypes_that_pytorch_has_not(script: Wire, array: np.ndarray, error: str) -> None:
    put(script, "in", array)
    assert script("AI.SCRIPTRUN", "s", "double", "INPUTS", "in", "OUTPUTS", "out") == Error(error)


@pytest.mark.parametrize(
    ("dtype", "error"),
    [
        ("complex64", "ComplexFloat is not supported by dlpack"),
        ("complex128", "ComplexDouble is not supported by dlpack"),
    ],
)
def test_results_that_tensors_cannot_hold(script: Wire, dtype: str, error: str) -> None:
    script("AI.SCRIPTSET", "cast", "CPU", "SOURCE", f"def cast(a):\n    return a.to(torch.{dtype})\n")
    assert script("AI.SCRIPTRUN", "cast", "cast", "INPUTS", "x", "OUTPUTS", "out") == Error(error)


def test_a_result_without_data(script: Wire) -> None:
    script("AI.SCRIPTSET", "zero", "CPU", "SOURCE", "def zero(a):\n    return torch._efficientzerotensor([3])\n")
    reply = script("AI.SCRIPTRUN", "zero", "zero", "INPUTS", "x", "OUTPUTS", "out")
    assert isinstance(reply, Error) and "ZeroTensor" in reply.text


def test_tensors_of_more_dims_than_numpy_has(script: Wire) -> None:
    assert script("AI.TENSORSET", "deep", "FLOAT", *[1] * 70) == OK
    error = Error("ERR models and scripts take tensors of at most 64 dims")
    assert script("AI.SCRIPTRUN", "s", "double", "INPUTS", "deep", "OUTPUTS", "out") == error


def test_operators_by_their_bare_names(script: Wire) -> None:
    """``torch.x`` is the operator ``aten::x``, also where PyTorch has no Python function of that name."""
    body = "torch.slice(torch.relu(a - 1), 0, 0, 1, 1) + torch.full([1], 2.0)"
    assert script("AI.SCRIPTSET", "ops", "CPU", "SOURCE", f"def f(a):\n    return {body}\n") == OK
    assert script("AI.SCRIPTRUN", "ops", "f", "INPUTS", "y", "OUTPUTS", "z") == OK
    assert_tensor(script, "z", np.array([11], np.float32))


# ---- storing and replicating -------------------------------------------------------------------


def test_outputs_are_stored_all_or_none(script: Wire) -> None:
    script("SET", "k", "v")
    assert execute(script, "both", "INPUTS", 2, "x", "y", "OUTPUTS", 2, "a", "k") == WRONG_TYPE
    assert script("EXISTS", "a") == 0
    assert script("AI.SCRIPTRUN", "s", "both", "INPUTS", "x", "y", "OUTPUTS", "k", "a") == WRONG_TYPE
    assert script("GET", "k") == b"v"


def test_a_request_that_waited_too_long(script: Wire, server: Server) -> None:
    script("AI.TENSORSET", "n", "FLOAT", 1, "VALUES", 30000)
    done: list[object] = []

    def run_slowly() -> None:
        with server.wire() as other:
            done.append(other("AI.SCRIPTRUN", "s", "slow", "INPUTS", "n", "OUTPUTS", "out"))

    # One more than there are workers.
    threads = [threading.Thread(target=run_slowly) for _ in range(len(os.sched_getaffinity(0)) + 1)]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    assert script("AI.SCRIPTRUN", "s", "double", "TIMEOUT", 1, "INPUTS", "x", "OUTPUTS", "z") == Status("TIMEDOUT")
    assert script("EXISTS", "z") == 0
    for thread in threads:
        thread.join()
    assert done == [OK] * len(threads)


@pytest.mark.parametrize(
    ("command", "keys"),
    [
        ("SCRIPTEXECUTE s f KEYS 1 k ARGS 2 a b INPUTS 1 i OUTPUTS 2 o p TIMEOUT 5", "s k i o p"),
        ("SCRIPTEXECUTE s f KEYS {tag} INPUTS 0 LIST_INPUTS 1 l", "s {tag} l"),
        ("SCRIPTEXECUTE s f INPUTS 0", "s"),
        ("SCRIPTEXECUTE s f INPUTS 5 i", "s"),
        ("SCRIPTRUN s f TIMEOUT 5 INPUTS i $ j OUTPUTS o", "s i j o"),
    ],
)
def test_every_key_is_reported(wire: Wire, command: str, keys: str) -> None:
    assert wire("COMMAND", "GETKEYS", *f"AI.{command}".split()) == [key.encode() for key in keys.split()]


def test_concurrent_scripts(script: Wire, server: Server) -> None:
    errors: list[object] = []

    def work() -> None:
        with server.wire() as own:
            for _ in range(200):
                reply = own("AI.SCRIPTEXECUTE", "s", "add", "INPUTS", 2, "x", "y", "OUTPUTS", 1, "z")
                if reply != OK:
                    errors.append(reply)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    wait_until(lambda: as_dict(script("AI.INFO", "s"))["calls"] == 1600)


def test_requests_that_run_together_get_their_own_results_and_errors(script: Wire, server: Server) -> None:
    """Pipelined calls of one function go to TorchScript in one piece, and one that fails harms no other."""
    script("AI.TENSORSET", "wide", "FLOAT", 3, "VALUES", 1, 2, 3)
    for number in range(20):
        put(script, f"in{number}", np.full(2, number, np.float32))
    inputs = [("x", f"in{number}" if number % 7 else "wide") for number in range(20)]
    for number, (a, b) in enumerate(inputs):
        script.send("AI.SCRIPTEXECUTE", "s", "add", "INPUTS", 2, a, b, "OUTPUTS", 1, f"out{number}")
    replies = [script.read() for _ in inputs]
    for number, reply in enumerate(replies):
        if number % 7:
            assert reply == OK
            assert_tensor(script, f"out{number}", np.array([1, 2], np.float32) + number)
        else:
            assert isinstance(reply, Error) and "must match" in reply.text
    assert as_dict(script("AI.INFO", "s"))["errors"] == 3


def test_a_run_that_turns_out_long_does_not_hold_up_its_own_function(script: Wire, server: Server) -> None:
    script("AI.TENSORSET", "none", "FLOAT", 1, "VALUES", 0)
    script("AI.TENSORSET", "many", "FLOAT", 1, "VALUES", 100_000)
    for _ in range(50):  # the function is known for short runs
        assert script("AI.SCRIPTRUN", "s", "slow", "INPUTS", "none", "OUTPUTS", "out") == OK
    with server.wire() as other:
        other.send("AI.SCRIPTRUN", "s", "slow", "INPUTS", "many", "OUTPUTS", "long")
        time.sleep(0.05)
        assert script("AI.SCRIPTRUN", "s", "slow", "INPUTS", "none", "OUTPUTS", "out") == OK
        assert not other.has_reply(0), "the long run was over before the short one was asked for"
        assert other.read() == OK
