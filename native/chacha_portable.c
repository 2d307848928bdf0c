/* ChaCha20 with vectors of 128 bits, which every 64-bit machine has: four blocks at a time. */
#include "kernels.h"
#include "vector.h"

#define LANES 4
#define NUMBERS {0, 1, 2, 3}
#define ROTATE16(v) ROTATE(v, 16)
#define ROTATE8(v) ROTATE(v, 8)
typedef sa_v4 lanes;

static inline void store_blocks(uint8_t *out, const lanes x[16])
{
    for (int i = 0; i < 16; i += 4, out += 16) {
        const sa_v4 a = SA_SHUFFLE(sa_v4, x[i], x[i + 1], 0, 4, 1, 5);
        const sa_v4 b = SA_SHUFFLE(sa_v4, x[i + 2], x[i + 3], 0, 4, 1, 5);
        const sa_v4 c = SA_SHUFFLE(sa_v4, x[i], x[i + 1], 2, 6, 3, 7);
        const sa_v4 d = SA_SHUFFLE(sa_v4, x[i + 2], x[i + 3], 2, 6, 3, 7);
        sa_v4_store(out, SA_SHUFFLE(sa_v4, a, b, 0, 1, 4, 5));
        sa_v4_store(out + 64, SA_SHUFFLE(sa_v4, a, b, 2, 3, 6, 7));
        sa_v4_store(out + 128, SA_SHUFFLE(sa_v4, c, d, 0, 1, 4, 5));
        sa_v4_store(out + 192, SA_SHUFFLE(sa_v4, c, d, 2, 3, 6, 7));
    }
}

#include "chacha_body.h"

extern const sa_cipher_kernel sa_chacha_portable;
const sa_cipher_kernel sa_chacha_portable = {
    .name = "portable",
    .needs = 0,
    .block_bytes = BLOCK,
    .schedule = schedule,
    .keystream = keystream,
};
