"""Small TorchScript models, one for each thing a test wants to see, and files that are no TorchScript."""

from __future__ import annotations

import io
import os
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


def saved(module: nn.Module) -> bytes:
    """The archive of a module, scripted unless it is TorchScript already."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(module if isinstance(module, torch.jit.ScriptModule) else torch.jit.script(module), buffer)
    return buffer.getvalue()


def loaded(blob: bytes) -> Any:
    """The model as PyTorch itself runs it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.load(io.BytesIO(blob))


def traced(module: nn.Module, x: Tensor) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return saved(torch.jit.trace(module, x))


class Multiply(nn.Module):
    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a * b


class Identity(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


class Gigabyte(nn.Module):
    """x + 0, by way of a gigabyte."""

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.zeros([250_000_000])[0]


class Mlp(nn.Module):
    """y[n, 2] of x[n, 30]."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.layers = nn.Sequential(nn.Linear(30, 16), nn.ReLU(), nn.Linear(16, 2), nn.Softmax(-1))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Convolutions(nn.Module):
    """With batch normalisation and in-place activations, as in many networks: y[n, 4] of x[n, 3, h, w]."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x).mean([2, 3])


class Rows(nn.Module):
    """The number of rows, for every row: tells what was batched together."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.full([x.size(0), 1], x.size(0))


class Total(nn.Module):
    """An output that cannot be split over a batch."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sum().reshape(1, 1)


class Pair(nn.Module):
    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        return a + b, a - b


class TensorList(nn.Module):
    def forward(self, x: Tensor) -> list[Tensor]:
        return [x, x]


class ListInput(nn.Module):
    def forward(self, x: list[Tensor]) -> Tensor:
        return x[0]


class TensorAndNumber(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, int]:
        return x, 3


class Number(nn.Module):
    def forward(self, x: Tensor) -> int:
        return x.size(0)


class Anything(nn.Module):
    """Declares two tensors, and has a parameter with a default."""

    def forward(self, x: Tensor, flag: bool = True) -> tuple[Tensor, Tensor]:
        return x, x


class NoForward(nn.Module):
    @torch.jit.export
    def run(self, x: Tensor) -> Tensor:
        return x


class Raises(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if bool(x.sum() > 0):
            raise ValueError("a reason\nof two lines")
        return x


class To(nn.Module):
    """Its input, as another dtype."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, x: Tensor) -> Tensor:
        return x.to(self.dtype)


class Quantized(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.quantize_per_tensor(x, 0.1, 0, torch.qint8)


class Transposed(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.t()


class Parameter(nn.Module):
    """An output that is a parameter, and one that is a view of its input."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.weight, x[1:]


class AddsInPlace(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        x.add_(1)
        return x


class WritesThroughAView(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        rows = [x.view(-1)]
        rows[0][0] = 7.0
        return x


class WritesToTheTarget(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        torch.add(x, 1, out=x)
        return x


class WritesAfterALoop(nn.Module):
    """Writes to its input when the loop is never entered, which alias analysis does not expect."""

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for _ in range(int(x.sum()) * 0):
            y = y + 1
        y.add_(1)
        return y


class WritesInAFork(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.jit.wait(torch.jit.fork(add_one, x))


def add_one(x: Tensor) -> Tensor:
    return x.add_(1)


class KeepsItsInput(nn.Module):
    """Writes to the input of the run before."""

    def __init__(self) -> None:
        super().__init__()
        self.last = torch.zeros(1)

    def forward(self, x: Tensor) -> Tensor:
        self.last.add_(1)
        self.last = x
        return x


class Remainder(nn.Module):
    """y = x * (the sum of x % its first element), both as integers."""

    def forward(self, x: Tensor) -> Tensor:
        rest = 0
        for _ in range(2):
            rest = remainder_of(int(x.sum()), int(x[0]))
        return x * rest


def remainder_of(a: int, b: int) -> int:
    return a % b


class UpdatesStatistics(nn.Module):
    """Writes to its input by an operator whose schema does not say so."""

    def forward(self, x: Tensor) -> Tensor:
        normalised = torch.native_batch_norm(torch.ones_like(x), None, None, x[0], x[1], True, 0.1, 1e-5)
        return normalised[0] + x


WRITERS = (
    AddsInPlace,
    WritesThroughAView,
    WritesToTheTarget,
    WritesAfterALoop,
    WritesInAFork,
    KeepsItsInput,
    UpdatesStatistics,
)


class Counter(nn.Module):
    """y = how many runs there were; the very tensor that the next run changes."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("runs", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.runs.add_(1)
        return self.runs


class Gradient(nn.Module):
    """y = 2 * x by way of autograd, which runs have to leave intact."""

    def forward(self, x: Tensor) -> Tensor:
        torch.set_grad_enabled(True)
        x = x.detach().clone().requires_grad_(True)
        gradient = torch.autograd.grad([(x * x).sum()], [x])[0]
        torch.set_grad_enabled(False)
        assert gradient is not None
        return gradient


class ReadsAFile(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.from_file("/etc/hostname", False, 1)


class WritesAFile(nn.Module):
    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def forward(self, x: Tensor) -> Tensor:
        torch.save(x, self.path)
        return x


class WritesAFileWhileLoading(nn.Module):
    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def forward(self, x: Tensor) -> Tensor:
        return x

    @torch.jit.export
    def __getstate__(self) -> tuple[str, bool]:
        return self.path, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]) -> None:
        self.path = state[0]
        self.training = state[1]
        torch.save(torch.zeros(1), self.path)


class MatrixChain(nn.Module):
    """Keeps a core busy for some milliseconds: y = x @ w @ w ..."""

    def __init__(self, size: int = 512, count: int = 8) -> None:
        super().__init__()
        self.count = count
        self.register_buffer("weights", torch.eye(size) + 1e-3)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.count):
            x = torch.relu(x @ self.weights)
        return x


# ---- files that are no TorchScript ----------------------------------------------------


class Attack:
    """Unpickling it makes a directory."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (self.path,)


def replaced(blob: bytes, records: Mapping[str, bytes]) -> bytes:
    """An archive with other contents of some records."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(blob)) as source, zipfile.ZipFile(buffer, "w") as target:
        for name in source.namelist():
            target.writestr(name, records.get(name.split("/", 1)[1], source.read(name)))
    return buffer.getvalue()


def torch_saved(value: object, *, zipped: bool = True) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


def exported() -> bytes:
    buffer = io.BytesIO()
    torch.export.save(torch.export.export(Mlp().eval(), (torch.rand(1, 30),)), buffer)
    return buffer.getvalue()


def packaged() -> bytes:
    buffer = io.BytesIO()
    with torch.package.PackageExporter(buffer) as package:
        package.save_pickle("package", "value.pkl", {"x": 1})
    return buffer.getvalue()


def attacks(path: str) -> dict[str, bytes]:
    """Files that make a directory when their pickles are loaded."""
    good = saved(Identity())
    return {
        "pickle": pickle.dumps(Attack(path)),
        "old pickle": pickle.dumps(Attack(path), protocol=0),
        "torch.save": torch_saved(Attack(path)),
        "old torch.save": torch_saved(Attack(path), zipped=False),
        "data.pkl": replaced(good, {"data.pkl": pickle.dumps(Attack(path), protocol=2)}),
        "constants.pkl": replaced(good, {"constants.pkl": pickle.dumps(Attack(path), protocol=2)}),
    }
