/* ChaCha20 (Bernstein, ChaCha, a variant of Salsa20, 2008) in its original layout: 64-bit
 * counter in words 12-13, 64-bit nonce in words 14-15. Four blocks at a time, one a lane. */
#include "kernels.h"
#include "vector.h"

enum { DOUBLE_ROUNDS = 10, BLOCK = 64, BLOCKS = 4, KEY_BYTES = 32 };

static void schedule(sa_schedule *to, const uint8_t key[32]) { memcpy(to->bytes, key, KEY_BYTES); }

#define ROTATE(v, n) (((v) << (n)) | ((v) >> (32 - (n))))

#define QUARTER_ROUND(a, b, c, d)          \
    do {                                   \
        a += b, d ^= a, d = ROTATE(d, 16); \
        c += d, b ^= c, b = ROTATE(b, 12); \
        a += b, d ^= a, d = ROTATE(d, 8);  \
        c += d, b ^= c, b = ROTATE(b, 7);  \
    } while (0)

/* Words 4i..4i+3 of the four blocks, a vector a word, to the blocks they belong to. */
static inline void store_words(uint8_t *out, const sa_v4 x[4])
{
    const sa_v4 a = SA_SHUFFLE(sa_v4, x[0], x[1], 0, 4, 1, 5);
    const sa_v4 b = SA_SHUFFLE(sa_v4, x[2], x[3], 0, 4, 1, 5);
    const sa_v4 c = SA_SHUFFLE(sa_v4, x[0], x[1], 2, 6, 3, 7);
    const sa_v4 d = SA_SHUFFLE(sa_v4, x[2], x[3], 2, 6, 3, 7);
    sa_v4_store(out, SA_SHUFFLE(sa_v4, a, b, 0, 1, 4, 5));
    sa_v4_store(out + BLOCK, SA_SHUFFLE(sa_v4, a, b, 2, 3, 6, 7));
    sa_v4_store(out + 2 * BLOCK, SA_SHUFFLE(sa_v4, c, d, 0, 1, 4, 5));
    sa_v4_store(out + 3 * BLOCK, SA_SHUFFLE(sa_v4, c, d, 2, 3, 6, 7));
}

static inline void four_blocks(const uint32_t key[8], uint8_t *out, uint64_t nonce,
                               uint64_t counter)
{
    const uint32_t constants[4] = {0x61707865u, 0x3320646eu, 0x79622d32u, 0x6b206574u};
    const sa_v4 zero = {0, 0, 0, 0};
    sa_v4 low, high, x[16];
    for (unsigned i = 0; i < BLOCKS; i++) {
        low[i] = (uint32_t)(counter + i);
        high[i] = (uint32_t)((counter + i) >> 32);
    }
    for (int i = 0; i < 4; i++)
        x[i] = zero + constants[i];
    for (int i = 0; i < 8; i++)
        x[4 + i] = zero + key[i];
    x[12] = low;
    x[13] = high;
    x[14] = zero + (uint32_t)nonce;
    x[15] = zero + (uint32_t)(nonce >> 32);
    for (int round = 0; round < DOUBLE_ROUNDS; round++) {
        QUARTER_ROUND(x[0], x[4], x[8], x[12]);
        QUARTER_ROUND(x[1], x[5], x[9], x[13]);
        QUARTER_ROUND(x[2], x[6], x[10], x[14]);
        QUARTER_ROUND(x[3], x[7], x[11], x[15]);
        QUARTER_ROUND(x[0], x[5], x[10], x[15]);
        QUARTER_ROUND(x[1], x[6], x[11], x[12]);
        QUARTER_ROUND(x[2], x[7], x[8], x[13]);
        QUARTER_ROUND(x[3], x[4], x[9], x[14]);
    }
    for (int i = 0; i < 4; i++)
        x[i] += constants[i];
    for (int i = 0; i < 8; i++)
        x[4 + i] += key[i];
    x[12] += low;
    x[13] += high;
    x[14] += (uint32_t)nonce;
    x[15] += (uint32_t)(nonce >> 32);
    for (int i = 0; i < 4; i++)
        store_words(out + 16 * i, x + 4 * i);
}

static void keystream(const sa_schedule *from, uint8_t *out, size_t blocks, uint64_t nonce,
                      uint64_t counter)
{
    uint32_t key[8];
    memcpy(key, from->bytes, sizeof key);
    for (; blocks >= BLOCKS; blocks -= BLOCKS, out += BLOCKS * BLOCK, counter += BLOCKS)
        four_blocks(key, out, nonce, counter);
    if (blocks > 0) {
        uint8_t tail[BLOCKS * BLOCK];
        four_blocks(key, tail, nonce, counter);
        memcpy(out, tail, blocks * BLOCK);
        sa_wipe(tail, sizeof tail);
    }
    sa_wipe(key, sizeof key);
}

extern const sa_cipher_kernel sa_chacha_portable;
const sa_cipher_kernel sa_chacha_portable = {"portable", 0, schedule, keystream};
