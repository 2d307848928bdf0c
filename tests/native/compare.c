/* Every usable implementation of each family against the portable one, bit for bit: the same
 * calls on random and extreme values, at every width and at lengths around those of registers,
 * groups and chunks, from addresses that no vector register likes. What lies behind an output
 * must stay as it was; behind packed input nothing lies, so that AddressSanitizer sees a read. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "kernels.h"
#include "selftest.h"

enum { LONGEST = 1100, PAST = 16, ROWS = 5, MAX_CASES = 1 << 18, HOLDERS = 100, COLUMNS = 7 };

static const size_t lengths[] = {0,  1,  2,  3,  4,  5,  7,  8,   9,   15,  16,   17,
                                 23, 31, 32, 33, 63, 64, 65, 127, 128, 129, 1023, 1025};

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* ---- the results of the portable implementation, and the others against them ---- */

static uint64_t recorded[MAX_CASES];
static size_t cases;
static int recording;

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * 0x9e3779b97f4a7c15u;
    return hash ^ (hash >> 29);
}

/* What a call returned and wrote. */
static void result(const char *what, int status, const void *written, size_t bytes)
{
    const uint8_t *from = written;
    uint64_t hash = (uint64_t)(uint32_t)status;
    for (size_t i = 0; i < bytes; i++)
        hash = mix(hash, from[i]);
    if (cases >= MAX_CASES)
        check(0, "compare: too many cases", cases);
    else if (recording)
        recorded[cases] = hash;
    else
        check(recorded[cases] == hash, what, cases);
    cases++;
}

/* ---- inputs ---- */

static uint64_t state;

/* SplitMix64 (Steele, Lea & Flood 2014). */
static uint64_t draw(void)
{
    uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* An element: every fourth is extreme. */
static uint64_t element(uint64_t p)
{
    const uint64_t extreme[] = {0, 1, p - 1, p - 2, p / 2, p / 2 + 1};
    const uint64_t x = draw();
    return x % 4 ? draw() % p : extreme[x / 4 % COUNT(extreme)];
}

/* ---- fields and packing, for one lane type ---- */

/* One past the start: vectors are aligned to elements only. */
static uint32_t a32[LONGEST * ROWS], b32[LONGEST], c32[LONGEST], w32[LONGEST];
static uint64_t a64[LONGEST * ROWS], b64[LONGEST], c64[LONGEST], w64[LONGEST];
static uint8_t packed[8 * LONGEST + 1], received[8 * LONGEST];

#define FIELD_CASES(BITS, LANE)                                                                   \
    static void field_##BITS(int bits, size_t len)                                                \
    {                                                                                             \
        const LANE p = (LANE)sa_prime(bits);                                                      \
        LANE *a = a##BITS + 1, *b = b##BITS + 1, *c = c##BITS + 1, *words = w##BITS + 1;          \
        const size_t bytes = (len + PAST) * sizeof(LANE);                                         \
        for (size_t i = 0; i < ROWS * len; i++)                                                   \
            a[i] = (LANE)element(p);                                                              \
        for (size_t i = 0; i < len; i++) {                                                        \
            b[i] = (LANE)element(p);                                                              \
            c[i] = (LANE)element(p);                                                              \
            words[i] = (LANE)draw();                                                              \
        }                                                                                         \
        result("add", sa_add_u##BITS(c, a, b, len, bits), c, bytes);                              \
        result("sub", sa_sub_u##BITS(c, a, b, len, bits), c, bytes);                              \
        result("add in place", sa_add_u##BITS(c, c, b, len, bits), c, bytes);                     \
        result("sub in place", sa_sub_u##BITS(c, a, c, len, bits), c, bytes);                     \
        result("neg", sa_neg_u##BITS(c, a, len, bits), c, bytes);                                 \
        result("scale", sa_scale_u##BITS(c, a, element(p), len, bits), c, bytes);                 \
        result("scale", sa_scale_u##BITS(c, a, p - 1, len, bits), c, bytes);                      \
        for (size_t rows = 0; rows <= ROWS; rows++)                                               \
            result("sum", sa_sum_u##BITS(c, a, rows, len, bits), c, bytes);                       \
        result("mask", sa_field()->mask_u##BITS(c, words, len, bits, 1) != 0, c, bytes);          \
        result("mask", sa_field()->mask_u##BITS(c, words, len, bits, -1) != 0, c, bytes);         \
        result("check", sa_check_u##BITS(c, len, bits), c, bytes);                                \
        const LANE bad[] = {p, p - 1, (LANE)-1, (LANE)((LANE)1 << (8 * sizeof(LANE) - 1)), 0};    \
        for (size_t i = 0; i < len && i < 70; i++) {                                              \
            const LANE before = c[i], word = words[i];                                            \
            c[i] = bad[i % COUNT(bad)];                                                           \
            result("check", sa_check_u##BITS(c, len, bits), c, bytes);                            \
            c[i] = before;                                                                        \
            words[i] = bad[i % COUNT(bad)];                                                       \
            result("mask", sa_field()->mask_u##BITS(c, words, len, bits, i % 2 ? 1 : -1) != 0, c, \
                   bytes);                                                                        \
            words[i] = word;                                                                      \
        }                                                                                         \
    }                                                                                             \
                                                                                                  \
    static void pack_##BITS(int bits, size_t len)                                                 \
    {                                                                                             \
        const LANE p = (LANE)sa_prime(bits);                                                      \
        LANE *a = a##BITS + 1, *c = c##BITS + 1;                                                  \
        uint8_t *out = packed + 1;                                                                \
        const size_t bytes = (len + PAST) * sizeof(LANE), size = sa_packed_bytes(len, bits);      \
        uint8_t *in = received + sizeof received - size;                                          \
        for (size_t i = 0; i < len; i++) {                                                        \
            a[i] = (LANE)element(p);                                                              \
            c[i] = (LANE)element(p);                                                              \
        }                                                                                         \
        result("pack", sa_pack_u##BITS(out, a, len, bits), out, size + PAST);                     \
        memcpy(in, out, size);                                                                    \
        result("unpack and add", sa_unpack_add_u##BITS(c, in, len, bits), c, bytes);              \
        result("unpack", sa_unpack_u##BITS(c, in, len, bits), c, bytes);                          \
        for (size_t i = 0; i < len && i < 70; i++) {                                              \
            a[len - 1 - i] = (LANE)(i % 3 ? p - 1 : (LANE)(((uint64_t)1 << bits) - 1));           \
            result("pack outside", sa_pack_u##BITS(in, a, len, bits), in, size);                  \
            result("verify", sa_unpack_add_u##BITS(c, in, len, bits), c, bytes);                  \
            result("unpack outside", sa_unpack_u##BITS(a, in, len, bits), a, len * sizeof *a);    \
            a[len - 1 - i] = (LANE)element(p);                                                    \
            c[len - 1 - i] = p;                                                                   \
            result("sum outside", sa_unpack_add_u##BITS(c, out, len, bits), c, bytes);            \
            c[len - 1 - i] = (LANE)element(p);                                                    \
        }                                                                                         \
        for (size_t i = 0; i < 8 && size; i++) {                                                  \
            memcpy(in, out, size);                                                                \
            in[size - 1] |= (uint8_t)(1u << i);                                                   \
            result("padding", sa_unpack_u##BITS(c, in, len, bits), c, bytes);                     \
        }                                                                                         \
    }

FIELD_CASES(32, uint32_t)
FIELD_CASES(64, uint64_t)

static void field_cases(void)
{
    for (int bits = 16; bits <= 62; bits++)
        for (size_t k = 0; k < COUNT(lengths); k++)
            if (bits <= 32)
                field_32(bits, lengths[k]);
            else
                field_64(bits, lengths[k]);
}

static void pack_cases(void)
{
    for (int bits = 16; bits <= 62; bits++)
        for (size_t k = 0; k < COUNT(lengths); k++)
            if (bits <= 32)
                pack_32(bits, lengths[k]);
            else
                pack_64(bits, lengths[k]);
}

/* ---- quantization ---- */

static float x32[LONGEST];
static double x64[LONGEST];

/* Values inside and outside of the range, at its ends, on the grid, and tiny. */
static double value(double clip, double step)
{
    const double special[] = {clip, -clip, 0.0, -0.0, 0x1p-1074, -0x1p-149, 2 * clip, -1e30, 1e30};
    const uint64_t x = draw();
    if (x % 4 == 0)
        return special[x / 4 % COUNT(special)];
    if (x % 4 == 1)
        return (double)(int64_t)(x >> 40) * step - clip;
    return ((double)(int64_t)(x >> 11) * 0x1p-52 - 1) * 1.25 * clip;
}

#define QUANTIZE(FBITS, QBITS)                                                                    \
    do {                                                                                          \
        uint64_t clipped = 0;                                                                     \
        const int status =                                                                        \
            sa_quantize_f##FBITS##_u##QBITS(c##QBITS + 1, x##FBITS + 1, len, draw() % 40, clip,   \
                                            1.125 * clip, levels, SA_CHACHA20, key, &clipped);    \
        result("quantize", status, c##QBITS + 1, (len + PAST) * sizeof c##QBITS[0]);              \
        result("clipped", (int)clipped, NULL, 0);                                                 \
        for (size_t i = 0; i < len; i++)                                                          \
            a##QBITS[i + 1] = (uint##QBITS##_t)(draw() >> (draw() % 64));                         \
        result("dequantize",                                                                      \
               sa_dequantize_u##QBITS##_f##FBITS(x##FBITS + 1, a##QBITS + 1, len, scale, clip),   \
               x##FBITS + 1, (len + PAST) * sizeof x##FBITS[0]);                                  \
    } while (0)

static void quantize_of(double clip, uint64_t levels, size_t len)
{
    static const uint8_t key[32] = {7};
    const double scale = 2 * clip / (double)levels;
    for (size_t i = 0; i <= len; i++) {
        x64[i] = value(clip, scale);
        x32[i] = (float)value(clip, scale);
    }
    QUANTIZE(32, 32);
    QUANTIZE(32, 64);
    QUANTIZE(64, 32);
    QUANTIZE(64, 64);
    const double bad[] = {(double)NAN, (double)INFINITY, -(double)INFINITY};
    for (size_t i = 0; i < len && i < 40; i++) {
        uint64_t clipped = 0;
        memset(x32, 0, sizeof x32);
        memset(x64, 0, sizeof x64);
        x32[i + 1] = (float)bad[i % COUNT(bad)];
        x64[i + 1] = bad[i % COUNT(bad)];
        result("finite",
               sa_quantize_f32_u32(c32, x32 + 1, len, 0, clip, clip, levels, SA_CHACHA20, key,
                                   &clipped),
               NULL, 0);
        result("finite",
               sa_quantize_f64_u64(c64, x64 + 1, len, 0, clip, clip, levels, SA_CHACHA20, key,
                                   &clipped),
               NULL, 0);
    }
}

static void quantize_cases(void)
{
    static const double clips[] = {1.0, 8.0, 0.3, 1e-30, 1e200};
    static const uint64_t levels[] = {1, 2, 255, (1u << 20) - 1, UINT32_MAX};
    for (size_t i = 0; i < COUNT(clips); i++)
        for (size_t j = 0; j < COUNT(levels); j++)
            for (size_t k = 0; k < COUNT(lengths); k++)
                quantize_of(clips[i], levels[j], lengths[k]);
}

/* ---- rotation ---- */

enum { LONG = 33000 }; /* several blocks of the walk through memory, and parts that do not fit */

static float long32[LONG + PAST];
static double long64[LONG + PAST];

#define ROTATE(BITS)                                                                              \
    do {                                                                                          \
        double norm = 0;                                                                          \
        const size_t bytes = (len + PAST) * sizeof long##BITS[0];                                 \
        result("norm", sa_norm_f##BITS(&norm, long##BITS + 1, len), &norm, sizeof norm);          \
        for (int inverse = 0; inverse < 2; inverse++)                                             \
            result("rotate",                                                                      \
                   sa_rotate_f##BITS(long##BITS + 1, len, factor, inverse, SA_CHACHA20, key),     \
                   long##BITS + 1, bytes);                                                        \
    } while (0)

static void rotate_of(double factor, size_t len)
{
    static const uint8_t key[32] = {9};
    for (size_t i = 0; i < len; i++) {
        long64[i + 1] = value(1.0, 0x1p-20);
        long32[i + 1] = (float)value(1.0, 0x1p-20);
    }
    ROTATE(32);
    ROTATE(64);
}

static void rotate_cases(void)
{
    static const double factors[] = {1.0, -0.3, 0.0, -0.0, 1e-41, 1e5};
    static const size_t more[] = {4095, 4096, 4097, 6200, 16384, 32768, LONG - 1};
    for (size_t i = 0; i < COUNT(factors); i++)
        for (size_t k = 0; k < COUNT(lengths); k++)
            rotate_of(factors[i], lengths[k]);
    for (size_t k = 0; k < COUNT(more); k++)
        rotate_of(0.7, more[k]);
}

/* ---- noise ---- */

enum { MOST_THRESHOLDS = 1500 };

#define NOISE(BITS, WIDTH)                                                                        \
    do {                                                                                          \
        const uint64_t p = sa_prime(WIDTH), centre = element(p >> 1);                             \
        for (size_t i = 0; i < len; i++) {                                                        \
            c##BITS[i + 1] = (uint##BITS##_t)element(p);                                          \
            a##BITS[i + 1] = (uint##BITS##_t)(centre + draw() % (1u << 30));                      \
        }                                                                                         \
        int status = sa_skellam_add_u##BITS(c##BITS + 1, len, WIDTH, thresholds, count,           \
                                            SA_CHACHA20, key);                                    \
        result("skellam", status, c##BITS + 1, (len + PAST) * sizeof c##BITS[0]);                 \
        status = sa_sum_squares_u##BITS(sums, sums + 1, a##BITS + 1, len, centre);                \
        result("squares", status, sums, sizeof sums);                                             \
        for (size_t i = 0; i < len && i < 40; i++) {                                              \
            const uint##BITS##_t before = a##BITS[i + 1];                                         \
            a##BITS[i + 1] = (uint##BITS##_t)(centre + ((uint64_t)1 << 31));                      \
            status = sa_sum_squares_u##BITS(sums, sums + 1, a##BITS + 1, len, centre);            \
            result("squares outside", status, sums, sizeof sums);                                 \
            a##BITS[i + 1] = before;                                                              \
        }                                                                                         \
    } while (0)

static void noise_of(size_t count, size_t len)
{
    static const uint8_t key[32] = {8};
    static uint64_t thresholds[2 * MOST_THRESHOLDS];
    uint64_t sums[2] = {0, 0};
    const uint64_t step = UINT64_MAX / (count + 1);
    for (size_t k = 0; k < count; k++) {
        thresholds[k] = step * (k + 1) - draw() % step; /* ascending */
        thresholds[count + k] = draw();
    }
    for (size_t k = 0; k < count / 3; k++) /* as tails have */
        thresholds[count - 1 - k] = UINT64_MAX;
    if (count > 2) /* two ties */
        sa_stream(SA_CHACHA20, (uint8_t *)thresholds, 8, key, 0, 0), thresholds[1] = thresholds[0];
    for (size_t k = 2; k < count && thresholds[k] < thresholds[1]; k++)
        thresholds[k] = thresholds[1];
    NOISE(32, 16);
    NOISE(32, 32);
    NOISE(64, 33);
    NOISE(64, 62);
}

/* Counts by themselves: of words next to thresholds, and that none which equals a threshold is
 * missed, wherever that stands, up to one of all ones. */
static void count_of(size_t count)
{
    static uint64_t thresholds[MOST_THRESHOLDS], words[SA_COUNT_STEP];
    const uint64_t step = UINT64_MAX / (count + 1);
    uint32_t counts[SA_COUNT_STEP];
    for (size_t k = 0; k < count; k++)
        thresholds[k] = step * (k + 1) - draw() % (step / 2);
    for (size_t i = 0; i < SA_COUNT_STEP; i++) {
        const uint64_t near = thresholds[i < 4 ? i % 2 * (count - 1) : draw() % count];
        words[i] = i % 4 < 2 ? near + 2 : near - 2;
    }
    check(sa_noise()->count(counts, words, SA_COUNT_STEP, thresholds, count) == 0, "no tie", count);
    for (size_t i = 0; i < SA_COUNT_STEP; i++) {
        uint32_t expected = 0;
        for (size_t k = 0; k < count; k++)
            expected += thresholds[k] <= words[i];
        check(counts[i] == expected, "count", i);
    }
    thresholds[count - 1] = UINT64_MAX;
    for (size_t k = 0; k < count; k++) {
        const size_t place = draw() % SA_COUNT_STEP;
        const uint64_t before = words[place];
        words[place] = thresholds[k];
        check(sa_noise()->count(counts, words, SA_COUNT_STEP, thresholds, count) != 0, "tie", k);
        words[place] = before;
    }
}

static void noise_cases(void)
{
    static const size_t counts[] = {1, 2, 3, 7, 8, 9, 15, 100, 1023, 1024, 1025, MOST_THRESHOLDS};
    for (size_t i = 0; i < COUNT(counts); i++) {
        count_of(counts[i]);
        for (size_t k = 0; k < COUNT(lengths); k++)
            noise_of(counts[i], lengths[k]);
    }
}

/* ---- sharing ---- */

static void shamir_of(size_t columns, size_t threshold, size_t count)
{
    static uint64_t secrets[COLUMNS], coefficients[COLUMNS * HOLDERS], points[HOLDERS];
    static uint64_t shares[COLUMNS * HOLDERS], weights[HOLDERS], scratch[8 * HOLDERS];
    static uint8_t wrong[HOLDERS];
    const uint64_t p = sa_prime(61);
    uint64_t secret = 0;
    for (size_t c = 0; c < columns; c++)
        secrets[c] = element(p);
    for (size_t k = 0; k < columns * (threshold - 1); k++)
        coefficients[k] = element(p);
    /* Small ones, the greatest, and around where kernels change their way. */
    const uint64_t firsts[] = {1, p - count, (1 << 20) + 3 - count, (1 << 10) + 3 - count};
    for (size_t i = 0; i < count; i++)
        points[i] = firsts[(columns + count) % COUNT(firsts)] + i;
    int status = sa_shamir_share(shares, secrets, coefficients, columns, threshold, points, count);
    result("share", status, shares, 8 * columns * count);
    result("weights", sa_shamir_weights(weights, points, count), weights, 8 * count);
    status = sa_shamir_combine(secrets, weights, 1, shares, count, columns);
    result("combine", status, secrets, 8 * columns);
    for (size_t k = 0; k < columns * count; k++)
        shares[k] = element(p);
    status = sa_shamir_combine(secrets, weights, 1, shares, count, columns);
    result("combine", status, secrets, 8 * columns);
    if (threshold == count)
        return;
    for (size_t k = 0; k < count - threshold; k++)
        scratch[k] = element(p);
    status = sa_shamir_parity(weights, points, count, threshold, scratch);
    result("parity", status, weights, 8 * count);
    sa_shamir_share(shares, secrets, coefficients, 1, threshold, points, count);
    for (size_t i = 0; i < (count - threshold) / 2; i++)
        shares[2 * i] ^= 1;
    status = sa_shamir_decode(&secret, wrong, points, shares, count, threshold, scratch);
    result("decode", status, &secret, sizeof secret);
    result("decode: wrong", status, wrong, count);
}

static void shamir_cases(void)
{
    static const size_t counts[] = {1,  2,  3,  4,  7,  8,  9,  15,     16,
                                    17, 31, 33, 63, 64, 65, 67, HOLDERS};
    for (size_t columns = 1; columns <= COLUMNS; columns++)
        for (size_t k = 0; k < COUNT(counts); k++) {
            shamir_of(columns, 1, counts[k]);
            shamir_of(columns, counts[k] / 2 + 1, counts[k]);
            shamir_of(columns, counts[k], counts[k]);
        }
}

/* ---- keystreams ---- */

static void stream_cases(int generator)
{
    for (size_t size = 0; size <= 2300; size += size < 70 ? 1 : 61) {
        uint8_t key[32];
        for (size_t i = 0; i < sizeof key; i++)
            key[i] = (uint8_t)draw();
        const uint64_t nonce = draw(), counter = size % 3 ? draw() : (uint64_t)0 - size / 128;
        const int status = sa_stream(generator, packed + 1, size, key, nonce, counter);
        result("stream", status, packed + 1, size + PAST);
    }
}

/* Families but those of ciphers. */
static const struct {
    const char *name;
    void (*run)(void);
} families[] = {{"field", field_cases},
                {"pack", pack_cases},
                {"quantize", quantize_cases},
                {"rotate", rotate_cases},
                {"noise", noise_cases},
                {"shamir", shamir_cases}};

static void cases_of(int f)
{
    if (sa_family_generator(f)) {
        stream_cases(sa_family_generator(f));
        return;
    }
    for (size_t k = 0; k < COUNT(families); k++)
        if (strcmp(families[k].name, sa_family_name(f)) == 0)
            families[k].run();
    check(cases > 0, "a family is not compared", (size_t)f);
}

void compare_implementations(void)
{
    for (int f = 0; f < sa_family_count(); f++)
        for (int i = 0; i < sa_implementation_count(f); i++) {
            snprintf(where, sizeof where, "%s/%s against portable", sa_family_name(f),
                     sa_implementation_name(f, i));
            if (!force(f, i))
                continue;
            memset(c32, 0, sizeof c32);
            memset(c64, 0, sizeof c64);
            memset(x32, 0, sizeof x32);
            memset(x64, 0, sizeof x64);
            memset(long32, 0, sizeof long32);
            memset(long64, 0, sizeof long64);
            memset(packed, 0, sizeof packed);
            recording = i == 0;
            cases = 0;
            state = (uint64_t)f;
            cases_of(f);
        }
}
