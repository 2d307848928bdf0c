/* ChaCha20 (Bernstein, ChaCha, a variant of Salsa20, 2008) in its original layout: 64-bit counter
 * in words 12-13, 64-bit nonce in words 14-15. For vectors of any width: LANES blocks at a time,
 * word i of all of them in vector i. The file that includes this defines
 *   LANES, lanes            their number, and a vector of LANES uint32_t
 *   NUMBERS                 {0, 1, ...}, one for each lane
 *   ROTATE16, ROTATE8       rotations to the left by 16 and 8 bits; also ROTATE if there is
 *                           something better than shifts
 *   store_blocks(out, x)    stores sixteen vectors, one word each, as LANES consecutive blocks */
#include <string.h>

enum { DOUBLE_ROUNDS = 10, BLOCK = 64, KEY_BYTES = 32 };

static void schedule(sa_schedule *to, const uint8_t key[32]) { memcpy(to->bytes, key, KEY_BYTES); }

#if !defined(ROTATE)
#define ROTATE(v, n) (((v) << (n)) | ((v) >> (32 - (n))))
#endif

#define QUARTER_ROUND(a, b, c, d)           \
    do {                                    \
        a += b, d ^= a, d = ROTATE16(d);    \
        c += d, b ^= c, b = ROTATE(b, 12);  \
        a += b, d ^= a, d = ROTATE8(d);     \
        c += d, b ^= c, b = ROTATE(b, 7);   \
    } while (0)

/* The state of LANES blocks of the stream at a nonce, without the counters. */
static inline void set_key(lanes state[16], const sa_schedule *from, uint64_t nonce)
{
    const uint32_t constants[4] = {0x61707865u, 0x3320646eu, 0x79622d32u, 0x6b206574u};
    const lanes zero = {0};
#pragma GCC unroll 8
    for (int i = 0; i < 4; i++)
        state[i] = zero + constants[i];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        uint32_t word;
        memcpy(&word, from->bytes + 4 * i, sizeof word);
        state[4 + i] = zero + word;
    }
    state[14] = zero + (uint32_t)nonce;
    state[15] = zero + (uint32_t)(nonce >> 32);
}

static inline void set_counters(lanes state[16], uint64_t counter)
{
    const lanes low = (lanes){0} + (uint32_t)counter, high = (lanes){0} + (uint32_t)(counter >> 32);
    state[12] = low + (lanes)NUMBERS;
    state[13] = high - (lanes)(state[12] < low); /* a true comparison is all ones */
}

static inline void words_of(lanes x[16], const lanes state[16])
{
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++)
        x[i] = state[i];
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
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++)
        x[i] += state[i];
}

static inline void blocks_of(const lanes state[16], uint8_t *out)
{
    lanes x[16];
    words_of(x, state);
    store_blocks(out, x);
}

static void keystream(const sa_schedule *from, uint8_t *out, size_t blocks, uint64_t nonce,
                      uint64_t counter)
{
    lanes state[16];
    set_key(state, from, nonce);
    for (; blocks >= LANES; blocks -= LANES, out += LANES * BLOCK, counter += LANES) {
        set_counters(state, counter);
        blocks_of(state, out);
    }
    if (blocks > 0) {
        uint8_t tail[LANES * BLOCK];
        set_counters(state, counter);
        blocks_of(state, tail);
        memcpy(out, tail, blocks * BLOCK);
        sa_wipe(tail, sizeof tail);
    }
    sa_wipe(state, sizeof state);
}
