/* ChaCha20 on 256-bit registers: eight blocks at a time. */
#include "kernels.h"

#if defined(__x86_64__)

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#else
#pragma GCC target("avx2")
#endif

#include <immintrin.h>

#define LANES 8
#define ROTATE16(v) rotate(v, 2, 3, 0, 1)
#define ROTATE8(v) rotate(v, 3, 0, 1, 2)
typedef uint32_t lanes __attribute__((vector_size(32)));

/* A rotation by whole bytes is one shuffle: from which byte each byte of a word comes. */
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

extern const sa_cipher_kernel sa_chacha_avx2;
const sa_cipher_kernel sa_chacha_avx2 = {"avx2", SA_CPU_AVX2, schedule, keystream};

#if defined(__clang__)
#pragma clang attribute pop
#endif

#endif
