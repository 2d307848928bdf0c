/* Bit packing on NEON, which every aarch64 machine has: one vector holds 16 bytes of elements that
 * are gathered from or scattered to 16 packed bytes. The portable kernel does the rest at the
 * end. */
#include "kernels.h"

#if defined(__aarch64__)

#include <arm_neon.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

enum { GROUP = 8, VECTOR = 16, MAX_VECTORS = 4, NOTHING = 0xff /* an index that gives zero */ };

extern const sa_pack_kernel sa_pack_portable;

/* `lane`, an element's 4 or 8 bytes in memory, is a constant wherever it is inlined. */
INLINE int vectors(int lane) { return GROUP * lane / VECTOR; }

/* The number of groups that can be read or written with 16 bytes per vector. */
INLINE size_t whole_groups(size_t len, int bits, int lane)
{
    const size_t bytes = sa_packed_bytes(len, bits);
    const size_t least = (size_t)((GROUP - VECTOR / lane) * bits / 8 + VECTOR);
    return bytes < least ? 0 : (bytes - least) / (size_t)bits + 1;
}

INLINE uint8x16_t look_up(uint8x16_t bytes, uint8x16_t from) { return vqtbl1q_u8(bytes, from); }

/* Shifts to the left, or to the right if an amount is negative. */
INLINE uint8x16_t shift64(uint8x16_t x, int64x2_t by)
{
    return vreinterpretq_u8_u64(vshlq_u64(vreinterpretq_u64_u8(x), by));
}

INLINE uint8x16_t shift32(uint8x16_t x, int64x2_t by)
{
    return vreinterpretq_u8_u32(vshlq_u32(vreinterpretq_u32_u8(x), vreinterpretq_s32_s64(by)));
}

/* x in every lane. */
INLINE uint8x16_t everywhere(uint64_t x, int lane)
{
    return lane == 4 ? vreinterpretq_u8_u32(vdupq_n_u32((uint32_t)x))
                     : vreinterpretq_u8_u64(vdupq_n_u64(x));
}

/* ---- unpacking --------------------------------------------------------------------------- */

/* The places of one vector's elements in a group. An element and the bits before it in its first
 * byte may need one byte more than its lane has. Wide lanes of 64 bits get that byte separately;
 * wide lanes of 32 bits are gathered in lanes of 64, the even ones first. */
typedef struct {
    int at;                /* byte of the group where the vector begins */
    uint8x16_t low, high;  /* for each byte of the lanes, where it is taken from */
    int64x2_t down, up;    /* how far each lane is shifted; of 32 bits if these are not wide */
} gather;

INLINE int is_wide(int bits, int lane)
{
    const int multiple = bits % 8 ? bits & -bits : 8; /* of which all bit positions mod 8 are */
    return bits + 8 - multiple > 8 * lane;
}

INLINE void fetch(uint8_t *to, int bytes, int from)
{
    for (int i = 0; i < bytes; i++)
        to[i] = (uint8_t)(from + i);
}

INLINE gather gather_of(int bits, int vector, int lane, int wide)
{
    const int elements = VECTOR / lane, first = vector * elements;
    uint8_t low[VECTOR], high[VECTOR];
    int64_t down[2] = {0}, up[2] = {0};
    int32_t narrow[4] = {0};
    gather g = {.at = first * bits / 8};
    memset(high, NOTHING, sizeof high);
    for (int j = 0; j < elements; j++) {
        const int from = (first + j) * bits / 8 - g.at, shift = (first + j) * bits % 8;
        if (lane == 8) {
            fetch(low + 8 * j, 8, from);
            fetch(high + 8 * j, 1, from + 8);
            down[j] = -shift;
            up[j] = 64 - shift;
        } else if (!wide) {
            fetch(low + 4 * j, 4, from);
            narrow[j] = -shift;
        } else {
            fetch((j % 2 ? high : low) + 8 * (j / 2), 8, from);
            (j % 2 ? up : down)[j / 2] = -shift;
        }
    }
    g.low = vld1q_u8(low);
    g.high = vld1q_u8(high);
    g.down = lane == 4 && !wide ? vreinterpretq_s64_s32(vld1q_s32(narrow)) : vld1q_s64(down);
    g.up = vld1q_s64(up);
    return g;
}

/* Out: a vector of elements of the group at `in`, with bits of other elements above them. */
INLINE uint8x16_t take(const gather *g, const uint8_t *in, int lane, int wide)
{
    const uint8x16_t bytes = vld1q_u8(in + g->at), low = look_up(bytes, g->low);
    if (lane == 4 && !wide)
        return shift32(low, g->down);
    const uint8x16_t x = shift64(low, g->down);
    if (!wide)
        return x;
    const uint8x16_t y = shift64(look_up(bytes, g->high), g->up);
    if (lane == 4)
        return vreinterpretq_u8_u32(vtrn1q_u32(vreinterpretq_u32_u8(x), vreinterpretq_u32_u8(y)));
    return vorrq_u8(x, y);
}

/* In: lanes below p. Out: a + x mod p. The sum of 32-bit lanes itself may not fit them. */
INLINE uint8x16_t add(uint8x16_t a8, uint8x16_t x8, uint8x16_t p8, int lane)
{
    if (lane == 4) {
        const uint32x4_t a = vreinterpretq_u32_u8(a8), p = vreinterpretq_u32_u8(p8);
        const uint32x4_t t = p - vreinterpretq_u32_u8(x8);
        return vreinterpretq_u8_u32(a - t + (p & vcltq_u32(a, t)));
    }
    const uint64x2_t a = vreinterpretq_u64_u8(a8), p = vreinterpretq_u64_u8(p8);
    const uint64x2_t t = p - vreinterpretq_u64_u8(x8);
    return vreinterpretq_u8_u64(a - t + (p & vcltq_u64(a, t)));
}

/* All ones in lanes that are not below p. */
INLINE uint8x16_t outside(uint8x16_t x, uint8x16_t p, int lane)
{
    if (lane == 4)
        return vreinterpretq_u8_u32(vcgeq_u32(vreinterpretq_u32_u8(x), vreinterpretq_u32_u8(p)));
    return vreinterpretq_u8_u64(vcgeq_u64(vreinterpretq_u64_u8(x), vreinterpretq_u64_u8(p)));
}

/* Out: the elements of the whole groups, below 2^bits; or where they are summed, their sums with
 * those at dst, where both are below p. Returns non-zero if one is not. */
INLINE uint8_t unpack_run(uint8_t *restrict dst, const uint8_t *restrict in, size_t groups,
                          int bits, int lane, int wide, int sum)
{
    const uint8x16_t p = everywhere(sa_prime(bits), lane);
    const uint8x16_t mask = everywhere(((uint64_t)1 << bits) - 1, lane);
    uint8x16_t bad = vdupq_n_u8(0);
    gather g[MAX_VECTORS];
    for (int v = 0; v < vectors(lane); v++)
        g[v] = gather_of(bits, v, lane, wide);
    for (; groups > 0; groups--, in += bits)
#pragma GCC unroll 4
        for (int v = 0; v < vectors(lane); v++, dst += VECTOR) {
            uint8x16_t x = vandq_u8(take(&g[v], in, lane, wide), mask);
            uint8x16_t out = outside(x, p, lane);
            if (sum) {
                const uint8x16_t a = vld1q_u8(dst);
                out = vorrq_u8(out, outside(a, p, lane));
                x = vbslq_u8(out, a, add(a, x, p, lane));
            }
            bad = vorrq_u8(bad, out);
            vst1q_u8(dst, x);
        }
    return vmaxvq_u8(bad);
}

/* The whole groups of `len` elements. */
INLINE int unpack_any(void *dst, const uint8_t *in, size_t len, int bits, int lane, int sum)
{
    const size_t groups = whole_groups(len, bits, lane);
    const uint8_t bad = is_wide(bits, lane) ? unpack_run(dst, in, groups, bits, lane, 1, sum)
                                            : unpack_run(dst, in, groups, bits, lane, 0, sum);
    return bad ? SA_EDECODE : SA_OK;
}

/* In: the results for the whole groups, and for the rest. */
INLINE int both(int status, int rest) { return status == SA_OK ? rest : status; }

static int unpack_u32(uint32_t *dst, const uint8_t *in, size_t len, int bits)
{
    const size_t n = GROUP * whole_groups(len, bits, 4);
    const int status = unpack_any(dst, in, len, bits, 4, 0);
    in += sa_packed_bytes(n, bits);
    return both(status, sa_pack_portable.unpack_u32(dst + n, in, len - n, bits));
}

static int unpack_u64(uint64_t *dst, const uint8_t *in, size_t len, int bits)
{
    const size_t n = GROUP * whole_groups(len, bits, 8);
    const int status = unpack_any(dst, in, len, bits, 8, 0);
    in += sa_packed_bytes(n, bits);
    return both(status, sa_pack_portable.unpack_u64(dst + n, in, len - n, bits));
}

static int unpack_add_u32(uint32_t *acc, const uint8_t *in, size_t len, int bits)
{
    const size_t n = GROUP * whole_groups(len, bits, 4);
    const int status = unpack_any(acc, in, len, bits, 4, 1);
    in += sa_packed_bytes(n, bits);
    return both(status, sa_pack_portable.unpack_add_u32(acc + n, in, len - n, bits));
}

static int unpack_add_u64(uint64_t *acc, const uint8_t *in, size_t len, int bits)
{
    const size_t n = GROUP * whole_groups(len, bits, 8);
    const int status = unpack_any(acc, in, len, bits, 8, 1);
    in += sa_packed_bytes(n, bits);
    return both(status, sa_pack_portable.unpack_add_u64(acc + n, in, len - n, bits));
}

/* ---- packing ----------------------------------------------------------------------------- */

/* The places of one vector's two words of `width` bits in the output. */
typedef struct {
    int at;           /* byte of the group where they begin */
    uint8x16_t bytes; /* for each byte from there, where it is taken from */
    int64x2_t up;     /* for each word, the bits of its first byte that are the previous word's */
    int64x2_t spill;  /* less each word's bits before the next word's first byte */
} scatter;

INLINE scatter scatter_of(int width, int vector)
{
    uint8_t from[VECTOR];
    int64_t up[2], spill[2];
    const int begin = 2 * vector * width, middle = begin + width, end = middle + width;
    scatter s = {.at = begin / 8};
    memset(from, NOTHING, sizeof from);
    fetch(from, 8, 0);
    fetch(from + (middle / 8 - s.at), 8, 8);
    up[0] = begin % 8;
    up[1] = middle % 8;
    spill[0] = middle % 8 - width;
    spill[1] = end % 8 - width;
    s.bytes = vld1q_u8(from);
    s.up = vld1q_s64(up);
    s.spill = vld1q_s64(spill);
    return s;
}

/* Each word is moved to its place within its first byte and gets the last bits of the word before
 * it, which is the second one of `spilled`; then its bytes before the next word's first byte are
 * complete. Each store overwrites what the one before wrote too much. */
INLINE void put(uint8_t *out, const scatter *s, uint8x16_t words, uint8x16_t *spilled)
{
    const uint8x16_t over = shift64(words, s->spill);
    const uint8x16_t before = vextq_u8(*spilled, over, 8);
    vst1q_u8(out + s->at, look_up(vorrq_u8(shift64(words, s->up), before), s->bytes));
    *spilled = over;
}

/* A word is two elements. */
static int pack_u32(uint8_t *out, const uint32_t *a, size_t len, int bits)
{
    const size_t groups = bits == 32 ? 0 : whole_groups(len, bits, 4); /* 32: a mere copy */
    const scatter s[2] = {scatter_of(2 * bits, 0), scatter_of(2 * bits, 1)};
    const uint64x2_t low = vdupq_n_u64(UINT32_MAX);
    const int64x2_t up = vdupq_n_s64(bits);
    const uint8x16_t p = everywhere(sa_prime(bits), 4);
    uint8x16_t spilled = vdupq_n_u8(0), bad = spilled;
    for (size_t i = 0; i < groups; i++, out += bits)
#pragma GCC unroll 2
        for (int v = 0; v < 2; v++, a += GROUP / 2) {
            const uint64x2_t x = vreinterpretq_u64_u32(vld1q_u32(a));
            bad = vorrq_u8(bad, outside(vreinterpretq_u8_u64(x), p, 4));
            const uint64x2_t pairs = (x & low) | vshlq_u64(vshrq_n_u64(x, 32), up);
            put(out, &s[v], vreinterpretq_u8_u64(pairs), &spilled);
        }
    const int rest = sa_pack_portable.pack_u32(out, a, len - GROUP * groups, bits);
    return both(vmaxvq_u8(bad) ? SA_ERANGE : SA_OK, rest);
}

static int pack_u64(uint8_t *out, const uint64_t *a, size_t len, int bits)
{
    const size_t groups = whole_groups(len, bits, 8);
    const scatter s[4] = {scatter_of(bits, 0), scatter_of(bits, 1), scatter_of(bits, 2),
                          scatter_of(bits, 3)};
    const uint8x16_t p = everywhere(sa_prime(bits), 8);
    uint8x16_t spilled = vdupq_n_u8(0), bad = spilled;
    for (size_t i = 0; i < groups; i++, out += bits)
#pragma GCC unroll 4
        for (int v = 0; v < 4; v++, a += GROUP / 4) {
            const uint8x16_t x = vreinterpretq_u8_u64(vld1q_u64(a));
            bad = vorrq_u8(bad, outside(x, p, 8));
            put(out, &s[v], x, &spilled);
        }
    const int rest = sa_pack_portable.pack_u64(out, a, len - GROUP * groups, bits);
    return both(vmaxvq_u8(bad) ? SA_ERANGE : SA_OK, rest);
}

extern const sa_pack_kernel sa_pack_neon;
const sa_pack_kernel sa_pack_neon = {
    .name = "neon",
    .needs = 0,
    .pack_u32 = pack_u32,
    .pack_u64 = pack_u64,
    .unpack_u32 = unpack_u32,
    .unpack_u64 = unpack_u64,
    .unpack_add_u32 = unpack_add_u32,
    .unpack_add_u64 = unpack_add_u64,
};

#endif
