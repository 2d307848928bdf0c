/* Arithmetic modulo p = 2^61 - 1, one element at a time, for shamir_kernels.h, the files that
 * include it, and shamir_decode.c. Residues are in [0, p], so both 0 and p mean zero; canonical()
 * makes them unique. No branch on values: all functions here run in constant time for given
 * lengths. */
#ifndef SA_SHAMIR_PORTABLE_H
#define SA_SHAMIR_PORTABLE_H

#include "kernels.h"
#include "wide.h"

/* Terms of a polynomial between two reductions: 17 products of values up to p fit 127 bits. */
enum { SA_TERMS = 16 };

static const uint64_t P = ((uint64_t)1 << 61) - 1;

/* In: x <= 2p, so below 2^62 - 1. Out: [0, p]. */
static inline uint64_t fold(uint64_t x) { return (x & P) + (x >> 61); }

/* In: x <= 2^61 + 2^60. Out: [0, p). */
static inline uint64_t canonical(uint64_t x) { return (x + ((x + 1) >> 61)) & P; }

static inline uint64_t add(uint64_t a, uint64_t b) { return fold(a + b); }

static inline uint64_t negate(uint64_t a) { return P - a; }

static inline uint64_t subtract(uint64_t a, uint64_t b) { return add(a, negate(b)); }

/* The shift by 3 places the product's halves at bit 61 in separate words: p * p is below
 * 2^122 - 2^61, so their sum stays below 2p. */
static inline uint64_t multiply(uint64_t a, uint64_t b)
{
    wide x = wide_product(a << 3, b);
    return fold((low_word(x) >> 3) + shifted_word(x, 64));
}

/* In: any x. Out: [0, p). The three parts add up to at most 2p + 63. */
static inline uint64_t reduce(wide x)
{
    uint64_t parts = (low_word(x) & P) + (shifted_word(x, 61) & P) + shifted_word(x, 122);
    return canonical(fold(parts)); /* here fold() may give p + 1 */
}

/* a^(p - 2) = 1 / a, or 0 for 0; p - 2 = 4 (2^59 - 1) + 1. */
static inline uint64_t invert(uint64_t a)
{
    /* power = a^(2^n - 1) for n = 1, 3, 7, 14, 29, 59: double n, add one where its bit is set. */
    uint64_t power = a;
    int n = 1;
    for (int bit = 4; bit >= 0; bit--) {
        uint64_t high = power;
        for (int i = 0; i < n; i++)
            high = multiply(high, high);
        power = multiply(high, power);
        n *= 2;
        if (59 >> bit & 1) {
            power = multiply(multiply(power, power), a);
            n++;
        }
    }
    power = multiply(power, power);
    return multiply(multiply(power, power), a);
}

/* powers[k] = x^k. */
static inline void fill_powers(uint64_t powers[SA_TERMS + 1], uint64_t x)
{
    powers[0] = 1;
    for (size_t k = 1; k <= SA_TERMS; k++)
        powers[k] = multiply(powers[k - 1], x);
}

/* Sum of f[k] x^k over k < len, for f[k] in [0, p]. Out: [0, p). Horner's rule in steps of
 * x^SA_TERMS: a step is independent products, reduced once, and only the last of them waits
 * for the step before. */
static inline uint64_t evaluate(const uint64_t *f, size_t len,
                                const uint64_t powers[SA_TERMS + 1])
{
    size_t k = len - len % SA_TERMS;
    wide sum = wide_of(0);
    for (size_t j = k; j < len; j++)
        sum = wide_sum(sum, wide_product(f[j], powers[j - k]));
    uint64_t value = reduce(sum);
    while (k > 0) {
        k -= SA_TERMS;
        sum = wide_of(0);
        for (size_t j = 0; j < SA_TERMS; j++)
            sum = wide_sum(sum, wide_product(f[k + j], powers[j]));
        value = reduce(wide_sum(sum, wide_product(value, powers[SA_TERMS])));
    }
    return value;
}

/* sa_shamir_kernel.decode. There is no other implementation, as it is not a bottleneck. */
int sa_shamir_decode_portable(uint64_t *secret, uint8_t *wrong, const uint64_t *points,
                              const uint64_t *shares, size_t count, size_t threshold,
                              uint64_t *scratch);

#endif
