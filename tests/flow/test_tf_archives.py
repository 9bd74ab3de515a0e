"""The TF backend: archives of SavedModels and Keras models, what is refused in them, and how all models persist."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import gettempdir

import numpy as np
import pytest

import tensorflow_models as models
from harness import OK, Error, Server, Wire, assert_tensor, get, wait_until
from harness import payload as rdb

from .tensorflow_requests import OFFSET, ONES, X, assert_error, execute, signature, store

NO_INPUTS = Error("ERR INPUTS not specified for TF")


# ---- SavedModels -------------------------------------------------------------------------------


@pytest.mark.parametrize("form", models.ARCHIVES)
def test_an_archive_of_a_saved_model_states_its_own_signature(wire: Wire, form: str) -> None:
    files = models.saved_model(models.Affine)
    blob = models.ARCHIVES[form](files)
    assert store(wire, blob) == OK
    assert signature(wire) == ([b"offset", b"x"], [b"largest", b"y"]), "in the order of their names"
    assert wire("AI.MODELGET", "m", "BLOB") == blob
    assert execute(wire, {"offset": OFFSET, "x": X}, ["largest", "y"]) == OK
    for name, array in models.run_saved_model(files, {"offset": OFFSET, "x": X}).items():
        assert_tensor(wire, name, array)


def test_an_archive_in_chunks(wire: Wire) -> None:
    blob = models.tarred(models.saved_model(models.Affine))
    chunks = [blob[start : start + 100] for start in range(0, len(blob), 100)]
    assert wire("AI.MODELSTORE", "m", "TF", "CPU", "BLOB", *chunks) == OK
    assert signature(wire) == ([b"offset", b"x"], [b"largest", b"y"])


def test_names_that_are_given_must_be_in_the_signature(wire: Wire) -> None:
    blob = models.zipped(models.saved_model(models.Affine))
    assert store(wire, blob, ["x", "offset"], ["y"]) == OK
    assert signature(wire) == ([b"x", b"offset"], [b"y"])
    assert execute(wire, {"x": X, "offset": OFFSET}, ["y"]) == OK
    assert_tensor(wire, "y", models.run_saved_model(models.saved_model(models.Affine), {"x": X, "offset": OFFSET})["y"])
    assert store(wire, blob, ["z", "offset"], ["y"]) == Error('ERR Input node named "z" not found in TF graph.')
    assert store(wire, blob, ["x", "offset"], ["z"]) == Error('ERR Output node named "z" not found in TF graph')


def test_a_table_is_initialised(wire: Wire) -> None:
    assert store(wire, models.zipped(models.saved_model(models.Table))) == OK
    words = np.array([b"b", b"?", b"a"], object)
    assert execute(wire, {"word": words}, ["number"]) == OK
    assert_tensor(wire, "number", np.array([20, -1, 10], np.int64))


def test_a_saved_model_of_tensorflow_1(wire: Wire) -> None:
    files = models.saved_model_of_tensorflow_1()
    assert store(wire, models.zipped(files)) == OK
    assert execute(wire, {"x": X}, ["y"]) == OK
    assert_tensor(wire, "y", models.run_saved_model(files, {"x": X})["y"])


REFUSED_FILES: dict[str, tuple[Callable[[], Mapping[str, bytes]], str]] = {
    "reads a file": (lambda: models.saved_model(models.Reader), '"ReadFile" is not allowed'),
    "has assets": (models.saved_model_with_asset, "assets"),
    "restores another checkpoint": (
        lambda: models.changed(models.saved_model(models.Affine), models.restore_from_elsewhere),
        '"RestoreV2" is not allowed',
    ),
    "initialises from a file": (
        lambda: models.changed(models.saved_model(models.Table), models.initialise_by_reading),
        '"ReadFile" is not allowed',
    ),
    "lacks a node": (
        lambda: models.changed(models.saved_model(models.Table), models.initialise_by_what_is_missing),
        'a node "missing" that it does not have',
    ),
    "is no SavedModel": (lambda: {"saved_model.pb": b"junk"}, "not a valid SavedModel"),
    "holds something else": (lambda: {"readme": b"hello"}, "neither a SavedModel"),
    "holds nothing": (dict, "ERR"),
    "has a member above": (lambda: {"../evil": b"", **models.saved_model(models.Affine)}, "outside"),
    "has an absolute member": (lambda: {"/tmp/evil": b"", **models.saved_model(models.Affine)}, "outside"),
    "is a Keras model with code": (lambda: models.keras_files("lambda"), "Lambda"),
    "is a Keras model with a vocabulary": (lambda: models.keras_files("vocabulary"), "ERR"),
    "is a Keras model with a foreign class": (
        lambda: {**models.keras_files(), "config.json": b'{"module": "os", "class_name": "system", "config": {}}'},
        "os.system",
    ),
    "is a Keras model without a description": (lambda: {**models.keras_files(), "config.json": b"junk"}, "JSON"),
}


@pytest.mark.parametrize("form", ["zip", "tar", "tar.gz"])
@pytest.mark.parametrize("what", REFUSED_FILES)
def test_an_archive_that_is_refused(wire: Wire, what: str, form: str) -> None:
    files, text = REFUSED_FILES[what]
    if what == "holds nothing" and form != "tar.gz":
        text = "INPUTS not specified for TF"  # an empty archive of these forms does not begin like one
    reply = store(wire, models.ARCHIVES[form](files()))
    assert_error(reply, "ERR", text)
    assert wire("EXISTS", "m") == 0


def tar_with(kind: bytes, target: str) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        member = tarfile.TarInfo("saved_model.pb")
        member.type, member.linkname = kind, target
        archive.addfile(member)
    return made.getvalue()


@pytest.mark.parametrize("kind", [b"1", b"2", b"3", b"6"], ids=["hard link", "symbolic link", "device", "pipe"])
def test_an_archive_with_what_is_no_plain_file(wire: Wire, kind: bytes) -> None:
    assert_error(store(wire, tar_with(kind, "/etc/passwd")), "not a plain file")


def test_a_zip_with_a_link(wire: Wire) -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        member = zipfile.ZipInfo("saved_model.pb")
        member.external_attr = 0o120777 << 16
        archive.writestr(member, "/etc/passwd")
    assert_error(store(wire, made.getvalue()), "not a plain file")


def test_an_archive_that_expands_without_end(wire: Wire) -> None:
    zeros = {"saved_model.pb": bytes(80 << 20)}
    assert_error(store(wire, models.zipped(zeros)), "expands")
    assert_error(store(wire, models.tarred(zeros, mode="w:gz")), "expands")


@pytest.mark.parametrize("keep", [30, 2000])
@pytest.mark.parametrize("form", ["zip", "tar", "tar.gz"])
def test_half_an_archive(wire: Wire, form: str, keep: int) -> None:
    blob = models.ARCHIVES[form](models.saved_model(models.Affine))[:keep]
    assert isinstance(store(wire, blob), Error)
    assert wire("EXISTS", "m") == 0


def test_no_file_is_left_behind(wire: Wire) -> None:
    before = set(Path(gettempdir()).glob("redisai-*"))
    assert store(wire, models.zipped(models.saved_model(models.Affine))) == OK
    assert isinstance(store(wire, models.zipped(models.saved_model(models.Reader))), Error)
    assert set(Path(gettempdir()).glob("redisai-*")) <= before


ONLY_ARCHIVES = [
    (models.multiply(),),
    ("x",),
    (b"PK",),
    (b"PK\3", b"\5"),
    (b"x" * 257 + b"ustaR",),
]


@pytest.mark.parametrize("chunks", ONLY_ARCHIVES)
def test_only_archives_may_leave_the_names_out(wire: Wire, chunks: tuple[bytes | str, ...]) -> None:
    assert wire("AI.MODELSTORE", "m", "TF", "CPU", "BLOB", *chunks) == NO_INPUTS


def test_an_archive_with_half_of_the_names(wire: Wire) -> None:
    blob = models.zipped(models.saved_model(models.Affine))
    assert wire("AI.MODELSTORE", "m", "TF", "CPU", "OUTPUTS", 1, "y", "BLOB", blob) == NO_INPUTS
    no_outputs = Error("ERR OUTPUTS not specified for TF")
    assert wire("AI.MODELSTORE", "m", "TF", "CPU", "INPUTS", 1, "x", "BLOB", blob) == no_outputs


def test_a_keras_archive_states_its_own_signature(wire: Wire) -> None:
    assert store(wire, models.zipped(models.keras_files())) == OK
    assert signature(wire) == ([b"left", b"right"], [b"p", b"q"])
    right = np.ones((2, 4), np.float32)
    assert execute(wire, {"left": X, "right": right}, ["p", "q"]) == OK
    expected = models.keras_model()([X, right], training=False)
    for name, array in zip("pq", expected, strict=True):
        np.testing.assert_allclose(get(wire, name), array.numpy(), rtol=1e-5, atol=1e-5)


KERAS_IS_HERE = """
import sys
import redisAI

@redisAI.flow("keras")
def keras():
    return "keras.src" in sys.modules
"""


def test_keras_comes_when_a_model_needs_it_and_reads_no_settings(
    make_server: Callable[..., Server], tmp_path: Path
) -> None:
    flow, settings = tmp_path / "flow.py", tmp_path / ".keras" / "keras.json"
    flow.write_text(KERAS_IS_HERE)
    settings.parent.mkdir()
    settings.write_text('{"backend": "torch"}')
    server = make_server("FLOWS", flow, start=False)
    with server.start(environment={"HOME": str(tmp_path)}).wire() as wire:
        assert store(wire, models.multiply(), ["a", "b"], ["c"], key="graph") == OK
        assert execute(wire, {"a": ONES, "b": 3 * ONES}, ["c"], key="graph") == OK
        assert wire("AI.FLOW", "keras") == 0
        assert store(wire, models.zipped(models.keras_files())) == OK
        assert execute(wire, {"left": X, "right": X}, ["p", "q"]) == OK
        assert wire("AI.FLOW", "keras") == 1
    assert [path.name for path in settings.parent.iterdir()] == ["keras.json"]


def test_a_flow_file_imports_keras_while_tensorflow_comes(make_server: Callable[..., Server], tmp_path: Path) -> None:
    """Python itself lets both fail for good, unless one waits for the other."""
    flow = tmp_path / "flow.py"
    flow.write_text("import keras\n" + KERAS_IS_HERE)
    with make_server("FLOWS", flow).wire() as wire:
        assert store(wire, models.multiply(), ["a", "b"], ["c"], key="graph") == OK
        assert execute(wire, {"a": ONES, "b": 3 * ONES}, ["c"], key="graph") == OK
        assert wire("AI.FLOW", "keras") == 1


# ---- persistence ----------------------------------------------------------------------------------


def fill(wire: Wire) -> None:
    assert store(wire, models.multiply(), ["a", "b"], ["c"], "TAG", "t", key="graph") == OK
    assert store(wire, models.zipped(models.saved_model(models.Affine)), key="zip") == OK
    assert store(wire, models.tarred(models.saved_model(models.Affine)), ["x", "offset"], ["y"], key="tar") == OK
    assert store(wire, models.zipped(models.keras_files()), key="keras") == OK


def check(wire: Wire) -> None:
    assert execute(wire, {"a": 2 * ONES, "b": 3 * ONES}, ["c"], key="graph") == OK
    assert_tensor(wire, "c", 6 * ONES)
    expected = models.run_saved_model(models.saved_model(models.Affine), {"x": X, "offset": OFFSET})
    assert execute(wire, {"offset": OFFSET, "x": X}, ["largest", "y"], key="zip") == OK
    assert_tensor(wire, "largest", expected["largest"])
    assert execute(wire, {"x": X, "offset": OFFSET}, ["y"], key="tar") == OK
    assert_tensor(wire, "y", expected["y"])
    assert execute(wire, {"left": X, "right": X}, ["p", "q"], key="keras") == OK
    assert signature(wire, "zip") == ([b"offset", b"x"], [b"largest", b"y"])
    assert signature(wire, "tar") == ([b"x", b"offset"], [b"y"])
    assert signature(wire, "keras") == ([b"left", b"right"], [b"p", b"q"])


def rewrite(server: Server, wire: Wire) -> None:
    wire("BGREWRITEAOF")
    wait_until(lambda: server.info("persistence")["aof_rewrite_in_progress"] == "0")
    assert server.info("persistence")["aof_last_bgrewrite_status"] == "ok"


def test_models_survive_reload_restore_and_aof(make_server: Callable[..., Server]) -> None:
    server = make_server(appendonly="yes", aof_use_rdb_preamble="no", save="3600 1")
    with server.wire() as wire:
        fill(wire)
        check(wire)
        assert wire("DEBUG", "RELOAD") == OK
        check(wire)
        for key in ("graph", "zip", "tar", "keras"):
            payload = wire("DUMP", key)
            assert wire("DEL", key) == 1
            assert wire("RESTORE", key, 0, payload) == OK
        check(wire)
        assert wire("COPY", "zip", "copy") == 1
        assert execute(wire, {"offset": OFFSET, "x": X}, ["largest", "y"], key="copy") == OK
    with server.restart().wire() as wire:  # from the commands as they came
        check(wire)
        rewrite(server, wire)
    with server.restart().wire() as wire:
        check(wire)


def test_names_that_are_not_known_yet_are_saved_as_none_and_found_later(make_server: Callable[..., Server]) -> None:
    """A server that loads a model from an AOF knows its names only when the worker has it."""
    server = make_server("MODEL_CHUNK_SIZE", 100, appendonly="yes", aof_use_rdb_preamble="no", save="3600 1")
    with server.wire() as wire:
        fill(wire)
    for _ in range(2):
        with server.restart().wire() as wire:
            # TensorFlow takes seconds to import, so all of this happens before.
            assert signature(wire, "zip") == ([], [])
            rewrite(server, wire)
            assert wire("DEBUG", "RELOAD") == OK
            payload = wire("DUMP", "keras")
    with server.restart().wire() as wire:
        assert wire("RESTORE", "keras", 0, payload, "REPLACE") == OK
        check(wire)


def test_a_model_that_cannot_be_loaded_survives_an_aof_rewrite(make_server: Callable[..., Server]) -> None:
    server = make_server(appendonly="yes", aof_use_rdb_preamble="no")
    with server.wire() as wire:
        assert wire("RESTORE", "broken", 0, rdb.model(4, b"no graph", backend=0)) == OK
        rewrite(server, wire)
    with server.restart().wire() as wire:
        assert wire("AI.MODELGET", "broken", "BLOB") == b"no graph"
        assert_error(execute(wire, {"x": ONES}, ["y"], key="broken"), "Invalid GraphDef")


def test_a_replica_runs_an_archive(make_server: Callable[..., Server]) -> None:
    server, replica = make_server(), make_server()
    with server.wire() as wire, replica.wire() as reader:
        assert reader("REPLICAOF", "127.0.0.1", server.port) == OK
        server.wait_for_replica(replica)
        fill(wire)
        server.wait_for_replica(replica)
        reader("REPLICAOF", "NO", "ONE")
        check(reader)
