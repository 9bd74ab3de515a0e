"""Models and scripts on a GPU, where a framework finds one: what they see of it, and that all else is as on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from dags import call, dag, execute
from harness import OK, Error, Server, Wire, as_dict, assert_tensor, get, put
from harness.tensors import SAMPLES

torch = pytest.importorskip("torch")
onnxruntime = pytest.importorskip("onnxruntime")

import models  # noqa: E402
import torch_models  # noqa: E402

needs_torch = pytest.mark.skipif(not torch.cuda.is_available(), reason="this PyTorch finds no GPU")
needs_onnx = pytest.mark.skipif(
    "CUDAExecutionProvider" not in onnxruntime.get_available_providers(), reason="this onnxruntime knows no GPU"
)
BACKENDS = [pytest.param("TORCH", marks=needs_torch), pytest.param("ONNX", marks=needs_onnx)]
DEVICES = ["GPU", "gpu:0"]
NOWHERE = "GPU:63"

X = np.arange(1, 7, dtype=np.float32).reshape(2, 3)
NOISE = np.random.default_rng(5)


class WhereAmI(torch.nn.Module):
    """Whether the input, a parameter and a result are on a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(3))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = x * self.weight
        return torch.tensor([x.is_cuda, self.weight.is_cuda, y.is_cuda]), y


SOURCE = """
def where(tensors: List[Tensor], keys: List[str], args: List[str]):
    return torch.tensor([tensor.is_cuda for tensor in tensors])

def twice(x):
    return x + x

def predict(tensors: List[Tensor], keys: List[str], args: List[str]):
    # Mixes what the model gives with what the client gave.
    return redisAI.model_execute(keys[0], [tensors[0].t(), tensors[1]], 1)[0] + tensors[2]

def count(tensors: List[Tensor], keys: List[str], args: List[str]):
    redis.execute("INCRBY", keys[0], str(int(tensors[0].sum())))
    return tensors[0].to("cpu") + 1

def everything(x):
    return torch.zeros([1 << 45], device=x.device)
"""
ENTRY_POINTS = ("where", "predict", "count")


def store(wire: Wire, key: str, blob: bytes, device: str = "GPU", backend: str = "TORCH", *options: str | int) -> None:
    assert wire("AI.MODELSTORE", key, backend, device, *options, "BLOB", blob) == OK


def store_script(wire: Wire, device: str = "GPU") -> None:
    reply = wire(
        *("AI.SCRIPTSTORE", "script", device, "ENTRY_POINTS", len(ENTRY_POINTS), *ENTRY_POINTS, "SOURCE", SOURCE)
    )
    assert reply == OK


def run(wire: Wire, inputs: tuple[str, ...] = ("x",), outputs: tuple[str, ...] = ("y",), key: str = "m") -> object:
    return wire("AI.MODELEXECUTE", key, "INPUTS", len(inputs), *inputs, "OUTPUTS", len(outputs), *outputs)


def multiply(backend: str) -> bytes:
    return torch_models.saved(torch_models.Multiply()) if backend == "TORCH" else models.multiply()


@pytest.fixture
def filled(wire: Wire) -> Iterator[Wire]:
    put(wire, "x", X)
    yield wire


# ---- models -----------------------------------------------------------------------------


@needs_torch
@pytest.mark.parametrize("device", DEVICES)
def test_a_model_its_inputs_and_its_results_are_on_the_gpu(filled: Wire, device: str) -> None:
    store(filled, "m", torch_models.saved(WhereAmI()), device)
    assert run(filled, outputs=("where", "y")) == OK
    assert_tensor(filled, "where", np.array([True, True, True]))
    assert_tensor(filled, "y", X)
    assert as_dict(filled("AI.MODELGET", "m", "META"))["device"] == device.encode()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("device", DEVICES)
def test_two_inputs(filled: Wire, backend: str, device: str) -> None:
    store(filled, "m", multiply(backend), device, backend)
    put(filled, "factor", 10 * X)
    assert run(filled, ("x", "factor")) == OK
    assert_tensor(filled, "y", 10 * X * X)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [name for name in SAMPLES if name not in ("STRING", "UINT16")])
def test_dtypes(wire: Wire, backend: str, dtype: str) -> None:
    if backend == "ONNX" and dtype == "BFLOAT16":
        pytest.skip("onnxruntime's package has no arrays of it")
    identity = torch_models.saved(torch_models.Identity()) if backend == "TORCH" else models.identity(dtype)
    store(wire, "m", identity, "GPU", backend)
    for sample in (SAMPLES[dtype], SAMPLES[dtype][0, 0]):
        put(wire, "x", sample)
        assert run(wire) == OK
        assert_tensor(wire, "y", sample)


@needs_torch
@pytest.mark.parametrize("model", [torch_models.Mlp, torch_models.Convolutions])
@pytest.mark.parametrize("batch_size", [0, 8])
def test_networks_of_many_clients_give_what_pytorch_gives(
    server: Server, wire: Wire, model: Callable[[], torch.nn.Module], batch_size: int
) -> None:
    blob = torch_models.saved(model().eval())
    shape = (30,) if model is torch_models.Mlp else (3, 12, 12)
    expected_of = torch_models.loaded(blob).cuda()
    for device in ("GPU", "CPU"):
        store(wire, device, blob, device, "TORCH", "BATCHSIZE", batch_size)

    def use(client: int) -> None:
        generator = np.random.default_rng(client)
        with server.wire(timeout=120) as own:
            for _ in range(30):
                x = generator.random((1 + client % 3, *shape), np.float32)
                put(own, f"x{client}", x)
                for device in ("GPU", "CPU"):
                    assert run(own, (f"x{client}",), (f"y{client}",), device) == OK
                    with torch.inference_mode():
                        expected = expected_of(torch.from_numpy(x).cuda()).cpu().numpy()
                    # Convolutions may be of reduced precision on a GPU.
                    np.testing.assert_allclose(get(own, f"y{client}"), expected, rtol=2e-3, atol=2e-3)

    with ThreadPoolExecutor(12) as threads:
        list(threads.map(use, range(12)))
    assert as_dict(wire("AI.INFO", "GPU"))["errors"] == 0


@needs_torch
@pytest.mark.parametrize("model", torch_models.WRITERS)
def test_a_model_that_writes_to_its_inputs_leaves_stored_tensors_alone(
    filled: Wire, model: type[torch.nn.Module]
) -> None:
    store(filled, "m", torch_models.saved(model()))
    for _ in range(2):
        reply = run(filled)
        assert reply == OK or model is torch_models.KeepsItsInput, reply
    assert_tensor(filled, "x", X)


@needs_torch
def test_results_that_are_views_parameters_or_state(filled: Wire) -> None:
    store(filled, "transposed", torch_models.saved(torch_models.Transposed()))
    store(filled, "parameter", torch_models.saved(torch_models.Parameter()))
    store(filled, "counter", torch_models.saved(torch_models.Counter()))
    assert run(filled, key="transposed") == OK
    assert_tensor(filled, "y", X.T)
    assert run(filled, outputs=("weight", "rest"), key="parameter") == OK
    assert_tensor(filled, "weight", np.ones(2, np.float32))
    assert_tensor(filled, "rest", X[1:])
    for turn in range(1, 4):
        assert run(filled, outputs=(f"runs{turn}",), key="counter") == OK
    for turn in range(1, 4):
        assert_tensor(filled, f"runs{turn}", np.array([turn], np.float32))


# ---- scripts and DAGs -------------------------------------------------------------------


@needs_torch
@pytest.mark.parametrize("device", DEVICES)
def test_scripts(filled: Wire, device: str) -> None:
    store_script(filled, device)
    assert filled("AI.SCRIPTEXECUTE", "script", "where", "INPUTS", 2, "x", "x", "OUTPUTS", 1, "y") == OK
    assert_tensor(filled, "y", np.array([True, True]))
    assert filled("AI.SCRIPTEXECUTE", "script", "twice", "INPUTS", 1, "x", "OUTPUTS", 1, "y") == OK
    assert_tensor(filled, "y", 2 * X)
    words = ("AI.SCRIPTEXECUTE", "script", "count", "KEYS", 1, "n", "INPUTS", 1, "x", "OUTPUTS", 1, "y")
    assert filled(*words) == OK
    assert_tensor(filled, "y", X + 1)
    assert filled("GET", "n") == str(int(X.sum())).encode()


@needs_torch
@pytest.mark.parametrize("of_script", ["CPU", "GPU"])
@pytest.mark.parametrize("of_model", ["CPU", "GPU"])
def test_a_model_inside_of_a_script(filled: Wire, of_model: str, of_script: str) -> None:
    store(filled, "m", multiply("TORCH"), of_model)
    store_script(filled, of_script)
    put(filled, "w", X.T)
    words = ("AI.SCRIPTEXECUTE", "script", "predict", "KEYS", 1, "m", "INPUTS", 3, "x", "w", "w", "OUTPUTS", 1, "y")
    assert filled(*words) == OK
    assert_tensor(filled, "y", X.T * X.T + X.T)


@needs_torch
def test_a_dag_over_both_devices(filled: Wire) -> None:
    store_script(filled, "CPU")
    store(filled, "on gpu", multiply("TORCH"), "GPU:0")
    store(filled, "on cpu", multiply("TORCH"), "CPU")
    replies = filled(
        *dag(
            call("script", "twice", "x", "two"),
            ["AI.MODELEXECUTE", "on gpu", "INPUTS", 2, "two", "x", "OUTPUTS", 1, "left"],
            ["AI.MODELEXECUTE", "on cpu", "INPUTS", 2, "two", "two", "OUTPUTS", 1, "right"],
            ["AI.MODELEXECUTE", "on gpu", "INPUTS", 2, "left", "right", "OUTPUTS", 1, "y"],
            load=["x"],
            persist=["y"],
        )
    )
    assert replies == [OK] * 4
    assert_tensor(filled, "y", 2 * X * X * 4 * X * X)


# ---- errors -----------------------------------------------------------------------------


@needs_torch
def test_a_gpu_that_there_is_not(wire: Wire) -> None:
    error = Error(f"ERR there is no {NOWHERE}: PyTorch finds {torch.cuda.device_count()} GPU")
    for reply in (
        wire("AI.MODELSTORE", "m", "TORCH", NOWHERE, "BLOB", multiply("TORCH")),
        wire("AI.SCRIPTSTORE", "s", NOWHERE, "ENTRY_POINTS", 1, "where", "SOURCE", SOURCE),
    ):
        assert isinstance(reply, Error) and reply.text.startswith(error.text), reply
    assert wire("DBSIZE") == 0


@needs_onnx
def test_a_gpu_that_there_is_not_for_onnx(wire: Wire) -> None:
    reply = wire("AI.MODELSTORE", "m", "ONNX", NOWHERE, "BLOB", models.multiply())
    assert reply == Error("ERR GPU requested but ONNX couldn't find CUDA")


@needs_torch
def test_more_memory_than_the_gpu_has(filled: Wire) -> None:
    store_script(filled)
    reply = filled("AI.SCRIPTEXECUTE", "script", "everything", "INPUTS", 1, "x", "OUTPUTS", 1, "y")
    assert isinstance(reply, Error) and "out of memory" in reply.text
    assert filled("AI.SCRIPTEXECUTE", "script", "twice", "INPUTS", 1, "x", "OUTPUTS", 1, "y") == OK
    assert_tensor(filled, "y", 2 * X)


@pytest.mark.parametrize("backend", BACKENDS)
def test_shapes_that_do_not_fit(filled: Wire, backend: str) -> None:
    store(filled, "m", multiply(backend), "GPU", backend)
    put(filled, "w", np.ones((5, 5), np.float32))
    assert isinstance(run(filled, ("x", "w")), Error)
    assert run(filled, ("x", "x")) == OK
    assert_tensor(filled, "y", X * X)


class Lookup(torch.nn.Module):
    """Rows of a table; on a GPU an index that is none ends all work of the process there."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding.from_pretrained(torch.arange(6.0).reshape(3, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.table(x)


@needs_torch
def test_an_assertion_inside_of_a_kernel_ends_no_server(make_server: Callable[..., Server]) -> None:
    server = make_server()
    with server.wire(timeout=120) as wire:
        for device in ("GPU", "CPU"):
            store(wire, device, torch_models.saved(Lookup()), device)
        put(wire, "good", np.array([2, 0]))
        put(wire, "bad", np.array([7]))
        assert run(wire, ("good",), key="GPU") == OK
        assert_tensor(wire, "y", np.array([[4, 5], [0, 1]], np.float32))
        assert isinstance(run(wire, ("bad",), key="GPU"), Error)
        # CUDA itself is broken now, and says so; the rest of the server is not.
        assert isinstance(run(wire, ("good",), key="GPU"), Error)
        assert run(wire, ("good",), key="CPU") == OK
        assert isinstance(run(wire, ("bad",), key="CPU"), Error)
        assert wire("PING")


# ---- persistence ------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_snapshots_restarts_and_replicas(make_server: Callable[..., Server], backend: str) -> None:
    server = make_server(appendonly="yes")
    with server.wire(timeout=120) as wire:
        put(wire, "x", X)
        store(wire, "m", multiply(backend), "GPU", backend)
        for _ in range(20):
            assert run(wire, ("x", "x")) == OK
            wire("BGSAVE", "SCHEDULE")
        assert wire("DEBUG", "RELOAD") == OK
        assert run(wire, ("x", "x"), ("z",)) == OK
        assert_tensor(wire, "z", X * X)
    server.stop()
    server.start()
    replica = make_server(replicaof=("127.0.0.1", server.port))
    server.wait_for_replica(replica)
    for one in (server, replica):
        with one.wire(timeout=120) as wire:
            wire("READONLY")
            assert wire(*dag(execute("m", "x x", "y"), "AI.TENSORGET y VALUES", load=["x"], command="AI.DAGEXECUTE_RO"))
            assert as_dict(wire("AI.MODELGET", "m", "META"))["device"] == b"GPU"
