/* FLOAT16 and BFLOAT16: conversion of single values, for VALUES. Data goes through
 * the server as it is. */
#include <string.h>

#include "internal.h"

enum { SIGN = 63, FRACTION_BITS_OF_DOUBLE = 52, BIAS_OF_DOUBLE = 1023 };

/* A binary floating-point format of 16 bits. */
typedef struct format {
    int fraction_bits;
    int largest_exponent; /* all ones: infinity and NaN */
    int bias;
} format;

static const format half = {10, 31, 15}, brain = {7, 255, 127};

/* value / 2 ^ bits, rounded to the nearest, to the even one of two. */
static uint64_t shift_and_round(uint64_t value, int bits) {
    if (bits > 63) return 0;
    uint64_t lowest = (uint64_t)1 << bits, rest = value & (lowest - 1), quotient = value >> bits;
    if (rest > lowest / 2 || (rest == lowest / 2 && quotient & 1)) quotient++;
    return quotient;
}

static uint16_t from_double(double number, const format *to) {
    uint64_t bits;
    memcpy(&bits, &number, sizeof(bits));
    uint16_t sign = (uint16_t)(bits >> SIGN << 15);
    int exponent = (int)(bits >> FRACTION_BITS_OF_DOUBLE) & 0x7ff;
    uint64_t fraction = bits & (((uint64_t)1 << FRACTION_BITS_OF_DOUBLE) - 1);
    uint16_t infinity = (uint16_t)(to->largest_exponent << to->fraction_bits);
    if (exponent == 0x7ff) return (uint16_t)(sign | infinity | (fraction ? 1 << (to->fraction_bits - 1) : 0));
    if (exponent == 0) return sign; /* far below the smallest */
    int wanted = exponent - BIAS_OF_DOUBLE + to->bias;
    int shift = FRACTION_BITS_OF_DOUBLE - to->fraction_bits;
    fraction |= (uint64_t)1 << FRACTION_BITS_OF_DOUBLE;
    if (wanted <= 0) { /* subnormal, or 0 */
        shift += 1 - wanted;
        wanted = 1;
    }
    /* The leading 1 of the fraction counts as one in the exponent, as does a carry. */
    uint64_t magnitude = ((uint64_t)(wanted - 1) << to->fraction_bits) + shift_and_round(fraction, shift);
    return (uint16_t)(sign | (magnitude < infinity ? magnitude : infinity));
}

static double to_double(uint16_t bits, const format *from) {
    uint64_t sign = (uint64_t)(bits >> 15) << SIGN;
    int exponent = bits >> from->fraction_bits & from->largest_exponent;
    uint64_t fraction = bits & ((1u << from->fraction_bits) - 1);
    if (exponent == from->largest_exponent) {
        exponent = 0x7ff;
    } else if (exponent == 0) {
        int shift = fraction ? __builtin_clzll(fraction) - (SIGN - from->fraction_bits) : 0;
        exponent = fraction ? 1 - shift + BIAS_OF_DOUBLE - from->bias : 0;
        fraction = fraction << shift & ((1u << from->fraction_bits) - 1);
    } else {
        exponent += BIAS_OF_DOUBLE - from->bias;
    }
    uint64_t all = sign | (uint64_t)exponent << FRACTION_BITS_OF_DOUBLE |
                   fraction << (FRACTION_BITS_OF_DOUBLE - from->fraction_bits);
    double number;
    memcpy(&number, &all, sizeof(number));
    return number;
}

uint16_t rai_half_from_double(double number) {
    return from_double(number, &half);
}

double rai_half_to_double(uint16_t bits) {
    return to_double(bits, &half);
}

uint16_t rai_bfloat_from_double(double number) {
    return from_double(number, &brain);
}

double rai_bfloat_to_double(uint16_t bits) {
    return to_double(bits, &brain);
}
