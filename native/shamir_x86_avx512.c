/* Shamir's secret sharing over F(2^61 - 1) on 512-bit registers, eight elements each, with the
 * 52-bit multiplications of AVX-512 IFMA: these take the low 52 bits of two lanes and add the
 * low or the high 52 bits of their product to a third. */
#include "shamir_portable.h"

#if defined(__x86_64__)

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512dq,avx512ifma"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512dq,avx512ifma")
#endif

#include <immintrin.h>

extern const sa_shamir_kernel sa_shamir_portable;

enum { LANES = 8 };
/* Vectors of points in flight, to hide the latency of the multiplications. */
enum { SA_CHAINS = 4 };
/* share() has two ways to evaluate at points that are at most this large; fewer points than
 * SA_FEW_POINTS, and larger ones, are left to the portable kernel. */
enum { SA_TINY_POINT = 1 << 10, SA_SMALL_POINT = 1 << 20 };
enum { SA_FEW_POINTS = 4, SA_MANY_POINTS = 8 * LANES };
/* Rows that combine() reads at a time. */
enum { SA_ROWS = 16 };

static inline __m512i constant(uint64_t x) { return _mm512_set1_epi64((long long)x); }

static inline __m512i ones(int bits) { return constant(((uint64_t)1 << bits) - 1); }

/* The first n lanes, or all. */
static inline __mmask8 first(size_t n)
{
    return (__mmask8)(n < LANES ? (1u << n) - 1 : 0xffu);
}

/* As fold() and canonical(), for eight elements; fold takes any x. Out: at most p + 7. */
static inline __m512i fold_lanes(__m512i x)
{
    return _mm512_add_epi64(_mm512_and_si512(x, ones(61)), _mm512_srli_epi64(x, 61));
}

static inline __m512i canonical_lanes(__m512i x)
{
    __m512i carry = _mm512_srli_epi64(_mm512_add_epi64(x, constant(1)), 61);
    return _mm512_and_si512(_mm512_add_epi64(x, carry), ones(61));
}

/* x * 2^n mod p as a sum of two parts, of which one is below 2^61 and the other x >> (61 - n). */
static inline __m512i rotate(__m512i x, unsigned n)
{
    __m512i low = _mm512_slli_epi64(_mm512_and_si512(x, ones((int)(61 - n))), n);
    return _mm512_add_epi64(low, _mm512_srli_epi64(x, 61 - n));
}

/* a * b mod p. In: a at most p + 7, b at most 2p. Out: at most p + 7. With a = a0 + 2^52 a1
 * and b likewise, the parts of weight 1, 2^52 and 2^104 = 2^43 are below 2^52, 2^54 and
 * 2^19 + 2^12, so that they add up to less than 2^63. */
static inline __m512i multiply_lanes(__m512i a, __m512i b)
{
    const __m512i zero = _mm512_setzero_si512();
    __m512i a1 = _mm512_srli_epi64(a, 52), b1 = _mm512_srli_epi64(b, 52);
    __m512i low = _mm512_madd52lo_epu64(zero, a, b);
    __m512i middle = _mm512_madd52lo_epu64(_mm512_madd52hi_epu64(zero, a, b), a, b1);
    __m512i high = _mm512_madd52hi_epu64(_mm512_madd52lo_epu64(zero, a1, b1), a, b1);
    middle = _mm512_madd52lo_epu64(middle, a1, b);
    high = _mm512_madd52hi_epu64(high, a1, b);
    low = _mm512_add_epi64(low, _mm512_slli_epi64(high, 43));
    return fold_lanes(_mm512_add_epi64(low, rotate(middle, 52)));
}

/* An element in two parts, low + 2^31 high. */
typedef struct {
    __m512i low, high;
} parts;

/* In: below 2^52. Out: at most 2^31 + 2^22. What is above bits 31 and 30 moves to the other
 * part, by a multiplication once: there are fewer units that shift. */
static inline parts carry(parts a)
{
    __m512i low = _mm512_and_si512(a.low, ones(31)), high = _mm512_and_si512(a.high, ones(30));
    return (parts){_mm512_madd52hi_epu64(low, a.high, constant((uint64_t)1 << 22)),
                   _mm512_add_epi64(high, _mm512_srli_epi64(a.low, 31))};
}

/* A step of Horner's rule, f + a x. */
static inline parts step(parts f, parts a, __m512i x)
{
    return (parts){_mm512_madd52lo_epu64(f.low, a.low, x),
                   _mm512_madd52lo_epu64(f.high, a.high, x)};
}

static inline parts halve(uint64_t f)
{
    __m512i x = constant(f);
    return (parts){_mm512_and_si512(x, ones(31)), _mm512_srli_epi64(x, 31)};
}

/* One column's shares for count <= LANES * chains points: up to SA_TINY_POINT if tiny, where
 * two steps from carried parts stay below 2^52, else up to SA_SMALL_POINT, where only one does.
 * `tiny` and `chains` are constants where this is inlined. */
static inline __attribute__((always_inline)) void
share_column(uint64_t *restrict shares, uint64_t secret, const uint64_t *restrict coefficients,
             size_t columns, size_t terms, const uint64_t *restrict points, size_t count,
             int tiny, size_t chains)
{
    __m512i x[8];
    parts value[8];
    const __m512i rows = _mm512_mullo_epi64(_mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0),
                                            constant(columns));
    const parts top = halve(terms % 2 ? coefficients[terms - 1] : 0), bottom = halve(secret);
#pragma GCC unroll 8
    for (size_t v = 0; v < chains; v++) {
        size_t at = LANES * v < count ? LANES * v : 0;
        x[v] = _mm512_maskz_loadu_epi64(first(count - at), points + at);
        value[v] = top;
    }
    for (size_t k = terms - terms % 2; k > 0; k -= 2) {
        const parts f = halve(coefficients[k - 1]), g = halve(coefficients[k - 2]);
#pragma GCC unroll 8
        for (size_t v = 0; v < chains; v++) {
            parts a = step(f, value[v], x[v]);
            value[v] = carry(step(g, tiny ? a : carry(a), x[v]));
        }
    }
#pragma GCC unroll 8
    for (size_t v = 0; v < chains; v++) {
        if (LANES * v < count) {
            const parts a = step(bottom, value[v], x[v]);
            const __m512i sum = _mm512_add_epi64(a.low, rotate(a.high, 31));
            _mm512_mask_i64scatter_epi64(shares + LANES * v * columns, first(count - LANES * v),
                                         rows, canonical_lanes(sum), 8);
        }
    }
}

/* All columns' shares for at most SA_MANY_POINTS points. */
static inline __attribute__((always_inline)) void
share_columns(uint64_t *restrict shares, const uint64_t *restrict secrets,
              const uint64_t *restrict coefficients, size_t columns, size_t terms,
              const uint64_t *restrict points, size_t count, int tiny)
{
    for (size_t c = 0; c < columns; c++, coefficients += terms) {
        if (count > 4 * LANES)
            share_column(shares + c, secrets[c], coefficients, columns, terms, points, count,
                         tiny, 8);
        else if (count > LANES)
            share_column(shares + c, secrets[c], coefficients, columns, terms, points, count,
                         tiny, 4);
        else
            share_column(shares + c, secrets[c], coefficients, columns, terms, points, count,
                         tiny, 1);
    }
}

/* How many points, from the first one on, are at most `limit`. */
static size_t leading(const uint64_t *points, size_t count, uint64_t limit)
{
    size_t n = 0;
    while (n < count && points[n] <= limit)
        n++;
    return n;
}

static void share(uint64_t *restrict shares, const uint64_t *restrict secrets,
                  const uint64_t *restrict coefficients, size_t columns, size_t threshold,
                  const uint64_t *restrict points, size_t count)
{
    size_t terms = threshold - 1;
    while (count > 0) {
        size_t most = count < SA_MANY_POINTS ? count : SA_MANY_POINTS;
        size_t n = leading(points, most, SA_SMALL_POINT);
        if (n < SA_FEW_POINTS) {
            n = n > 0 ? n : 1;
            sa_shamir_portable.share(shares, secrets, coefficients, columns, threshold, points,
                                     n);
        } else if (leading(points, n, SA_TINY_POINT) == n) {
            share_columns(shares, secrets, coefficients, columns, terms, points, n, 1);
        } else {
            share_columns(shares, secrets, coefficients, columns, terms, points, n, 0);
        }
        shares += n * columns;
        points += n;
        count -= n;
    }
}

/* The differences of a vector of points and a single point, with 1 for a difference of zero: as
 * points are distinct, that is the difference of a point and itself. */
static void differences(uint64_t *restrict out, const uint64_t *restrict points, size_t count)
{
    for (size_t i = 0; i < count; i += LANES * SA_CHAINS) {
        __m512i x[SA_CHAINS], product[SA_CHAINS];
#pragma GCC unroll 4
        for (size_t v = 0; v < SA_CHAINS; v++) {
            size_t at = i + LANES * v < count ? i + LANES * v : i;
            x[v] = _mm512_maskz_loadu_epi64(first(count - at), points + at);
            product[v] = constant(1);
        }
        for (size_t j = 0; j < count; j++) {
            __m512i y = constant(points[j]);
            __m512i shifted = constant(points[j] - P);
#pragma GCC unroll 4
            for (size_t v = 0; v < SA_CHAINS; v++) {
                __mmask8 other = _mm512_cmpneq_epi64_mask(x[v], y);
                __m512i d = _mm512_mask_sub_epi64(constant(1), other, x[v], shifted);
                product[v] = multiply_lanes(product[v], d);
            }
        }
#pragma GCC unroll 4
        for (size_t v = 0; v < SA_CHAINS; v++) {
            size_t at = i + LANES * v;
            if (at < count)
                _mm512_mask_storeu_epi64(out + at, first(count - at), canonical_lanes(product[v]));
        }
    }
}

/* Factors w, split for products with s = s0 + 2^43 s1: w = w0 + 2^52 w1 for s0, and
 * 2^43 w = v0 + 2^34 v1 mod p for s1. Then only w0 s0 is 2^52 or more. */
typedef struct {
    uint64_t w0[SA_ROWS], w1[SA_ROWS], v0[SA_ROWS], v1[SA_ROWS];
} cut_factors;

static inline void cut(cut_factors *to, const uint64_t *factors, size_t count)
{
    for (size_t k = 0; k < count; k += LANES) {
        __m512i w = _mm512_maskz_loadu_epi64(first(count - k), factors + k);
        __m512i v = rotate(w, 43);
        _mm512_storeu_si512(to->w0 + k, _mm512_and_si512(w, ones(52)));
        _mm512_storeu_si512(to->w1 + k, _mm512_srli_epi64(w, 52));
        _mm512_storeu_si512(to->v0 + k, _mm512_and_si512(v, ones(34)));
        _mm512_storeu_si512(to->v1 + k, _mm512_srli_epi64(v, 34));
    }
}

/* The sums of at most SA_ROWS products of weights 1, 2^52 and 2^34 are below 2^57, 2^57 and
 * 2^49. */
static void combine(uint64_t *restrict out, const uint64_t *restrict factors,
                    const uint64_t *restrict shares, size_t count, size_t columns)
{
    cut_factors w;
    for (size_t c = 0; c < columns; c++)
        out[c] = 0;
    for (size_t i = 0; i < count; i += SA_ROWS) {
        size_t n = count - i < SA_ROWS ? count - i : SA_ROWS;
        cut(&w, factors + i, n);
        for (size_t c = 0; c < columns; c += LANES) {
            const uint64_t *rows = shares + i * columns + c;
            const __mmask8 lanes = first(columns - c);
            __m512i a = _mm512_setzero_si512(), b = a, d = a, e = a, f = a;
            for (size_t k = 0; k < n; k++) {
                __m512i s = _mm512_maskz_loadu_epi64(lanes, rows + k * columns);
                __m512i s0 = _mm512_and_si512(s, ones(43)), s1 = _mm512_srli_epi64(s, 43);
                a = _mm512_madd52lo_epu64(a, s0, constant(w.w0[k]));
                b = _mm512_madd52hi_epu64(b, s0, constant(w.w0[k]));
                d = _mm512_madd52lo_epu64(d, s0, constant(w.w1[k]));
                e = _mm512_madd52lo_epu64(e, s1, constant(w.v0[k]));
                f = _mm512_madd52lo_epu64(f, s1, constant(w.v1[k]));
            }
            a = _mm512_add_epi64(_mm512_add_epi64(a, e), rotate(f, 34));
            a = _mm512_add_epi64(a, rotate(_mm512_add_epi64(b, d), 52));
            a = _mm512_add_epi64(a, _mm512_maskz_loadu_epi64(lanes, out + c));
            _mm512_mask_storeu_epi64(out + c, lanes, canonical_lanes(fold_lanes(a)));
        }
    }
}

#define SA_SHAMIR sa_shamir_avx512
#define SA_SHAMIR_NAME "avx512"
#define SA_SHAMIR_NEEDS (SA_CPU_AVX512 | SA_CPU_IFMA)
#include "shamir_kernels.h"

#if defined(__clang__)
#pragma clang attribute pop
#endif

#endif
