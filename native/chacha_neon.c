/* ChaCha20 on NEON, which every aarch64 machine has: four blocks at a time. It is the portable
 * kernel, with rotations of one or two instructions instead of three. */
#include "kernels.h"

#if defined(__aarch64__)

#include <arm_neon.h>

#define LANES 4
#define NUMBERS {0, 1, 2, 3}
#define ROTATE(v, n) vsriq_n_u32(vshlq_n_u32(v, n), v, 32 - (n))
#define ROTATE16(v) vreinterpretq_u32_u16(vrev32q_u16(vreinterpretq_u16_u32(v)))
#define ROTATE8(v) rotate_byte(v)
typedef uint32x4_t lanes;

static inline lanes rotate_byte(lanes v)
{
    const uint8x16_t from = {3, 0, 1, 2, 7, 4, 5, 6, 11, 8, 9, 10, 15, 12, 13, 14};
    return vreinterpretq_u32_u8(vqtbl1q_u8(vreinterpretq_u8_u32(v), from));
}

static inline void store_pair(uint8_t *out, lanes low, lanes high)
{
    const uint64x2_t a = vreinterpretq_u64_u32(low), b = vreinterpretq_u64_u32(high);
    vst1q_u8(out, vreinterpretq_u8_u64(vtrn1q_u64(a, b)));
    vst1q_u8(out + 128, vreinterpretq_u8_u64(vtrn2q_u64(a, b)));
}

static inline void store_blocks(uint8_t *out, const lanes x[16])
{
    for (int i = 0; i < 16; i += 4, out += 16) {
        store_pair(out, vtrn1q_u32(x[i], x[i + 1]), vtrn1q_u32(x[i + 2], x[i + 3]));
        store_pair(out + 64, vtrn2q_u32(x[i], x[i + 1]), vtrn2q_u32(x[i + 2], x[i + 3]));
    }
}

#include "chacha_body.h"

extern const sa_cipher_kernel sa_chacha_neon;
const sa_cipher_kernel sa_chacha_neon = {
    .name = "neon",
    .needs = 0,
    .block_bytes = BLOCK,
    .schedule = schedule,
    .keystream = keystream,
};

#endif
