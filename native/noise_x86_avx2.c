/* The noise kernels compiled for 256-bit registers. */
#include <string.h>

#include "kernels.h"

#if defined(__x86_64__)

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#else
#pragma GCC target("avx2")
#endif

typedef uint64_t lanes __attribute__((vector_size(32)));
typedef int64_t signed_lanes __attribute__((vector_size(32)));
enum { LANES = 4, BLOCK = 8 };

/* Of blocks of eight thresholds, the last ones are compared with one after the other. The others of
 * the block in which a word lies are taken out of all blocks by masks. A word that equals a threshold
 * meets it, or one that is equal to it. Comparisons of vectors are signed, so top bits are turned
 * around, and give -1 where they hold. */
static int count_scan(uint32_t *counts, const uint64_t *words, size_t len,
                      const uint64_t *thresholds, size_t count)
{
    const uint64_t top = (uint64_t)1 << 63;
    uint64_t table[SA_SCANNED + BLOCK];
    const size_t blocks = count / BLOCK + 1;
    for (size_t k = 0; k < BLOCK * blocks; k++) /* a word of all ones is a tie with what is added */
        table[k] = (k < count ? thresholds[k] : UINT64_MAX) ^ top;
    uint64_t tie = 0;
    for (size_t i = 0; i < len; i += LANES) {
        lanes w, block = {0}, number = {0}, inside = {0}, equal = {0};
        lanes elements[BLOCK - 1] = {{0}};
        memcpy(&w, words + i, sizeof w);
        w ^= top;
        for (size_t b = 0; b < blocks; b++) {
            const lanes last = (lanes){0} + table[BLOCK * b + BLOCK - 1];
            block += 1 + (lanes)((signed_lanes)last > (signed_lanes)w);
            equal |= (lanes)(last == w);
        }
        for (size_t b = 0; b < blocks; b++, number += 1) {
            const lanes mask = (lanes)(block == number);
            for (size_t k = 0; k < BLOCK - 1; k++)
                elements[k] |= mask & table[BLOCK * b + k];
        }
        for (size_t k = 0; k < BLOCK - 1; k++) {
            inside += 1 + (lanes)((signed_lanes)elements[k] > (signed_lanes)w);
            equal |= (lanes)(elements[k] == w);
        }
        for (size_t j = 0; j < LANES; j++) {
            tie |= equal[j];
            counts[i + j] = (uint32_t)(BLOCK * block[j] + inside[j]);
        }
    }
    return tie != 0;
}

#define SA_NOISE sa_noise_avx2
#define SA_NOISE_NAME "avx2"
#define SA_NOISE_NEEDS SA_CPU_AVX2
#include "noise_kernels.h"

#if defined(__clang__)
#pragma clang attribute pop
#endif

#endif
