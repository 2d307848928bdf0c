/* Known answers (tests/vectors/arithmetic_vectors.json, which run.py turns into vectors.inc)
 * through every usable implementation of each family, and what follows from them: slices,
 * lists of masks, lengths at the edges of blocks and chunks, counters that wrap. */
#define _POSIX_C_SOURCE 200112L /* for pthread_attr_setstack, nanosleep */
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "kernels.h"
#include "selftest.h"

#if defined(OWN_STACKS)
#include <pthread.h>
#else
#include <windows.h>
#endif

struct prime_vector {
    int bits;
    uint64_t prime;
};
struct stream_vector {
    int generator;
    const uint8_t *key;
    uint64_t nonce, counter;
    const uint8_t *bytes;
    size_t size;
};
struct mask_vector {
    int generator;
    const uint8_t *key;
    int bits;
    uint64_t start;
    const uint64_t *values;
    size_t count;
};
struct pack_vector {
    int bits;
    const uint64_t *values;
    size_t count;
    const uint8_t *bytes;
};
/* Values have three columns, the limbs. Of the `parties`, `given` holders' shares are known,
 * and of the first of these the packed bytes too. */
struct shamir_vector {
    size_t threshold, parties;
    const uint64_t *secret, *coefficients, *holders, *shares;
    size_t given;
    const uint8_t *packed;
    size_t packed_count;
};
struct skellam_vector {
    int generator;
    const uint8_t *key;
    int bits;
    uint64_t variance;
    const uint64_t *values;
    size_t count;
    const uint64_t *thresholds;
    size_t table;
};
struct gaussian_vector {
    int generator;
    const uint8_t *key;
    int bits;
    uint64_t variance;
    const uint64_t *values;
    size_t count;
};

#include "vectors.inc"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

enum {
    LIMBS = 3,
    SHARE_BITS = 61,
    SHARE_BYTES = 23,
    MAX_BYTES = 8192,
    MAX_VALUES = 4096,
    MAX_PARTIES = 128,
    UNKNOWN = 99, /* no generator */
    KEYS = 39, /* more than one group of schedules, and odd */
    GUARD = 0xa5
};

static size_t passed, failed;
char where[128];

void check(int ok, const char *what, size_t detail)
{
    if (ok) {
        passed++;
        return;
    }
    failed++;
    printf("FAILED %s: %s (%zu)\n", where, what, detail);
}

int family(const char *name)
{
    for (int f = 0; f < sa_family_count(); f++)
        if (strcmp(sa_family_name(f), name) == 0)
            return f;
    return -1;
}

int force(int f, int implementation)
{
    if (!sa_implementation_usable(f, implementation)) {
        check(sa_select(f, implementation) == SA_EARG, "selected though not usable", 0);
        return 0;
    }
    check(sa_select(f, implementation) == SA_OK, "select", 0);
    check(sa_active(f) == implementation, "active", 0);
    return 1;
}

static size_t block_bytes(int generator) { return sa_cipher(generator)->block_bytes; }

static int stream_is(const struct stream_vector *v, size_t skip, size_t size)
{
    static uint8_t out[MAX_BYTES];
    memset(out, GUARD, sizeof out);
    const uint64_t counter = v->counter + skip / block_bytes(v->generator);
    const int status = sa_stream(v->generator, out, size, v->key, v->nonce, counter);
    return status == SA_OK && memcmp(out, v->bytes + skip, size) == 0 && out[size] == GUARD;
}

static void check_stream(const struct stream_vector *v)
{
    for (size_t size = 0; size <= v->size; size++)
        check(stream_is(v, 0, size), "stream: bytes of", size);
    for (size_t skip = 0; skip < v->size; skip += block_bytes(v->generator))
        check(stream_is(v, skip, v->size - skip), "stream: bytes from", skip);
}

/* The implementation in use against the portable one, and a stream against its halves. */
static void check_stream_edges(int f, int implementation, uint64_t nonce, uint64_t counter)
{
    static const size_t sizes[] = {1,   15,  16,  17,  63,  64,   65,   127,  128,  129,  255, 256,
                                   257, 511, 512, 513, 575, 2047, 2048, 2049, 4095, 4096, 4097};
    static uint8_t expected[MAX_BYTES], out[MAX_BYTES];
    const uint8_t *key = stream_vectors[0].key;
    const int generator = sa_family_generator(f);
    const size_t block = block_bytes(generator);
    sa_select(f, 0);
    for (size_t done = 0; done < MAX_BYTES; done += block)
        sa_stream(generator, expected + done, block, key, nonce, counter + done / block);
    sa_select(f, implementation);
    for (size_t i = 0; i < COUNT(sizes); i++) {
        memset(out, GUARD, sizeof out);
        int status = sa_stream(generator, out, sizes[i], key, nonce, counter);
        check(status == SA_OK && memcmp(out, expected, sizes[i]) == 0 && out[sizes[i]] == GUARD,
              "stream: edge", sizes[i]);
    }
}

/* What stream.c and api.c rely on: chunks hold whole blocks, and blocks whole elements. */
static void check_block(int f)
{
    const size_t block = block_bytes(sa_family_generator(f));
    const int power = (block & (block - 1)) == 0;
    check(power && block >= 8 && block <= SA_MAX_BLOCK, "bytes of a block", block);
}

static void check_streams(void)
{
    static const uint64_t edges[] = {0,         5, 0xfffffffd, 0x7fffffffffffffff, UINT64_MAX - 33,
                                     UINT64_MAX};
    uint8_t out[1] = {GUARD};
    for (int f = 0; f < sa_family_count(); f++) {
        const int generator = sa_family_generator(f);
        if (!generator)
            continue;
        for (int i = 0; i < sa_implementation_count(f); i++) {
            snprintf(where, sizeof where, "%s/%s", sa_family_name(f), sa_implementation_name(f, i));
            if (!force(f, i))
                continue;
            check_block(f);
            for (size_t k = 0; k < COUNT(stream_vectors); k++)
                if (stream_vectors[k].generator == generator)
                    check_stream(&stream_vectors[k]);
            for (size_t k = 0; k < COUNT(edges); k++) {
                check_stream_edges(f, i, 0, edges[k]);
                check_stream_edges(f, i, UINT64_MAX - edges[k], edges[k]);
            }
        }
    }
    check(sa_stream(UNKNOWN, out, 1, stream_vectors[0].key, 0, 0) == SA_EARG, "stream: generator",
          UNKNOWN);
    check(sa_stream(SA_CHACHA20, out, 1, NULL, 0, 0) == SA_EARG && out[0] == GUARD,
          "stream: null key", 0);
}

/* Masks are tested on 64-bit values whatever the lane: these add to, and take from, an
 * accumulator of the right lane. */
static int add_masks(uint64_t *acc, size_t len, uint64_t start, int bits, int generator,
                     const uint8_t *keys, const int8_t *signs, size_t count)
{
    static uint32_t narrow[MAX_VALUES];
    if (bits > 32)
        return sa_mask_add_u64(acc, len, start, bits, generator, keys, signs, count, 1);
    for (size_t i = 0; i < len; i++)
        narrow[i] = (uint32_t)acc[i];
    int status = sa_mask_add_u32(narrow, len, start, bits, generator, keys, signs, count, 1);
    for (size_t i = 0; i < len; i++)
        acc[i] = narrow[i];
    return status;
}

static void check_mask(const struct mask_vector *v)
{
    static uint64_t acc[MAX_VALUES], whole[MAX_VALUES];
    static uint8_t keys[32 * KEYS];
    int8_t signs[KEYS];
    uint64_t p;
    sa_modulus(&p, v->bits);
    const int8_t plus = 1, minus = -1, none = 0;

    memset(acc, 0, sizeof acc);
    int status = add_masks(acc, v->count, v->start, v->bits, v->generator, v->key, &plus, 1);
    check(status == SA_OK && memcmp(acc, v->values, 8 * v->count) == 0, "mask: bits",
          (size_t)v->bits);
    status = add_masks(acc, v->count, v->start, v->bits, v->generator, v->key, &plus, 1);
    int equal = status == SA_OK;
    for (size_t i = 0; i < v->count; i++)
        equal &= acc[i] == v->values[i] * 2 % p;
    check(equal, "mask: twice", (size_t)v->bits);

    memset(acc, 0, sizeof acc);
    status = add_masks(acc, v->count, v->start, v->bits, v->generator, v->key, &minus, 1);
    equal = status == SA_OK && acc[v->count] == 0;
    for (size_t i = 0; i < v->count; i++)
        equal &= acc[i] == (p - v->values[i]) % p;
    check(equal, "mask: minus", (size_t)v->bits);

    /* Every slice from, and up to, an element. */
    for (size_t cut = 0; cut <= v->count; cut++) {
        memset(acc, 0, sizeof acc);
        status = add_masks(acc, cut, v->start, v->bits, v->generator, v->key, &plus, 1);
        status |= add_masks(acc + cut, v->count - cut, v->start + cut, v->bits, v->generator,
                            v->key, &plus, 1);
        check(status == SA_OK && memcmp(acc, v->values, 8 * v->count) == 0 && acc[v->count] == 0,
              "mask: cut at", cut);
    }

    /* A stretch of several chunks around the known values, in one call and in parts. */
    const size_t before = v->start < 1500 ? (size_t)v->start : 1500;
    const size_t len = before + v->count + 1100, cut = len / 3;
    memset(acc, 0, sizeof acc);
    memset(whole, 0, sizeof whole);
    status = add_masks(whole, len, v->start - before, v->bits, v->generator, v->key, &plus, 1);
    check(status == SA_OK && memcmp(whole + before, v->values, 8 * v->count) == 0, "mask: chunks",
          before);
    status = add_masks(acc, cut, v->start - before, v->bits, v->generator, v->key, &plus, 1);
    status |= add_masks(acc + cut, len - cut, v->start - before + cut, v->bits, v->generator,
                        v->key, &plus, 1);
    check(status == SA_OK && memcmp(acc, whole, sizeof acc) == 0, "mask: chunks cut", cut);

    /* A list: the known key 7 times with + and 6 with -, another 13 times with each. No pattern
     * repeats with the groups of schedules. */
    for (size_t k = 0; k < KEYS; k++) {
        memcpy(keys + 32 * k, k % 3 == 1 ? v->key : stream_vectors[1].key, 32);
        signs[k] = k < 20 ? 1 : -1;
    }
    memset(acc, 0, sizeof acc);
    status = add_masks(acc, len, v->start - before, v->bits, v->generator, keys, signs, KEYS);
    check(status == SA_OK && memcmp(acc, whole, sizeof acc) == 0, "mask: list", KEYS);

    /* Refused, and nothing written. */
    signs[KEYS - 1] = 0;
    status = add_masks(acc, len, v->start, v->bits, v->generator, keys, signs, KEYS);
    check(status == SA_EARG && memcmp(acc, whole, sizeof acc) == 0, "mask: bad sign", KEYS);
    check(add_masks(acc, 2, UINT64_MAX - 1, v->bits, v->generator, keys, &none, 1) == SA_EARG &&
              add_masks(acc, 2, UINT64_MAX - 1, v->bits, v->generator, keys, &plus, 1) == SA_EARG &&
              add_masks(acc, 2, 0, v->bits, 0, keys, &plus, 1) == SA_EARG &&
              add_masks(acc, 2, 0, v->bits > 32 ? 63 : 15, v->generator, keys, &plus, 1) ==
                  SA_EARG &&
              sa_mask_add_u64(acc, 2, 0, 32, v->generator, keys, &plus, 1, 1) == SA_EARG &&
              sa_mask_add_u64(acc, 2, 0, 61, v->generator, keys, &plus, 1, 0) == SA_EARG &&
              memcmp(acc, whole, sizeof acc) == 0,
          "mask: bad arguments", 0);
    check(add_masks(acc, 1, UINT64_MAX - 1, v->bits, v->generator, keys, &plus, 1) == SA_OK,
          "mask: last element", 0);
    check(sa_mask_add_u64(NULL, 0, 0, 61, v->generator, keys, &plus, 1, 1) == SA_OK &&
              sa_mask_add_u64(acc, 1, 0, 61, v->generator, NULL, NULL, 0, 1) == SA_OK,
          "mask: empty", 0);
}

static void check_masks(void)
{
    const int field = family("field");
    for (int j = 0; j < sa_implementation_count(field); j++) {
        for (int f = 0; f < sa_family_count(); f++) {
            const int generator = sa_family_generator(f);
            if (!generator)
                continue;
            for (int i = 0; i < sa_implementation_count(f); i++) {
                snprintf(where, sizeof where, "%s/%s field/%s", sa_family_name(f),
                         sa_implementation_name(f, i), sa_implementation_name(field, j));
                if (!force(field, j) || !force(f, i))
                    continue;
                for (size_t k = 0; k < COUNT(mask_vectors); k++)
                    if (mask_vectors[k].generator == generator)
                        check_mask(&mask_vectors[k]);
            }
        }
    }
}

/* What the core asks the system for: run.py compiles it with another name for pthread_create, or
 * CreateThread. The first thread may get a stack that can be read afterwards. */
static size_t threads_made, threads_left;

#if !defined(OWN_STACKS)

HANDLE WINAPI counted_create(SECURITY_ATTRIBUTES *, SIZE_T, LPTHREAD_START_ROUTINE, void *, DWORD,
                             DWORD *);

HANDLE WINAPI counted_create(SECURITY_ATTRIBUTES *attributes, SIZE_T size,
                             LPTHREAD_START_ROUTINE start, void *argument, DWORD flags, DWORD *id)
{
    if (threads_made == threads_left)
        return NULL;
    threads_made++;
    return CreateThread(attributes, size, start, argument, flags, id);
}

static void check_thread_wipes(int generator) { (void)generator; }

#else

static int stack_is_ours;
static _Alignas(STACK_ALIGNMENT) uint8_t stack[1 << 20];

int counted_create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

int counted_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *),
                   void *argument)
{
    if (threads_made == threads_left)
        return EAGAIN;
    if (threads_made++ > 0 || !stack_is_ours)
        return pthread_create(thread, attributes, start, argument);
    pthread_attr_t own;
    pthread_attr_init(&own);
    pthread_attr_setstack(&own, stack, sizeof stack);
    const int status = pthread_create(thread, &own, start, argument);
    pthread_attr_destroy(&own);
    nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL); /* so that it finds work */
    return status;
}

/* Whether key schedules, wiped whole, were on the stack; and whether a part of a key is. */
static int stack_was_used(void)
{
    size_t touched = 0;
    for (size_t i = 0; i < sizeof stack; i++)
        touched += stack[i] != GUARD;
    return touched > 16 * 1024;
}

static int stack_has(const uint8_t *key)
{
    for (size_t i = 0; i + 8 <= sizeof stack; i++)
        for (size_t k = 0; k < 32; k += 8)
            if (memcmp(stack + i, key + k, 8) == 0)
                return 1;
    return 0;
}

/* A thread leaves nothing of the schedules behind, which begin with the key. The caller may be so
 * fast that the thread finds no work: then once more. */
static void check_thread_wipes(int generator)
{
    enum { LENGTH = 60013, SOME = 16, TRIES = 100 };
    static uint32_t acc[LENGTH];
    uint8_t keys[32 * SOME];
    int8_t signs[SOME];
    int used = 0, found = 0;
    for (size_t i = 0; i < sizeof keys; i++)
        keys[i] = (uint8_t)(i * 167 + 13);
    memset(signs, 1, sizeof signs);
    threads_left = SIZE_MAX;
    stack_is_ours = 1;
    for (int i = 0; i < TRIES && !used; i++) {
        memset(stack, GUARD, sizeof stack);
        threads_made = 0;
        sa_mask_add_u32(acc, LENGTH, 0, 31, generator, keys, signs, SOME, 2);
        used = stack_was_used();
    }
    stack_is_ours = 0;
    for (size_t k = 0; k < SOME; k++)
        found |= stack_has(keys + 32 * k);
    check(used, "threads: never at work", 0);
    check(!found, "threads: a key is left on the stack", 0);
}

#endif

/* A mask call on so many threads gives what one gives, and makes as many as it should, even if
 * the system refuses some of them. */
static void check_threads_of(int generator, int bits, size_t count, size_t threads,
                             size_t refused_from, size_t wanted)
{
    enum { LENGTH = 60013 };
    static uint64_t acc64[LENGTH + 1], one64[LENGTH + 1];
    static uint32_t acc32[LENGTH + 1], one32[LENGTH + 1];
    static uint8_t keys[32 * KEYS];
    int8_t signs[KEYS];
    const uint64_t start = 12345;
    for (size_t k = 0; k < KEYS; k++) {
        memset(keys + 32 * k, (int)(k * 37 + 1), 32);
        signs[k] = k % 3 ? 1 : -1;
    }
    memset(acc64, 0, sizeof acc64);
    memset(one64, 0, sizeof one64);
    memset(acc32, 0, sizeof acc32);
    memset(one32, 0, sizeof one32);
    threads_left = threads_made = 0;
    int status;
    if (bits > 32)
        status = sa_mask_add_u64(one64, LENGTH, start, bits, generator, keys, signs, count, 1);
    else
        status = sa_mask_add_u32(one32, LENGTH, start, bits, generator, keys, signs, count, 1);
    check(status == SA_OK && threads_made == 0, "threads: one", count);
    threads_left = refused_from;
    if (bits > 32)
        status =
            sa_mask_add_u64(acc64, LENGTH, start, bits, generator, keys, signs, count, threads);
    else
        status =
            sa_mask_add_u32(acc32, LENGTH, start, bits, generator, keys, signs, count, threads);
    check(status == SA_OK && memcmp(acc64, one64, sizeof one64) == 0 &&
              memcmp(acc32, one32, sizeof one32) == 0,
          "threads: result", threads);
    check(threads_made == wanted, "threads: made", threads_made);
}

enum { PIECES = 1000 };

static void count_piece(const void *context, size_t piece) { ((uint8_t *)context)[piece]++; }

static void check_threads(void)
{
    /* Every piece once, on no more threads than there may be, and if there are none to have. */
    static const size_t left[] = {SIZE_MAX, 0, 1};
    for (size_t i = 0; i < COUNT(left); i++) {
        static uint8_t done[PIECES + 1];
        memset(done, 0, sizeof done);
        threads_made = 0;
        threads_left = left[i];
        sa_parallel(count_piece, done, PIECES, SIZE_MAX);
        int once = done[PIECES] == 0;
        for (size_t k = 0; k < PIECES; k++)
            once &= done[k] == 1;
        check(once, "pieces: once", i);
        check(threads_made == (left[i] < 2 ? left[i] : SA_MAX_THREADS - 1), "pieces: threads", i);
    }
    /* Two threads need 2^19 mask elements; every one needs 2^13 of the accumulator. */
    for (int f = 0; f < sa_family_count(); f++) {
        const int generator = sa_family_generator(f);
        if (!generator)
            continue;
        snprintf(where, sizeof where, "%s/%s", sa_family_name(f),
                 sa_implementation_name(f, sa_active(f)));
        check_threads_of(generator, 31, 8, SIZE_MAX, SIZE_MAX, 0);
        check_threads_of(generator, 31, 9, SIZE_MAX, SIZE_MAX, 1);
        check_threads_of(generator, 61, 9, 2, SIZE_MAX, 1);
        check_threads_of(generator, 16, 14, 3, SIZE_MAX, 2);
        check_threads_of(generator, 32, 14, 3, 1, 1);
        check_threads_of(generator, 62, 14, 3, 0, 0);
        check_threads_of(generator, 31, KEYS, SIZE_MAX, SIZE_MAX, 6);
    }
    for (int f = 0; f < sa_family_count(); f++) {
        const int generator = sa_family_generator(f), chosen = sa_active(f);
        if (!generator)
            continue;
        for (int i = 0; i < sa_implementation_count(f); i++)
            if (sa_select(f, i) == SA_OK) {
                snprintf(where, sizeof where, "%s/%s", sa_family_name(f),
                         sa_implementation_name(f, i));
                check_thread_wipes(generator);
            }
        sa_select(f, chosen);
    }
    threads_left = SIZE_MAX;
}

/* As with masks, over 64-bit values whatever the lane. */
static int pack(uint8_t *out, const uint64_t *a, size_t len, int bits)
{
    uint32_t narrow[MAX_PARTIES];
    if (bits > 32)
        return sa_pack_u64(out, a, len, bits);
    for (size_t i = 0; i < len; i++)
        narrow[i] = (uint32_t)a[i];
    return sa_pack_u32(out, narrow, len, bits);
}

static int unpack(uint64_t *a, const uint8_t *in, size_t len, int bits, int add)
{
    uint32_t narrow[MAX_PARTIES];
    if (bits > 32)
        return add ? sa_unpack_add_u64(a, in, len, bits) : sa_unpack_u64(a, in, len, bits);
    for (size_t i = 0; i < len; i++)
        narrow[i] = (uint32_t)a[i];
    int status =
        add ? sa_unpack_add_u32(narrow, in, len, bits) : sa_unpack_u32(narrow, in, len, bits);
    for (size_t i = 0; i < len; i++)
        a[i] = narrow[i];
    return status;
}

static void check_pack(const struct pack_vector *v)
{
    uint64_t p, a[MAX_PARTIES];
    sa_modulus(&p, v->bits);
    for (size_t len = 0; len <= v->count; len++) {
        /* All elements but the last few are known bytes; the last byte has zero padding. */
        uint8_t out[8 * MAX_PARTIES], expected[8 * MAX_PARTIES];
        const size_t size = (len * (size_t)v->bits + 7) / 8, rest = len * (size_t)v->bits % 8;
        memset(out, GUARD, sizeof out);
        memcpy(expected, v->bytes, size);
        if (rest)
            expected[size - 1] &= (uint8_t)((1u << rest) - 1);
        int status = pack(out, v->values, len, v->bits);
        check(status == SA_OK && memcmp(out, expected, size) == 0 && out[size] == GUARD, "pack",
              len);
        memset(a, 0, sizeof a);
        status = unpack(a, expected, len, v->bits, 0);
        check(status == SA_OK && memcmp(a, v->values, 8 * len) == 0 && a[len] == 0, "unpack", len);
        status = unpack(a, expected, len, v->bits, 1);
        int equal = status == SA_OK;
        for (size_t i = 0; i < len; i++)
            equal &= a[i] == v->values[i] * 2 % p;
        check(equal, "unpack and add", len);
        if (rest) {
            expected[size - 1] |= 0x80;
            memset(a, 0, sizeof a);
            check(unpack(a, expected, len, v->bits, 0) == SA_EDECODE && a[0] == 0,
                  "unpack: padding", len);
        }
        memset(expected, 0xff, size); /* 2^bits - 1 is not below p, but the padding is zero */
        if (rest)
            expected[size - 1] = (uint8_t)((1u << rest) - 1);
        memset(a, 0, sizeof a);
        if (len > 0)
            check(unpack(a, expected, len, v->bits, 1) == SA_EDECODE && a[0] == 0,
                  "unpack: not below p", len);
    }
}

static void check_shamir(const struct shamir_vector *v)
{
    static uint64_t shares[LIMBS * MAX_PARTIES], points[MAX_PARTIES], weights[MAX_PARTIES];
    uint64_t secret[LIMBS];
    for (size_t i = 0; i < v->given; i++)
        points[i] = v->holders[i] + 1;
    int status =
        sa_shamir_share(shares, v->secret, v->coefficients, LIMBS, v->threshold, points, v->given);
    check(status == SA_OK && memcmp(shares, v->shares, 8 * LIMBS * v->given) == 0, "share",
          v->threshold);
    for (size_t i = 0; i < v->packed_count; i++) {
        uint8_t out[SHARE_BYTES];
        status = sa_pack_u64(out, v->shares + LIMBS * i, LIMBS, SHARE_BITS);
        check(status == SA_OK && memcmp(out, v->packed + SHARE_BYTES * i, sizeof out) == 0,
              "packed share", i);
    }

    for (size_t i = 0; i < v->parties; i++)
        points[i] = i + 1;
    status = sa_shamir_share(shares, v->secret, v->coefficients, LIMBS, v->threshold, points,
                             v->parties);
    check(status == SA_OK, "share", v->parties);
    for (size_t first = 0; first + v->threshold <= v->parties; first++) {
        status = sa_shamir_weights(weights, points + first, v->threshold);
        status |=
            sa_shamir_combine(secret, weights, 1, shares + LIMBS * first, v->threshold, LIMBS);
        check(status == SA_OK && memcmp(secret, v->secret, sizeof secret) == 0, "combine", first);
    }
    if (v->parties == v->threshold)
        return;

    static uint64_t random[MAX_PARTIES];
    for (size_t i = 0; i < v->parties; i++)
        random[i] = v->shares[i % LIMBS] + i;
    status = sa_shamir_parity(weights, points, v->parties, v->threshold, random);
    status |= sa_shamir_combine(secret, weights, 1, shares, v->parties, LIMBS);
    check(status == SA_OK && secret[0] == 0 && secret[1] == 0 && secret[2] == 0, "parity", 0);
    shares[LIMBS] ^= 1;
    status = sa_shamir_combine(secret, weights, 1, shares, v->parties, LIMBS);
    check(status == SA_OK && secret[0] != 0 && secret[1] == 0 && secret[2] == 0, "parity", 1);
    shares[LIMBS] ^= 1;

    /* As many wrong shares as can be corrected, of one limb. */
    static uint64_t column[MAX_PARTIES], scratch[64 * MAX_PARTIES];
    static uint8_t wrong[MAX_PARTIES];
    const size_t errors = (v->parties - v->threshold) / 2;
    if (sa_shamir_decode_scratch(v->parties) > COUNT(scratch)) {
        check(0, "decode: scratch", sa_shamir_decode_scratch(v->parties));
        return;
    }
    for (size_t i = 0; i < v->parties; i++)
        column[i] = shares[LIMBS * i] ^ (i < errors);
    status = sa_shamir_decode(secret, wrong, points, column, v->parties, v->threshold, scratch);
    int equal = status == SA_OK && secret[0] == v->secret[0];
    for (size_t i = 0; i < v->parties; i++)
        equal &= wrong[i] == (i < errors);
    check(equal, "decode", errors);
}

/* Noise added to zeros is the samples. */
static void check_noise(const struct skellam_vector *s, const struct gaussian_vector *g)
{
    static uint32_t narrow[MAX_PARTIES];
    static uint64_t wide[MAX_PARTIES];
    const int bits = s ? s->bits : g->bits;
    const size_t count = s ? s->count : g->count;
    int status;
    memset(narrow, 0, sizeof narrow);
    memset(wide, 0, sizeof wide);
    if (s && bits <= 32)
        status = sa_skellam_add_u32(narrow, count, bits, s->thresholds, s->table, s->generator,
                                    s->key);
    else if (s)
        status = sa_skellam_add_u64(wide, count, bits, s->thresholds, s->table, s->generator,
                                    s->key);
    else if (bits <= 32)
        status = sa_gaussian_add_u32(narrow, count, bits, g->variance, g->generator, g->key);
    else
        status = sa_gaussian_add_u64(wide, count, bits, g->variance, g->generator, g->key);
    for (size_t i = 0; bits <= 32 && i < count; i++)
        wide[i] = narrow[i];
    check(status == SA_OK && memcmp(wide, s ? s->values : g->values, 8 * count) == 0,
          s ? "skellam" : "gaussian", (size_t)bits);
}

int main(void)
{
    for (int f = 0; f < sa_family_count(); f++)
        printf("%s: %s\n", sa_family_name(f), sa_implementation_name(f, sa_active(f)));
    snprintf(where, sizeof where, "primes");
    for (size_t k = 0; k < COUNT(prime_vectors); k++) {
        uint64_t p = 0;
        const int status = sa_modulus(&p, prime_vectors[k].bits);
        check(status == SA_OK && p == prime_vectors[k].prime, "modulus", k);
    }
    check_streams();
    check_masks();
    check_threads();
    check_residue();
    for (int i = 0, f = family("pack"); i < sa_implementation_count(f); i++) {
        snprintf(where, sizeof where, "pack/%s", sa_implementation_name(f, i));
        for (size_t k = 0; force(f, i) && k < COUNT(pack_vectors); k++)
            check_pack(&pack_vectors[k]);
    }
    for (int i = 0, f = family("shamir"); i < sa_implementation_count(f); i++) {
        snprintf(where, sizeof where, "shamir/%s", sa_implementation_name(f, i));
        for (size_t k = 0; force(f, i) && k < COUNT(shamir_vectors); k++)
            check_shamir(&shamir_vectors[k]);
    }
    for (int i = 0, f = family("noise"); i < sa_implementation_count(f); i++) {
        snprintf(where, sizeof where, "noise/%s", sa_implementation_name(f, i));
        for (size_t k = 0; force(f, i) && k < COUNT(skellam_vectors); k++)
            check_noise(&skellam_vectors[k], NULL);
    }
    for (size_t k = 0; k < COUNT(gaussian_vectors); k++)
        check_noise(NULL, &gaussian_vectors[k]);
    compare_implementations();
    printf("%zu checks passed, %zu failed\n", passed, failed);
    return failed != 0;
}
