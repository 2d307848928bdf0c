/* AES-256-CTR (FIPS 197, SP 800-38A) with the AES instructions of x86, eight blocks at a
 * time, which hides the latency of a round. */
#include "kernels.h"

#if defined(__x86_64__)

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("aes,sse4.1"))), apply_to = function)
#else
#pragma GCC target("aes,sse4.1")
#endif

#include <immintrin.h>
#include <string.h>

enum { ROUNDS = 14, BLOCK = 16, BLOCKS = 8 };

/* Four words of the FIPS 197 key expansion: each is the xor of the word before it and the word
 * eight before it; every lane of `word` holds what is xored into the first of the four. */
static inline __m128i extend(__m128i previous, __m128i word)
{
    previous = _mm_xor_si128(previous, _mm_slli_si128(previous, 4));
    previous = _mm_xor_si128(previous, _mm_slli_si128(previous, 8));
    return _mm_xor_si128(previous, word);
}

/* Round keys i and i + 1 from the two before. Lane 3 of the assist is SubWord(RotWord) xor
 * rcon of the last word, lane 2 is SubWord alone. */
#define EVEN(key, i, rcon)             \
    ((key)[i] = extend((key)[(i) - 2], \
                       _mm_shuffle_epi32(_mm_aeskeygenassist_si128((key)[(i) - 1], rcon), 0xff)))
#define ODD(key, i)                    \
    ((key)[i] = extend((key)[(i) - 2], \
                       _mm_shuffle_epi32(_mm_aeskeygenassist_si128((key)[(i) - 1], 0), 0xaa)))

static void schedule(sa_schedule *to, const uint8_t key[32])
{
    __m128i keys[ROUNDS + 1];
    keys[0] = _mm_loadu_si128((const __m128i *)(const void *)key);
    keys[1] = _mm_loadu_si128((const __m128i *)(const void *)(key + BLOCK));
    EVEN(keys, 2, 0x01), ODD(keys, 3);
    EVEN(keys, 4, 0x02), ODD(keys, 5);
    EVEN(keys, 6, 0x04), ODD(keys, 7);
    EVEN(keys, 8, 0x08), ODD(keys, 9);
    EVEN(keys, 10, 0x10), ODD(keys, 11);
    EVEN(keys, 12, 0x20), ODD(keys, 13);
    EVEN(keys, 14, 0x40);
    memcpy(to->bytes, keys, sizeof keys);
    sa_wipe(keys, sizeof keys);
}

typedef __m128i aes_keys; /* the first of ROUNDS + 1 */

static inline void eight_blocks(const aes_keys *keys, uint8_t *out, uint64_t nonce,
                                uint64_t counter)
{
    /* Lanes of 64 bits in machine order, so that the counter wraps without a carry into the
     * nonce; the shuffle makes both big-endian. */
    const __m128i swap = _mm_set_epi8(8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
    const __m128i base = _mm_set_epi64x((long long)counter, (long long)nonce);
    __m128i block[BLOCKS];
#pragma GCC unroll 8
    for (int i = 0; i < BLOCKS; i++) {
        block[i] = _mm_shuffle_epi8(_mm_add_epi64(base, _mm_set_epi64x(i, 0)), swap);
        block[i] = _mm_xor_si128(block[i], keys[0]);
    }
    for (int round = 1; round < ROUNDS; round++) {
        const __m128i key = keys[round];
#pragma GCC unroll 8
        for (int i = 0; i < BLOCKS; i++)
            block[i] = _mm_aesenc_si128(block[i], key);
    }
#pragma GCC unroll 8
    for (int i = 0; i < BLOCKS; i++) {
        block[i] = _mm_aesenclast_si128(block[i], keys[ROUNDS]);
        _mm_storeu_si128((__m128i *)(void *)(out + BLOCK * i), block[i]);
    }
}

#include "aes_blocks.h"

static void keystream(const sa_schedule *from, uint8_t *out, size_t blocks, uint64_t nonce,
                      uint64_t counter)
{
    any_blocks((const aes_keys *)(const void *)from->bytes, out, blocks, nonce, counter);
}

extern const sa_cipher_kernel sa_aes_aesni;
const sa_cipher_kernel sa_aes_aesni = {
    .name = "aesni",
    .needs = SA_CPU_AESNI,
    .block_bytes = BLOCK,
    .schedule = schedule,
    .keystream = keystream,
};

#if defined(__clang__)
#pragma clang attribute pop
#endif

#endif
