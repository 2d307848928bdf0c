/* Skellam noise added to field vectors, and sums of squares: arguments are checked here, before
 * anything is written; keystream is compared with thresholds by the active kernels. */
#include <string.h>

#include "checks.h"
#include "kernels.h"
#include "wide.h"

enum {
    CHUNK = 512,          /* coordinates, whose words stay in the first-level cache */
    SIGNS = 1,            /* the nonce of the signs, */
    FIRST_SECOND = 2,     /* and of the second word of coordinate 0 */
    SQUARES = 1 << 20     /* that are summed in 64 bits */
};
_Static_assert(CHUNK % SA_COUNT_STEP == 0 && CHUNK / 8 % SA_MAX_BLOCK == 0,
               "chunks are whole steps, and their signs whole blocks");

/* One call of sa_skellam_add_*: `high` and `low` are the words of the thresholds. */
typedef struct {
    const sa_cipher_kernel *cipher;
    const sa_noise_kernel *noise;
    const uint64_t *high, *low;
    size_t count, distinct; /* thresholds; those whose high word is not of all ones, and one more */
    sa_schedule schedule;
    _Alignas(64) uint64_t words[CHUNK];
    _Alignas(64) uint8_t signs[CHUNK / 8];
    uint32_t counts[CHUNK];
} skellam;

static uint64_t second_word(const skellam *s, uint64_t coordinate)
{
    union {
        uint8_t bytes[SA_MAX_BLOCK];
        uint64_t u64[SA_MAX_BLOCK / 8];
    } words;
    s->cipher->keystream(&s->schedule, words.bytes, 1, coordinate + FIRST_SECOND, 0);
    const uint64_t second = words.u64[0];
    sa_wipe(&words, sizeof words);
    return second;
}

/* Counts again, in 128 bits, for words that equal that of a threshold. That one of `count` does
 * has a chance of count * 2^-64 a coordinate, so the branches say nothing that would help. */
static void break_ties(skellam *s, size_t len, uint64_t first)
{
    for (size_t i = 0; i < len; i++) {
        const uint64_t word = s->words[i];
        uint32_t below = 0, equal = 0;
        for (size_t k = 0; k < s->count; k++) {
            below += (uint32_t)(s->high[k] < word);
            equal |= (uint32_t)(s->high[k] == word);
        }
        if (equal) {
            const uint64_t second = second_word(s, first + i);
            for (size_t k = 0; k < s->count; k++)
                below += (uint32_t)(s->high[k] == word) & (uint32_t)(s->low[k] <= second);
        }
        s->counts[i] = below;
    }
}

/* counts[0..len) and signs of coordinates first..first+len; `first` is a multiple of CHUNK. */
static void draw(skellam *s, size_t len, uint64_t first)
{
    const size_t block = s->cipher->block_bytes;
    const size_t steps = (len + SA_COUNT_STEP - 1) / SA_COUNT_STEP * SA_COUNT_STEP;
    s->cipher->keystream(&s->schedule, (uint8_t *)s->words, 8 * steps / block, 0,
                         8 * first / block);
    s->cipher->keystream(&s->schedule, s->signs, sizeof s->signs / block, SIGNS,
                         first / 8 / block);
    if (s->noise->count(s->counts, s->words, steps, s->high, s->distinct))
        break_ties(s, len, first);
}

static int prepare(skellam *s, const uint64_t *thresholds, size_t count, int generator,
                   const uint8_t *key)
{
    s->cipher = sa_cipher(generator);
    if (s->cipher == NULL || key == NULL || thresholds == NULL || count < 1 || count >> 31)
        return SA_EARG;
    s->noise = sa_noise();
    s->high = thresholds;
    s->low = thresholds + count;
    s->count = s->distinct = count;
    while (s->distinct > 1 && s->high[s->distinct - 2] == UINT64_MAX)
        s->distinct--;
    s->cipher->schedule(&s->schedule, key);
    return SA_OK;
}

#define SA_SKELLAM_ADD(SUFFIX, LANE, LEAST, MOST)                                             \
    int sa_skellam_add_##SUFFIX(LANE *acc, size_t len, int bits, const uint64_t *thresholds,  \
                                size_t count, int generator, const uint8_t *key)              \
    {                                                                                         \
        skellam s;                                                                            \
        if (bits < (LEAST) || bits > (MOST) || !sa_fits(acc, len, sizeof *acc) ||             \
            prepare(&s, thresholds, count, generator, key) != SA_OK)                          \
            return SA_EARG;                                                                   \
        const LANE p = (LANE)sa_prime(bits);                                                  \
        for (size_t i = 0, n; i < len; i += n) {                                              \
            n = len - i < CHUNK ? len - i : CHUNK;                                            \
            draw(&s, n, i);                                                                   \
            s.noise->add_signed_##SUFFIX(acc + i, s.counts, s.signs, n, p,                    \
                                         (uint32_t)(count / p));                              \
        }                                                                                     \
        sa_wipe(&s, sizeof s);                                                                \
        sa_wipe_traces();                                                                     \
        return SA_OK;                                                                         \
    }

SA_SKELLAM_ADD(u32, uint32_t, 16, 32)
SA_SKELLAM_ADD(u64, uint64_t, 33, 62)

#define SA_SUM_SQUARES(SUFFIX, LANE)                                                          \
    int sa_sum_squares_##SUFFIX(uint64_t *low, uint64_t *high, const LANE *q, size_t len,     \
                                uint64_t centre)                                              \
    {                                                                                         \
        if (low == NULL || high == NULL || centre >> 62 || !sa_fits(q, len, sizeof *q))       \
            return SA_EARG;                                                                   \
        wide total = wide_of(0);                                                              \
        int status = SA_OK;                                                                   \
        for (size_t i = 0, n; i < len && status == SA_OK; i += n) {                           \
            uint64_t sums[2];                                                                 \
            n = len - i < SQUARES ? len - i : SQUARES;                                        \
            status = sa_noise()->squares_##SUFFIX(&sums[0], &sums[1], q + i, n, centre);      \
            const wide upper = wide_product(sums[1], (uint64_t)1 << 32);                      \
            total = wide_sum(total, wide_sum(wide_of(sums[0]), upper));                       \
            sa_wipe(sums, sizeof sums);                                                       \
        }                                                                                     \
        if (status == SA_OK) {                                                                \
            *low = low_word(total);                                                           \
            *high = shifted_word(total, 64);                                                  \
        }                                                                                     \
        sa_wipe_traces();                                                                     \
        return status;                                                                        \
    }

SA_SUM_SQUARES(u32, uint32_t)
SA_SUM_SQUARES(u64, uint64_t)
