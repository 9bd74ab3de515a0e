"""AI.MODELSTORE and its deprecated form, AI.MODELSET: their grammar.

Source of the rules: spec/commands.md, sections 5 and 6. What happens to a model once
its command is parsed is in ``storing``.
"""

import cython
from cython.cimports.command_handlers import rai_handlers
from cython.cimports.core import (
    RAI_MODEL,
    RAI_TF,
    RAI_TFLITE,
    rai_backend_from_name,
    rai_blob_hold,
    rai_blob_new,
    rai_model,
    rai_model_new,
    rai_model_release,
    rai_model_set_names,
    rai_model_set_tag,
    rai_names,
    rai_names_free,
    rai_names_new,
    rai_names_set,
)
from cython.cimports.libc.stdint import int64_t
from cython.cimports.libc.string import memcmp, memcpy
from cython.cimports.posix.strings import strncasecmp
from cython.cimports.redis_api import (
    RedisModule_ReplyWithError,
    RedisModule_StringPtrLen,
    RedisModule_WrongArity,
    RedisModuleCtx,
    RedisModuleString,
)
from cython.cimports.redisai_py.eventloop.arguments import is_word, parse_loose_integer, text_of
from cython.cimports.redisai_py.eventloop.storing import is_trusted, store

LONGEST_DEVICE = cython.declare(cython.size_t, 9)
MOST_WARMUP_RUNS = cython.declare(int64_t, 1000)  # all other loads wait for them
LONGEST_MODELSET_DEVICE = cython.declare(cython.size_t, 10)


# ---- the grammar of AI.MODELSTORE ------------------------------------------------

# What is being parsed: the arguments, and how far the parser has come. The event
# loop is one thread, so one cursor serves all commands.
argv_at = cython.declare(cython.pointer(cython.pointer(RedisModuleString)), cython.NULL)
argv_end = cython.declare(cython.pointer(cython.pointer(RedisModuleString)), cython.NULL)
trusted = cython.declare(cython.bint, False)  # they come from an AOF or our master


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def accept(word: cython.p_const_char) -> cython.bint:
    """Steps over the next argument when it is this keyword."""
    global argv_at
    if argv_at < argv_end and is_word(argv_at[0], word):
        argv_at += 1
        return True
    return False


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def accept_number(word: cython.p_const_char, number: cython.pointer(int64_t)) -> cython.bint:
    """Steps over ``word n`` when the next argument is the keyword; false when n is not a number >= 0."""
    global argv_at
    value: cython.longlong = 0
    if not accept(word):
        return True
    if argv_at >= argv_end or not parse_loose_integer(argv_at[0], cython.address(value)) or value < 0:
        return False
    argv_at += 1
    number[0] = value
    return True


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def parse_names(
    not_counted: cython.p_const_char, too_few: cython.p_const_char, error: cython.pointer(cython.p_const_char)
) -> cython.pointer(rai_names):
    """Steps over ``n name ...``; NULL with the error."""
    global argv_at
    count: cython.longlong = 0
    i: int64_t
    length: cython.size_t = 0
    name: cython.p_const_char
    names: cython.pointer(rai_names)
    if argv_at >= argv_end or not parse_loose_integer(argv_at[0], cython.address(count)) or count <= 0:
        error[0] = not_counted
        return cython.NULL
    argv_at += 1
    if argv_end - argv_at < count:
        error[0] = too_few
        return cython.NULL
    names = rai_names_new(count)
    for i in range(count):
        name = text_of(argv_at[i], cython.address(length))
        rai_names_set(names, i, name, length)
    argv_at += count
    return names


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def parse_numbers(model: cython.pointer(rai_model)) -> cython.p_const_char:
    """Steps over the options about batches and the warm-up; NULL, or the error."""
    if not accept_number(b"BATCHSIZE", cython.address(model.batch_size)):
        return b"ERR Invalid argument for BATCHSIZE"
    if not accept_number(b"MINBATCHSIZE", cython.address(model.min_batch_size)):
        return b"ERR Invalid argument for MINBATCHSIZE"
    if model.min_batch_size > 0 and model.batch_size == 0:
        return b"ERR MINBATCHSIZE specified without BATCHSIZE"
    if not accept_number(b"MINBATCHTIMEOUT", cython.address(model.min_batch_timeout_ms)):
        return b"ERR Invalid argument for MINBATCHTIMEOUT"
    if model.min_batch_timeout_ms > 0 and model.min_batch_size == 0:
        return b"ERR MINBATCHTIMEOUT specified without MINBATCHSIZE"
    if not accept_number(b"WARMUP", cython.address(model.warmup)):
        return b"ERR Invalid argument for WARMUP"
    if model.warmup > MOST_WARMUP_RUNS:
        if not trusted:
            return b"ERR Invalid argument for WARMUP, which must be at most 1000"
        model.warmup = MOST_WARMUP_RUNS  # there was no such limit once
    if argv_at >= argv_end:
        return b"ERR Insufficient arguments, missing model BLOB"
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def states_its_signature() -> cython.bint:
    """Whether BLOB comes next, with chunks that begin as a zip, gzip or tar file does."""
    head: cython.char[262]
    filled: cython.size_t = 0
    length: cython.size_t = 0
    at: cython.pointer(cython.pointer(RedisModuleString)) = argv_at + 1
    chunk: cython.p_const_char
    if not is_word(argv_at[0], b"BLOB"):
        return False
    while at < argv_end and filled < 262:
        chunk = RedisModule_StringPtrLen(at[0], cython.address(length))
        if length > 262 - filled:
            length = 262 - filled
        memcpy(head + filled, chunk, length)
        filled += length
        at += 1
    return (
        (filled >= 4 and memcmp(head, b"PK\x03\x04", 4) == 0)
        or (filled >= 2 and memcmp(head, b"\x1f\x8b", 2) == 0)
        or (filled == 262 and memcmp(head + 257, b"ustar", 5) == 0)
        # What we rewrote into an AOF before the names were known.
        or trusted
    )


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def parse_signature(model: cython.pointer(rai_model)) -> cython.p_const_char:
    """Steps over INPUTS and OUTPUTS, which TF graphs need and other backends refuse; NULL, or the error."""
    error: cython.p_const_char = cython.NULL
    inputs: cython.pointer(rai_names)
    outputs: cython.pointer(rai_names) = cython.NULL
    if model.backend != RAI_TF:
        if is_word(argv_at[0], b"INPUTS"):
            return b"ERR INPUTS argument should not be specified for this backend"
        return cython.NULL
    if states_its_signature():
        return cython.NULL
    if not accept(b"INPUTS"):
        return b"ERR INPUTS not specified for TF"
    inputs = parse_names(
        b"ERR Invalid argument for input_count",
        b"ERR number of model inputs does not match the number of given arguments",
        cython.address(error),
    )
    if inputs == cython.NULL:
        return error
    if not accept(b"OUTPUTS"):
        error = b"ERR OUTPUTS not specified for TF"
    else:
        outputs = parse_names(
            b"ERR Invalid argument for output_count",
            b"ERR number of model outputs does not match the number of given arguments",
            cython.address(error),
        )
    if outputs == cython.NULL:
        rai_names_free(inputs)
        return error
    rai_model_set_names(model, inputs, outputs)
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def parse_chunks(model: cython.pointer(rai_model)) -> cython.p_const_char:
    """Keeps what follows BLOB, without copying it; NULL, or the error."""
    global argv_at
    if not accept(b"BLOB"):
        return b"ERR Invalid argument, expected BLOB"
    if argv_at >= argv_end:
        return b"ERR Insufficient arguments, missing model BLOB"
    model.blob = rai_blob_new(argv_end - argv_at)
    while argv_at < argv_end:
        rai_blob_hold(model.blob, argv_at[0])
        argv_at += 1
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def is_device(device: cython.p_const_char, length: cython.size_t) -> cython.bint:
    """CPU, GPU, CPU:digits or GPU:digits, shorter than ten characters."""
    i: cython.size_t
    if length < 3 or length > LONGEST_DEVICE:
        return False
    if strncasecmp(device, b"CPU", 3) != 0 and strncasecmp(device, b"GPU", 3) != 0:
        return False
    if length == 3:
        return True
    if device[3] != b":"[0]:
        return False
    for i in range(4, length):
        if device[i] < b"0"[0] or device[i] > b"9"[0]:
            return False
    return True


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def parse_options(model: cython.pointer(rai_model)) -> cython.p_const_char:
    """Parses what follows the tag in AI.MODELSTORE; NULL, or the error."""
    error: cython.p_const_char = parse_numbers(model)
    if error == cython.NULL:
        error = parse_signature(model)
    if error == cython.NULL:
        error = parse_chunks(model)
    return error


# ---- the grammar of AI.MODELSET -------------------------------------------------------


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def is_modelset_device(device: cython.pointer(RedisModuleString), length: cython.size_t) -> cython.bint:
    """Anything that is short and not the next keyword; the backend judges the rest."""
    return not (
        length > LONGEST_MODELSET_DEVICE
        or is_word(device, b"INPUTS")
        or is_word(device, b"OUTPUTS")
        or is_word(device, b"TAG")
        or is_word(device, b"BATCHSIZE")
        or is_word(device, b"MINBATCHSIZE")
        or is_word(device, b"MINBATCHTIMEOUT")
        or is_word(device, b"BLOB")
    )


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def next_is(word: cython.p_const_char) -> cython.bint:
    return argv_at < argv_end and is_word(argv_at[0], word)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def parse_modelset_batching(model: cython.pointer(rai_model)) -> cython.p_const_char:
    """As ``parse_numbers``, with checks that come before the numbers; NULL, or the error."""
    if next_is(b"BATCHSIZE") and model.backend == RAI_TFLITE:
        return b"ERR Auto-batching not supported by the TFLITE backend"
    if not accept_number(b"BATCHSIZE", cython.address(model.batch_size)):
        return b"ERR Invalid argument for BATCHSIZE"
    if next_is(b"MINBATCHSIZE") and model.batch_size == 0:
        return b"ERR MINBATCHSIZE specified without BATCHSIZE"
    if not accept_number(b"MINBATCHSIZE", cython.address(model.min_batch_size)):
        return b"ERR Invalid argument for MINBATCHSIZE"
    if next_is(b"MINBATCHTIMEOUT"):
        if model.batch_size == 0:
            return b"ERR MINBATCHTIMEOUT specified without BATCHSIZE"
        if model.min_batch_size == 0:
            return b"ERR MINBATCHTIMEOUT specified without MINBATCHSIZE"
    if not accept_number(b"MINBATCHTIMEOUT", cython.address(model.min_batch_timeout_ms)):
        return b"ERR Invalid argument for MINBATCHTIMEOUT"
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def names_up_to(word: cython.p_const_char) -> cython.pointer(rai_names):
    """Steps over the arguments before this keyword or BLOB, or all that are left, as names."""
    global argv_at
    first: cython.pointer(cython.pointer(RedisModuleString)) = argv_at
    names: cython.pointer(rai_names)
    name: cython.p_const_char
    length: cython.size_t = 0
    i: int64_t
    while argv_at < argv_end and not is_word(argv_at[0], word) and not is_word(argv_at[0], b"BLOB"):
        argv_at += 1
    names = rai_names_new(argv_at - first)
    for i in range(argv_at - first):
        name = text_of(first[i], cython.address(length))
        rai_names_set(names, i, name, length)
    return names


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def parse_modelset_signature(model: cython.pointer(rai_model)) -> cython.p_const_char:
    """Steps over TF's INPUTS and OUTPUTS, which are not counted; NULL, or the error."""
    inputs: cython.pointer(rai_names)
    if next_is(b"BLOB"):
        return b"ERR Insufficient arguments, INPUTS and OUTPUTS not specified"
    if not accept(b"INPUTS"):
        return b"ERR INPUTS not specified"
    inputs = names_up_to(b"OUTPUTS")
    if not accept(b"OUTPUTS"):
        rai_names_free(inputs)
        return b"ERR OUTPUTS not specified"
    rai_model_set_names(model, inputs, names_up_to(b"BLOB"))
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def parse_modelset_options(model: cython.pointer(rai_model)) -> cython.p_const_char:
    """Parses what follows the tag in AI.MODELSET; NULL, or the error."""
    global argv_at
    error: cython.p_const_char = parse_modelset_batching(model)
    if error == cython.NULL and argv_at >= argv_end:
        error = b"ERR Insufficient arguments, missing model BLOB"
    if error == cython.NULL and model.backend == RAI_TF:
        error = parse_modelset_signature(model)
    if error != cython.NULL:
        return error
    # For other backends anything may stand before BLOB, as in RedisAI.
    while argv_at < argv_end and not is_word(argv_at[0], b"BLOB"):
        argv_at += 1
    if argv_at >= argv_end:
        return b"ERR Insufficient arguments, missing model BLOB"
    return parse_chunks(model)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def parse_model(
    argv: cython.pointer(cython.pointer(RedisModuleString)),
    argc: cython.int,
    deprecated: cython.bint,
    error: cython.pointer(cython.p_const_char),
) -> cython.pointer(rai_model):
    """A new model from the arguments after the key of either command; NULL with the error."""
    global argv_at, argv_end
    length: cython.size_t = 0
    tag: cython.p_const_char
    text: cython.p_const_char = text_of(argv[0], cython.address(length))
    backend: cython.int = rai_backend_from_name(text, length)
    model: cython.pointer(rai_model)
    if backend < 0:
        error[0] = b"ERR unsupported backend"
        return cython.NULL
    text = text_of(argv[1], cython.address(length))
    if not (is_modelset_device(argv[1], length) if deprecated else is_device(text, length)):
        error[0] = b"ERR Invalid DEVICE"
        return cython.NULL
    model = rai_model_new(RAI_MODEL, backend, text, length)
    argv_at = argv + 2
    argv_end = argv + argc
    if argv_end - argv_at > 1 and accept(b"TAG"):
        tag = RedisModule_StringPtrLen(argv_at[0], cython.address(length))
        rai_model_set_tag(model, tag, length)
        argv_at += 1
    error[0] = parse_modelset_options(model) if deprecated else parse_options(model)
    if error[0] == cython.NULL:
        return model
    rai_model_release(model)
    return cython.NULL


# ---- the commands -----------------------------------------------------------------------


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def parse_and_store(
    ctx: cython.pointer(RedisModuleCtx),
    argv: cython.pointer(cython.pointer(RedisModuleString)),
    argc: cython.int,
    deprecated: cython.bint,
) -> cython.int:
    global trusted
    error: cython.p_const_char = cython.NULL
    model: cython.pointer(rai_model)
    trusted = is_trusted(ctx)
    model = parse_model(argv + 2, argc - 2, deprecated, cython.address(error))
    if model == cython.NULL:
        return RedisModule_ReplyWithError(ctx, error)
    return store(ctx, argv, argc, model)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def modelstore(
    ctx: cython.pointer(RedisModuleCtx), argv: cython.pointer(cython.pointer(RedisModuleString)), argc: cython.int
) -> cython.int:
    """AI.MODELSTORE key backend device [options] BLOB chunk [chunk ...]"""
    if argc < 6:
        return RedisModule_WrongArity(ctx)
    return parse_and_store(ctx, argv, argc, False)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def modelset(
    ctx: cython.pointer(RedisModuleCtx), argv: cython.pointer(cython.pointer(RedisModuleString)), argc: cython.int
) -> cython.int:
    """AI.MODELSET key backend device [options] BLOB chunk [chunk ...]"""
    if argc < 4:
        return RedisModule_WrongArity(ctx)
    return parse_and_store(ctx, argv, argc, True)


rai_handlers.modelstore = modelstore
rai_handlers.modelset = modelset
