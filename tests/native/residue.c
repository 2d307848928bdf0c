/* What calls on secrets leave behind: they run twice on a stack of their own, with other secrets
 * the second time. Any byte of it, or of a vector register, that differs afterwards tells of them. */
#define _POSIX_C_SOURCE 200112L /* for pthread_attr_setstack */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "kernels.h"
#include "selftest.h"

#if defined(OWN_STACKS)

#include <pthread.h>

enum {
    STACK = 1 << 18,
    REGISTERS = 4096, /* bytes, at most, that store_registers() writes */
    BYTES = 1003,     /* of keystream: a block is left over */
    LEN = 20011, /* at 16 bits some words are rejected */
    KEYS = 3,
    COLUMNS = 6,
    HOLDERS = 100,
    THRESHOLD = 67,
    THRESHOLDS = 3000, /* of noise */
    HARMLESS = 24 /* bytes, fewer than of a key: some may show which words were rejected */
};

static _Alignas(STACK_ALIGNMENT) uint8_t stack[STACK];
static _Alignas(64) uint8_t registers[REGISTERS];
static uint8_t stacks[3][STACK], contents[3][REGISTERS];

/* The secrets, and what is made of them. */
static uint8_t keys[32 * KEYS], out[BYTES];
static uint32_t words[LEN];
static uint64_t wides[LEN];
static float narrow[LEN];
static double reals[LEN];
static uint64_t secrets[COLUMNS], coefficients[COLUMNS * HOLDERS], shares[COLUMNS * HOLDERS];
static uint64_t points[HOLDERS], weights[HOLDERS];
static uint64_t thresholds[2 * THRESHOLDS], low, high;

static uint64_t state;

static uint64_t draw(void)
{
    state = (state ^ state >> 29) * 0xbf58476d1ce4e5b9u + 0x9e3779b97f4a7c15u;
    return state ^ state >> 32;
}

static void draw_secrets(uint64_t seed)
{
    const uint64_t p = sa_prime(61);
    state = seed;
    for (size_t i = 0; i < sizeof keys; i++)
        keys[i] = (uint8_t)draw();
    for (size_t i = 0; i < LEN; i++) {
        words[i] = (uint32_t)(draw() % sa_prime(16));
        wides[i] = draw() % sa_prime(33);
        reals[i] = (double)(int64_t)draw() * 0x1p-63;
        narrow[i] = (float)reals[i];
    }
    for (size_t i = 0; i < THRESHOLDS; i++)
        thresholds[i] = UINT64_MAX / THRESHOLDS * i;
    for (size_t i = 0; i < COLUMNS; i++)
        secrets[i] = draw() % p;
    for (size_t i = 0; i < COLUMNS * HOLDERS; i++) {
        coefficients[i] = draw() % p;
        shares[i] = draw() % p;
    }
    for (size_t i = 0; i < HOLDERS; i++) {
        points[i] = i + 1;
        weights[i] = i * 77777 + 5;
    }
}

/* ---- the calls ---- */

static const int8_t signs[KEYS] = {1, -1, 1};
static int generator;
static uint64_t clipped;

static void stream(void) { sa_stream(generator, out, BYTES, keys, 7, 9); }

/* Rejected words are drawn again, deeper in the stack. */
static void mask_16(void) { sa_mask_add_u32(words, LEN, 13, 16, generator, keys, signs, KEYS, 1); }

static void mask_31(void) { sa_mask_add_u32(words, LEN, 13, 31, generator, keys, signs, KEYS, 1); }

static void mask_61(void) { sa_mask_add_u64(wides, LEN, 13, 61, generator, keys, signs, KEYS, 1); }

static void quantize_32(void)
{
    sa_quantize_f32_u32(words, narrow, LEN, 5, 1, 1, 1 << 20, generator, keys, &clipped);
}

static void quantize_64(void)
{
    sa_quantize_f64_u64(wides, reals, LEN, 5, 1, 1, 1 << 20, generator, keys, &clipped);
}

static double norm;

static void rotate_32(void)
{
    sa_rotate_f32(narrow, LEN, 0.3, 0, generator, keys);
}

static void rotate_64(void)
{
    sa_rotate_f64(reals, LEN, 0.3, 1, generator, keys);
}

static void norm_32(void) { sa_norm_f32(&norm, narrow, LEN); }

static void norm_64(void) { sa_norm_f64(&norm, reals, LEN); }

/* Words that are compared with all thresholds, words that are searched for, and ties. */
static void skellam_few(void)
{
    sa_skellam_add_u32(words, LEN, 16, thresholds, SA_SCANNED, generator, keys);
}

static void skellam_many(void)
{
    sa_skellam_add_u64(wides, LEN, 33, thresholds, THRESHOLDS, generator, keys);
}

static void skellam_ties(void)
{
    uint64_t tie[2] = {0, 0}; /* the first word, so that its second one is made */
    sa_stream(generator, (uint8_t *)tie, 8, keys, 0, 0);
    sa_skellam_add_u32(words, 9, 16, tie, 1, generator, keys);
    sa_wipe(tie, sizeof tie);
}

static void gaussian(void) { sa_gaussian_add_u32(words, LEN, 16, 50 << 16, generator, keys); }

static void squares(void) { sa_sum_squares_u32(&low, &high, words, LEN, 1 << 15); }

static void share(void)
{
    sa_shamir_share(shares, secrets, coefficients, COLUMNS, THRESHOLD, points, HOLDERS);
}

static void combine(void) { sa_shamir_combine(secrets, weights, 1, shares, HOLDERS, COLUMNS); }

/* ---- running them ---- */

static void (*call)(void);

static void store_registers(void)
{
#if defined(__x86_64__)
    if (sa_cpu_features() & SA_CPU_AVX2) /* so there is XSAVE: here of SSE, AVX and AVX-512 */
        __asm__ volatile("xsave64 %0" : "+m"(registers) : "a"(0xe6), "d"(0));
    memset(registers + 512, 0, 64); /* its header: which of them are in use */
#elif defined(__aarch64__)
    __asm__ volatile(".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,"
                     "26,27,28,29,30,31\n\tstr q\\n, [%1, #16 * \\n]\n\t.endr"
                     : "=m"(registers)
                     : "r"(registers));
#endif
}

static size_t depth; /* of the stack's part below what belongs to the system */

/* The copy is made before the thread ends, which leaves other things on the stack each time. */
static void *run(void *copy)
{
    depth = (size_t)((uint8_t *)__builtin_frame_address(0) - stack);
    call();
    store_registers();
    memcpy(copy, stack, sizeof stack);
    return NULL;
}

static void record(size_t number, uint64_t seed)
{
    pthread_t thread;
    pthread_attr_t own;
    draw_secrets(seed);
    memset(stack, 0, sizeof stack);
    pthread_attr_init(&own);
    pthread_attr_setstack(&own, stack, sizeof stack);
    check(pthread_create(&thread, &own, run, stacks[number]) == 0, "residue: no thread", 0);
    pthread_join(thread, NULL);
    pthread_attr_destroy(&own);
    memcpy(contents[number], registers, sizeof registers);
}

/* Bytes that the second secrets change, but no second run on the first ones. */
static size_t differing(const uint8_t *first, const uint8_t *again, const uint8_t *other,
                        size_t bytes)
{
    size_t count = 0;
    for (size_t i = 0; i < bytes; i++)
        count += first[i] == again[i] && first[i] != other[i];
    return count;
}

static void check_call(void (*one)(void), const char *on_stack, const char *in_registers)
{
    call = one;
    record(0, 1); /* what is done once a process is done here */
    for (size_t i = 0; i < 3; i++)
        record(i, 1 + i / 2);
    const size_t left = differing(stacks[0], stacks[1], stacks[2], depth);
    const size_t held = differing(contents[0], contents[1], contents[2], REGISTERS);
    check(left <= HARMLESS, on_stack, left);
    check(held <= HARMLESS, in_registers, held);
}

#define CHECK_CALL(one) check_call(one, #one ": left on the stack", #one ": left in registers")

static void check_cipher(void)
{
    CHECK_CALL(stream);
    CHECK_CALL(mask_16);
    CHECK_CALL(mask_31);
    CHECK_CALL(mask_61);
    CHECK_CALL(quantize_32);
    CHECK_CALL(quantize_64);
    CHECK_CALL(rotate_32);
    CHECK_CALL(rotate_64);
}

static void check_norm(void)
{
    CHECK_CALL(norm_32);
    CHECK_CALL(norm_64);
}

static void check_noise(void)
{
    CHECK_CALL(skellam_few);
    CHECK_CALL(skellam_many);
    CHECK_CALL(skellam_ties);
    CHECK_CALL(gaussian);
    CHECK_CALL(squares);
}

static void check_family(const char *name, void (*checks)(void))
{
    const int f = family(name), chosen = sa_active(f);
    for (int i = 0; i < sa_implementation_count(f); i++) {
        snprintf(where, sizeof where, "%s/%s", name, sa_implementation_name(f, i));
        if (force(f, i))
            checks();
    }
    sa_select(f, chosen);
}

static void check_shamir(void)
{
    CHECK_CALL(share);
    CHECK_CALL(combine);
}

void check_residue(void)
{
#if defined(__SANITIZE_ADDRESS__)
    return; /* every array then lies among others of the sanitizer's, deeper than is wiped */
#endif
    for (int f = 0; f < sa_family_count(); f++) {
        generator = sa_family_generator(f);
        if (!generator)
            continue;
        check_family(sa_family_name(f), check_cipher);
        check_family("field", check_cipher);
        check_family("quantize", check_cipher);
        check_family("rotate", check_cipher);
        check_family(sa_family_name(f), check_noise);
        check_family("noise", check_noise);
    }
    check_family("rotate", check_norm);
    check_family("shamir", check_shamir);
}

#else

void check_residue(void) {}

#endif
