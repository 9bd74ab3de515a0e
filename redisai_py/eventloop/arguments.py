"""How command arguments are read: integers and C strings (keywords: in the .pxd, inlined).

Source of the rules: spec/commands.md, section 2.
"""

import cython
from cython.cimports.libc.math import floor
from cython.cimports.libc.stdint import UINT64_MAX, uint64_t
from cython.cimports.libc.string import strlen
from cython.cimports.redis_api import (
    REDISMODULE_OK,
    RedisModule_StringPtrLen,
    RedisModule_StringToDouble,
    RedisModule_StringToLongLong,
    RedisModuleString,
)

LONG_LONG_END = cython.declare(cython.double, 9223372036854775808.0)  # 2 ** 63, the first double that is too large


def parse_integer(argument: cython.pointer(RedisModuleString), value: cython.p_longlong) -> cython.bint:
    """Redis' strict decimal integer: no plus sign, no leading zeros, no blanks, 64 bits."""
    return RedisModule_StringToLongLong(argument, value) == REDISMODULE_OK


def parse_unsigned(argument: cython.pointer(RedisModuleString), value: cython.pointer(uint64_t)) -> cython.bint:
    """The same for 64 bits without a sign."""
    length: cython.size_t = 0
    number: uint64_t = 0
    digit: uint64_t
    i: cython.size_t
    text: cython.p_const_char = RedisModule_StringPtrLen(argument, cython.address(length))
    if length == 0 or length > 20 or (text[0] == b"0"[0] and length > 1):
        return False
    for i in range(length):
        if text[i] < b"0"[0] or text[i] > b"9"[0]:
            return False
        digit = text[i] - b"0"[0]
        if number > (UINT64_MAX - digit) // 10:
            return False
        number = number * 10 + digit
    value[0] = number
    return True


def parse_loose_integer(argument: cython.pointer(RedisModuleString), value: cython.p_longlong) -> cython.bint:
    """A strict integer, else a float whose value is integral and fits in 64 bits (``2.0``, ``1e2``)."""
    number: cython.double = 0
    if RedisModule_StringToLongLong(argument, value) == REDISMODULE_OK:
        return True
    if RedisModule_StringToDouble(argument, cython.address(number)) != REDISMODULE_OK:
        return False
    if number != floor(number) or number >= LONG_LONG_END or number < -LONG_LONG_END:
        return False
    value[0] = cython.cast(cython.longlong, number)
    return True


def text_of(argument: cython.pointer(RedisModuleString), length: cython.pointer(cython.size_t)) -> cython.p_const_char:
    """An argument as a C string: cut at the first NUL byte, length in bytes."""
    data: cython.p_const_char = RedisModule_StringPtrLen(argument, cython.NULL)
    length[0] = strlen(data)
    return data
