"""The control worker: loads models and backends and drops sessions, in order of arrival.

One thread, so that stores of the same key take effect in the order in which
their commands came, and an import never competes with itself.
"""

from __future__ import annotations

from typing import Any

from redisai_py.backend import BackendError, ScriptSource, Source

from . import backends, native
from .calls import Redis
from .core import address, ffi, lib, log, text
from .core import settings as core_settings
from .errors import error_text, text_of
from .loaded_model import LoadedModel
from .warmup import warm_up

COULD_NOT_LOAD = b"ERR Could not load backend"

redis = Redis()


def serve(queue: Any) -> None:
    """The life of the control worker."""
    jobs = ffi.new("rai_job *[1]")
    cancelled, cancelled_count = ffi.new("int64_t[1]"), ffi.new("int64_t *")
    handlers = {
        lib.RAI_JOB_LOAD: load_model,
        lib.RAI_JOB_BACKEND: load_backend,
        lib.RAI_JOB_RETUNE: retune,
        lib.RAI_JOB_RELEASE: release,
    }
    while True:
        if lib.rai_queue_take(queue, jobs, 1, cancelled, 1, cancelled_count, FOR_EVER) == 0:
            continue
        lib.rai_queue_settled()  # threads that a framework starts may use as many cores as this one
        job = jobs[0]
        try:
            handlers[job.kind](job)
        except BaseException as error:  # even a SystemExit of a framework must not end the worker
            log("warning", f"job failed: {type(error).__name__}: {text_of(error)}")
            fail(job, error_text(error))
        lib.rai_jobs_complete(jobs, 1)


FOR_EVER = 2**63 - 1


def fail(job: Any, error: bytes) -> None:
    lib.rai_job_fail(job, error, len(error))


def load_backend(job: Any) -> None:
    path = None if job.path == ffi.NULL else text(job.path)
    backends.load(backends.NAMES[job.backend], path)


def load_model(job: Any) -> None:
    """Creates the session of the job's model, unless its client is gone already."""
    model = job.model
    try:
        check_wanted(job)
        loaded = create(job)
    except BaseException as error:
        text = could_not_load(error) if isinstance(error, backends.BackendLoadError) else error_text(error)
        fail(job, text)
        native.publish_failure(address(model), text)
    else:
        native.publish(address(model), loaded)


def check_wanted(job: Any) -> None:
    """Raises BackendError when nobody waits for the job's model any more."""
    if job.cancelled:
        raise BackendError("ERR the client is gone")
    if job.client == ffi.NULL and not job.in_place and job.model.refcount == 1:
        raise BackendError("ERR the model was deleted")  # only the job still knows it


def could_not_load(error: backends.BackendLoadError) -> bytes:
    """RedisAI's text, and, when a framework is not installed, what to do about it."""
    return COULD_NOT_LOAD + (f": {error.remedy}".encode() if error.remedy else b"")


def create(job: Any) -> LoadedModel:
    """The loaded form of a job's C model or script."""
    model = job.model
    session = create_script(model) if model.kind == lib.RAI_SCRIPT else create_model(job)
    model.session_memory = getattr(session, "memory", 0)
    settings = batching_of(model)
    natively = getattr(session, "execute_natively", None)
    loaded = LoadedModel(backends.NAMES[model.backend], session, *settings, natively)
    for function in getattr(session, "functions", ()):
        natively = session.natively(function) if hasattr(session, "natively") else None
        loaded.functions[function] = LoadedModel(loaded.backend, session, *settings, natively)
    return loaded


def batching_of(model: Any) -> tuple[int, int, float]:
    """BATCHSIZE, MINBATCHSIZE and MINBATCHTIMEOUT (seconds) as the scheduler is to apply them.

    DEFAULT_BATCH_DELAY has a model without MINBATCHSIZE wait for so long for a full batch.
    """
    delay = core_settings.default_batch_delay_us / 1e6
    if delay > 0 and model.batch_size > 0 and model.min_batch_size == 0:
        return model.batch_size, model.batch_size, delay
    return model.batch_size, model.min_batch_size, model.min_batch_timeout_ms / 1000


def create_model(job: Any) -> Any:
    """The session of a job's model; also fills in the names that the model itself states."""
    model = job.model
    name = backends.NAMES[model.backend]
    session = backends.get(name).load(
        Source(
            blob=join(model.blob),
            device=text(model.device),
            inputs=tuple(names(model.inputs)),
            outputs=tuple(names(model.outputs)),
            batched=model.batch_size > 0,
        )
    )
    if model.warmup > 0:
        warm_up(session, join(model.blob), job, check_wanted)
    if name != "TF" or model.inputs.count == 0:
        set_names(model, list(session.inputs), list(session.outputs))
    return session


def create_script(script: Any) -> Any:
    """A script's session; its source ends at the first NUL."""
    name = backends.NAMES[script.backend]
    load_script = getattr(backends.get(name), "load_script", None)
    if load_script is None:
        raise BackendError(f"ERR the backend that was loaded for {name} has no scripts")
    source = ScriptSource(
        text=join(script.blob).split(b"\0", 1)[0].decode(errors="replace"),
        device=text(script.device),
        entry_points=tuple(names(script.inputs)),
    )
    return load_script(source, redis)


def join(blob: Any) -> bytes:
    """The chunks of a blob as one bytes object."""
    chunks = [blob.chunks[i] for i in range(blob.chunk_count)]
    if len(chunks) == 1:
        return bytes(native.copy_bytes(address(chunks[0].data), chunks[0].length))
    return b"".join([ffi.buffer(chunk.data, chunk.length) for chunk in chunks])


def names(stored: Any) -> list[str]:
    return [
        bytes(ffi.buffer(stored.items[i].data, stored.items[i].length)).decode(errors="surrogateescape")
        for i in range(stored.count)
    ]


def set_names(model: Any, inputs: list[str], outputs: list[str]) -> None:
    """Gives the model the names that its session states, unless it has just these already."""
    if names(model.inputs) == inputs and names(model.outputs) == outputs:
        return
    lib.rai_model_set_names(model, new_names(inputs), new_names(outputs))


def new_names(values: list[str]) -> Any:
    stored = lib.rai_names_new(len(values))
    for i, value in enumerate(values):
        encoded = value.encode(errors="surrogateescape")
        lib.rai_names_set(stored, i, encoded, len(encoded))
    return stored


def retune(job: Any) -> None:
    """Lets a session change itself; requests go on with the old form meanwhile, and for good if that fails."""
    loaded: Any = native.session_of(address(job.model))
    loaded.session.retune(join(job.model.blob))
    job.model.session_memory = getattr(loaded.session, "memory", 0)


def release(job: Any) -> None:
    """Closes a session that no model value holds any more; the job frees the blob."""
    if job.session == ffi.NULL:
        return
    loaded: Any = native.drop(address(job.session))
    try:
        loaded.session.close()
    except Exception as error:
        raise BackendError(f"ERR closing a session failed: {error}") from error
