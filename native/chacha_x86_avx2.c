/* ChaCha20 on 256-bit registers: eight blocks at a time. */
#include "kernels.h"

#if defined(__x86_64__)

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#else
#pragma GCC target("avx2")
#endif

#include <immintrin.h>

#define SA_VECTOR 32
#define SA_MINIMUM(a, b) _mm256_min_epu32((__m256i)(a), (__m256i)(b))
#define SA_MAXIMUM(a, b) _mm256_max_epu32((__m256i)(a), (__m256i)(b))
#define SA_NEGATIVE(v) _mm256_cmpgt_epi64(_mm256_setzero_si256(), (__m256i)(v))
#define SA_ANY(v) (!_mm256_testz_si256((__m256i)(v), (__m256i)(v)))
#include "mask_words.h"

#define LANES 8
#define NUMBERS {0, 1, 2, 3, 4, 5, 6, 7}
#define JOIN_LOW(a, b) ((lanes)_mm256_unpacklo_epi32((__m256i)(a), (__m256i)(b)))
#define JOIN_HIGH(a, b) ((lanes)_mm256_unpackhi_epi32((__m256i)(a), (__m256i)(b)))
#define SPLIT_EVEN(a, b) ((lanes)_mm256_shuffle_ps((__m256)(a), (__m256)(b), 0x88))
#define SPLIT_ODD(a, b) ((lanes)_mm256_shuffle_ps((__m256)(a), (__m256)(b), 0xdd))
#define ROTATE16(v) rotate(v, 2, 3, 0, 1)
#define ROTATE8(v) rotate(v, 3, 0, 1, 2)
typedef sa_words lanes;

/* A rotation by whole bytes is one shuffle: the byte that each byte of a word is taken from. */
static inline lanes rotate(lanes v, int a, int b, int c, int d)
{
    const __m256i word = _mm256_set1_epi32(a | b << 8 | c << 16 | d << 24);
    const __m256i base = _mm256_set_epi32(0x0c0c0c0c, 0x08080808, 0x04040404, 0, 0x0c0c0c0c,
                                          0x08080808, 0x04040404, 0);
    return (lanes)_mm256_shuffle_epi8((__m256i)v, _mm256_add_epi8(word, base));
}

static inline void store(uint8_t *out, __m256i low, __m256i high, int half)
{
    const __m256i joined = half ? _mm256_permute2x128_si256(low, high, 0x31)
                                : _mm256_permute2x128_si256(low, high, 0x20);
    _mm256_storeu_si256((__m256i *)(void *)out, joined);
}

static inline void store_blocks(uint8_t *out, const lanes x[16])
{
    __m256i y[16]; /* y[4g + j]: words 4g to 4g + 3 of block j and, above, of block 4 + j */
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) {
        const __m256i a = _mm256_unpacklo_epi32((__m256i)x[i], (__m256i)x[i + 1]);
        const __m256i b = _mm256_unpackhi_epi32((__m256i)x[i], (__m256i)x[i + 1]);
        const __m256i c = _mm256_unpacklo_epi32((__m256i)x[i + 2], (__m256i)x[i + 3]);
        const __m256i d = _mm256_unpackhi_epi32((__m256i)x[i + 2], (__m256i)x[i + 3]);
        y[i] = _mm256_unpacklo_epi64(a, c);
        y[i + 1] = _mm256_unpackhi_epi64(a, c);
        y[i + 2] = _mm256_unpacklo_epi64(b, d);
        y[i + 3] = _mm256_unpackhi_epi64(b, d);
    }
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        uint8_t *low = out + 64 * j, *high = out + 64 * (4 + j);
        store(low, y[j], y[4 + j], 0);
        store(low + 32, y[8 + j], y[12 + j], 0);
        store(high, y[j], y[4 + j], 1);
        store(high + 32, y[8 + j], y[12 + j], 1);
    }
}

#include "chacha_body.h"
#include "chacha_mask.h"

extern const sa_cipher_kernel sa_chacha_avx2;
const sa_cipher_kernel sa_chacha_avx2 = {
    .name = "avx2",
    .needs = SA_CPU_AVX2,
    .block_bytes = BLOCK,
    .schedule = schedule,
    .keystream = keystream,
    .mask = mask,
};

#if defined(__clang__)
#pragma clang attribute pop
#endif

#endif
