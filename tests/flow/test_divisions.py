"""Integer divisions that have no result end no server, in whatever library they are; in Redis they do, as before."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

import models
import torch_models
from harness import OK, Error, RedisBinary, Server, Wire, assert_tensor, put, torch_backend
from harness.tensors import NUMPY_TYPES
from harness.workers import becomes_short, tried

torch = pytest.importorskip("torch")

Servers = Callable[..., Server]

needs_traps = pytest.mark.skipif(platform.machine() != "x86_64", reason="this processor does not trap")


def smallest(dtype: str) -> np.ndarray:
    least = np.iinfo(NUMPY_TYPES[dtype]).min
    return np.array([least, 7, least, least], NUMPY_TYPES[dtype])


DIVISORS = [-1, -2, 1, -1]


def quotients(dtype: str) -> np.ndarray:
    least = np.iinfo(NUMPY_TYPES[dtype]).min
    return np.array([least, -3, least, least], NUMPY_TYPES[dtype])


def execute(wire: Wire, key: str = "m") -> object:
    return wire("AI.MODELEXECUTE", key, "INPUTS", 2, "a", "b", "OUTPUTS", 1, "c")


def put_both(wire: Wire, dtype: str, divisors: list[int]) -> None:
    put(wire, "a", smallest(dtype))
    put(wire, "b", np.array(divisors, NUMPY_TYPES[dtype]))


@pytest.mark.parametrize("dtype", ["INT32", "INT64"])
def test_in_onnxruntime_on_workers_and_on_the_event_loop(server: Server, wire: Wire, dtype: str) -> None:
    element = models.ONNX_TYPES[dtype]
    names = [models.value(name, element) for name in "abc"]
    blob = models.build([helper.make_node("Div", ["a", "b"], ["c"])], names[:2], names[2:])
    assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", blob) == OK
    put_both(wire, dtype, DIVISORS)
    assert execute(wire) == OK
    assert_tensor(wire, "c", quotients(dtype))
    put_both(wire, dtype, [2, -2, 3, -4])
    becomes_short(server, wire, "m", "AI.MODELEXECUTE", "m", "INPUTS", 2, "a", "b", "OUTPUTS", 1, "c")
    put_both(wire, dtype, DIVISORS)
    before = tried(server)
    assert execute(wire) == OK
    assert_tensor(wire, "c", quotients(dtype))
    if dtype == "INT64" and platform.machine() == "x86_64":
        assert tried(server) == before + 1
        assert execute(wire) == OK
        assert tried(server) == before + 1, "what takes the processor so long goes to workers from now on"
    put_both(wire, dtype, [0, 0, 0, 0])
    reply = execute(wire)
    assert isinstance(reply, Error) and "zero" in reply.text.lower()


class Divide(torch.nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.div(a, b, rounding_mode="trunc")


@pytest.mark.parametrize("form", torch_backend.FORMS)
def test_in_pytorch(make_server: Servers, tmp_path: Path, form: str) -> None:
    server = make_server(*torch_backend.load_arguments(form, tmp_path))
    with server.wire() as wire:
        assert wire("AI.MODELSTORE", "m", "TORCH", "CPU", "BLOB", torch_models.saved(Divide())) == OK
        for dtype in ("INT8", "INT16", "INT32", "INT64"):
            put_both(wire, dtype, DIVISORS)
            assert execute(wire) == OK
            assert_tensor(wire, "c", quotients(dtype))


# Every form of the instruction, with a divisor of zero: the dividend, then the quotient and the remainder.
FORMS = r"""
#include <stdint.h>
static int64_t zero __attribute__((used));
#define WIDE(name, divide, operand) \
    static void name(int64_t *row) { \
        static int64_t zeros[1024]; \
        int64_t low = row[0], high = 0; \
        __asm__ volatile("xor %%r9d, %%r9d\n\t" divide " " operand : "+a"(low), "+d"(high) \
            : "b"(zeros), "c"((int64_t)1) : "r9", "cc", "memory"); \
        row[1] = low; \
        row[2] = high; \
    }
WIDE(quad, "idivq", "%%r9")
WIDE(quad_memory, "idivq", "(%%rbx)")
WIDE(quad_near, "idivq", "16(%%rbx)")
WIDE(quad_far, "idivq", "4096(%%rbx)")
WIDE(quad_indexed, "idivq", "8(%%rbx,%%rcx,8)")
WIDE(quad_scaled, "divq", "(%%rbx,%%rcx,8)")
WIDE(quad_relative, "idivq", "zero(%%rip)")
WIDE(quad_unsigned, "divq", "%%r9")
WIDE(full, "idivl", "%%r9d")
WIDE(full_memory, "divl", "4(%%rbx)")
WIDE(half, "idivw", "%%r9w")
WIDE(half_memory, "idivw", "4(%%rbx)")
WIDE(byte_, "idivb", "%%r9b")
typedef void form(int64_t *);
static form *const forms[] = {quad, quad_memory, quad_near, quad_far, quad_indexed, quad_scaled, quad_relative,
                              quad_unsigned, full, full_memory, half, half_memory, byte_};
void divide(int64_t *rows) {
    for (unsigned i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) forms[i](rows + 3 * i);
}
"""
BACKEND = """
import ctypes
import numpy as np
library = ctypes.CDLL({path!r})

class Backend:
    def __init__(self, options):
        self.version = "1"
    def load(self, source):
        return Session()

class Session:
    inputs, outputs = ["x"], ["y"]
    def execute(self, requests, run):
        return [self.divide(np.array(x)) for (x,) in requests]
    def divide(self, rows):
        library.divide(rows.ctypes.data_as(ctypes.c_void_p))
        return [rows]
    def close(self):
        pass
"""


@needs_traps
@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_every_form_of_the_instruction(make_server: Servers, tmp_path: Path) -> None:
    (tmp_path / "forms.c").write_text(FORMS)
    library = tmp_path / "forms.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", tmp_path / "forms.c", "-o", library], check=True)
    (tmp_path / "forms.py").write_text(BACKEND.format(path=str(library)))
    server = make_server("TORCH", str(tmp_path / "forms.py"))
    kept = 5 << 32  # what narrow instructions leave alone
    with server.wire() as wire:
        assert wire("AI.MODELSTORE", "m", "TORCH", "CPU", "BLOB", "x") == OK
        rows = np.array([[41 if i < 10 else kept + 41, 0, 0] for i in range(13)])
        put(wire, "x", rows)
        assert wire("AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", 1, "y") == OK
        narrow = [[kept + 41, kept, 41]] * 2  # in DX
        byte = [[kept + 41, kept + (41 << 8), 0]]  # in AH
        assert_tensor(wire, "y", np.array([[41, 0, 41]] * 10 + narrow + byte))


IN_REDIS = r"""
import ctypes
import os

class Backend:
    def __init__(self, options):
        self.version = "1"
    def load(self, source):
        return Session()

def of_redis(instruction):  # where it occurs in the code of redis-server itself
    program = os.readlink("/proc/self/exe")
    for line in open("/proc/self/maps"):
        words = line.split()
        if words[-1] == program and "x" in words[1]:
            begin, end = (int(word, 16) for word in words[0].split("-"))
            return begin + ctypes.string_at(begin, end - begin).index(instruction)

class Session:
    inputs, outputs = ["x"], ["y"]
    def execute(self, requests, run):
        address = of_redis(b"\xf7\xf9")  # idiv %ecx, of which a C function has its fourth argument
        ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_int] * 4)(address)(1, 1, 1, 0)
        return requests
    def close(self):
        pass
"""

# What Redis does in a crash writes everywhere, while other threads run: now and then they crash, too.
NO_MEMORY_TEST = {"crash_memcheck_enabled": "no"}

without_asan = pytest.mark.skipif(
    "libasan" in os.environ.get("LD_PRELOAD", ""), reason="AddressSanitizer reports crashes itself"
)


def assert_crashes(server: Server) -> None:
    assert server.process is not None
    assert server.process.wait(20) == -signal.SIGFPE
    assert "crashed by signal: 8" in server.log
    server.process = None


@needs_traps
@without_asan
def test_what_redis_itself_divides_is_a_crash(make_server: Servers, tmp_path: Path) -> None:
    (tmp_path / "in_redis.py").write_text(IN_REDIS)
    server = make_server("TORCH", str(tmp_path / "in_redis.py"), **NO_MEMORY_TEST)
    with server.wire() as wire:
        assert wire("AI.MODELSTORE", "m", "TORCH", "CPU", "BLOB", "x") == OK
        put(wire, "x", np.zeros(1, np.int32))
        wire.send("AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", 1, "y")
        assert_crashes(server)


@needs_traps
@without_asan
@pytest.mark.parametrize("settings", [["no"], ["no", "yes"]])
def test_redis_sets_and_removes_its_own_handlers(
    make_server: Servers, redis_binary: RedisBinary, settings: list[str]
) -> None:
    server = make_server(binary=redis_binary, **NO_MEMORY_TEST)
    with server.wire() as wire:
        names = [models.value(name, models.ONNX_TYPES["INT32"]) for name in "abc"]
        blob = models.build([helper.make_node("Div", ["a", "b"], ["c"])], names[:2], names[2:])
        assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", blob) == OK
        put_both(wire, "INT32", DIVISORS)
        for setting in settings:
            assert wire("CONFIG", "SET", "crash-log-enabled", setting) == OK
        time.sleep(0.5)  # Redis' cron, ten times a second
        assert execute(wire) == OK
        assert_tensor(wire, "c", quotients("INT32"))
    if settings[-1] == "yes":
        assert server.process is not None
        server.process.send_signal(signal.SIGFPE)
        assert_crashes(server)
