"""The names of a DAG's tensors while it is parsed: the latest definition of each.

An open hash table, one for all DAGs, since the event loop is one thread.
"""

import cython
from cython.cimports.libc.stdint import int32_t, uint64_t
from cython.cimports.libc.string import memcmp, memset
from cython.cimports.redis_api import RedisModule_Realloc, RedisModule_StringPtrLen, RedisModuleString

FIRST_ROOM = cython.declare(cython.int, 64)
LARGEST_KEPT = cython.declare(cython.int, 1 << 16)
HASH_START = cython.declare(uint64_t, 14695981039346656037)  # FNV-1a
HASH_FACTOR = cython.declare(uint64_t, 1099511628211)

Entry = cython.struct(text=cython.p_const_char, length=cython.size_t, slot=int32_t, claimed=int32_t)

table = cython.declare(cython.pointer(Entry), cython.NULL)
room = cython.declare(cython.int, 0)  # entries that there are
used = cython.declare(cython.int, 0)  # entries in use by the current DAG; a power of two


def forget_names(most: cython.int) -> cython.void:
    """Empties the table and makes room for so many names."""
    global table, room, used
    wanted: cython.int = FIRST_ROOM
    while wanted < 2 * most:
        wanted *= 2
    if wanted > room or (room > LARGEST_KEPT and wanted < room):
        table = cython.cast(cython.pointer(Entry), RedisModule_Realloc(table, wanted * cython.sizeof(Entry)))
        room = wanted
    used = wanted
    memset(table, 0, used * cython.sizeof(Entry))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def place_of(name: cython.pointer(RedisModuleString)) -> cython.pointer(Entry):
    """The entry of a name, or the free one where it belongs; text and length are set in both."""
    length: cython.size_t = 0
    text: cython.p_const_char = RedisModule_StringPtrLen(name, cython.address(length))
    hash: uint64_t = HASH_START
    i: cython.size_t
    entry: cython.pointer(Entry)
    for i in range(length):
        hash = (hash ^ cython.cast(cython.uchar, text[i])) * HASH_FACTOR
    while True:
        entry = cython.address(table[hash & cython.cast(uint64_t, used - 1)])
        if entry.text == cython.NULL:
            entry.length = length
            return entry
        if entry.length == length and memcmp(entry.text, text, length) == 0:
            return entry
        hash += 1


def define_name(name: cython.pointer(RedisModuleString), slot: int32_t) -> cython.void:
    """From here on the name stands for this slot."""
    entry: cython.pointer(Entry) = place_of(name)
    entry.text = RedisModule_StringPtrLen(name, cython.NULL)
    entry.slot = slot


def claim_name(name: cython.pointer(RedisModuleString)) -> cython.bint:
    """Whether this is the first claim of the name, which need not be defined."""
    entry: cython.pointer(Entry) = place_of(name)
    if entry.text == cython.NULL:
        entry.text = RedisModule_StringPtrLen(name, cython.NULL)
        entry.slot = -1
    if entry.claimed:
        return False
    entry.claimed = 1
    return True


def slot_of(name: cython.pointer(RedisModuleString)) -> int32_t:
    """The slot that the name stands for, or -1."""
    entry: cython.pointer(Entry) = place_of(name)
    return entry.slot if entry.text != cython.NULL else -1
