"""Writes the C source of the cffi bridge: ``python -m redisai_py.codegen.bridge CDEF OUTPUT``."""

from __future__ import annotations

import sys
from pathlib import Path

from cffi import FFI


def main() -> None:
    declarations, output = (Path(argument) for argument in sys.argv[1:3])
    ffi = FFI()
    ffi.cdef(declarations.read_text())
    ffi.set_source("redisai_py.worker._core", '#include "shared_api.h"')
    ffi.emit_c_code(str(output))


if __name__ == "__main__":
    main()
