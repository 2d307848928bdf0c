/* AES-256-CTR (FIPS 197, SP 800-38A) without tables, and without a branch or an index that
 * depends on the key: eight blocks at a time, bitsliced.
 *
 * The state of eight blocks is eight vectors of 16 bytes, one a bit: bit j of byte 4r + c of
 * plane i is bit i of the byte in row r, column c of block j. A row is then a 32-bit lane, so
 * that ShiftRows rotates lanes and MixColumns moves whole lanes. */
#include "kernels.h"
#include "vector.h"

enum { ROUNDS = 14, KEY_WORDS = 8, BLOCK = 16, BLOCKS = 8 };

/* A schedule holds the round keys, each a block with rows and columns exchanged. As planes
 * they would not fit: every call slices them anew. */
_Static_assert((ROUNDS + 1) * BLOCK <= SA_SCHEDULE_BYTES, "the schedule must fit");

typedef struct {
    sa_v4 planes[ROUNDS + 1][8];
} sliced_keys;

/* Byte r + 4c to byte 4r + c, and back: two perfect shuffles make a transposition. */
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

/* Blocks to planes, and back: transposes the 8 x 8 bit matrix at each byte position. */
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

/* The S-box of every byte, xor 0x63: the circuit of Boyar and Peralta (A new combinational
 * logic minimization technique with applications to cryptology, SEA 2010) less its four
 * negations, which the round keys take in. Names are the paper's; its x0 and s0 are the most
 * significant bits. */
static inline void sub_bytes(sa_v4 q[8])
{
    const sa_v4 x0 = q[7], x1 = q[6], x2 = q[5], x3 = q[4];
    const sa_v4 x4 = q[3], x5 = q[2], x6 = q[1], x7 = q[0];

    /* Linear, in. */
    const sa_v4 y14 = x3 ^ x5, y13 = x0 ^ x6, y9 = x0 ^ x3, y8 = x0 ^ x5;
    const sa_v4 t0 = x1 ^ x2;
    const sa_v4 y1 = t0 ^ x7, y4 = y1 ^ x3, y12 = y13 ^ y14, y2 = y1 ^ x0, y5 = y1 ^ x6;
    const sa_v4 y3 = y5 ^ y8;
    const sa_v4 t1 = x4 ^ y12;
    const sa_v4 y15 = t1 ^ x5, y20 = t1 ^ x1, y6 = y15 ^ x7, y10 = y15 ^ t0, y11 = y20 ^ y9;
    const sa_v4 y7 = x7 ^ y11, y17 = y10 ^ y11, y19 = y10 ^ y8, y16 = t0 ^ y11;
    const sa_v4 y21 = y13 ^ y16, y18 = x0 ^ y16;

    /* Inversion in GF(2^8) over its subfields. */
    const sa_v4 t2 = y12 & y15, t4 = (y3 & y6) ^ t2, t6 = (y4 & x7) ^ t2;
    const sa_v4 t7 = y13 & y16, t9 = (y5 & y1) ^ t7, t11 = (y2 & y7) ^ t7;
    const sa_v4 t12 = y9 & y11, t14 = (y14 & y17) ^ t12, t16 = (y8 & y10) ^ t12;
    const sa_v4 t21 = t4 ^ t14 ^ y20, t22 = t6 ^ t16 ^ y19;
    const sa_v4 t23 = t9 ^ t14 ^ y21, t24 = t11 ^ t16 ^ y18;
    const sa_v4 t25 = t21 ^ t22, t26 = t21 & t23, t27 = t24 ^ t26;
    const sa_v4 t29 = (t25 & t27) ^ t22, t30 = t23 ^ t24, t31 = t22 ^ t26;
    const sa_v4 t33 = (t31 & t30) ^ t24, t34 = t23 ^ t33, t35 = t27 ^ t33;
    const sa_v4 t36 = t24 & t35, t37 = t36 ^ t34, t38 = t27 ^ t36;
    const sa_v4 t40 = t25 ^ (t29 & t38);
    const sa_v4 t41 = t40 ^ t37, t42 = t29 ^ t33, t43 = t29 ^ t40, t44 = t33 ^ t37;
    const sa_v4 t45 = t42 ^ t41;
    const sa_v4 z0 = t44 & y15, z1 = t37 & y6, z2 = t33 & x7, z3 = t43 & y16, z4 = t40 & y1;
    const sa_v4 z5 = t29 & y7, z6 = t42 & y11, z7 = t45 & y17, z8 = t41 & y10;
    const sa_v4 z9 = t44 & y12, z10 = t37 & y3, z11 = t33 & y4, z12 = t43 & y13;
    const sa_v4 z13 = t40 & y5, z14 = t29 & y2, z15 = t42 & y9, z16 = t45 & y14;
    const sa_v4 z17 = t41 & y8;

    /* Linear, out. */
    const sa_v4 t46 = z15 ^ z16, t47 = z10 ^ z11, t48 = z5 ^ z13, t49 = z9 ^ z10;
    const sa_v4 t50 = z2 ^ z12, t51 = z2 ^ z5, t52 = z7 ^ z8, t53 = z0 ^ z3, t54 = z6 ^ z7;
    const sa_v4 t55 = z16 ^ z17, t56 = z12 ^ t48, t57 = t50 ^ t53, t58 = z4 ^ t46;
    const sa_v4 t59 = z3 ^ t54, t60 = t46 ^ t57, t61 = z14 ^ t57, t62 = t52 ^ t58;
    const sa_v4 t63 = t49 ^ t58, t64 = z4 ^ t59, t65 = t61 ^ t62, t66 = z1 ^ t63;
    const sa_v4 t67 = t64 ^ t65, s3 = t53 ^ t66;
    q[7] = t59 ^ t63;
    q[6] = t64 ^ s3;
    q[5] = t55 ^ t67;
    q[4] = s3;
    q[3] = t51 ^ t66;
    q[2] = t47 ^ t65;
    q[1] = t56 ^ t62;
    q[0] = t48 ^ t60;
}

/* Row r moves r columns left. */
static inline sa_v4 shift_row(sa_v4 v)
{
    const sa_v4 odd = {0, ~0u, 0, ~0u};
    const sa_v4 x = (sa_v4)SA_SHUFFLE(sa_v8x16, v, v, 0, 1, 2, 3, 5, 4, 7, 6);
    const sa_v4 y = x & odd;
    return (x ^ y) | (y >> 8) | (y << 24);
}

/* Row r becomes 2 (a_r + a_r+1) + a_r+1 + (a_r+2 + a_r+3), over planes. */
static inline void mix_columns(sa_v4 q[8])
{
    sa_v4 pair[8], rest[8];
    for (int i = 0; i < 8; i++) {
        const sa_v4 below = SA_SHUFFLE(sa_v4, q[i], q[i], 1, 2, 3, 0);
        pair[i] = q[i] ^ below;
        rest[i] = below ^ SA_SHUFFLE(sa_v4, pair[i], pair[i], 2, 3, 0, 1);
    }
    /* Doubling is a move of planes, and x^8 = x^4 + x^3 + x + 1. */
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

/* The S-box of the four bytes of a word, each plane holding one bit a byte. */
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

/* Round keys as planes: a byte is 0 or 255. All but the first take in the 0x63 that sub_bytes
 * leaves out: ShiftRows and MixColumns keep a state whose bytes are all equal. */
static inline void slice_round_keys(sliced_keys *to, const sa_schedule *from)
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

static inline void eight_blocks(const sliced_keys *keys, uint8_t *out, uint64_t nonce,
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

static void keystream(const sa_schedule *from, uint8_t *out, size_t blocks, uint64_t nonce,
                      uint64_t counter)
{
    sliced_keys keys;
    slice_round_keys(&keys, from);
    for (; blocks >= BLOCKS; blocks -= BLOCKS, out += BLOCKS * BLOCK, counter += BLOCKS)
        eight_blocks(&keys, out, nonce, counter);
    if (blocks > 0) {
        uint8_t tail[BLOCKS * BLOCK];
        eight_blocks(&keys, tail, nonce, counter);
        memcpy(out, tail, blocks * BLOCK);
        sa_wipe(tail, sizeof tail);
    }
    sa_wipe(&keys, sizeof keys);
}

extern const sa_cipher_kernel sa_aes_portable;
const sa_cipher_kernel sa_aes_portable = {
    .name = "bitsliced",
    .needs = 0,
    .schedule = schedule,
    .keystream = keystream,
};
