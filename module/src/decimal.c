/* Numbers as text: what printf makes of %.17g, in a seventh of the time.
 *
 * 17 digits are enough for every double to be read back exactly, and Redis before 7.2
 * writes that many. With integers of 128 bits they are exact for all numbers that need no exponent. */
#include <string.h>

#include "core.h"

enum { DIGITS = 17, MANTISSA_BITS = 52 };

typedef unsigned __int128 wide;

static const uint64_t least = 10000000000000000; /* with 17 digits */

/* number * 2^exponent * 10^scale, rounded as printf does: to the nearest, halves to even. */
static uint64_t scaled(uint64_t number, int exponent, int scale) {
    wide product = number;
    for (; scale >= 8; scale -= 8) product *= 100000000;
    for (; scale > 0; scale--) product *= 10;
    if (exponent >= 0) return (uint64_t)(product << exponent);
    wide rest = product & (((wide)1 << -exponent) - 1), half = (wide)1 << (-exponent - 1);
    uint64_t whole = (uint64_t)(product >> -exponent);
    return whole + (rest > half || (rest == half && (whole & 1)));
}

static void write_digits(char *text, uint32_t number, int count) {
    for (int i = count - 1; i >= 0; i--, number /= 10) text[i] = (char)('0' + number % 10);
}

int32_t rai_double_text(double number, char *text) {
    char digits[DIGITS], *end = text;
    uint64_t bits;
    memcpy(&bits, &number, sizeof(bits));
    double size = number < 0 ? -number : number;
    if (bits == 0) {
        *text = '0';
        return 1;
    }
    if (!(size >= 1e-4 && size < 1e17)) return 0;
    uint64_t mantissa = (bits & (((uint64_t)1 << MANTISSA_BITS) - 1)) | (uint64_t)1 << MANTISSA_BITS;
    int exponent = (int)(bits >> MANTISSA_BITS & 0x7FF) - 1023;
    /* The position of the first digit: that of a number of this binary exponent, or one more. */
    int first = exponent * 1233 >> 12;
    uint64_t value = scaled(mantissa, exponent - MANTISSA_BITS, DIGITS - 1 - first);
    if (value >= 10 * least) value = scaled(mantissa, exponent - MANTISSA_BITS, DIGITS - 1 - ++first);
    write_digits(digits, (uint32_t)(value / 100000000), DIGITS - 8);
    write_digits(digits + DIGITS - 8, (uint32_t)(value % 100000000), 8);
    int count = DIGITS;
    while (count > 1 && digits[count - 1] == '0') count--;
    if (number < 0) *end++ = '-';
    if (first < 0) {
        *end++ = '0';
        *end++ = '.';
        for (int i = first + 1; i < 0; i++) *end++ = '0';
        memcpy(end, digits, (size_t)count);
        return (int32_t)(end + count - text);
    }
    int whole = first + 1;
    for (int i = 0; i < whole; i++) *end++ = i < count ? digits[i] : '0';
    if (count > whole) {
        *end++ = '.';
        memcpy(end, digits + whole, (size_t)(count - whole));
        end += count - whole;
    }
    return (int32_t)(end - text);
}
