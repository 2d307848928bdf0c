/* Sharing by Shamir's scheme over F(2^61 - 1) on 256-bit registers, four points each. Their
 * multiplications take 32 bits by 32, which is enough for the points of parties. Rebuilding needs
 * products of 61 bits and is left to the portable kernels. */
#include "shamir_portable.h"

#if defined(__x86_64__)

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#else
#pragma GCC target("avx2")
#endif

#include <immintrin.h>

extern const sa_shamir_kernel sa_shamir_portable;

enum { LANES = 4 };
/* Vectors of points in flight, to hide the latency of the multiplications. */
enum { SA_CHAINS = 4, SA_MANY_POINTS = SA_CHAINS * LANES };
/* Larger points, and too few points to fill the chains, are left to the portable kernel. */
enum { SA_SMALL_POINT = 1 << 20, SA_FEW_POINTS = 6 };

static inline __m256i constant(uint64_t x) { return _mm256_set1_epi64x((long long)x); }

static inline __m256i ones(int bits) { return constant(((uint64_t)1 << bits) - 1); }

/* The residue low + 2^31 high. */
typedef struct {
    __m256i low, high;
} parts;

static inline parts halve(uint64_t f)
{
    const __m256i x = constant(f);
    return (parts){_mm256_and_si256(x, ones(31)), _mm256_srli_epi64(x, 31)};
}

/* A step of Horner's rule, f + a x, for x up to SA_SMALL_POINT. In and out: low below 2^31 + 2^21,
 * high below 2^30; f has 31 and 30 bits. In between both stay below 2^52. */
static inline parts step(parts f, parts a, __m256i x)
{
    const __m256i low = _mm256_add_epi64(f.low, _mm256_mul_epu32(a.low, x));
    const __m256i high = _mm256_add_epi64(_mm256_add_epi64(f.high, _mm256_mul_epu32(a.high, x)),
                                          _mm256_srli_epi64(low, 31));
    return (parts){
        _mm256_add_epi64(_mm256_and_si256(low, ones(31)), _mm256_srli_epi64(high, 30)),
        _mm256_and_si256(high, ones(30))};
}

/* The same as the scalar function, in every lane. */
static inline __m256i canonical_lanes(__m256i x)
{
    const __m256i up = _mm256_srli_epi64(_mm256_add_epi64(x, constant(1)), 61);
    return _mm256_and_si256(_mm256_add_epi64(x, up), ones(61));
}

/* One column's shares for up to SA_MANY_POINTS points up to SA_SMALL_POINT. */
static inline void share_column(uint64_t *restrict shares, uint64_t secret,
                                const uint64_t *restrict coefficients, size_t columns, size_t terms,
                                const __m256i x[SA_CHAINS], size_t count)
{
    parts value[SA_CHAINS];
    uint64_t found[SA_MANY_POINTS];
    for (size_t v = 0; v < SA_CHAINS; v++)
        value[v] = halve(0);
    for (size_t k = terms; k > 0; k--) {
        const parts f = halve(coefficients[k - 1]);
#pragma GCC unroll 4
        for (size_t v = 0; v < SA_CHAINS; v++)
            value[v] = step(f, value[v], x[v]);
    }
    for (size_t v = 0; v < SA_CHAINS; v++) {
        const parts a = step(halve(secret), value[v], x[v]);
        const __m256i sum = _mm256_add_epi64(a.low, _mm256_slli_epi64(a.high, 31));
        _mm256_storeu_si256((__m256i *)(void *)(found + LANES * v), canonical_lanes(sum));
    }
    for (size_t i = 0; i < count; i++)
        shares[i * columns] = found[i];
    sa_wipe(found, sizeof found); /* at a padded point, zero, the share is the secret */
}

static void share(uint64_t *restrict shares, const uint64_t *restrict secrets,
                  const uint64_t *restrict coefficients, size_t columns, size_t threshold,
                  const uint64_t *restrict points, size_t count)
{
    const size_t terms = threshold - 1;
    while (count > 0) {
        uint64_t padded[SA_MANY_POINTS] = {0};
        __m256i x[SA_CHAINS];
        size_t n = 0;
        for (; n < count && n < SA_MANY_POINTS && points[n] <= SA_SMALL_POINT; n++)
            padded[n] = points[n];
        if (n < SA_FEW_POINTS) {
            n = n > 0 ? n : 1;
            sa_shamir_portable.share(shares, secrets, coefficients, columns, threshold, points, n);
        } else {
            for (size_t v = 0; v < SA_CHAINS; v++)
                x[v] = _mm256_loadu_si256((const __m256i *)(const void *)(padded + LANES * v));
            for (size_t c = 0; c < columns; c++)
                share_column(shares + c, secrets[c], coefficients + c * terms, columns, terms, x, n);
        }
        shares += n * columns;
        points += n;
        count -= n;
    }
}

static void weights(uint64_t *out, const uint64_t *points, size_t count)
{
    sa_shamir_portable.weights(out, points, count);
}

static void parity(uint64_t *out, const uint64_t *points, size_t count, size_t threshold,
                   const uint64_t *random)
{
    sa_shamir_portable.parity(out, points, count, threshold, random);
}

static void combine(uint64_t *out, const uint64_t *factors, const uint64_t *shares, size_t count,
                    size_t columns)
{
    sa_shamir_portable.combine(out, factors, shares, count, columns);
}

extern const sa_shamir_kernel sa_shamir_avx2;
const sa_shamir_kernel sa_shamir_avx2 = {
    .name = "avx2",
    .needs = SA_CPU_AVX2,
    .share = share,
    .weights = weights,
    .parity = parity,
    .combine = combine,
    .decode = sa_shamir_decode_portable,
};

#if defined(__clang__)
#pragma clang attribute pop
#endif

#endif
