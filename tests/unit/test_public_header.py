"""module/include/redisai.h: made from the table, and fit for anybody's redismodule.h."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from redisai_py.codegen.shared_api import FUNCTIONS, PUBLIC_HEADER, public_header

CONSUMER = Path(__file__).resolve().parents[1] / "consumer"

# As much of a redismodule.h as the header needs, and as most of them say it.
DECLARATIONS = """
typedef struct RedisModuleCtx RedisModuleCtx;
typedef struct RedisModuleString RedisModuleString;
typedef struct RedisModuleType RedisModuleType;
extern void *(*RedisModule_GetSharedAPI)(RedisModuleCtx *ctx, const char *name);
"""
USE = """
int initialize(RedisModuleCtx *ctx);
int initialize(RedisModuleCtx *ctx) { return RedisAI_Initialize(ctx) || RedisAI_GetLLAPIVersion() != 1; }
"""


def test_it_is_what_the_table_says() -> None:
    assert PUBLIC_HEADER.read_text() == public_header(), "python -m redisai_py.codegen.shared_api writes it again"


def test_it_has_75_functions_in_one_order() -> None:
    text = PUBLIC_HEADER.read_text()
    declared = re.findall(r"^REDISAI_API .*\(\*RedisAI_(\w+)\)\(", text, re.MULTILINE)
    bound = re.findall(r'\{"RedisAI_(\w+)", \(void \*\*\)&RedisAI_(\w+)\}', text)
    assert len(declared) == 75 and declared == [function.name for function in FUNCTIONS]
    assert bound == [(name, name) for name in declared]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.name)
def test_the_test_module_uses_the_function(function: object) -> None:
    used = "".join(path.read_text() for path in CONSUMER.glob("*.c"))
    assert re.search(rf"\bRedisAI_{function.name}\b", used)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("language", "standard"), [("c", "c99"), ("c", "c11"), ("c", "gnu17"), ("c++", "c++11"), ("c++", "c++17")]
)
def test_it_compiles_without_warnings_in_several_files_of_a_module(
    tmp_path: Path, language: str, standard: str
) -> None:
    compiler = shutil.which("g++" if language == "c++" else "gcc")
    if compiler is None:
        pytest.skip("no compiler for this language")
    declarations = f'extern "C" {{{DECLARATIONS}}}' if language == "c++" else DECLARATIONS
    include = f'{declarations}\n#include "{PUBLIC_HEADER}"\n'
    (tmp_path / "one.src").write_text(
        include + declarations.replace("extern void", "void") + USE
        if language == "c"
        else include + 'extern "C" { void *(*RedisModule_GetSharedAPI)(RedisModuleCtx *, const char *); }' + USE
    )
    (tmp_path / "two.src").write_text(include + "int other(void);\nint other(void) { return RedisAI_TensorFree != 0; }")
    command = [compiler, "-x", language, f"-std={standard}", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared"]
    files = [str(tmp_path / name) for name in ("one.src", "two.src")]
    result = subprocess.run([*command, *files, "-o", str(tmp_path / "m.so")], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
