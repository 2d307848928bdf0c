/* Discrete Gaussian noise added to field vectors, exactly, by rejection: Canonne, Kamath & Steinke,
 * The Discrete Gaussian for Differential Privacy (2020, arXiv 2004.00010), algorithms 1 to 3. All
 * numbers are integers. The time, the words that a sample takes, and branches depend on what is
 * drawn. api.h says which words decide what, and names the variables.
 *
 * Ranges, with V = variance: V <= 2^56, so sigma <= 2^20 and t <= 2^20 + 1. y < LONGEST * t = 2^7 * t,
 * so y * t * 2^16 < 2^23 * (2^20 + 1)^2 < 2^64. Its difference from V is below 2^63.001 in absolute
 * value, and the square a of that below 2^126.01. Of b, V * 2^7 is at most 2^63 and t^2 * 2^10 below
 * 2^51, so b is below 2^114. Two chances that are independent are multiplied by drawing both: a
 * chance of a / (b * k), whose denominator could be too long, is never drawn as one. */
#include <string.h>

#include "checks.h"
#include "kernels.h"
#include "wide.h"

enum { WORDS = 1024, LONGEST = 128, STEP_BITS = 16, MAX_VARIANCE_BITS = 56 };

/* The distribution, and the keystream from which it is drawn. */
typedef struct {
    uint64_t variance;
    uint32_t t;
    wide b;
    int b_bits; /* of b - 1 */
    const sa_cipher_kernel *cipher;
    uint64_t counter;
    size_t used; /* words */
    sa_schedule schedule;
    _Alignas(64) uint32_t words[WORDS];
} gaussian;

static uint32_t next_word(gaussian *g)
{
    if (g->used == WORDS) {
        const size_t blocks = sizeof g->words / g->cipher->block_bytes;
        g->cipher->keystream(&g->schedule, (uint8_t *)g->words, blocks, 0, g->counter);
        g->counter += blocks;
        g->used = 0;
    }
    return g->words[g->used++];
}

static int bits_of(uint64_t x) { return x ? 64 - __builtin_clzll(x) : 0; }

/* In: 1 <= n <= 2^31. */
static uint32_t below(gaussian *g, uint32_t n)
{
    uint32_t drawn;
    if (n == 1)
        return 0;
    const uint32_t mask = UINT32_MAX >> (32 - bits_of(n - 1));
    do
        drawn = next_word(g) & mask;
    while (drawn >= n);
    return drawn;
}

static uint64_t next_bits(gaussian *g, int bits)
{
    uint64_t drawn = 0;
    if (bits > 0)
        drawn = next_word(g);
    if (bits > 32)
        drawn |= (uint64_t)next_word(g) << 32;
    return bits >= 64 ? drawn : drawn & (((uint64_t)1 << (bits > 0 ? bits : 0)) - 1);
}

static wide below_b(gaussian *g)
{
    wide drawn;
    do {
        const uint64_t low = next_bits(g, g->b_bits);
        drawn = wide_of_words(low, next_bits(g, g->b_bits - 64));
    } while (!wide_below(drawn, g->b));
    return drawn;
}

static int exp_minus_one(gaussian *g)
{
    uint32_t k = 1;
    while (below(g, k) == 0)
        k++;
    return k & 1;
}

/* In: u < t. */
static int exp_minus_u(gaussian *g, uint32_t u)
{
    uint32_t k = 1;
    while (below(g, k) == 0 && below(g, g->t) < u)
        k++;
    return k & 1;
}

static int exp_minus_a(gaussian *g, wide a)
{
    uint32_t k = 1;
    for (; !wide_below(a, g->b); a = wide_difference(a, g->b))
        if (!exp_minus_one(g))
            return 0;
    while (below(g, k) == 0 && wide_below(below_b(g), a))
        k++;
    return k & 1;
}

/* Returns |X|, and its sign in *minus. */
static uint32_t sample(gaussian *g, uint32_t *minus)
{
    for (;;) {
        const uint32_t u = below(g, g->t);
        uint32_t v = 0;
        if (!exp_minus_u(g, u))
            continue;
        while (v < LONGEST && exp_minus_one(g))
            v++;
        if (v == LONGEST)
            continue;
        const uint32_t y = u + g->t * v;
        *minus = below(g, 2);
        if (*minus && y == 0)
            continue;
        const uint64_t scaled = (uint64_t)y * g->t << STEP_BITS;
        const uint64_t distance =
            scaled < g->variance ? g->variance - scaled : scaled - g->variance;
        if (exp_minus_a(g, wide_product(distance, distance)))
            return y;
    }
}

static uint32_t floor_root(uint64_t x)
{
    uint64_t root = 0;
    for (uint64_t bit = (uint64_t)1 << 31; bit; bit >>= 1)
        if ((root + bit) * (root + bit) <= x)
            root += bit;
    return (uint32_t)root;
}

static int prepare(gaussian *g, uint64_t variance, int generator, const uint8_t *key)
{
    g->cipher = sa_cipher(generator);
    if (g->cipher == NULL || key == NULL || variance < 1 ||
        variance > (uint64_t)1 << MAX_VARIANCE_BITS)
        return SA_EARG;
    g->variance = variance;
    g->t = floor_root(variance >> STEP_BITS) + 1;
    g->b = wide_product(variance << 7, (uint64_t)g->t * g->t << 10);
    const wide most = wide_difference(g->b, wide_of(1));
    g->b_bits = shifted_word(most, 64) ? 64 + bits_of(shifted_word(most, 64))
                                       : bits_of(low_word(most));
    g->counter = 0;
    g->used = WORDS;
    g->cipher->schedule(&g->schedule, key);
    return SA_OK;
}

#define SA_GAUSSIAN_ADD(SUFFIX, LANE, LEAST, MOST)                                            \
    int sa_gaussian_add_##SUFFIX(LANE *acc, size_t len, int bits, uint64_t variance,          \
                                 int generator, const uint8_t *key)                           \
    {                                                                                         \
        gaussian g;                                                                           \
        if (bits < (LEAST) || bits > (MOST) || !sa_fits(acc, len, sizeof *acc) ||             \
            prepare(&g, variance, generator, key) != SA_OK)                                   \
            return SA_EARG;                                                                   \
        const uint64_t p = sa_prime(bits);                                                    \
        for (size_t i = 0; i < len; i++) {                                                    \
            uint32_t minus;                                                                   \
            const uint64_t x = sample(&g, &minus) % p;                                        \
            const uint64_t sum = acc[i] + (minus ? p - x : x);                                \
            acc[i] = (LANE)(sum >= p ? sum - p : sum);                                        \
        }                                                                                     \
        sa_wipe(&g, sizeof g);                                                                \
        sa_wipe_traces();                                                                     \
        return SA_OK;                                                                         \
    }

SA_GAUSSIAN_ADD(u32, uint32_t, 16, 32)
SA_GAUSSIAN_ADD(u64, uint64_t, 33, 62)
