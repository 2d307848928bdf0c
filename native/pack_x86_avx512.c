/* Bit packing on 512-bit registers: each step gathers or scatters the bytes of 16 or 8
 * elements with one or two permutations, and shifts every lane into place. */
#include "kernels.h"

#if defined(__x86_64__)

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vbmi2"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vbmi2")
#endif

#include <immintrin.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

enum { VECTOR = 64, BATCH = 4 };

/* A step is one vector of elements: VECTOR / lane of them, where `lane` (4 or 8, a constant where
 * this is inlined) is the size of an element in memory. */
INLINE size_t step_bytes(int bits, int lane) { return (size_t)(8 / lane * bits); }

/* The number of steps that may read or write a whole vector if `bytes` packed bytes are left: as
 * no step takes more bytes than a vector, these are whole steps. */
INLINE size_t whole_steps(size_t bytes, size_t step)
{
    return bytes < VECTOR ? 0 : (bytes - VECTOR) / step + 1;
}

/* An element and the bits before it in its first byte may need more bytes than its lane has:
 * one more at most. */
INLINE int is_wide(int bits, int lane)
{
    const int multiple = bits % 8 ? bits & -bits : 8; /* of which all bit positions mod 8 are */
    return bits + 8 - multiple > 8 * lane;
}

INLINE size_t least(size_t a, size_t b) { return a < b ? a : b; }

/* The first n bytes, n of 1..64. */
INLINE __mmask64 first(size_t n) { return _cvtu64_mask64(~(uint64_t)0 >> (VECTOR - n)); }

INLINE __m512i load(const void *from) { return _mm512_loadu_si512(from); }

INLINE __m512i load_first(const void *from, size_t n)
{
    return _mm512_maskz_loadu_epi8(first(n), from);
}

INLINE void store(void *to, __m512i v) { _mm512_storeu_si512(to, v); }

INLINE void store_first(void *to, size_t n, __m512i v)
{
    _mm512_mask_storeu_epi8(to, first(n), v);
}

/* ---- unpacking --------------------------------------------------------------------------- */

/* The places of the elements of one step. Indices past the vector wrap around: the bytes that they
 * fetch are always above an element. */
typedef struct {
    __m512i low;   /* for each lane, its element's first byte and those after it */
    __m512i high;  /* the bytes after these */
    __m512i shift; /* for each lane, the bits before the element in its first byte */
    __m512i mask;  /* 2^bits - 1 */
} gather;

INLINE gather gather_of(int bits, int lane)
{
    gather g;
    if (lane == 4) {
        const __m512i j = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
        const __m512i at = _mm512_mullo_epi32(j, _mm512_set1_epi32(bits));
        const __m512i each = _mm512_set1_epi32(0x01010101), next = _mm512_set1_epi32(0x03020100);
        g.low = _mm512_add_epi8(_mm512_mullo_epi32(_mm512_srli_epi32(at, 3), each), next);
        g.shift = _mm512_and_si512(at, _mm512_set1_epi32(7));
        g.mask = _mm512_set1_epi32((int)(uint32_t)(((uint64_t)1 << bits) - 1));
    } else {
        const __m512i j = _mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0);
        const __m512i at = _mm512_mullo_epi64(j, _mm512_set1_epi64(bits));
        const __m512i each = _mm512_set1_epi64(0x0101010101010101);
        const __m512i next = _mm512_set1_epi64(0x0706050403020100);
        g.low = _mm512_add_epi8(_mm512_mullo_epi64(_mm512_srli_epi64(at, 3), each), next);
        g.shift = _mm512_and_si512(at, _mm512_set1_epi64(7));
        g.mask = _mm512_set1_epi64((1ll << bits) - 1);
    }
    g.high = _mm512_add_epi8(g.low, _mm512_set1_epi8((char)lane));
    return g;
}

/* Out: the elements of a step, below 2^bits. */
INLINE __m512i take(const gather *g, __m512i bytes, int lane, int wide)
{
    __m512i x = _mm512_permutexvar_epi8(g->low, bytes);
    if (wide) {
        const __m512i high = _mm512_permutexvar_epi8(g->high, bytes);
        x = lane == 4 ? _mm512_shrdv_epi32(x, high, g->shift)
                      : _mm512_shrdv_epi64(x, high, g->shift);
    } else {
        x = lane == 4 ? _mm512_srlv_epi32(x, g->shift) : _mm512_srlv_epi64(x, g->shift);
    }
    return _mm512_and_si512(x, g->mask);
}

/* p in every lane. */
INLINE __m512i modulus(int bits, int lane)
{
    const uint64_t p = sa_prime(bits);
    return lane == 4 ? _mm512_set1_epi32((int)p) : _mm512_set1_epi64((long long)p);
}

INLINE __m512i greater(__m512i a, __m512i b, int lane)
{
    return lane == 4 ? _mm512_max_epu32(a, b) : _mm512_max_epu64(a, b);
}

/* Whether a lane of `most` is not below p. */
INLINE int outside(__m512i most, __m512i p, int lane)
{
    return lane == 4 ? _mm512_cmpge_epu32_mask(most, p) != 0
                     : _mm512_cmpge_epu64_mask(most, p) != 0;
}

/* Out: a + x mod p where both are below p, else a (x is then replaced by p, which adds zero).
 * `full` says that 2p does not fit a lane, so that a sum may wrap around; if it fits, the smaller
 * of the sum and the sum less p is below p. */
INLINE __m512i add(__m512i a, __m512i x, __m512i p, int lane, int full)
{
    if (full) {
        const __mmask16 below = _mm512_cmplt_epu32_mask(a, p);
        const __m512i t = _mm512_sub_epi32(p, _mm512_mask_min_epu32(p, below, x, p));
        const __m512i r = _mm512_sub_epi32(a, t);
        return _mm512_mask_add_epi32(r, _mm512_cmplt_epu32_mask(a, t), r, p);
    }
    if (lane == 4) {
        const __mmask16 below = _mm512_cmplt_epu32_mask(a, p);
        const __m512i s = _mm512_add_epi32(a, _mm512_min_epu32(x, p));
        return _mm512_mask_min_epu32(a, below, s, _mm512_sub_epi32(s, p));
    }
    const __mmask8 below = _mm512_cmplt_epu64_mask(a, p);
    const __m512i s = _mm512_add_epi64(a, _mm512_min_epu64(x, p));
    return _mm512_mask_min_epu64(a, below, s, _mm512_sub_epi64(s, p));
}

/* The greatest elements seen, of the packed ones and of the accumulator. */
typedef struct {
    __m512i packed, acc;
} extremes;

/* Out: packed elements x, below 2^bits, or where they are summed, added to the vector a. */
INLINE __m512i unpacked(extremes *most, __m512i x, __m512i a, __m512i p, int lane, int full,
                         int sum)
{
    most->packed = greater(most->packed, x, lane);
    if (!sum)
        return x;
    most->acc = greater(most->acc, a, lane);
    return add(a, x, p, lane, full);
}

/* Lanes past the end hold padding bits: zero. */
INLINE int unpack_run(uint8_t *dst, const uint8_t *in, size_t len, int bits, int lane, int wide,
                      int full, int sum)
{
    const gather g = gather_of(bits, lane);
    const __m512i p = modulus(bits, lane), zero = _mm512_setzero_si512();
    const size_t step = step_bytes(bits, lane);
    size_t bytes = sa_packed_bytes(len, bits), whole = whole_steps(bytes, step);
    size_t room = len * (size_t)lane - whole * VECTOR;
    extremes most = {zero, zero};
    bytes -= whole * step;
    for (; whole > 0; whole--, in += step, dst += VECTOR) {
        const __m512i x = take(&g, load(in), lane, wide);
        store(dst, unpacked(&most, x, sum ? load(dst) : zero, p, lane, full, sum));
    }
    while (room > 0) {
        const size_t n = least(room, VECTOR), used = least(bytes, step);
        const __m512i x = take(&g, load_first(in, least(bytes, VECTOR)), lane, wide);
        const __m512i a = sum ? load_first(dst, n) : zero;
        store_first(dst, n, unpacked(&most, x, a, p, lane, full, sum));
        room -= n;
        bytes -= used;
        in += used;
        dst += n;
    }
    return outside(greater(most.packed, most.acc, lane), p, lane) ? SA_EDECODE : SA_OK;
}

INLINE int unpack_any(void *dst, const uint8_t *in, size_t len, int bits, int lane, int sum)
{
    if (is_wide(bits, lane))
        return unpack_run(dst, in, len, bits, lane, 1, 0, sum);
    if (lane == 4 && sum && bits == 32)
        return unpack_run(dst, in, len, bits, lane, 0, 1, sum);
    return unpack_run(dst, in, len, bits, lane, 0, 0, sum);
}

static int unpack_u32(uint32_t *dst, const uint8_t *in, size_t len, int bits)
{
    return unpack_any(dst, in, len, bits, 4, 0);
}

static int unpack_u64(uint64_t *dst, const uint8_t *in, size_t len, int bits)
{
    return unpack_any(dst, in, len, bits, 8, 0);
}

static int unpack_add_u32(uint32_t *acc, const uint8_t *in, size_t len, int bits)
{
    return unpack_any(acc, in, len, bits, 4, 1);
}

static int unpack_add_u64(uint64_t *acc, const uint8_t *in, size_t len, int bits)
{
    return unpack_any(acc, in, len, bits, 8, 1);
}

/* ---- packing ----------------------------------------------------------------------------- */

/* The places of the eight words of one step, `width` bits each, in the output. */
typedef struct {
    __m512i bytes; /* for each byte of the output, where it is taken from */
    __m512i shift; /* for each word, the bits of its first byte that are the previous word's */
    __m512i spill; /* for each word, its bits before the next word's first byte */
} scatter;

INLINE scatter scatter_of(int width)
{
    uint8_t from[VECTOR] = {0};
    uint64_t bytes = 0x0706050403020100;
    for (size_t j = 0; j < 8; j++) {
        memcpy(from + j * (size_t)width / 8, &bytes, sizeof bytes);
        bytes += 0x0808080808080808;
    }
    const __m512i all = _mm512_set1_epi64(width), seven = _mm512_set1_epi64(7);
    const __m512i begin = _mm512_mullo_epi64(_mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0), all);
    scatter s;
    s.bytes = _mm512_loadu_si512(from);
    s.shift = _mm512_and_si512(begin, seven);
    s.spill = _mm512_sub_epi64(all, _mm512_and_si512(_mm512_add_epi64(begin, all), seven));
    return s;
}

/* Each word is moved to its place within its first byte and gets the last bits of the word before
 * it; then its bytes before the next word's first byte are complete. The last word ends with a
 * whole byte and leaves no bits. */
INLINE __m512i pack_words(const scatter *s, __m512i words)
{
    const __m512i spill = _mm512_srlv_epi64(words, s->spill);
    const __m512i whole = _mm512_or_si512(_mm512_sllv_epi64(words, s->shift),
                                          _mm512_alignr_epi64(spill, spill, 7));
    return _mm512_permutexvar_epi8(s->bytes, whole);
}

/* In: 32-bit lanes below 2^bits; `low` holds 2^bits - 1, `down` 32 - bits. Out: pairs of them,
 * one word each. */
INLINE __m512i pairs(__m512i a, __m512i low, __m128i down)
{
    return _mm512_ternarylogic_epi64(low, a, _mm512_srl_epi64(a, down), 0xca);
}

/* Whole vectors are stored; the next store overwrites what is too much. Several vectors are loaded
 * at a time, so that fewer loads wait for the stores, most of which cross a cache line. */
INLINE int pack_any(uint8_t *out, const uint8_t *a, size_t len, int bits, int lane)
{
    const scatter s = scatter_of(8 / lane * bits);
    const __m512i low = _mm512_set1_epi64((1ll << bits) - 1);
    const __m128i down = _mm_cvtsi32_si128(8 * lane - bits);
    const size_t step = step_bytes(bits, lane);
    size_t bytes = sa_packed_bytes(len, bits), whole = whole_steps(bytes, step);
    size_t room = len * (size_t)lane - whole * VECTOR;
    __m512i most = _mm512_setzero_si512();
    bytes -= whole * step;
    for (; whole >= BATCH; whole -= BATCH) {
        __m512i x[BATCH];
        for (int k = 0; k < BATCH; k++, a += VECTOR) {
            x[k] = load(a);
            most = greater(most, x[k], lane);
        }
        for (int k = 0; k < BATCH; k++, out += step)
            store(out, pack_words(&s, lane == 4 ? pairs(x[k], low, down) : x[k]));
    }
    for (; whole > 0; whole--, a += VECTOR, out += step) {
        const __m512i x = load(a);
        most = greater(most, x, lane);
        store(out, pack_words(&s, lane == 4 ? pairs(x, low, down) : x));
    }
    while (room > 0) {
        const size_t n = least(room, VECTOR), used = least(bytes, step);
        const __m512i x = load_first(a, n);
        most = greater(most, x, lane);
        store_first(out, used, pack_words(&s, lane == 4 ? pairs(x, low, down) : x));
        room -= n;
        bytes -= used;
        a += n;
        out += used;
    }
    return outside(most, modulus(bits, lane), lane) ? SA_ERANGE : SA_OK;
}

static int pack_u32(uint8_t *out, const uint32_t *a, size_t len, int bits)
{
    return pack_any(out, (const uint8_t *)a, len, bits, 4);
}

static int pack_u64(uint8_t *out, const uint64_t *a, size_t len, int bits)
{
    return pack_any(out, (const uint8_t *)a, len, bits, 8);
}

extern const sa_pack_kernel sa_pack_avx512;
const sa_pack_kernel sa_pack_avx512 = {
    .name = "avx512",
    .needs = SA_CPU_AVX512 | SA_CPU_VBMI,
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
