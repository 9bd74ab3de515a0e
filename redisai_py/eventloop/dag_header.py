"""What stands before the first operation of a DAG: LOAD, PERSIST, ROUTING, TIMEOUT.

Source of the rules: spec/dag.md, section 2, and decisions Q10 and Q36.
"""

import cython
from cython.cimports.core import (
    rai_dag,
    rai_dag_define,
    rai_job,
    rai_tensor,
    rai_tensor_retain,
)
from cython.cimports.redis_api import (
    RedisModuleCtx,
    RedisModuleString,
)
from cython.cimports.redisai_py.eventloop.arguments import is_word, parse_integer
from cython.cimports.redisai_py.eventloop.dag_names import claim_name, define_name
from cython.cimports.redisai_py.eventloop.keyspace import find_tensor, report_read, report_written
from cython.cimports.redisai_py.eventloop.running import BAD_PRIORITY, parse_priority, unexpected

UNEXPECTED = cython.declare(cython.p_const_char, b"ERR Invalid DAG command. Unexpected argument:  %s")

# The sections, as a set.
LOAD = cython.declare(cython.int, 1)
PERSIST = cython.declare(cython.int, 2)
ROUTING = cython.declare(cython.int, 4)
TIMEOUT = cython.declare(cython.int, 8)
PRIORITY = cython.declare(cython.int, 16)

# What is being parsed (one thread, so one is enough).
argv_at = cython.declare(cython.pointer(cython.pointer(RedisModuleString)), cython.NULL)
argv_end = cython.declare(cython.pointer(cython.pointer(RedisModuleString)), cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def parse_count(
    count: cython.p_longlong, missing: cython.p_const_char, invalid: cython.p_const_char
) -> cython.p_const_char:
    """Steps over a section's word and its count, behind which something must follow; NULL, or the error."""
    global argv_at
    if argv_end - argv_at < 3:
        return missing
    if not parse_integer(argv_at[1], count) or count[0] <= 0:
        return invalid
    argv_at += 2
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def parse_load(ctx: cython.pointer(RedisModuleCtx), dag: cython.pointer(rai_dag)) -> cython.p_const_char:
    """Parses ``LOAD n key ...`` and takes references to the tensors; NULL, or the error."""
    global argv_at
    count: cython.longlong = 0
    tensor: cython.pointer(rai_tensor)
    error: cython.p_const_char = parse_count(
        cython.address(count),
        b"ERR missing arguments after LOAD keyword in DAG command",
        b"ERR invalid or negative value found in number of keys to LOAD",
    )
    if error != cython.NULL:
        return error
    while count > 0 and argv_at < argv_end:
        tensor = find_tensor(ctx, argv_at[0], cython.address(error))
        if tensor == cython.NULL:
            return error
        define_name(argv_at[0], rai_dag_define(dag, -1, rai_tensor_retain(tensor)))
        argv_at += 1
        count -= 1
    if count > 0:
        return b"ERR number of keys to LOAD into DAG does not match the number of given arguments"
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def parse_persist(
    dag: cython.pointer(rai_dag), argv: cython.pointer(cython.pointer(RedisModuleString)), read_only: cython.bint
) -> cython.p_const_char:
    """Parses ``PERSIST n key ...``; NULL, or the error."""
    global argv_at
    count: cython.longlong = 0
    error: cython.p_const_char
    if read_only:
        return b"ERR PERSIST cannot be specified in a read-only DAG"
    error = parse_count(
        cython.address(count),
        b"ERR missing arguments after PERSIST keyword in DAG command",
        b"ERR invalid or negative value found in number of keys to PERSIST",
    )
    if error != cython.NULL:
        return error
    dag.persist_at = cython.cast(cython.int, argv_at - argv)
    while dag.persist_count < count and argv_at < argv_end:
        if not claim_name(argv_at[0]):
            return b"ERR PERSIST keys must be unique"
        dag.persist_count += 1
        argv_at += 1
    if dag.persist_count < count:
        return b"ERR number of keys to PERSIST after DAG execution does not match the number of given arguments"
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def parse_keys() -> cython.p_const_char:
    """Parses ``KEYS n key ...``, an older form of ROUTING; NULL, or the error."""
    global argv_at
    count: cython.longlong = 0
    error: cython.p_const_char = parse_count(
        cython.address(count),
        b"ERR missing arguments after KEYS keyword in DAG command",
        b"ERR invalid or negative value found in number of KEYS",
    )
    if error == cython.NULL and count > argv_end - argv_at:
        error = b"ERR number of KEYS in DAG command does not match the number of given arguments"
    if error == cython.NULL:
        argv_at += count
    return error


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def parse_routing() -> cython.p_const_char:
    """Parses ``ROUTING value``, which matters to a cluster only; NULL, or the error."""
    global argv_at
    if argv_end - argv_at < 2:
        return b"ERR Missing ROUTING value"
    argv_at += 2
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def parse_timeout(timeout_ms: cython.p_longlong) -> cython.p_const_char:
    """Parses ``TIMEOUT t``; 0 and less stand for none (Q10). NULL, or the error."""
    global argv_at
    if argv_end - argv_at < 2:
        return b"ERR No value provided for TIMEOUT"
    if not parse_integer(argv_at[1], timeout_ms):
        return b"ERR Invalid value for TIMEOUT"
    argv_at += 2
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def parse_rank(owner: cython.pointer(rai_job)) -> cython.p_const_char:
    """Parses ``PRIORITY p``; NULL, or the error."""
    global argv_at
    is_high: cython.bint = False
    if argv_end - argv_at < 2:
        return b"ERR No value provided for PRIORITY"
    if not parse_priority(argv_at[1], cython.address(is_high)):
        return BAD_PRIORITY
    owner.urgent = is_high
    argv_at += 2
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def section_of(argument: cython.pointer(RedisModuleString)) -> cython.int:
    """The section that this word begins, or 0."""
    if is_word(argument, b"LOAD"):
        return LOAD
    if is_word(argument, b"PERSIST"):
        return PERSIST
    if is_word(argument, b"ROUTING") or is_word(argument, b"KEYS"):
        return ROUTING
    if is_word(argument, b"TIMEOUT"):
        return TIMEOUT
    if is_word(argument, b"PRIORITY"):
        return PRIORITY
    return 0


def parse_header(
    ctx: cython.pointer(RedisModuleCtx),
    owner: cython.pointer(rai_job),
    argv: cython.pointer(cython.pointer(RedisModuleString)),
    argc: cython.int,
    deprecated: cython.bint,
    read_only: cython.bint,
    error: cython.pointer(cython.p_const_char),
) -> cython.int:
    """Parses what stands before the first operation; the position of that, or -1 with the error."""
    global argv_at, argv_end
    sections: cython.int = 0
    section: cython.int
    timeout_ms: cython.longlong = 0
    argv_at = argv + 1
    argv_end = argv + argc
    while argv_at < argv_end and not (is_separator(argv_at[0]) and argv_end - argv_at > 1):
        section = section_of(argv_at[0])
        if section == 0 or sections & section:
            error[0] = unexpected(UNEXPECTED, argv_at[0])
            return -1
        sections |= section
        if section == LOAD:
            error[0] = parse_load(ctx, owner.dag)
        elif section == PERSIST:
            error[0] = parse_persist(owner.dag, argv, read_only)
        elif section == TIMEOUT:
            error[0] = parse_timeout(cython.address(timeout_ms))
        elif section == PRIORITY:
            error[0] = parse_rank(owner)
        elif is_word(argv_at[0], b"KEYS"):
            error[0] = parse_keys()
        else:
            error[0] = parse_routing()
        if error[0] != cython.NULL:
            return -1
    owner.timeout_ms = timeout_ms if timeout_ms > 0 else 0
    if not deprecated and not sections & (LOAD | PERSIST | ROUTING):
        error[0] = (
            b"ERR AI.DAGEXECUTE and AI.DAGEXECUTE_RO commands must contain at least one out of "
            b"ROUTING, LOAD, PERSIST keywords"
        )
    elif argv_at == argv_end:
        error[0] = b"ERR DAG is empty"
    return cython.cast(cython.int, argv_at - argv) if error[0] == cython.NULL else -1


def report_header(
    ctx: cython.pointer(RedisModuleCtx), argv: cython.pointer(cython.pointer(RedisModuleString)), argc: cython.int
) -> cython.int:
    """Reports the keys of the header; the position behind it, or argc where the grammar is broken."""
    at: cython.int = 1
    i: cython.int
    section: cython.int
    count: cython.longlong = 0
    while at < argc and not is_separator(argv[at]):
        section = section_of(argv[at])
        if section == 0 or at + 1 >= argc:
            return argc
        count = 1
        at += 1
        if section != TIMEOUT and section != PRIORITY and not is_word(argv[at - 1], b"ROUTING"):
            if not parse_integer(argv[at], cython.address(count)) or count <= 0:
                return argc
            at += 1
        for i in range(cython.cast(cython.int, count if count < argc - at else argc - at)):
            if section != TIMEOUT:
                if section == PERSIST:
                    report_written(ctx, at + i)
                elif section != PRIORITY:
                    report_read(ctx, at + i)
        if count > argc - at:
            return argc
        at += cython.cast(cython.int, count)
    return at
