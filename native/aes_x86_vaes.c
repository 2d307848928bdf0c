/* AES-256-CTR (FIPS 197, SP 800-38A) with the vector AES instructions of x86 on 512-bit
 * registers, four blocks per register. */
#include "kernels.h"

#if defined(__x86_64__)

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("vaes,avx512f,avx512bw"))), apply_to = function)
#else
#pragma GCC target("vaes,avx512f,avx512bw")
#endif

#include <immintrin.h>

#define SA_VECTOR 64
#define SA_MINIMUM(a, b) _mm512_min_epu32((__m512i)(a), (__m512i)(b))
#define SA_MAXIMUM(a, b) _mm512_max_epu32((__m512i)(a), (__m512i)(b))
#define SA_NEGATIVE(v) _mm512_srai_epi64((__m512i)(v), 63)
#define SA_ANY(v) _mm512_test_epi32_mask((__m512i)(v), (__m512i)(v))
#include "mask_words.h"

enum { ROUNDS = 14, BLOCK = 16, VECTOR_BLOCKS = SA_VECTOR / BLOCK };

/* Vectors that go through a round together, and half the number of rounds. */
enum { GROUP = 4, GROUP_BLOCKS = GROUP * VECTOR_BLOCKS, HALF = ROUNDS / 2 };

extern const sa_cipher_kernel sa_aes_aesni;

/* Round keys are stored as for AES-NI: one instruction loads one into every lane. */
static void schedule(sa_schedule *to, const uint8_t key[32]) { sa_aes_aesni.schedule(to, key); }

SA_INLINE void load_keys(__m512i keys[ROUNDS + 1], const sa_schedule *from)
{
#pragma GCC unroll 16
    for (int i = 0; i <= ROUNDS; i++)
        keys[i] = _mm512_broadcast_i32x4(
            _mm_load_si128((const __m128i *)(const void *)(from->bytes + BLOCK * i)));
}

/* Block `counter` and the three after it. Lanes of 64 bits in machine order, so that the counter
 * wraps without a carry into the nonce, then made big-endian. */
SA_INLINE __m512i counters(uint64_t nonce, uint64_t counter)
{
    const __m512i swap =
        _mm512_broadcast_i32x4(_mm_set_epi8(8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7));
    const __m512i offsets = _mm512_set_epi64(3, 0, 2, 0, 1, 0, 0, 0);
    const __m512i base =
        _mm512_broadcast_i32x4(_mm_set_epi64x((long long)counter, (long long)nonce));
    return _mm512_shuffle_epi8(_mm512_add_epi64(base, offsets), swap);
}

SA_INLINE __m512i round_of(__m512i v, int round, const __m512i keys[ROUNDS + 1])
{
    return round < ROUNDS ? _mm512_aesenc_epi128(v, keys[round])
                          : _mm512_aesenclast_epi128(v, keys[round]);
}

/* What is done with the keystream: it is stored, or added to or subtracted from the output. */
enum sink { STORE, ADD, SUBTRACT };

SA_INLINE void put(uint8_t *out, __m512i v, sa_mask *mask, int lane, enum sink sink)
{
    if (sink != STORE)
        v = (__m512i)sa_mask_vector(mask, (sa_words)_mm512_loadu_si512(out), (sa_words)v, lane,
                                    sink == SUBTRACT);
    _mm512_storeu_si512(out, v);
}

/* Does half of the rounds: the first half for `fresh` and the second half for `begun`. Meanwhile
 * `done`, which has had all rounds, is put at `out`. Each may be null. The AES unit starts one
 * vector per cycle and takes four cycles for each: two groups keep it busy while other units
 * add. */
SA_INLINE void half(__m512i *fresh, __m512i *begun, const __m512i *done, uint8_t *out,
                    const __m512i keys[ROUNDS + 1], sa_mask *mask, int lane, enum sink sink)
{
#pragma GCC unroll 8
    for (int round = 1; round <= HALF; round++) {
        if (fresh)
#pragma GCC unroll 4
            for (int i = 0; i < GROUP; i++)
                fresh[i] = round_of(fresh[i], round, keys);
        if (done && round % 3 != 1) { /* 2, 3, 5, 6 */
            const int i = round - 2 - round / 4;
            put(out + SA_VECTOR * i, done[i], mask, lane, sink);
        }
        if (begun)
#pragma GCC unroll 4
            for (int i = 0; i < GROUP; i++)
                begun[i] = round_of(begun[i], HALF + round, keys);
    }
}

SA_INLINE void copy(__m512i *to, const __m512i *from)
{
#pragma GCC unroll 4
    for (int i = 0; i < GROUP; i++)
        to[i] = from[i];
}

/* The blocks of a group before the first round. `counter` is a multiple of their number, so that
 * they differ in bits of the last byte only. */
SA_INLINE void begin(__m512i *group, __m512i zero, uint64_t counter)
{
    const __m512i four = _mm512_maskz_set1_epi64(0xaa, 4ll << 56);
    const __m512i eight = _mm512_maskz_set1_epi64(0xaa, 8ll << 56);
    const __m512i common = _mm512_maskz_set1_epi64(0xaa, (long long)__builtin_bswap64(counter));
    group[0] = _mm512_xor_si512(zero, common);
    group[1] = _mm512_xor_si512(group[0], four);
    group[2] = _mm512_xor_si512(group[0], eight);
    group[3] = _mm512_xor_si512(group[1], eight);
}

/* At least two groups. */
SA_INLINE void expand(const __m512i keys[ROUNDS + 1], uint8_t *out, size_t groups, uint64_t nonce,
                      uint64_t counter, sa_mask *mask, int lane, enum sink sink)
{
    const __m512i zero = _mm512_xor_si512(counters(nonce, 0), keys[0]);
    __m512i fresh[GROUP], begun[GROUP], done[GROUP];
    begin(begun, zero, counter);
    half(begun, NULL, NULL, out, keys, mask, lane, sink);
    begin(fresh, zero, counter + GROUP_BLOCKS);
    half(fresh, begun, NULL, out, keys, mask, lane, sink);
    for (size_t i = 2; i < groups; i++) {
        copy(done, begun);
        copy(begun, fresh);
        begin(fresh, zero, counter + GROUP_BLOCKS * i);
        half(fresh, begun, done, out, keys, mask, lane, sink);
        out += SA_VECTOR * GROUP;
    }
    half(NULL, fresh, begun, out, keys, mask, lane, sink);
    out += SA_VECTOR * GROUP;
#pragma GCC unroll 4
    for (int i = 0; i < GROUP; i++)
        put(out + SA_VECTOR * i, fresh[i], mask, lane, sink);
}

static void keystream(const sa_schedule *from, uint8_t *out, size_t blocks, uint64_t nonce,
                      uint64_t counter)
{
    __m512i keys[ROUNDS + 1];
    load_keys(keys, from);
    while (blocks > 0) {
        size_t count = VECTOR_BLOCKS - counter % VECTOR_BLOCKS;
        if (blocks >= 2 * GROUP_BLOCKS && counter % GROUP_BLOCKS == 0) {
            count = blocks - blocks % GROUP_BLOCKS;
            expand(keys, out, count / GROUP_BLOCKS, nonce, counter, NULL, 4, STORE);
        } else {
            __m512i v = _mm512_xor_si512(counters(nonce, counter), keys[0]);
            count = blocks < count ? blocks : count;
#pragma GCC unroll 16
            for (int round = 1; round <= ROUNDS; round++)
                v = round_of(v, round, keys);
            _mm512_mask_storeu_epi64(out, (__mmask8)((1u << 2 * count) - 1), v);
        }
        blocks -= count;
        out += BLOCK * count;
        counter += count;
    }
}

SA_INLINE uint32_t mask_lane(uint8_t *acc, size_t bytes, const sa_schedule *schedules,
                             const int8_t *signs, size_t count, uint64_t counter, int bits,
                             int lane)
{
    const size_t groups = bytes / (BLOCK * GROUP_BLOCKS);
    uint32_t rejected = 0;
    for (size_t k = 0; k < count; k++) {
        __m512i keys[ROUNDS + 1];
        sa_mask m = sa_mask_of(bits, lane);
        load_keys(keys, &schedules[k]);
        if (signs[k] < 0)
            expand(keys, acc, groups, 0, counter, &m, lane, SUBTRACT);
        else
            expand(keys, acc, groups, 0, counter, &m, lane, ADD);
        rejected |= (uint32_t)sa_mask_rejected(&m, lane) << k;
    }
    return rejected;
}

static uint32_t mask(void *acc, size_t bytes, const sa_schedule *schedules, const int8_t *signs,
                     size_t count, uint64_t counter, int bits)
{
    return bits < 32 ? mask_lane(acc, bytes, schedules, signs, count, counter, bits, 4)
                     : mask_lane(acc, bytes, schedules, signs, count, counter, bits, 8);
}

extern const sa_cipher_kernel sa_aes_vaes512;
const sa_cipher_kernel sa_aes_vaes512 = {
    .name = "vaes512",
    .needs = SA_CPU_AESNI | SA_CPU_AVX512 | SA_CPU_VAES,
    .block_bytes = BLOCK,
    .schedule = schedule,
    .keystream = keystream,
    .mask = mask,
};

#if defined(__clang__)
#pragma clang attribute pop
#endif

#endif
