/* AES-256-CTR (FIPS 197, SP 800-38A) with the cryptographic extension of ARMv8, eight blocks
 * at a time, which hides the latency of a round. */
#include "kernels.h"

#if defined(__aarch64__)

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("aes"))), apply_to = function)
#if !defined(__ARM_FEATURE_AES)
#define __ARM_FEATURE_AES 1 /* arm_neon.h of Clang before 16 needs it */
#endif
#else
#pragma GCC target("+crypto")
#endif

#include <arm_neon.h>
#include <string.h>

enum { ROUNDS = 14, KEY_WORDS = 8, BLOCK = 16, BLOCKS = 8 };

/* The S-box of the four bytes of a word. AESE also shifts rows, which changes nothing when
 * all columns are equal. */
static uint32_t sub_word(uint32_t word)
{
    const uint8x16_t columns = vreinterpretq_u8_u32(vdupq_n_u32(word));
    return vgetq_lane_u32(vreinterpretq_u32_u8(vaeseq_u8(columns, vdupq_n_u8(0))), 0);
}

/* FIPS 197, 5.2, with the bytes of a word in little-endian order. */
static void schedule(sa_schedule *to, const uint8_t key[32])
{
    uint32_t w[4 * (ROUNDS + 1)];
    uint32_t constant = 1;
    memcpy(w, key, 4 * KEY_WORDS);
    for (int i = KEY_WORDS; i < 4 * (ROUNDS + 1); i++) {
        uint32_t last = w[i - 1];
        if (i % KEY_WORDS == 0) {
            last = sub_word(last >> 8 | last << 24) ^ constant;
            constant <<= 1;
        } else if (i % KEY_WORDS == 4) {
            last = sub_word(last);
        }
        w[i] = w[i - KEY_WORDS] ^ last;
    }
    memcpy(to->bytes, w, sizeof w);
    sa_wipe(w, sizeof w);
}

typedef sa_schedule aes_keys;

static inline void eight_blocks(const aes_keys *from, uint8_t *out, uint64_t nonce,
                                uint64_t counter)
{
    uint8x16_t block[BLOCKS];
#pragma GCC unroll 8
    for (unsigned i = 0; i < BLOCKS; i++) {
        const uint64x2_t words = vcombine_u64(vcreate_u64(nonce), vcreate_u64(counter + i));
        block[i] = vrev64q_u8(vreinterpretq_u8_u64(words));
    }
    /* AESE adds the round key first, so that the last one remains to be added at the end. */
    for (int round = 0; round < ROUNDS - 1; round++) {
        const uint8x16_t key = vld1q_u8(from->bytes + BLOCK * round);
#pragma GCC unroll 8
        for (int i = 0; i < BLOCKS; i++)
            block[i] = vaesmcq_u8(vaeseq_u8(block[i], key));
    }
    const uint8x16_t key = vld1q_u8(from->bytes + BLOCK * (ROUNDS - 1));
    const uint8x16_t last = vld1q_u8(from->bytes + BLOCK * ROUNDS);
#pragma GCC unroll 8
    for (int i = 0; i < BLOCKS; i++)
        vst1q_u8(out + BLOCK * i, veorq_u8(vaeseq_u8(block[i], key), last));
}

#include "aes_blocks.h"

static void keystream(const sa_schedule *from, uint8_t *out, size_t blocks, uint64_t nonce,
                      uint64_t counter)
{
    any_blocks(from, out, blocks, nonce, counter);
}

extern const sa_cipher_kernel sa_aes_armv8ce;
const sa_cipher_kernel sa_aes_armv8ce = {
    .name = "armv8ce",
    .needs = SA_CPU_ARM_AES,
    .block_bytes = BLOCK,
    .schedule = schedule,
    .keystream = keystream,
};

#if defined(__clang__)
#pragma clang attribute pop
#endif

#endif
