/* AES-256-CTR (FIPS 197, SP 800-38A) with the vector AES instructions of x86 on 512-bit
 * registers: 32 blocks at a time, four a register. */
#include "kernels.h"

#if defined(__x86_64__)

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("vaes,avx512f,avx512bw"))), apply_to = function)
#else
#pragma GCC target("vaes,avx512f,avx512bw")
#endif

#include <immintrin.h>

enum { ROUNDS = 14, BLOCK = 16, VECTORS = 8, VECTOR_BLOCKS = 4, VECTOR_BYTES = 64 };

extern const sa_cipher_kernel sa_aes_aesni;

/* Round keys are kept as AES-NI does: loading them to every lane is one instruction. */
static void schedule(sa_schedule *to, const uint8_t key[32]) { sa_aes_aesni.schedule(to, key); }

/* Block `counter` and the three after it, before the first round. Lanes of 64 bits in machine
 * order, so that the counter wraps without a carry into the nonce, then made big-endian. */
static inline __m512i counters(uint64_t nonce, uint64_t counter)
{
    const __m512i swap =
        _mm512_broadcast_i32x4(_mm_set_epi8(8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7));
    const __m512i offsets = _mm512_set_epi64(3, 0, 2, 0, 1, 0, 0, 0);
    const __m512i base =
        _mm512_broadcast_i32x4(_mm_set_epi64x((long long)counter, (long long)nonce));
    return _mm512_shuffle_epi8(_mm512_add_epi64(base, offsets), swap);
}

/* `n` vectors, a constant where it is inlined. */
static inline void encrypt(__m512i *v, int n, const __m512i keys[ROUNDS + 1])
{
#pragma GCC unroll 8
    for (int i = 0; i < n; i++)
        v[i] = _mm512_xor_si512(v[i], keys[0]);
#pragma GCC unroll 16
    for (int round = 1; round < ROUNDS; round++)
#pragma GCC unroll 8
        for (int i = 0; i < n; i++)
            v[i] = _mm512_aesenc_epi128(v[i], keys[round]);
#pragma GCC unroll 8
    for (int i = 0; i < n; i++)
        v[i] = _mm512_aesenclast_epi128(v[i], keys[ROUNDS]);
}

static void keystream(const sa_schedule *from, uint8_t *out, size_t blocks, uint64_t nonce,
                      uint64_t counter)
{
    __m512i keys[ROUNDS + 1];
#pragma GCC unroll 16
    for (int i = 0; i <= ROUNDS; i++)
        keys[i] = _mm512_broadcast_i32x4(
            _mm_load_si128((const __m128i *)(const void *)(from->bytes + BLOCK * i)));
    while (blocks >= VECTORS * VECTOR_BLOCKS) {
        __m512i v[VECTORS];
#pragma GCC unroll 8
        for (unsigned i = 0; i < VECTORS; i++)
            v[i] = counters(nonce, counter + VECTOR_BLOCKS * i);
        encrypt(v, VECTORS, keys);
#pragma GCC unroll 8
        for (int i = 0; i < VECTORS; i++)
            _mm512_storeu_si512(out + VECTOR_BYTES * i, v[i]);
        blocks -= VECTORS * VECTOR_BLOCKS;
        out += VECTORS * VECTOR_BYTES;
        counter += VECTORS * VECTOR_BLOCKS;
    }
    while (blocks > 0) {
        const size_t count = blocks < VECTOR_BLOCKS ? blocks : VECTOR_BLOCKS;
        __m512i v = counters(nonce, counter);
        encrypt(&v, 1, keys);
        _mm512_mask_storeu_epi64(out, (__mmask8)((1u << 2 * count) - 1), v);
        blocks -= count;
        out += BLOCK * count;
        counter += count;
    }
}

extern const sa_cipher_kernel sa_aes_vaes512;
const sa_cipher_kernel sa_aes_vaes512 = {"vaes512", SA_CPU_AESNI | SA_CPU_AVX512 | SA_CPU_VAES,
                                         schedule, keystream};

#if defined(__clang__)
#pragma clang attribute pop
#endif

#endif
