/* A toy, for testing that a cipher can be added: it must never cover a secret. A block of 16 bytes
 * is the counter and the nonce after some rounds of additions, exclusive ors and rotations with the
 * words of the key. */
#include <string.h>

#include "kernels.h"

enum { ROUNDS = 12, KEY_WORDS = 4, BLOCK = 16 };

static void schedule(sa_schedule *to, const uint8_t key[32]) { memcpy(to->bytes, key, 32); }

static uint64_t rotate(uint64_t x, int n) { return x << n | x >> (64 - n); }

static void keystream(const sa_schedule *from, uint8_t *out, size_t blocks, uint64_t nonce,
                      uint64_t counter)
{
    uint64_t key[KEY_WORDS], block[2];
    memcpy(key, from->bytes, sizeof key);
    for (; blocks > 0; blocks--, counter++, out += BLOCK) {
        uint64_t x = counter, y = nonce;
        for (uint64_t round = 0; round < ROUNDS; round++) {
            x += key[round % KEY_WORDS] + round;
            y = rotate(y ^ x, 23);
            x = rotate(x, 41) + y;
        }
        block[0] = x;
        block[1] = y;
        memcpy(out, block, BLOCK);
    }
    sa_wipe(key, sizeof key);
    sa_wipe(block, sizeof block);
}

extern const sa_cipher_kernel sa_toy_portable;
const sa_cipher_kernel sa_toy_portable = {
    .name = "portable",
    .needs = 0,
    .block_bytes = BLOCK,
    .schedule = schedule,
    .keystream = keystream,
};
