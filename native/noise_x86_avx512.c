/* The noise kernels for 512-bit registers. */
#include "kernels.h"

#if defined(__x86_64__)

#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,prefer-vector-width=512")
#endif

enum { LANES = 8, GROUP = SA_COUNT_STEP / LANES, MOST_BLOCKS = SA_SCANNED / LANES + 1 };

/* values[j] = in each lane l the element at[j][l] of the block that has the number block[j][l].
 * Every lane looks into every block, so that no address tells which it needs. */
static inline void look_up(__m512i values[GROUP], const __m512i block[GROUP],
                           const __m512i at[GROUP], const uint64_t *blocks, size_t count)
{
    const __m512i one = _mm512_set1_epi64(1);
    __m512i number = _mm512_setzero_si512();
    for (size_t j = 0; j < GROUP; j++)
        values[j] = _mm512_setzero_si512();
    for (size_t b = 0; b < count; b++) {
        const __m512i elements = _mm512_load_si512(blocks + LANES * b);
        for (size_t j = 0; j < GROUP; j++)
            values[j] = _mm512_mask_permutexvar_epi64(
                values[j], _mm512_cmpeq_epi64_mask(block[j], number), at[j], elements);
        number = _mm512_add_epi64(number, one);
    }
}

/* Of blocks of eight thresholds, the last ones are compared with one after the other; in the block
 * in which a word lies, three more are looked up. A word that equals a threshold meets it. */
static int count_scan(uint32_t *counts, const uint64_t *words, size_t len,
                      const uint64_t *thresholds, size_t count)
{
    _Alignas(64) uint64_t table[LANES * MOST_BLOCKS];
    const size_t blocks = count / LANES + 1;
    for (size_t k = 0; k < LANES * blocks; k++) /* a word of all ones is a tie with what is added */
        table[k] = k < count ? thresholds[k] : UINT64_MAX;
    const __m512i one = _mm512_set1_epi64(1);
    __mmask8 differ = 0xff;
    for (size_t i = 0; i < len; i += SA_COUNT_STEP) {
        __m512i w[GROUP], block[GROUP], at[GROUP], found[GROUP];
        __mmask8 unequal[GROUP];
        for (size_t j = 0; j < GROUP; j++) {
            w[j] = _mm512_loadu_si512(words + i + LANES * j);
            block[j] = at[j] = _mm512_setzero_si512();
            unequal[j] = 0xff;
        }
        for (size_t b = 0; b < blocks; b++) {
            const __m512i last = _mm512_set1_epi64((int64_t)table[LANES * b + LANES - 1]);
            for (size_t j = 0; j < GROUP; j++) {
                const __mmask8 passed = _mm512_cmple_epu64_mask(last, w[j]);
                block[j] = _mm512_mask_add_epi64(block[j], passed, block[j], one);
                unequal[j] = _mm512_mask_cmpneq_epu64_mask(unequal[j], last, w[j]);
            }
        }
        for (int step = LANES / 2; step > 0; step /= 2) {
            __m512i probe[GROUP];
            for (size_t j = 0; j < GROUP; j++)
                probe[j] = _mm512_add_epi64(at[j], _mm512_set1_epi64(step - 1));
            look_up(found, block, probe, table, blocks);
            for (size_t j = 0; j < GROUP; j++) {
                const __mmask8 passed = _mm512_cmple_epu64_mask(found[j], w[j]);
                at[j] = _mm512_mask_add_epi64(at[j], passed, at[j], _mm512_set1_epi64(step));
                unequal[j] = _mm512_mask_cmpneq_epu64_mask(unequal[j], found[j], w[j]);
            }
        }
        for (size_t j = 0; j < GROUP; j++) {
            const __m512i reached = _mm512_add_epi64(_mm512_slli_epi64(block[j], 3), at[j]);
            differ = _kand_mask8(differ, unequal[j]);
            _mm256_storeu_si256((__m256i *)(counts + i + LANES * j),
                                _mm512_cvtepi64_epi32(reached));
        }
    }
    return differ != 0xff;
}

#define SA_NOISE sa_noise_avx512
#define SA_NOISE_NAME "avx512"
#define SA_NOISE_NEEDS SA_CPU_AVX512
#include "noise_kernels.h"

#if defined(__clang__)
#pragma clang attribute pop
#endif

#endif
