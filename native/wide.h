/* Sums of 64-bit products: of the compiler's 128-bit integers, or of two words on 32-bit machines,
 * where compilers have none. Both run in constant time wherever the CPU multiplies in such. */
#ifndef SA_WIDE_H
#define SA_WIDE_H

#include <stdint.h>

#if defined(__SIZEOF_INT128__)

__extension__ typedef unsigned __int128 wide;

static inline wide wide_product(uint64_t a, uint64_t b) { return (wide)a * b; }

static inline wide wide_sum(wide a, wide b) { return a + b; }

static inline wide wide_of(uint64_t low) { return low; }

static inline uint64_t low_word(wide x) { return (uint64_t)x; }

/* The low word of x >> n, for 0 < n < 128. */
static inline uint64_t shifted_word(wide x, int n) { return (uint64_t)(x >> n); }

static inline wide wide_of_words(uint64_t low, uint64_t high) { return (wide)high << 64 | low; }

static inline int wide_below(wide a, wide b) { return a < b; }

static inline wide wide_difference(wide a, wide b) { return a - b; }

#else

typedef struct {
    uint64_t low, high;
} wide;

static inline wide wide_product(uint64_t a, uint64_t b)
{
    const uint64_t a0 = (uint32_t)a, a1 = a >> 32, b0 = (uint32_t)b, b1 = b >> 32;
    const uint64_t outer = a0 * b0, inner = a1 * b0 + (outer >> 32); /* at most 2^64 - 2^32 */
    const uint64_t other = a0 * b1 + (uint32_t)inner;                /* the same */
    return (wide){other << 32 | (uint32_t)outer, a1 * b1 + (inner >> 32) + (other >> 32)};
}

static inline wide wide_sum(wide a, wide b)
{
    const uint64_t low = a.low + b.low;
    return (wide){low, a.high + b.high + (low < a.low)};
}

static inline wide wide_of(uint64_t low) { return (wide){low, 0}; }

static inline uint64_t low_word(wide x) { return x.low; }

static inline uint64_t shifted_word(wide x, int n)
{
    return n < 64 ? x.low >> n | x.high << (64 - n) : x.high >> (n - 64);
}

static inline wide wide_of_words(uint64_t low, uint64_t high) { return (wide){low, high}; }

static inline int wide_below(wide a, wide b)
{
    return a.high < b.high || (a.high == b.high && a.low < b.low);
}

static inline wide wide_difference(wide a, wide b)
{
    return (wide){a.low - b.low, a.high - b.high - (a.low < b.low)};
}

#endif

#endif
