"""What scripts do with Redis: commands, and models that they run.

Both need Redis' lock, which the C core takes: cffi has released the GIL by then,
as the order of the locks demands.
"""

from __future__ import annotations

import os
import time
from errno import EACCES, EROFS
from typing import Any

from redisai_py.backend import BackendError, Call, Outputs, Reply, Run

from . import native
from .core import address, ffi, lib, text
from .errors import forget_frames

ERROR = "Redis command returned an error: "
NO_PERMISSION = "NOPERM this user has no permissions to run the command, or scripts may not run it"
READ_ONLY = "READONLY You can't write against a read only replica."
REFUSALS = {EACCES: NO_PERMISSION, EROFS: READ_ONLY}
LOAD_POLL = 0.001  # seconds


class CommandError(BackendError):
    """A command replied with an error, or was refused."""

    def __init__(self, text: str) -> None:
        super().__init__(ERROR + text)
        self.reply = text


class Redis:
    """Redis as scripts see it (``redisai_py.backend.Redis``)."""

    def execute(self, call: Call, words: list[bytes]) -> Reply:
        """Runs a command and returns its reply; raises CommandError."""
        arguments = [ffi.from_buffer(word) for word in words]
        length = ffi.new("size_t *")
        protocol = lib.rai_call_redis(
            struct_of(call),
            len(words),
            ffi.new("char *[]", arguments),
            ffi.new("size_t[]", [len(word) for word in words]),
            length,
        )
        error_number = ffi.errno
        if protocol == ffi.NULL:
            raise CommandError(REFUSALS.get(error_number) or os.strerror(error_number))
        try:
            reply, _ = parse(ffi.buffer(protocol, length[0])[:], 0)
        finally:
            lib.rai_call_free_reply(protocol)
        if isinstance(reply, CommandError):
            raise reply
        value: Reply = reply
        return value

    def run_model(self, call: Call, key: bytes, inputs: list[Any], output_count: int, run: Run) -> Outputs:
        """Runs the model at a key on this thread: not batched, and not counted in its statistics."""
        error = ffi.new("char const **")
        model = lib.rai_call_find_model(struct_of(call), lib.RAI_MODEL, key, len(key), error)
        if model == ffi.NULL:
            raise BackendError(text(error[0]))
        try:
            session = loaded_session(model)
            if len(inputs) != model.inputs.count:
                raise BackendError(wrong_count(model, "inputs", model.inputs.count, len(inputs)))
            if output_count != model.outputs.count:
                raise BackendError(wrong_count(model, "outputs", model.outputs.count, output_count))
            (result,) = execute(session, inputs, run, address(model))
        finally:
            lib.rai_model_release(model)
        if isinstance(result, Exception):
            forget_frames(result)
            raise BackendError(str(result) or type(result).__name__)
        outputs: Outputs = result
        return outputs


def execute(session: Any, inputs: list[Any], run: Run, model: int) -> list[Any]:
    """Runs a model within the script's run, with the whole MODEL_EXECUTION_TIMEOUT of its own."""

    def retune() -> None:  # it is this model's session that asks for it, not the script's
        if run.retune:
            run.retune = False
            native.retune_model(model)

    ended = run.ended
    with run.lock:
        run.deadline = time.monotonic() + native.execution_limit()
        run.ended = retune
    native.arm_watchdog(run.deadline)
    try:
        results: list[Any] = session.execute([inputs], run)
    finally:
        with run.lock:
            run.terminate = None
            run.ended = ended
        retune()  # what the watchdog has not asked for
    return results


def struct_of(call: Any) -> Any:
    return ffi.cast("rai_call *", call.address)


def loaded_session(model: Any) -> Any:
    """The session of a model; waits for one that is still being loaded. Raises BackendError if that failed."""
    if model.state == lib.RAI_MODEL_LOADING:
        lib.rai_model_wanted(model)
    while model.state == lib.RAI_MODEL_LOADING:
        time.sleep(LOAD_POLL)
    if model.state == lib.RAI_MODEL_FAILED:
        raise BackendError(text(model.error))
    loaded: Any = native.session_of(address(model))
    return loaded.session


def wrong_count(model: Any, what: str, expected: int, given: int) -> str:
    """The error for a wrong number of inputs or outputs, in the words of the model's backend."""
    if model.backend == lib.RAI_TFLITE:
        return f"Inconsistent number of {what}"
    return f"ERR Expected {expected} {what} but got {given}"


def parse(protocol: bytes, at: int) -> tuple[Any, int]:
    """The RESP2 reply that begins at ``at``, an error as a CommandError, and where the next one begins.

    Raises BackendError for what is none: CLIENT REPLY OFF has no reply, HELLO 3 one of RESP3.
    """
    end = protocol.find(b"\r\n", at)
    if end < 0 or protocol[at] not in b"+-:$*":
        raise BackendError("Unexpected internal error")
    kind, head, after = protocol[at : at + 1], protocol[at + 1 : end], end + 2
    if kind == b"+":
        return head, after
    if kind == b"-":
        return CommandError(head.decode(errors="replace")), after
    if kind == b":":
        return int(head), after
    size = int(head)
    if size < 0:
        return None, after
    if kind == b"$":
        return protocol[after : after + size], after + size + 2
    items = []
    for _ in range(size):
        item, after = parse(protocol, after)
        items.append(str(item).encode() if isinstance(item, CommandError) else item)
    return items, after
