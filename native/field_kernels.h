/* Field vectors modulo p(b) = 2^b - d, d <= 129, in plain C: branch-free, and written so that
 * the compiler vectorises all but the 64-bit products for any target. The file that includes this
 * chooses the target, and defines
 *   SA_FIELD, SA_FIELD_NAME, SA_FIELD_NEEDS   the struct of kernels, its name and CPU features
 *   SA_MINIMUM_LANES                          bits of the widest lanes that have a vector minimum
 */

#include "wide.h"

/* `dst` may be an input array but never overlaps one partly, so no iteration of an
 * element-wise loop depends on another. Saying so with `restrict` would be wrong for the
 * first case; without it the compiler would test for overlap and fall back to scalar code. */
#if defined(__clang__)
#define SA_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#elif defined(__GNUC__)
#define SA_INDEPENDENT _Pragma("GCC ivdep")
#else
#define SA_INDEPENDENT
#endif

/* Columns that are summed at once: their wide accumulators stay in the first-level cache. */
enum { SA_SUM_COLUMNS = 1024 };

/* x mod p. In: x < 2^min(2b, 64), b >= 32 or x < p^2, so that x >> b < 2^32. Out: [0, p).
 * Each fold replaces 2^b by d: the first leaves less than 2^b (d + 1), the second less than
 * 2^b + d (d + 1) < 2p. */
static inline uint64_t reduce_narrow(uint64_t x, int bits, uint32_t d)
{
    uint64_t low = ((uint64_t)1 << bits) - 1;
    uint64_t p = low + 1 - d;
    x = (x & low) + (uint64_t)(uint32_t)(x >> bits) * d;
    x = (x & low) + (uint64_t)(uint32_t)(x >> bits) * d;
    x -= p;
    return x + (p & (0 - (x >> 63)));
}

/* ---- 32-bit lanes: 16 <= b <= 32 ---- */

/* 1 if a < b, else 0. p(32) leaves no sign bit to test, so this is a comparison. */
static inline uint32_t below_u32(uint32_t a, uint32_t b) { return (uint32_t)(a < b); }

static inline uint32_t outside_u32(uint32_t a, uint32_t p) { return (uint32_t)(a >= p); }

/* a * k mod p, both in [0, p). */
static inline uint32_t multiply_u32(uint32_t a, uint32_t k, int bits, uint32_t d)
{
    return (uint32_t)reduce_narrow((uint64_t)a * k, bits, d);
}

/* Elements that a 64-bit accumulator below p takes before it must be reduced: the sum stays
 * at most (p - 1) + (p - 1)^2 < p^2. */
static inline uint64_t sum_rows_u32(int bits) { return sa_prime(bits) - 1; }

#define LANE uint32_t
#define NAME(stem) stem##_u32
#include "field_body.h"
#undef LANE
#undef NAME

/* ---- 64-bit lanes: 33 <= b <= 62 ---- */

/* 1 if a < b, else 0, for a and b up to 2^63. Baseline x86-64 has no 64-bit vector
 * comparison, but it can shift. */
static inline uint64_t below_u64(uint64_t a, uint64_t b) { return (a - b) >> 63; }

/* 1 if a >= p, for any a: an a of 2^63 or more shows its own top bit. */
static inline uint64_t outside_u64(uint64_t a, uint64_t p) { return ((p - 1 - a) | a) >> 63; }

/* a * k mod p, both in [0, p): the folds of reduce_narrow, the first one wider. */
static inline uint64_t multiply_u64(uint64_t a, uint64_t k, int bits, uint32_t d)
{
    uint64_t low = ((uint64_t)1 << bits) - 1;
    uint64_t p = low + 1 - d;
    wide x = wide_product(a, k); /* below 2^124 */
    wide folded = wide_product(shifted_word(x, bits), d);
    x = wide_sum(wide_of(low_word(x) & low), folded); /* below 2^b (d + 1) */
    uint64_t r = (low_word(x) & low) + shifted_word(x, bits) * d;
    r -= p;
    return r + (p & (0 - (r >> 63)));
}

/* As above: the sum stays below p + (2^(64-b) - 1) p < 2^64. */
static inline uint64_t sum_rows_u64(int bits) { return ((uint64_t)1 << (64 - bits)) - 1; }

#define LANE uint64_t
#define NAME(stem) stem##_u64
#include "field_body.h"
#undef LANE
#undef NAME

extern const sa_field_kernel SA_FIELD;
const sa_field_kernel SA_FIELD = {
    .name = SA_FIELD_NAME,
    .needs = SA_FIELD_NEEDS,
    .check_u32 = check_u32,
    .check_u64 = check_u64,
    .add_u32 = add_u32,
    .add_u64 = add_u64,
    .sub_u32 = sub_u32,
    .sub_u64 = sub_u64,
    .neg_u32 = neg_u32,
    .neg_u64 = neg_u64,
    .scale_u32 = scale_u32,
    .scale_u64 = scale_u64,
    .sum_u32 = sum_u32,
    .sum_u64 = sum_u64,
    .mask_u32 = mask_u32,
    .mask_u64 = mask_u64,
};
