/* Both keystreams as one would write them down first, in constant time and for any machine:
 * ChaCha20 word by word, AES-256 bitsliced in 64-bit words, four blocks at a time. What the core's
 * portable kernels are measured against; the circuit of the S-box is the same. Nonces are zero, and
 * blocks come by the group: this serves nothing else. Little-endian machines only. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* ---- ChaCha20: RFC 8439, 2.1 to 2.4, with the counter in words 12-13, the nonce in 14-15 ---- */

static uint32_t rotate(uint32_t x, int n) { return x << n | x >> (32 - n); }

static void quarter_round(uint32_t x[16], int a, int b, int c, int d)
{
    x[a] += x[b], x[d] = rotate(x[d] ^ x[a], 16);
    x[c] += x[d], x[b] = rotate(x[b] ^ x[c], 12);
    x[a] += x[b], x[d] = rotate(x[d] ^ x[a], 8);
    x[c] += x[d], x[b] = rotate(x[b] ^ x[c], 7);
}

void reference_chacha20(uint8_t *out, size_t blocks, const uint8_t key[32])
{
    uint32_t state[16] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574}, x[16];
    memcpy(state + 4, key, 32);
    for (uint64_t counter = 0; counter < blocks; counter++, out += 64) {
        state[12] = (uint32_t)counter;
        state[13] = (uint32_t)(counter >> 32);
        memcpy(x, state, sizeof x);
        for (int i = 0; i < 10; i++) {
            quarter_round(x, 0, 4, 8, 12);
            quarter_round(x, 1, 5, 9, 13);
            quarter_round(x, 2, 6, 10, 14);
            quarter_round(x, 3, 7, 11, 15);
            quarter_round(x, 0, 5, 10, 15);
            quarter_round(x, 1, 6, 11, 12);
            quarter_round(x, 2, 7, 8, 13);
            quarter_round(x, 3, 4, 9, 14);
        }
        for (int i = 0; i < 16; i++)
            x[i] += state[i];
        memcpy(out, x, sizeof x);
    }
}

/* ---- AES-256 (FIPS 197) in counter mode, big-endian. Byte n of block j is bit 16 j + n of each
 * plane, so a block is 16 bits, a column four of them, and rows are bits of a column. ---- */

typedef uint64_t plane;
#include "aes_sbox.h"

enum { ROUNDS = 14, BLOCKS = 4, KEY_WORDS = 8, ALL_WORDS = 4 * (ROUNDS + 1) };

#define EACH_BLOCK(bits) (UINT64_C(0x0001000100010001) * (bits))

/* The transpose of an 8 x 8 matrix of bits. */
static uint64_t transpose(uint64_t x)
{
    uint64_t t = (x ^ x >> 7) & UINT64_C(0x00aa00aa00aa00aa);
    x ^= t ^ t << 7;
    t = (x ^ x >> 14) & UINT64_C(0x0000cccc0000cccc);
    x ^= t ^ t << 14;
    t = (x ^ x >> 28) & UINT64_C(0x00000000f0f0f0f0);
    return x ^ t ^ t << 28;
}

static void slice(plane q[8], const uint8_t bytes[16 * BLOCKS])
{
    memset(q, 0, 8 * sizeof *q);
    for (int k = 0; k < 8; k++) {
        uint64_t word;
        memcpy(&word, bytes + 8 * k, sizeof word);
        word = transpose(word);
        for (int i = 0; i < 8; i++)
            q[i] |= (word >> 8 * i & 0xff) << 8 * k;
    }
}

static void unslice(uint8_t bytes[16 * BLOCKS], const plane q[8])
{
    for (int k = 0; k < 8; k++) {
        uint64_t word = 0;
        for (int i = 0; i < 8; i++)
            word |= (q[i] >> 8 * k & 0xff) << 8 * i;
        word = transpose(word);
        memcpy(bytes + 8 * k, &word, sizeof word);
    }
}

static void substitute(plane q[8])
{
    sub_bytes(q);
    q[0] = ~q[0], q[1] = ~q[1], q[5] = ~q[5], q[6] = ~q[6]; /* 0x63 */
}

/* Row r moves r columns left. */
static void shift_rows(plane q[8])
{
    for (int i = 0; i < 8; i++) {
        const plane x = q[i];
        q[i] = (x & EACH_BLOCK(0x1111)) | (x >> 4 & EACH_BLOCK(0x0222)) |
               (x << 12 & EACH_BLOCK(0x2000)) | (x >> 8 & EACH_BLOCK(0x0044)) |
               (x << 8 & EACH_BLOCK(0x4400)) | (x >> 12 & EACH_BLOCK(0x0008)) |
               (x << 4 & EACH_BLOCK(0x8880));
    }
}

/* Each row becomes that which is one below, or two. */
static plane below(plane x)
{
    return (x >> 1 & EACH_BLOCK(0x7777)) | (x << 3 & EACH_BLOCK(0x8888));
}

static plane two_below(plane x)
{
    return (x >> 2 & EACH_BLOCK(0x3333)) | (x << 2 & EACH_BLOCK(0xcccc));
}

static void mix_columns(plane q[8])
{
    plane pair[8], rest[8];
    for (int i = 0; i < 8; i++) {
        pair[i] = q[i] ^ below(q[i]);
        rest[i] = below(q[i]) ^ two_below(pair[i]);
    }
    for (int i = 0; i < 8; i++)
        q[i] = rest[i] ^ pair[(i + 7) % 8]; /* times x, and x^8 = x^4 + x^3 + x + 1 */
    q[1] ^= pair[7], q[3] ^= pair[7], q[4] ^= pair[7];
}

static void add_round_key(plane q[8], const plane key[8])
{
    for (int i = 0; i < 8; i++)
        q[i] ^= key[i];
}

static uint32_t substitute_word(uint32_t word)
{
    uint8_t bytes[16 * BLOCKS] = {0};
    plane q[8];
    memcpy(bytes, &word, sizeof word);
    slice(q, bytes);
    substitute(q);
    unslice(bytes, q);
    memcpy(&word, bytes, sizeof word);
    return word;
}

static void expand_key(plane keys[ROUNDS + 1][8], const uint8_t key[32])
{
    uint32_t w[ALL_WORDS];
    memcpy(w, key, 4 * KEY_WORDS);
    for (int i = KEY_WORDS; i < ALL_WORDS; i++) {
        uint32_t last = w[i - 1];
        if (i % KEY_WORDS == 0)
            last = substitute_word(last >> 8 | last << 24) ^ 1u << (i / KEY_WORDS - 1);
        else if (i % KEY_WORDS == 4)
            last = substitute_word(last);
        w[i] = w[i - KEY_WORDS] ^ last;
    }
    for (int round = 0; round <= ROUNDS; round++) {
        uint8_t copies[16 * BLOCKS];
        for (int j = 0; j < BLOCKS; j++)
            memcpy(copies + 16 * j, w + 4 * round, 16);
        slice(keys[round], copies);
    }
}

void reference_aes256ctr(uint8_t *out, size_t blocks, const uint8_t key[32])
{
    plane keys[ROUNDS + 1][8], q[8];
    uint8_t bytes[16 * BLOCKS] = {0};
    expand_key(keys, key);
    for (uint64_t counter = 0; counter + BLOCKS <= blocks; counter += BLOCKS, out += 16 * BLOCKS) {
        for (uint64_t j = 0; j < BLOCKS; j++) {
            const uint64_t big_endian = __builtin_bswap64(counter + j);
            memcpy(bytes + 16 * j + 8, &big_endian, 8);
        }
        slice(q, bytes);
        add_round_key(q, keys[0]);
        for (int round = 1; round < ROUNDS; round++) {
            substitute(q);
            shift_rows(q);
            mix_columns(q);
            add_round_key(q, keys[round]);
        }
        substitute(q);
        shift_rows(q);
        add_round_key(q, keys[ROUNDS]);
        unslice(out, q);
    }
}
