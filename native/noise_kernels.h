/* Kernels of noise in plain C, which the compiler vectorises: searching a long table, adding signed
 * integers to field elements, and sums of squares. All values but the thresholds are secret: no
 * branch on them. The file that includes this chooses the target, and defines
 *   SA_NOISE, SA_NOISE_NAME, SA_NOISE_NEEDS   the struct of kernels, its name and CPU features
 *   count_scan   sa_noise_kernel.count for up to SA_SCANNED thresholds, at no secret address */
#include <string.h>

/* sa_noise_kernel.count by a binary search of all words of a step together, so that reads of one
 * do not wait for those of another. How many reads there are depends on `count` alone, their
 * addresses on the words. A word that equals a threshold meets it on its way. */
static int count_search(uint32_t *restrict counts, const uint64_t *restrict words, size_t len,
                        const uint64_t *restrict thresholds, size_t count)
{
    uint64_t tie = 0;
    for (size_t i = 0; i < len; i += SA_COUNT_STEP) {
        uint64_t below[SA_COUNT_STEP] = {0}, equal[SA_COUNT_STEP] = {0};
        for (size_t rest = count, half; rest > 1; rest -= half) {
            half = rest / 2;
            for (size_t j = 0; j < SA_COUNT_STEP; j++) {
                const uint64_t threshold = thresholds[below[j] + half - 1];
                equal[j] |= (uint64_t)(threshold == words[i + j]);
                below[j] += half & (0 - (uint64_t)(threshold <= words[i + j]));
            }
        }
        for (size_t j = 0; j < SA_COUNT_STEP; j++) {
            const uint64_t threshold = thresholds[below[j]];
            tie |= equal[j] | (uint64_t)(threshold == words[i + j]);
            counts[i + j] = (uint32_t)(below[j] + (uint64_t)(threshold <= words[i + j]));
        }
    }
    return tie != 0;
}

static int count_below(uint32_t *counts, const uint64_t *words, size_t len,
                       const uint64_t *thresholds, size_t count)
{
    return count <= SA_SCANNED ? count_scan(counts, words, len, thresholds, count)
                               : count_search(counts, words, len, thresholds, count);
}

/* 1 if a < b: for 64-bit lanes by the sign of the difference, of a and b up to 2^63, as compilers
 * make branches of some comparisons. p(32) leaves no sign bit to test. */
static inline uint32_t below_u32(uint32_t a, uint32_t b) { return (uint32_t)(a < b); }

static inline uint64_t below_u64(uint64_t a, uint64_t b) { return (a - b) >> 63; }

/* a + x or a - x mod p, where x is counts[i] mod p: t = p - x or x is taken away, 0 <= t <= p. There
 * are folds only if p is below the number of thresholds, 2^31: then the sign of x - p is in its top
 * bit in either lane. */
#define SA_ADD_SIGNED(NAME, LANE, BELOW)                                                      \
    static void NAME(LANE *restrict acc, const uint32_t *restrict counts,                     \
                     const uint8_t *restrict signs, size_t len, LANE p, uint32_t folds)       \
    {                                                                                         \
        for (size_t i = 0; i < len; i += 32) {                                                \
            const size_t n = len - i < 32 ? len - i : 32;                                     \
            uint32_t minus;                                                                   \
            memcpy(&minus, signs + i / 8, sizeof minus);                                      \
            for (size_t j = 0; j < n; j++) {                                                  \
                LANE x = counts[i + j];                                                       \
                for (uint32_t k = 0; k < folds; k++) {                                        \
                    x -= p;                                                                   \
                    x += p & ((LANE)0 - (x >> (8 * sizeof(LANE) - 1)));                       \
                }                                                                             \
                const LANE negative = (LANE)0 - (LANE)(minus >> j & 1);                       \
                const LANE t = (x & negative) | ((p - x) & ~negative);                        \
                const LANE a = acc[i + j];                                                    \
                acc[i + j] = (a - t) + (p & ((LANE)0 - BELOW(a, t)));                         \
            }                                                                                 \
        }                                                                                     \
    }

SA_ADD_SIGNED(add_signed_u32, uint32_t, below_u32)
SA_ADD_SIGNED(add_signed_u64, uint64_t, below_u64)

/* d = |q[i] - centre| is the smaller of the two differences modulo 2^64, for any q and centre below
 * 2^63; the square of its low half is that of d if d < 2^31. */
#define SA_SQUARES(NAME, LANE)                                                                \
    static int NAME(uint64_t *low, uint64_t *high, const LANE *q, size_t len, uint64_t centre) \
    {                                                                                         \
        uint64_t lows = 0, highs = 0, any = 0;                                                \
        for (size_t i = 0; i < len; i++) {                                                    \
            const uint64_t difference = (uint64_t)q[i] - centre;                              \
            const uint64_t sign = 0 - (difference >> 63);                                     \
            const uint64_t d = (difference ^ sign) - sign;                                    \
            const uint64_t square = (uint64_t)(uint32_t)d * (uint32_t)d;                      \
            any |= d;                                                                         \
            lows += (uint32_t)square;                                                         \
            highs += square >> 32;                                                            \
        }                                                                                     \
        *low = lows;                                                                          \
        *high = highs;                                                                        \
        return any >> 31 ? SA_ERANGE : SA_OK;                                                 \
    }

SA_SQUARES(squares_u32, uint32_t)
SA_SQUARES(squares_u64, uint64_t)

extern const sa_noise_kernel SA_NOISE;
const sa_noise_kernel SA_NOISE = {
    .name = SA_NOISE_NAME,
    .needs = SA_NOISE_NEEDS,
    .count = count_below,
    .add_signed_u32 = add_signed_u32,
    .add_signed_u64 = add_signed_u64,
    .squares_u32 = squares_u32,
    .squares_u64 = squares_u64,
};
