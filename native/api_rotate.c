/* Argument checks for the rotation, and its walk through memory: blocks that stay in the first-level
 * cache are transformed whole, then parts of up to eight blocks are combined, on all levels. The work
 * is done by the active kernels. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "checks.h"
#include "kernels.h"

enum {
    BLOCK = 4096,      /* elements that are transformed at once: a power of two, 64 or more */
    WORDS = BLOCK / 64 /* of signs */
};

/* The signs of one pass, made block by block. */
typedef struct {
    const sa_cipher_kernel *cipher;
    uint64_t nonce;
    sa_schedule schedule;
    uint8_t stream[8 * WORDS + 2 * SA_MAX_BLOCK];
    uint64_t words[WORDS];
} sign_source;

/* Bit i of words becomes the sign of coordinate first + i, for i < len <= BLOCK. */
static void make_signs(sign_source *source, size_t first, size_t len)
{
    const size_t block = source->cipher->block_bytes;
    const size_t skip = first / 8 % block, shift = first % 8;
    const size_t blocks = (skip + (shift + len + 7) / 8 + block - 1) / block;
    source->cipher->keystream(&source->schedule, source->stream, blocks, source->nonce,
                              first / 8 / block);
    for (size_t i = 0; i < (len + 63) / 64; i++) {
        const uint8_t *from = source->stream + skip + 8 * i;
        uint64_t word;
        memcpy(&word, from, sizeof word);
        source->words[i] = word >> shift | (uint64_t)from[8] << 1 << (63 - shift);
    }
}

#define REAL float
#define NAME(stem) stem##_f32
#include "api_rotate_body.h"
#undef REAL
#undef NAME

#define REAL double
#define NAME(stem) stem##_f64
#include "api_rotate_body.h"
#undef REAL
#undef NAME
