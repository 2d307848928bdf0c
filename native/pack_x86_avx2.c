/* Bit packing on 256-bit registers: four words per vector, two in each half, gathered from or
 * scattered to 16 bytes. The portable kernel does the rest at the end. */
#include "kernels.h"

#if defined(__x86_64__)

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#else
#pragma GCC target("avx2")
#endif

#include <immintrin.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

enum { HALF = 16, GROUP = 8 };

extern const sa_pack_kernel sa_pack_portable;

INLINE __m256i load(const void *from) { return _mm256_loadu_si256((const __m256i *)from); }

INLINE void store(void *to, __m256i v) { _mm256_storeu_si256((__m256i *)to, v); }

INLINE __m256i load_halves(const uint8_t *low, const uint8_t *high)
{
    return _mm256_inserti128_si256(
        _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)low)),
        _mm_loadu_si128((const __m128i *)(const void *)high), 1);
}

INLINE void store_halves(uint8_t *low, uint8_t *high, __m256i v)
{
    _mm_storeu_si128((__m128i *)(void *)low, _mm256_castsi256_si128(v));
    _mm_storeu_si128((__m128i *)(void *)high, _mm256_extracti128_si256(v, 1));
}

/* Byte of a group in which its element `j` begins. */
INLINE int begins(int j, int bits) { return j * bits / 8; }

/* The number of groups that can be read or written by halves. `lane` (4 or 8, a constant where this
 * is inlined) is the size of an element in memory, so a half has 16 / lane elements. */
INLINE size_t whole_groups(size_t len, int bits, int lane)
{
    const size_t bytes = sa_packed_bytes(len, bits);
    const size_t least = (size_t)begins(GROUP - HALF / lane, bits) + HALF;
    return bytes < least ? 0 : (bytes - least) / (size_t)bits + 1;
}

/* An element and the bits before it in its first byte may need more bytes than its lane has:
 * one more at most. */
INLINE int is_wide(int bits, int lane)
{
    const int multiple = bits % 8 ? bits & -bits : 8; /* of which all bit positions mod 8 are */
    return bits + 8 - multiple > 8 * lane;
}

/* ---- unpacking --------------------------------------------------------------------------- */

/* The places of one vector's elements in a group. Lanes of 32 bits that are too narrow are
 * gathered in lanes of 64, the even ones into `low` and the odd ones into `high`. Indices past
 * a half wrap around: the bytes that they fetch are always above or below an element. */
typedef struct {
    int at[2];    /* byte of the group where each half begins */
    __m256i low;  /* for each lane, its element's first byte and those after it */
    __m256i high; /* the bytes after these */
    __m256i down; /* for each lane, the bits before the element in its first byte */
    __m256i up;   /* lane width less these */
    __m256i mask; /* 2^bits - 1 */
} gather;

INLINE void fetch(uint8_t *lane, int bytes, int from)
{
    for (int i = 0; i < bytes; i++)
        lane[i] = (uint8_t)(from + i);
}

/* Of the group's elements from `first` on. */
INLINE gather gather_of(int bits, int first, int lane, int wide)
{
    const int half = HALF / lane;
    uint8_t low[32] = {0}, high[32] = {0};
    uint32_t narrow[8] = {0};
    uint64_t down[4] = {0}, up[4] = {0};
    gather g;
    g.at[0] = begins(first, bits);
    g.at[1] = begins(first + half, bits);
    for (int j = 0; j < 2 * half; j++) {
        const int from = begins(first + j, bits) - g.at[j / half];
        const int shift = (first + j) * bits % 8;
        if (lane == 8) {
            fetch(low + 8 * j, 8, from);
            fetch(high + 8 * j, 8, from + 8);
            down[j] = (uint64_t)shift;
            up[j] = (uint64_t)(64 - shift);
        } else if (!wide) {
            fetch(low + 4 * j, 4, from);
            narrow[j] = (uint32_t)shift;
        } else if (j % 2 == 0) {
            fetch(low + 4 * j, 8, from);
            down[j / 2] = (uint64_t)shift;
        } else {
            fetch(high + 4 * (j - 1), 8, from);
            up[j / 2] = (uint64_t)(32 - shift);
        }
    }
    g.low = load(low);
    g.high = load(high);
    g.down = lane == 4 && !wide ? load(narrow) : load(down);
    g.up = load(up);
    g.mask = lane == 4 ? _mm256_set1_epi32((int)(uint32_t)(((uint64_t)1 << bits) - 1))
                       : _mm256_set1_epi64x((1ll << bits) - 1);
    return g;
}

/* Out: a vector of elements of the group at `in`, below 2^bits. */
INLINE __m256i take(const gather *g, const uint8_t *in, int lane, int wide)
{
    const __m256i bytes = load_halves(in + g->at[0], in + g->at[1]);
    __m256i x = _mm256_shuffle_epi8(bytes, g->low);
    x = lane == 4 && !wide ? _mm256_srlv_epi32(x, g->down) : _mm256_srlv_epi64(x, g->down);
    if (wide) {
        const __m256i high = _mm256_sllv_epi64(_mm256_shuffle_epi8(bytes, g->high), g->up);
        x = lane == 4 ? _mm256_blend_epi32(x, high, 0xaa) : _mm256_or_si256(x, high);
    }
    return _mm256_and_si256(x, g->mask);
}

/* x in every lane. */
INLINE __m256i everywhere(uint64_t x, int lane)
{
    return lane == 4 ? _mm256_set1_epi32((int)x) : _mm256_set1_epi64x((long long)x);
}

/* Updates `seen` with x, to test later whether an element was not below p. For 32-bit lanes it is
 * the maximum; for 64-bit lanes, as it is faster, the sign bits of p - 1 - x and of x. */
INLINE __m256i see(__m256i seen, __m256i x, __m256i last, int lane)
{
    if (lane == 4)
        return _mm256_max_epu32(seen, x);
    return _mm256_or_si256(seen, _mm256_or_si256(x, _mm256_sub_epi64(last, x)));
}

/* Ones in the 32-bit lanes of `seen` that never were above `last`, which is p - 1; in 64-bit lanes,
 * ones in those that were. */
INLINE __m256i within4(__m256i seen, __m256i last)
{
    return _mm256_cmpeq_epi32(_mm256_max_epu32(seen, last), last);
}

INLINE __m256i above8(__m256i seen) { return _mm256_cmpgt_epi64(_mm256_setzero_si256(), seen); }

/* Whether an element was above `last`. */
INLINE int outside(__m256i seen, __m256i last, int lane)
{
    return lane == 4 ? _mm256_movemask_epi8(within4(seen, last)) != -1
                     : _mm256_movemask_epi8(above8(seen)) != 0;
}

/* Out: a + x mod p where both are below p, else a. The sum of 32-bit lanes may not fit them. (No
 * blend uses the complement of a comparison: compiling for AVX-512BW, GCC 12 loses it.) */
INLINE __m256i add(__m256i a, __m256i x, __m256i p, __m256i last, __m256i *seen, int lane)
{
    const __m256i zero = _mm256_setzero_si256();
    const __m256i both = see(see(zero, a, last, lane), x, last, lane);
    if (lane == 4) {
        const __m256i t = _mm256_sub_epi32(p, x), r = _mm256_sub_epi32(a, t);
        const __m256i enough = _mm256_cmpeq_epi32(_mm256_max_epu32(a, t), a);
        const __m256i sum = _mm256_add_epi32(r, _mm256_andnot_si256(enough, p));
        *seen = _mm256_max_epu32(*seen, both);
        return _mm256_blendv_epi8(a, sum, within4(both, last));
    }
    const __m256i r = _mm256_sub_epi64(_mm256_add_epi64(a, x), p);
    const __m256i sum = _mm256_add_epi64(r, _mm256_and_si256(_mm256_cmpgt_epi64(zero, r), p));
    *seen = _mm256_or_si256(*seen, both);
    return _mm256_blendv_epi8(sum, a, above8(both));
}

/* Out: the elements of the whole groups, below 2^bits, or where they are summed, added. */
INLINE int unpack_run(uint8_t *dst, const uint8_t *in, size_t groups, int bits, int lane, int wide,
                      int sum)
{
    const gather g[2] = {gather_of(bits, 0, lane, wide), gather_of(bits, GROUP / 2, lane, wide)};
    const __m256i p = everywhere(sa_prime(bits), lane);
    const __m256i last = everywhere(sa_prime(bits) - 1, lane);
    __m256i seen = _mm256_setzero_si256();
    for (; groups > 0; groups--, in += bits)
#pragma GCC unroll 2
        for (int i = 0; i < lane / 4; i++, dst += 32) {
            const __m256i x = take(&g[i], in, lane, wide);
            if (!sum)
                seen = see(seen, x, last, lane);
            store(dst, sum ? add(load(dst), x, p, last, &seen, lane) : x);
        }
    return outside(seen, last, lane) ? SA_EDECODE : SA_OK;
}

INLINE int unpack_any(void *dst, const uint8_t *in, size_t groups, int bits, int lane, int sum)
{
    return is_wide(bits, lane) ? unpack_run(dst, in, groups, bits, lane, 1, sum)
                               : unpack_run(dst, in, groups, bits, lane, 0, sum);
}

/* The portable kernel does the rest, or everything. */
#define UNPACK(NAME, LANE, lane, sum)                                                            \
    static int NAME(LANE *dst, const uint8_t *in, size_t len, int bits)                          \
    {                                                                                            \
        const size_t groups = whole_groups(len, bits, lane), n = GROUP * groups;                 \
        const int status = unpack_any(dst, in, groups, bits, lane, sum);                         \
        const int end =                                                                          \
            sa_pack_portable.NAME(dst + n, in + sa_packed_bytes(n, bits), len - n, bits);        \
        return status != SA_OK ? status : end;                                                   \
    }

UNPACK(unpack_u32, uint32_t, 4, 0)
UNPACK(unpack_u64, uint64_t, 8, 0)
UNPACK(unpack_add_u32, uint32_t, 4, 1)
UNPACK(unpack_add_u64, uint64_t, 8, 1)

/* ---- packing ----------------------------------------------------------------------------- */

/* The places of four words of `width` bits in the output, where they begin `phase` bits into a
 * byte. */
typedef struct {
    __m256i bytes; /* for each byte of a half's output, where it is taken from */
    __m256i shift; /* for each word, the bits of its first byte that are the previous word's */
    __m256i spill; /* for each word, its bits before the next word's first byte */
} scatter;

INLINE scatter scatter_of(int width, int phase)
{
    uint8_t from[32] = {0};
    uint64_t shift[4], spill[4], bytes;
    scatter s;
    for (int j = 0; j < 4; j++) {
        const int begin = phase + j * width, end = begin + width;
        shift[j] = (uint64_t)(begin % 8);
        spill[j] = (uint64_t)(width - end % 8);
        bytes = j % 2 ? 0x0f0e0d0c0b0a0908 : 0x0706050403020100;
        memcpy(from + 16 * (j / 2) + (j % 2 ? begin / 8 - (begin - width) / 8 : 0), &bytes,
               sizeof bytes);
    }
    s.bytes = load(from);
    s.shift = load(shift);
    s.spill = load(spill);
    return s;
}

/* In: each word's last bits, before the next word's first byte. Out: the same for the next
 * one, the last word's coming first. */
INLINE __m256i spilled(const scatter *s, __m256i words)
{
    return _mm256_permute4x64_epi64(_mm256_srlv_epi64(words, s->spill), 0x93);
}

/* Each word is moved to its place within its first byte and gets the last bits of the word before
 * it; then its bytes before the next word's first byte are complete. */
INLINE __m256i packed(const scatter *s, __m256i words, __m256i before)
{
    return _mm256_shuffle_epi8(_mm256_or_si256(_mm256_sllv_epi64(words, s->shift), before),
                               s->bytes);
}

/* Each store overwrites what the one before wrote too much. */
static int pack_u32(uint8_t *out, const uint32_t *a, size_t len, int bits)
{
    const size_t groups = whole_groups(len, bits, 4);
    const scatter s = scatter_of(2 * bits, 0);
    const int half = begins(4, bits);
    const __m128i down = _mm_cvtsi32_si128(32 - bits);
    const __m256i low = _mm256_set1_epi64x((1ll << bits) - 1);
    const __m256i last = everywhere(sa_prime(bits) - 1, 4);
    __m256i seen = _mm256_setzero_si256();
    for (size_t i = 0; i < groups; i++, a += GROUP, out += bits) {
        const __m256i x = load(a);
        const __m256i pairs = _mm256_or_si256(
            _mm256_and_si256(x, low), _mm256_andnot_si256(low, _mm256_srl_epi64(x, down)));
        seen = see(seen, x, last, 4);
        store_halves(out, out + half, packed(&s, pairs, spilled(&s, pairs)));
    }
    const int end = sa_pack_portable.pack_u32(out, a, len - GROUP * groups, bits);
    return outside(seen, last, 4) ? SA_ERANGE : end;
}

static int pack_u64(uint8_t *out, const uint64_t *a, size_t len, int bits)
{
    const size_t groups = whole_groups(len, bits, 8);
    const scatter s = scatter_of(bits, 0), t = scatter_of(bits, 4 * bits % 8);
    const int second = begins(2, bits), third = begins(4, bits), fourth = begins(6, bits);
    const __m256i last = everywhere(sa_prime(bits) - 1, 8);
    __m256i seen = _mm256_setzero_si256();
    for (size_t i = 0; i < groups; i++, a += GROUP, out += bits) {
        const __m256i x = load(a), y = load(a + 4);
        const __m256i from_x = spilled(&s, x), from_y = spilled(&t, y);
        const __m256i before_x = _mm256_blend_epi32(from_x, from_y, 0x03);
        const __m256i before_y = _mm256_blend_epi32(from_y, from_x, 0x03);
        seen = see(see(seen, x, last, 8), y, last, 8);
        store_halves(out, out + second, packed(&s, x, before_x));
        store_halves(out + third, out + fourth, packed(&t, y, before_y));
    }
    const int end = sa_pack_portable.pack_u64(out, a, len - GROUP * groups, bits);
    return outside(seen, last, 8) ? SA_ERANGE : end;
}

extern const sa_pack_kernel sa_pack_avx2;
const sa_pack_kernel sa_pack_avx2 = {
    .name = "avx2",
    .needs = SA_CPU_AVX2,
    .pack_u32 = pack_u32,
    .pack_u64 = pack_u64,
    .unpack_u32 = unpack_u32,
    .unpack_u64 = unpack_u64,
    .unpack_add_u32 = unpack_add_u32,
    .unpack_add_u64 = unpack_add_u64,
};

#if defined(__clang__)
#pragma clang attribute pop
#endif

#endif
