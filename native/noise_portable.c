/* The noise kernels for any machine. */
#include "kernels.h"
#include "vector.h"

static inline sa_v2x64 load(const uint64_t *from)
{
    sa_v2x64 v;
    memcpy(&v, from, sizeof v);
    return v;
}

/* Of blocks of eight thresholds, the last ones are compared with one after the other; the block in
 * which a word lies is taken out of all blocks by masks. Baseline x86-64 has no comparison of 64-bit
 * lanes: words and thresholds lose their last bit, so that the top bit of a difference is its sign.
 * Words that differ from a threshold in the last bit alone are reported as equal, which they may
 * be. */
static int count_scan(uint32_t *counts, const uint64_t *words, size_t len,
                      const uint64_t *thresholds, size_t count)
{
    enum { BLOCK = 8, PAIRS = BLOCK / 2 };
    uint64_t halves[SA_SCANNED + BLOCK], lasts[SA_SCANNED / BLOCK + 2];
    const size_t blocks = count / BLOCK + 1;
    for (size_t k = 0; k < BLOCK * blocks; k++)
        halves[k] = (k < count ? thresholds[k] : UINT64_MAX) >> 1;
    for (size_t b = 0; b <= blocks; b++)
        lasts[b] = b < blocks ? halves[BLOCK * b + BLOCK - 1] : UINT64_MAX >> 1;
    sa_v2x64 tie = {0, 0};
    for (size_t i = 0; i < len; i++) {
        const sa_v2x64 w = {words[i] >> 1, words[i] >> 1};
        sa_v2x64 passed = {0, 0}, block[PAIRS] = {{0}}, below = {0, 0}, at_most = {0, 0};
        for (size_t b = 0; b < blocks; b += 2)
            passed += (load(lasts + b) - w) >> 63;
        const uint32_t wanted = (uint32_t)(passed[0] + passed[1]);
        sa_v4 distance = {wanted, wanted, wanted, wanted};
        for (size_t b = 0; b < blocks; b++, distance -= 1) {
            const sa_v2x64 mask = (sa_v2x64)(distance == 0);
            for (size_t k = 0; k < PAIRS; k++)
                block[k] |= load(halves + BLOCK * b + 2 * k) & mask;
        }
        for (size_t k = 0; k < PAIRS; k++) {
            const sa_v2x64 difference = block[k] - w;
            below += difference >> 63;
            at_most += (difference - 1) >> 63;
        }
        tie |= below ^ at_most;
        counts[i] = (uint32_t)(BLOCK * wanted + at_most[0] + at_most[1]);
    }
    return (tie[0] | tie[1]) != 0;
}

#define SA_NOISE sa_noise_portable
#define SA_NOISE_NAME "portable"
#define SA_NOISE_NEEDS 0
#include "noise_kernels.h"
