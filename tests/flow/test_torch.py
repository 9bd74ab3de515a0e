"""TORCH: what is loaded and what is refused, dtypes, results, errors, and that stored tensors stay as they are."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from harness import OK, Error, Server, Wire, as_dict, assert_tensor, get, put, torch_backend
from harness.tensors import NUMPY_TYPES, SAMPLES

torch = pytest.importorskip("torch")

import torch_models as models  # noqa: E402

BAD_INPUTS = Error("Erorr while trying to retrive model inputs number: std::exception")
BAD_OUTPUTS = Error("Erorr while trying to retrive model outputs number: std::exception")
ARCHIVE_NEEDED = "ERR a model for TORCH is a TorchScript archive, as torch.jit.save writes it"
USES_FILES = Error("ERR TorchScript that reads or writes files is not supported: a model must be self-contained")

X = np.arange(1, 7, dtype=np.float32).reshape(2, 3)


@pytest.fixture(scope="module", params=torch_backend.FORMS)
def server(
    module_servers: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Server:
    return module_servers(*torch_backend.load_arguments(request.param, tmp_path_factory.mktemp("backend")))


def store(wire: Wire, key: str, module: torch.nn.Module | bytes, *options: str | int) -> bytes:
    blob = module if isinstance(module, bytes) else models.saved(module)
    assert wire("AI.MODELSTORE", key, "TORCH", "CPU", *options, "BLOB", blob) == OK
    return blob


def run(wire: Wire, inputs: tuple[str, ...] = ("x",), outputs: tuple[str, ...] = ("y",), key: str = "m") -> object:
    return wire("AI.MODELEXECUTE", key, "INPUTS", len(inputs), *inputs, "OUTPUTS", len(outputs), *outputs)


def fails(wire: Wire, *parts: str) -> None:
    """Asserts that a run of ``m`` is an error with all these parts, and that its output stays as it was."""
    put(wire, "y", SAMPLES["INT8"])
    reply = run(wire)
    assert isinstance(reply, Error), reply
    for part in parts:
        assert part in reply.text
    assert_tensor(wire, "y", SAMPLES["INT8"])
    assert as_dict(wire("AI.INFO", "m"))["errors"] == 1


class Numbered(torch.nn.Module):
    """A parameter that no tensor can be given for, though it is not used."""

    def forward(self, x: torch.Tensor, number: int) -> torch.Tensor:
        return x


def test_a_parameter_that_is_no_tensor(wire: Wire) -> None:
    store(wire, "m", Numbered())
    put(wire, "x", X)
    reply = run(wire, ("x", "x"))
    assert isinstance(reply, Error) and "Expected a value of type 'int'" in reply.text


# ---- storing --------------------------------------------------------------------------


def test_info_shows_the_version(server: Server, wire: Wire) -> None:
    store(wire, "m", models.Multiply())
    assert server.info("ai")["ai_Torch_version"] == torch.__version__


SIGNATURES = {
    "two inputs": (models.Multiply(), [b"a", b"b"], [b""]),
    "a tuple": (models.Pair(), [b"a", b"b"], [b"", b""]),
    "a default": (models.Anything(), [b"x", b"flag"], [b"", b""]),
    "only the tensors of a tuple": (models.TensorAndNumber(), [b"x"], [b""]),
    "no tensor": (models.Number(), [b"x"], []),
}


@pytest.mark.parametrize(("module", "inputs", "outputs"), SIGNATURES.values(), ids=SIGNATURES.keys())
def test_names_come_from_forward(
    wire: Wire, module: torch.nn.Module, inputs: list[bytes], outputs: list[bytes]
) -> None:
    blob = store(wire, "m", module, "TAG", "t")
    fields = as_dict(wire("AI.MODELGET", "m"))
    assert (fields["backend"], fields["inputs"], fields["outputs"]) == (b"TORCH", inputs, outputs)
    assert (fields["tag"], fields["blob"]) == (b"t", blob)


def test_a_traced_module_is_torchscript_too(wire: Wire) -> None:
    mlp = models.Mlp().eval()
    store(wire, "m", models.traced(mlp, torch.rand(1, 30)))
    x = np.random.default_rng(1).random((5, 30), np.float32)
    put(wire, "x", x)
    assert run(wire) == OK
    np.testing.assert_allclose(get(wire, "y"), mlp(torch.from_numpy(x)).detach().numpy(), rtol=1e-6)


@pytest.mark.parametrize(
    ("module", "error"), [(models.NoForward(), BAD_INPUTS), (models.TensorList(), BAD_OUTPUTS)], ids=["none", "list"]
)
def test_a_forward_that_cannot_be_counted(wire: Wire, module: torch.nn.Module, error: Error) -> None:
    assert wire("AI.MODELSTORE", "m", "TORCH", "CPU", "BLOB", models.saved(module)) == error
    assert wire("EXISTS", "m") == 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="this PyTorch finds a GPU")
@pytest.mark.parametrize("device", ["GPU", "gpu:1"])
def test_gpu_without_a_gpu(wire: Wire, device: str) -> None:
    error = wire("AI.MODELSTORE", "m", "TORCH", device, "BLOB", models.saved(models.Identity()))
    assert error == Error("GPU requested but Torch couldn't find CUDA")


def test_device_that_is_none(wire: Wire) -> None:
    blob = models.saved(models.Identity())
    assert wire("AI.MODELSET", "m", "TORCH", "XPU", "BLOB", blob) == Error("ERR unsupported device")


@pytest.mark.parametrize(
    "blob",
    [b"", b"this is no model", b"PK\3\4", models.saved(models.Mlp())[:3000]],
    ids=["empty", "text", "zip", "half"],
)
def test_what_is_no_archive_gets_the_text_of_torch(wire: Wire, blob: bytes) -> None:
    error = wire("AI.MODELSTORE", "m", "TORCH", "CPU", "BLOB", blob)
    assert isinstance(error, Error)
    assert "reader failed" in error.text.lower() or "PytorchStreamReader" in error.text
    assert wire("EXISTS", "m") == 0


REFUSED = {
    "weights": (lambda: models.torch_saved(models.Mlp().state_dict()), "a pickle that torch.save wrote"),
    "module": (lambda: models.torch_saved(torch.nn.Linear(2, 2)), "a pickle that torch.save wrote"),
    "old torch.save": (lambda: models.torch_saved({"a": 1}, zipped=False), "a pickle"),
    "export": (models.exported, "one of torch.export"),
    "package": (models.packaged, "one of torch.package"),
}


@pytest.mark.parametrize(("blob", "what"), REFUSED.values(), ids=REFUSED.keys())
def test_what_other_functions_of_torch_write_is_refused_by_name(
    wire: Wire, blob: Callable[[], bytes], what: str
) -> None:
    error = wire("AI.MODELSTORE", "m", "TORCH", "CPU", "BLOB", blob())
    assert error.text.startswith(f"{ARCHIVE_NEEDED}; this is {what}")


@pytest.mark.parametrize("kind", models.attacks(""))
def test_no_pickle_runs_code(wire: Wire, tmp_path: Path, kind: str) -> None:
    made = tmp_path / "made"
    blob = models.attacks(str(made))[kind]
    assert isinstance(wire("AI.MODELSTORE", "m", "TORCH", "CPU", "BLOB", blob), Error)
    assert not made.exists()


def test_models_that_use_files_are_refused(wire: Wire, tmp_path: Path) -> None:
    made = tmp_path / "made"
    while_loading = models.saved(models.WritesAFileWhileLoading(str(made)))
    made.unlink(missing_ok=True)
    for blob in (models.saved(models.ReadsAFile()), models.saved(models.WritesAFile(str(made))), while_loading):
        assert wire("AI.MODELSTORE", "m", "TORCH", "CPU", "BLOB", blob) == USES_FILES
    assert not made.exists()


# ---- running --------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [dtype for dtype in NUMPY_TYPES if dtype != "UINT16"])
def test_every_dtype_goes_in_and_out(wire: Wire, dtype: str) -> None:
    store(wire, "m", models.Identity())
    put(wire, "x", SAMPLES[dtype])
    assert run(wire) == OK
    assert_tensor(wire, "y", SAMPLES[dtype])
    assert wire("AI.TENSORSET", "x", dtype, "VALUES", 1) == OK
    assert run(wire) == OK
    assert wire("AI.TENSORGET", "y") == wire("AI.TENSORGET", "x")


@pytest.mark.parametrize(("dtype", "text"), [("UINT16", "Unsupported kUInt bits 16"), ("STRING", "Unsupported code 7")])
def test_dtypes_that_torch_has_not(wire: Wire, dtype: str, text: str) -> None:
    store(wire, "m", models.Identity())
    put(wire, "x", SAMPLES[dtype])
    assert run(wire) == Error(text)


OTHER_DTYPES = {
    torch.complex32: "ComplexHalf is not supported by dlpack",
    torch.complex64: "ComplexFloat is not supported by dlpack",
    torch.complex128: "ComplexDouble is not supported by dlpack",
}


@pytest.mark.parametrize(("dtype", "text"), OTHER_DTYPES.items(), ids=str)
def test_results_of_dtypes_that_tensors_have_not(wire: Wire, dtype: torch.dtype, text: str) -> None:
    store(wire, "m", models.To(dtype))
    put(wire, "x", X)
    fails(wire, text)


def test_quantized_results(wire: Wire) -> None:
    store(wire, "m", models.Quantized())
    put(wire, "x", X)
    fails(wire, "QInt8 is not supported by dlpack")


@pytest.mark.parametrize("rows", [1, 2, 33])
def test_outputs_are_those_of_torch(wire: Wire, rows: int) -> None:
    blob = store(wire, "m", models.Mlp().eval())
    x = np.random.default_rng(rows).random((rows, 30), np.float32)
    put(wire, "x", x)
    for _ in range(4):  # the first runs are profiled, the next ones optimised
        assert run(wire) == OK
        expected = models.loaded(blob)(torch.from_numpy(x)).detach().numpy()
        np.testing.assert_allclose(get(wire, "y"), expected, rtol=1e-6)


def test_modules_run_in_the_mode_in_which_they_were_saved(wire: Wire) -> None:
    x = np.random.default_rng(3).random((4, 3, 8, 8), np.float32)
    put(wire, "x", x)
    for module in (models.Convolutions().eval(), models.Convolutions().train()):
        blob = store(wire, "m", module)
        assert run(wire) == OK
        expected = models.loaded(blob)(torch.from_numpy(x)).detach().numpy()
        np.testing.assert_allclose(get(wire, "y"), expected, rtol=1e-4, atol=1e-6)
        assert_tensor(wire, "x", x)


def test_nothing_is_run_when_a_model_is_stored(server: Server, wire: Wire) -> None:
    store(wire, "m", models.Identity())
    before = server.peak_memory()
    store(wire, "m", models.Gigabyte())
    assert server.peak_memory() - before < 200e6
    put(wire, "x", X)
    assert run(wire) == OK
    assert_tensor(wire, "y", X)


def test_tuple_results_are_stored_in_order(wire: Wire) -> None:
    store(wire, "m", models.Pair())
    put(wire, "x", X)
    put(wire, "b", 2 * X)
    assert run(wire, ("x", "b"), ("sum", "difference")) == OK
    assert_tensor(wire, "sum", 3 * X)
    assert_tensor(wire, "difference", -X)


def test_results_need_not_be_contiguous(wire: Wire) -> None:
    store(wire, "m", models.Transposed())
    put(wire, "x", X)
    assert run(wire) == OK
    assert_tensor(wire, "y", X.T)


def test_results_may_be_parameters_and_views(wire: Wire) -> None:
    store(wire, "m", models.Parameter())
    put(wire, "x", X)
    assert run(wire, outputs=("weight", "view")) == OK
    assert_tensor(wire, "weight", np.ones(2, np.float32))
    assert_tensor(wire, "view", X[1:])


def test_a_tuple_with_a_number_is_counted_without_it_and_cannot_be_run(wire: Wire) -> None:
    store(wire, "m", models.TensorAndNumber())
    put(wire, "x", X)
    fails(wire, "Function returned non-tensor valuesforward")


def test_a_model_without_tensor_results_cannot_be_run(wire: Wire) -> None:
    store(wire, "m", models.Number())
    put(wire, "x", X)
    mismatch = Error("Number of keys given as OUTPUTS here does not match model definition")
    assert run(wire) == mismatch
    assert wire("AI.MODELRUN", "m", "TIMEOUT", 5, "INPUTS", "x", "OUTPUTS") == mismatch


RUN_ERRORS = {
    "raise": (models.Raises(), X, ["a reason", "TorchScript"]),
    "shape": (models.Mlp(), X, ["shapes cannot be multiplied"]),
    "dtype": (models.Mlp(), np.ones((1, 30), np.float64), ["dtype"]),
    "list": (models.ListInput(), X, ["Expected a value of type", "List[Tensor]"]),
}


@pytest.mark.parametrize(("module", "x", "parts"), RUN_ERRORS.values(), ids=RUN_ERRORS.keys())
def test_errors_of_torch_reach_the_client(wire: Wire, module: torch.nn.Module, x: np.ndarray, parts: list[str]) -> None:
    store(wire, "m", module)
    put(wire, "x", x)
    fails(wire, *parts)


def test_a_remainder_by_zero_is_an_error(wire: Wire) -> None:
    store(wire, "m", models.Remainder())
    for first, rest in ((-3, -2), (0, None), (3, 1), (0, None), (7, 0)):
        x = np.array([first, 7 - first], np.float32)
        put(wire, "x", x)
        reply = run(wire)
        if rest is None:
            assert isinstance(reply, Error) and "division by 0" in reply.text
        else:
            assert reply == OK
            assert_tensor(wire, "y", x * np.float32(rest))


def test_autograd_works_in_models_that_use_it(wire: Wire) -> None:
    store(wire, "m", models.Gradient())
    store(wire, "mlp", models.Mlp().eval())
    put(wire, "x", X)
    put(wire, "row", np.ones((1, 30), np.float32))
    for _ in range(4):
        assert run(wire) == OK
        assert_tensor(wire, "y", 2 * X)
        assert run(wire, ("row",), ("z",), "mlp") == OK


# ---- memory that is not the model's own -------------------------------------------------


@pytest.mark.parametrize("kind", models.WRITERS)
def test_stored_inputs_are_never_changed(wire: Wire, kind: type[torch.nn.Module]) -> None:
    blob = store(wire, "m", kind())
    expected = models.loaded(blob)(torch.from_numpy(X.copy())).numpy()
    put(wire, "x", X)
    for _ in range(3):
        assert run(wire) == OK
        assert_tensor(wire, "x", X)
        assert_tensor(wire, "y", expected)


def test_in_a_batch_inputs_are_copies_anyway(wire: Wire) -> None:
    store(wire, "m", models.AddsInPlace(), "BATCHSIZE", 8)
    put(wire, "x", X)
    assert run(wire) == OK
    assert_tensor(wire, "x", X)
    assert_tensor(wire, "y", X + 1)


def test_results_of_a_model_with_state_are_those_of_their_own_run(server: Server, wire: Wire) -> None:
    store(wire, "m", models.Counter())
    put(wire, "x", X)
    connections = [server.wire() for _ in range(4)]
    for turn in range(25):
        for number, connection in enumerate(connections):
            connection.send("AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", 1, f"y{turn}-{number}")
        assert [connection.read() for connection in connections] == [OK] * 4
    counts = sorted(float(get(wire, f"y{turn}-{number}")[0]) for turn in range(25) for number in range(4))
    assert counts == list(range(1, 101))
    for connection in connections:
        connection.close()


# ---- batching, threads, persistence -----------------------------------------------------


def test_requests_are_batched(server: Server, wire: Wire) -> None:
    store(wire, "m", models.Rows(), "BATCHSIZE", 4, "MINBATCHSIZE", 4)
    put(wire, "x", X)
    with server.wire() as other:
        other.send("AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", 1, "z")
        assert run(wire) == OK
        assert other.read() == OK
    assert_tensor(wire, "y", np.full((2, 1), 4, np.int64))
    assert_tensor(wire, "z", np.full((2, 1), 4, np.int64))


def test_an_output_that_cannot_be_cut_up(server: Server, wire: Wire) -> None:
    store(wire, "m", models.Total(), "BATCHSIZE", 4, "MINBATCHSIZE", 4)
    put(wire, "x", X)
    with server.wire() as other:
        other.send("AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", 1, "z")
        error = Error("ERR Model did not generate the expected batch size")
        assert (run(wire), other.read()) == (error, error)


def test_heavy_runs_give_the_same_on_one_core_and_on_all(wire: Wire) -> None:
    blob = store(wire, "m", models.MatrixChain())
    x = np.random.default_rng(5).random((256, 512), np.float32)
    put(wire, "x", x)
    expected = models.loaded(blob)(torch.from_numpy(x)).numpy()
    for _ in range(10):
        assert run(wire) == OK
        np.testing.assert_allclose(get(wire, "y"), expected, rtol=1e-4)


def test_thread_counts_are_load_arguments(make_server: Callable[..., Server]) -> None:
    with make_server("INTRA_OP_PARALLELISM", 2, "INTER_OP_PARALLELISM", 3) as server, server.wire() as wire:
        put(wire, "x", X)
        for key in ("m", "n"):  # what cannot be set twice need not be
            store(wire, key, models.Identity())
            assert run(wire, key=key) == OK


def test_models_survive_restarts_dumps_and_replication(make_server: Callable[..., Server]) -> None:
    server = make_server(appendonly="yes", appendfsync="always", save=("900", "1"))
    replica = make_server(replicaof=("127.0.0.1", server.port))
    with server.wire() as wire:
        server.wait_for_replica(replica)
        blob = store(wire, "m", models.Mlp().eval(), "TAG", "t")
        put(wire, "x", np.ones((1, 30), np.float32))
        assert run(wire) == OK
        y = get(wire, "y")
        assert wire("RESTORE", "copy", 0, wire("DUMP", "m")) == OK
        assert run(wire, key="copy", outputs=("z",)) == OK
        np.testing.assert_array_equal(get(wire, "z"), y)
        server.wait_for_replica(replica)
    with replica.wire() as other:
        fields = as_dict(other("AI.MODELGET", "m"))
        assert (fields["tag"], fields["blob"]) == (b"t", blob)
        np.testing.assert_array_equal(get(other, "y"), y)
        assert other("REPLICAOF", "NO", "ONE") == OK
        assert run(other, outputs=("w",)) == OK
        np.testing.assert_array_equal(get(other, "w"), y)
    server.restart(save=True)
    with server.wire() as wire:
        assert run(wire, outputs=("w",)) == OK
        np.testing.assert_array_equal(get(wire, "w"), y)
        assert as_dict(wire("AI.MODELGET", "m", "META"))["inputs"] == [b"x"]


def code_record(blob: bytes) -> tuple[str, bytes]:
    """The name of the record with the code of a model, and the code."""
    with zipfile.ZipFile(io.BytesIO(blob)) as archive:
        name = next(name for name in archive.namelist() if name.endswith("/torch_models.py"))
        return name.split("/", 1)[1], archive.read(name)


DEEP = 1_000_000
DEEP_PICKLES = {
    "tuples": b"(" * DEEP + b"t" * DEEP,
    "tuples of one": b")" + b"\x85" * DEEP,
    "lists": b"]" * DEEP + b"a" * (DEEP - 1),
}


@pytest.mark.parametrize("record", ["constants.pkl", "data.pkl"])
@pytest.mark.parametrize("instructions", DEEP_PICKLES.values(), ids=DEEP_PICKLES.keys())
def test_archives_that_are_nested_too_deeply_are_refused(wire: Wire, record: str, instructions: bytes) -> None:
    blob = models.replaced(models.saved(models.Mlp()), {record: b"\x80\x02" + instructions + b"."})
    assert wire("AI.MODELSTORE", "m", "TORCH", "CPU", "BLOB", blob) == Error("ERR the archive is nested too deeply")


def test_lists_that_are_inside_of_others_cannot_grow_unseen(wire: Wire) -> None:
    chain = b"".join(b"j%b]r%ba" % (n.to_bytes(4, "little"), (n + 1).to_bytes(4, "little")) for n in range(100_000))
    broken = models.replaced(models.saved(models.Mlp()), {"constants.pkl": b"\x80\x02]r\0\0\0\0" + chain + b"."})
    assert wire("AI.MODELSTORE", "m", "TORCH", "CPU", "BLOB", broken) == Error("ERR the archive is broken")


def test_models_whose_code_is_nested_too_deeply_are_refused(wire: Wire) -> None:
    blob = models.saved(models.Mlp())
    name, code = code_record(blob)
    deep = code.replace(b"return ", b"return " + b"-" * 120_000)
    assert deep != code
    reply = wire("AI.MODELSTORE", "m", "TORCH", "CPU", "BLOB", models.replaced(blob, {name: deep}))
    assert reply == Error("ERR the code is nested too deeply")


def test_models_of_many_methods_are_not_nested(wire: Wire) -> None:
    blob = models.saved(models.Mlp())
    name, code = code_record(blob)
    forward = b"  def forward(self: __torch__.torch_models.Mlp,\n    x: Tensor) -> Tensor:\n"
    assert forward in code
    methods = b"".join(forward.replace(b"forward", b"other%d" % n) + b"    return x\n" for n in range(600))
    blob = models.replaced(blob, {name: code.replace(forward, methods + forward)})
    assert wire("AI.MODELSTORE", "m", "TORCH", "CPU", "BLOB", blob) == OK
