/* Any number of AES blocks from a kernel that makes BLOCKS at a time. The file that reads this
 * defines
 *   BLOCK, BLOCKS          bytes of a block, and blocks that are made together
 *   aes_keys               the round keys as the kernel reads them
 *   eight_blocks(keys, out, nonce, counter) */
#include <string.h>

static inline void any_blocks(const aes_keys *keys, uint8_t *out, size_t blocks, uint64_t nonce,
                              uint64_t counter)
{
    for (; blocks >= BLOCKS; blocks -= BLOCKS, out += BLOCKS * BLOCK, counter += BLOCKS)
        eight_blocks(keys, out, nonce, counter);
    if (blocks > 0) {
        uint8_t tail[BLOCKS * BLOCK];
        eight_blocks(keys, tail, nonce, counter);
        memcpy(out, tail, blocks * BLOCK);
        sa_wipe(tail, sizeof tail);
    }
}
