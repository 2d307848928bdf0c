/* AES-256-CTR (FIPS 197, SP 800-38A) without tables, and without a branch or an index that
 * depends on the key: eight blocks at a time, bitsliced.
 *
 * The state of eight blocks is eight vectors of 16 bytes ("planes"), one per bit: bit j of byte
 * 4r + c of plane i is bit i of the byte in row r, column c of block j. A row is then a 32-bit
 * lane, so ShiftRows rotates within lanes and MixColumns moves whole lanes. */
#include "kernels.h"
#include "vector.h"

enum { ROUNDS = 14, KEY_WORDS = 8, BLOCK = 16, BLOCKS = 8 };

/* A schedule holds the round keys as blocks with rows and columns exchanged. They would not fit
 * as planes, so every call converts them again. */
_Static_assert((ROUNDS + 1) * BLOCK <= SA_SCHEDULE_BYTES, "the schedule must fit");

typedef struct {
    sa_v4 planes[ROUNDS + 1][8];
} aes_keys;

typedef sa_v4 plane;
#include "aes_sbox.h"

/* Moves byte r + 4c to byte 4r + c, and back: two perfect shuffles are a transposition. */
static inline sa_v4 exchange_rows_columns(sa_v4 v)
{
    sa_v16x8 x = (sa_v16x8)v;
    x = SA_SHUFFLE(sa_v16x8, x, x, 0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15);
    x = SA_SHUFFLE(sa_v16x8, x, x, 0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15);
    return (sa_v4)x;
}

static inline void swap_bits(sa_v4 *a, sa_v4 *b, uint32_t mask, uint32_t shift)
{
    const sa_v4 t = ((*a >> shift) ^ *b) & mask;
    *b ^= t;
    *a ^= t << shift;
}

/* Converts blocks to planes, and back: transposes the 8 x 8 bit matrix at each byte position. */
static inline void transpose_bits(sa_v4 q[8])
{
    for (int i = 0; i < 8; i += 2)
        swap_bits(&q[i], &q[i + 1], 0x55555555u, 1);
    for (int i = 0; i < 8; i++)
        if (!(i & 2))
            swap_bits(&q[i], &q[i + 2], 0x33333333u, 2);
    for (int i = 0; i < 4; i++)
        swap_bits(&q[i], &q[i + 4], 0x0f0f0f0fu, 4);
}

/* ShiftRows: row r moves r columns left. */
static inline sa_v4 shift_row(sa_v4 v)
{
    const sa_v4 odd = {0, ~0u, 0, ~0u};
    const sa_v4 x = (sa_v4)SA_SHUFFLE(sa_v8x16, v, v, 0, 1, 2, 3, 5, 4, 7, 6);
    const sa_v4 y = x & odd;
    return (x ^ y) | (y >> 8) | (y << 24);
}

/* MixColumns: row r becomes 2 (a_r + a_r+1) + a_r+1 + (a_r+2 + a_r+3), over planes. */
static inline void mix_columns(sa_v4 q[8])
{
    sa_v4 pair[8], rest[8];
    for (int i = 0; i < 8; i++) {
        const sa_v4 below = SA_SHUFFLE(sa_v4, q[i], q[i], 1, 2, 3, 0);
        pair[i] = q[i] ^ below;
        rest[i] = below ^ SA_SHUFFLE(sa_v4, pair[i], pair[i], 2, 3, 0, 1);
    }
    /* Doubling moves each plane up by one; x^8 = x^4 + x^3 + x + 1. */
    q[0] = rest[0] ^ pair[7];
    for (int i = 1; i < 8; i++)
        q[i] = rest[i] ^ pair[i - 1];
    q[1] ^= pair[7];
    q[3] ^= pair[7];
    q[4] ^= pair[7];
}

static inline void add_round_key(sa_v4 q[8], const sa_v4 key[8])
{
    for (int i = 0; i < 8; i++)
        q[i] ^= key[i];
}

/* The S-box of the four bytes of a word; each plane holds one bit per byte. */
static uint32_t sub_word(uint32_t word)
{
    const uint32_t ones = 0x01010101u;
    sa_v4 q[8];
    for (int i = 0; i < 8; i++)
        q[i] = (sa_v4){(word >> i) & ones};
    sub_bytes(q);
    uint32_t out = 0x63636363u;
    for (int i = 0; i < 8; i++)
        out ^= (q[i][0] & ones) << i;
    return out;
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
    for (int i = 0; i <= ROUNDS; i++)
        sa_v4_store(to->bytes + BLOCK * i, exchange_rows_columns(sa_v4_load(w + 4 * i)));
    sa_wipe(w, sizeof w);
}

/* Round keys as planes, whose bytes are 0 or 255. All but the first include the 0x63 that
 * sub_bytes leaves out: ShiftRows and MixColumns do not change a state of equal bytes. */
static inline void slice_round_keys(aes_keys *to, const sa_schedule *from)
{
    for (int round = 0; round <= ROUNDS; round++) {
        sa_v4 key = sa_v4_load(from->bytes + BLOCK * round);
        if (round > 0)
            key ^= 0x63636363u;
        for (uint32_t i = 0; i < 8; i++) {
            const sa_v4 bit = (key >> i) & 0x01010101u;
            to->planes[round][i] = (bit << 8) - bit;
        }
    }
}

static inline void eight_blocks(const aes_keys *keys, uint8_t *out, uint64_t nonce,
                                uint64_t counter)
{
    sa_v4 q[8];
    for (unsigned i = 0; i < BLOCKS; i++) {
        const sa_v2x64 block = {__builtin_bswap64(nonce), __builtin_bswap64(counter + i)};
        q[i] = exchange_rows_columns((sa_v4)block);
    }
    transpose_bits(q);
    add_round_key(q, keys->planes[0]);
    for (int round = 1; round < ROUNDS; round++) {
        sub_bytes(q);
        for (int i = 0; i < 8; i++)
            q[i] = shift_row(q[i]);
        mix_columns(q);
        add_round_key(q, keys->planes[round]);
    }
    sub_bytes(q);
    for (int i = 0; i < 8; i++)
        q[i] = shift_row(q[i]);
    add_round_key(q, keys->planes[ROUNDS]);
    transpose_bits(q);
    for (int i = 0; i < BLOCKS; i++)
        sa_v4_store(out + BLOCK * i, exchange_rows_columns(q[i]));
}

#include "aes_blocks.h"

static void keystream(const sa_schedule *from, uint8_t *out, size_t blocks, uint64_t nonce,
                      uint64_t counter)
{
    aes_keys keys;
    slice_round_keys(&keys, from);
    any_blocks(&keys, out, blocks, nonce, counter);
    sa_wipe(&keys, sizeof keys);
}

extern const sa_cipher_kernel sa_aes_portable;
const sa_cipher_kernel sa_aes_portable = {
    .name = "bitsliced",
    .needs = 0,
    .block_bytes = BLOCK,
    .schedule = schedule,
    .keystream = keystream,
};
