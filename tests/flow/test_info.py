"""AI.INFO's statistics, and the module's sections of INFO."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest

import models
from harness import OK, Error, Server, Wire, as_dict, flat, put, wait_until

NOT_FOUND = Error("ERR cannot find run info for key")


@pytest.fixture(autouse=True)
def model(wire: Wire) -> None:
    assert wire("AI.MODELSTORE", "m", "onnx", "cpu", "TAG", "v1", "BLOB", models.linear()) == OK
    put(wire, "three rows", np.ones((3, 4), np.float32))
    put(wire, "wrong shape", np.ones((3, 5), np.float32))


def run(wire: Wire, source: str = "three rows", *options: str | int) -> object:
    return wire("AI.MODELEXECUTE", "m", "INPUTS", 1, source, "OUTPUTS", 1, "y", *options)


def counters(wire: Wire, key: str = "m") -> tuple[int, int, int]:
    """Calls, errors and samples."""
    fields = as_dict(wire("AI.INFO", key))
    return fields["calls"], fields["errors"], fields["samples"]


@pytest.mark.parametrize("protocol", [2, 3])
def test_fields_in_their_order_with_bulk_strings_and_integers_only(server: Server, wire: Wire, protocol: int) -> None:
    with server.wire(protocol=protocol) as connection:
        reply = flat(connection("AI.INFO", "m"))
    assert reply == [
        *(b"key", b"m"),
        *(b"type", b"MODEL"),
        *(b"backend", b"ONNX"),
        *(b"device", b"cpu"),
        *(b"tag", b"v1"),
        *(b"duration", 0),
        *(b"samples", 0),
        *(b"calls", 0),
        *(b"errors", 0),
    ]


def test_tag_is_empty_when_none_was_given(wire: Wire) -> None:
    assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.linear()) == OK
    assert as_dict(wire("AI.INFO", "m"))["tag"] == b""


def test_keys_without_statistics(wire: Wire) -> None:
    wire("SET", "string", "v")
    for key in ("absent", "string", "three rows"):
        assert wire("AI.INFO", key) == NOT_FOUND
        assert wire("AI.INFO", key, "RESETSTAT") == NOT_FOUND


def test_too_many_arguments(server: Server, wire: Wire) -> None:
    assert wire("AI.INFO", "m", "RESETSTAT", "x") == server.arity_error("AI.INFO")


def test_any_other_third_argument_is_ignored(wire: Wire) -> None:
    assert wire("AI.INFO", "m", "JUNK") == wire("AI.INFO", "m")


def test_runs_are_counted_with_their_samples_and_duration(wire: Wire) -> None:
    for _ in range(4):
        assert run(wire) == OK
    assert counters(wire) == (4, 0, 12)
    assert as_dict(wire("AI.INFO", "m"))["duration"] > 0


def test_duration_is_in_microseconds_of_running(wire: Wire) -> None:
    assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.spin()) == OK
    put(wire, "slow", np.full((1, 1), models.turns_for(0.2), np.float32))
    assert run(wire, "slow") == OK
    assert 50_000 < as_dict(wire("AI.INFO", "m"))["duration"] < 5_000_000


def test_a_failed_run_is_a_call_and_an_error(wire: Wire) -> None:
    assert run(wire) == OK
    duration = as_dict(wire("AI.INFO", "m"))["duration"]
    for _ in range(2):
        assert isinstance(run(wire, "wrong shape"), Error)
    assert counters(wire) == (3, 2, 3)
    assert as_dict(wire("AI.INFO", "m"))["duration"] == duration


def test_refused_requests_count_nothing(wire: Wire) -> None:
    assert isinstance(run(wire, "absent"), Error)
    assert isinstance(run(wire, "three rows", "TIMEOUT", 0), Error)
    assert isinstance(wire("AI.MODELEXECUTE", "m", "INPUTS", 2, "y", "y", "OUTPUTS", 1, "y"), Error)
    assert counters(wire) == (0, 0, 0)


def test_a_scalar_output_is_one_sample(wire: Wire) -> None:
    assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.scalar_sum()) == OK
    assert run(wire) == OK
    assert counters(wire) == (1, 0, 1)


@pytest.mark.parametrize("word", ["RESETSTAT", "resetstat"])
def test_resetstat_zeroes_all_counters(wire: Wire, word: str) -> None:
    run(wire)
    run(wire, "wrong shape")
    assert wire("AI.INFO", "m", word) == OK
    fields = as_dict(wire("AI.INFO", "m"))
    assert [fields[name] for name in ("duration", "samples", "calls", "errors")] == [0, 0, 0, 0]
    run(wire)
    assert counters(wire) == (1, 0, 3)


def test_each_model_has_its_own_counters(wire: Wire) -> None:
    assert wire("AI.MODELSTORE", "n", "ONNX", "CPU", "BLOB", models.linear()) == OK
    run(wire)
    assert counters(wire) == (1, 0, 3)
    assert counters(wire, "n") == (0, 0, 0)


def test_counters_belong_to_the_stored_object(wire: Wire) -> None:
    run(wire)
    wire("DEL", "m")
    assert wire("AI.INFO", "m") == NOT_FOUND
    assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.linear()) == OK
    assert counters(wire) == (0, 0, 0)


def test_without_a_key_ai_info_tells_the_versions(wire: Wire) -> None:
    reply = wire("AI.INFO")
    assert isinstance(reply, list)
    assert len(reply) >= 8, "module, low level API, RDB encoding, and the ONNX backend"
    names, values = reply[::2], reply[1::2]
    assert all(isinstance(name, bytes) for name in names)
    shown = [value.decode() if isinstance(value, bytes) else str(value) for value in values]
    assert re.fullmatch(r"\d+\.\d+\.\d+", shown[0])
    assert shown[1:3] == ["1", "4"]
    assert any(b"onnx" in name.lower() for name in names)


CPU_FIELDS = [
    f"ai_{owner}_used_cpu_{kind}" for owner in ("self", "children", "main_thread") for kind in ("sys", "user")
]


def ai_sections(wire: Wire, section: str) -> dict[str, list[tuple[str, str]]]:
    """The module's sections, in the order of the reply."""
    sections: dict[str, list[tuple[str, str]]] = {}
    current = None
    for line in wire("INFO", section).decode().splitlines():
        if line.startswith("# "):
            current = line[2:]
            sections[current] = []
        elif line and current is not None:
            name, _, text = line.partition(":")
            sections[current].append((name, text))
    return {name: fields for name, fields in sections.items() if name.startswith("ai_")}


@pytest.mark.parametrize("section", ["modules", "everything", "ai"])
def test_info_has_the_five_sections_of_redisai_first_and_then_ours(wire: Wire, section: str) -> None:
    assert list(ai_sections(wire, section))[:6] == [
        "ai_versions",
        "ai_git",
        "ai_load_time_configs",
        "ai_backends_info",
        "ai_cpu",
        "ai_compilation",
    ]


def test_info_versions(wire: Wire) -> None:
    (module, api, rdb) = ai_sections(wire, "ai_versions")["ai_versions"]
    assert module[0] == "ai_RedisAI_version"
    assert re.fullmatch(r"\d+\.\d+\.\d+", module[1])
    assert api == ("ai_low_level_API_version", "1")
    assert rdb == ("ai_rdb_version", "4")


def test_info_git(wire: Wire) -> None:
    ((name, sha),) = ai_sections(wire, "ai_git")["ai_git"]
    assert name == "ai_git_sha"
    assert re.fullmatch(r"[0-9a-f]{7,64}|unknown", sha)


def test_info_load_time_configs(wire: Wire) -> None:
    fields = ai_sections(wire, "ai_load_time_configs")["ai_load_time_configs"]
    assert fields == [
        ("ai_threads_per_queue", "1"),
        ("ai_inter_op_parallelism", "0"),
        ("ai_intra_op_parallelism", "0"),
        ("ai_model_execution_timeout", "5000"),
        ("ai_backend_memory_limit", "0"),
    ]


def test_info_backends(wire: Wire) -> None:
    run(wire)
    fields = ai_sections(wire, "ai_backends_info")["ai_backends_info"]
    assert [name for name, _ in fields] == [
        "ai_onnxruntime_version",
        "ai_onnxruntime_memory",
        "ai_onnxruntime_memory_access_num",
        "ai_onnxruntime_maximum_run_sessions_number",
    ]
    values = dict(fields)
    assert re.match(r"\d+\.\d+", values["ai_onnxruntime_version"])
    assert int(values["ai_onnxruntime_memory_access_num"]) > 0
    assert int(values["ai_onnxruntime_maximum_run_sessions_number"]) >= 1


def test_info_backends_is_empty_before_one_is_loaded(make_server: Callable[..., Server]) -> None:
    with make_server().wire() as fresh:
        assert ai_sections(fresh, "modules")["ai_backends_info"] == []


def test_info_cpu(wire: Wire) -> None:
    fields = ai_sections(wire, "ai_cpu")["ai_cpu"]
    assert [name for name, _ in fields[:6]] == CPU_FIELDS
    queues = fields[6:]
    assert queues, "the CPU queue always exists"
    for name, text in queues:
        assert re.fullmatch(r"ai_queue_CPU(:\d*)?_bthread_n\d+_used_cpu_total", name)
        assert re.fullmatch(r"\d+\.\d{6}|N/A", text)
    for _, text in fields[:6]:
        assert re.fullmatch(r"\d+\.\d{6}|N/A", text)


def test_the_name_of_a_device_cannot_end_a_line_of_info(wire: Wire) -> None:
    assert wire("AI.MODELSET", "n", "ONNX", b"CPU\r\na:1\xff", "BLOB", models.linear()) == OK
    text = wire("INFO", "ai_cpu")
    assert b"\r\nai_queue_CPU__A:1__bthread_n1_used_cpu_total:" in text
    assert all(line.startswith((b"ai_", b"#")) for line in text.splitlines())


def test_info_modules_line(wire: Wire) -> None:
    lines = wire("INFO", "modules").decode().splitlines()
    (line,) = [line for line in lines if line.startswith("module:name=ai,")]
    assert re.match(r"module:name=ai,ver=\d+,", line)
    assert "options=[handle-io-errors" in line


def test_onnx_memory_counters_follow_the_models(wire: Wire) -> None:
    def memory() -> int:
        return int(dict(ai_sections(wire, "ai_backends_info")["ai_backends_info"])["ai_onnxruntime_memory"])

    def accesses() -> int:
        return int(dict(ai_sections(wire, "ai_backends_info")["ai_backends_info"])["ai_onnxruntime_memory_access_num"])

    blob = models.weighted(1)
    assert wire("AI.MODELSTORE", "large", "ONNX", "CPU", "BLOB", blob) == OK
    assert memory() >= 1_000_000
    before = accesses()
    run(wire)
    assert accesses() > before
    wire("FLUSHALL")
    wait_until(lambda: memory() == 0)
    assert accesses() > before
