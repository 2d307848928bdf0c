/* ChaCha20 on 512-bit registers: sixteen blocks at a time. */
#include "kernels.h"

#if defined(__x86_64__)

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f"))), apply_to = function)
#else
#pragma GCC target("avx512f")
#endif

#include <immintrin.h>

#define SA_VECTOR 64
#define SA_MINIMUM(a, b) _mm512_min_epu32((__m512i)(a), (__m512i)(b))
#define SA_MAXIMUM(a, b) _mm512_max_epu32((__m512i)(a), (__m512i)(b))
#define SA_NEGATIVE(v) _mm512_srai_epi64((__m512i)(v), 63)
#define SA_ANY(v) _mm512_test_epi32_mask((__m512i)(v), (__m512i)(v))
#include "mask_words.h"

#define LANES 16
#define NUMBERS {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
#define JOIN_LOW(a, b) ((lanes)_mm512_unpacklo_epi32((__m512i)(a), (__m512i)(b)))
#define JOIN_HIGH(a, b) ((lanes)_mm512_unpackhi_epi32((__m512i)(a), (__m512i)(b)))
#define SPLIT_EVEN(a, b) ((lanes)_mm512_shuffle_ps((__m512)(a), (__m512)(b), 0x88))
#define SPLIT_ODD(a, b) ((lanes)_mm512_shuffle_ps((__m512)(a), (__m512)(b), 0xdd))
#define ROTATE16(v) ROTATE(v, 16)
#define ROTATE8(v) ROTATE(v, 8)
typedef sa_words lanes;

static inline void store_blocks(uint8_t *out, const lanes x[16])
{
    __m512i y[16]; /* lane l of y[4g + j]: words 4g to 4g + 3 of block 4l + j */
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) {
        const __m512i a = _mm512_unpacklo_epi32((__m512i)x[i], (__m512i)x[i + 1]);
        const __m512i b = _mm512_unpackhi_epi32((__m512i)x[i], (__m512i)x[i + 1]);
        const __m512i c = _mm512_unpacklo_epi32((__m512i)x[i + 2], (__m512i)x[i + 3]);
        const __m512i d = _mm512_unpackhi_epi32((__m512i)x[i + 2], (__m512i)x[i + 3]);
        y[i] = _mm512_unpacklo_epi64(a, c);
        y[i + 1] = _mm512_unpackhi_epi64(a, c);
        y[i + 2] = _mm512_unpacklo_epi64(b, d);
        y[i + 3] = _mm512_unpackhi_epi64(b, d);
    }
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        const __m512i low = _mm512_shuffle_i32x4(y[j], y[4 + j], 0x44);
        const __m512i high = _mm512_shuffle_i32x4(y[j], y[4 + j], 0xee);
        const __m512i low2 = _mm512_shuffle_i32x4(y[8 + j], y[12 + j], 0x44);
        const __m512i high2 = _mm512_shuffle_i32x4(y[8 + j], y[12 + j], 0xee);
        _mm512_storeu_si512(out + 64 * j, _mm512_shuffle_i32x4(low, low2, 0x88));
        _mm512_storeu_si512(out + 64 * (4 + j), _mm512_shuffle_i32x4(low, low2, 0xdd));
        _mm512_storeu_si512(out + 64 * (8 + j), _mm512_shuffle_i32x4(high, high2, 0x88));
        _mm512_storeu_si512(out + 64 * (12 + j), _mm512_shuffle_i32x4(high, high2, 0xdd));
    }
}

#include "chacha_body.h"
#include "chacha_mask.h"

extern const sa_cipher_kernel sa_chacha_avx512;
const sa_cipher_kernel sa_chacha_avx512 = {
    .name = "avx512",
    .needs = SA_CPU_AVX512,
    .block_bytes = BLOCK,
    .schedule = schedule,
    .keystream = keystream,
    .mask = mask,
};

#if defined(__clang__)
#pragma clang attribute pop
#endif

#endif
