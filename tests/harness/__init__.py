"""Tools of the tests: real servers, a raw RESP connection, and RDB payloads."""

from . import torch_backend
from .binaries import RedisBinary, all_binaries, default_binary, module_path, some_binaries
from .server import Server, wait_until
from .tensors import assert_tensor, get, put
from .wire import OK, Error, Status, Wire, as_dict, flat

__all__ = [
    "OK",
    "Error",
    "RedisBinary",
    "Server",
    "Status",
    "Wire",
    "all_binaries",
    "as_dict",
    "assert_tensor",
    "default_binary",
    "flat",
    "get",
    "module_path",
    "put",
    "some_binaries",
    "torch_backend",
    "wait_until",
]
