/* Keystreams, and masks that are added directly from them: no mask is ever stored as a whole. */
#include <string.h>

#include "checks.h"
#include "kernels.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "keystream words are read in place, which needs a little-endian machine");

enum {
    KEY_BYTES = 32,
    KEY_GROUP = 16,    /* keys whose schedules are in memory together */
    CHUNK_BYTES = 8192, /* of the accumulator and of keystream: both stay in the first cache */
    /* For threads: mask elements that make a thread worth its cost, elements of the accumulator
     * that make another expansion of all key schedules worth its cost, and pieces per thread, as
     * threads differ in speed. */
    THREAD_WORK = 1 << 18,
    MIN_PIECE = 1 << 13,
    PIECES_PER_THREAD = 4
};

/* A chunk of keystream, as bytes and as the words that masks read. */
typedef union {
    _Alignas(64) uint8_t bytes[CHUNK_BYTES];
    uint32_t u32[CHUNK_BYTES / 4];
    uint64_t u64[CHUNK_BYTES / 8];
} chunk;

/* One call of sa_mask_add_*: `lane` is the bytes of an element, 4 or 8. */
typedef struct {
    const sa_cipher_kernel *cipher;
    size_t lane;
    int bits;
} mask_setup;

static size_t elements_per_block(const mask_setup *setup)
{
    return setup->cipher->block_bytes / setup->lane;
}

int sa_stream(int generator, uint8_t *out, size_t bytes, const uint8_t *key, uint64_t nonce,
              uint64_t counter)
{
    const sa_cipher_kernel *cipher = sa_cipher(generator);
    if (!cipher || !key || !sa_fits(out, bytes, 1))
        return SA_EARG;
    if (!bytes)
        return SA_OK;
    const size_t block = cipher->block_bytes, blocks = bytes / block, rest = bytes % block;
    sa_schedule schedule;
    cipher->schedule(&schedule, key);
    if (blocks)
        cipher->keystream(&schedule, out, blocks, nonce, counter);
    if (rest) {
        uint8_t last[SA_MAX_BLOCK];
        cipher->keystream(&schedule, last, 1, nonce, counter + blocks);
        memcpy(out + blocks * block, last, rest);
        sa_wipe(last, sizeof last);
    }
    sa_wipe(&schedule, sizeof schedule);
    sa_wipe_traces();
    return SA_OK;
}

static uint64_t load(const void *array, size_t i, size_t lane)
{
    return lane == 4 ? ((const uint32_t *)array)[i] : ((const uint64_t *)array)[i];
}

/* acc[i] = acc[i] +- w mod p, with acc[i] and w below p < 2^62. */
static void add_element(void *acc, size_t i, size_t lane, uint64_t w, int sign, uint64_t p)
{
    const uint64_t negate = (uint64_t)0 - (uint64_t)(sign < 0);
    const uint64_t sum = load(acc, i, lane) + ((w & ~negate) | ((p - w) & negate));
    const uint64_t below = (uint64_t)0 - ((sum - p) >> 63); /* all ones when sum < p */
    const uint64_t reduced = sum - (p & ~below);
    if (lane == 4)
        ((uint32_t *)acc)[i] = (uint32_t)reduced;
    else
        ((uint64_t *)acc)[i] = reduced;
}

/* The first word of the stream at nonce `element` + 1 whose low bits are below p. */
static uint64_t redraw(const mask_setup *setup, const sa_schedule *schedule, uint64_t element,
                       uint64_t p)
{
    const uint64_t low = ((uint64_t)1 << setup->bits) - 1;
    union {
        uint8_t bytes[SA_MAX_BLOCK];
        uint32_t u32[SA_MAX_BLOCK / 4];
        uint64_t u64[SA_MAX_BLOCK / 8];
    } words;
    uint64_t w = p;
    for (uint64_t counter = 0; w >= p; counter++) {
        setup->cipher->keystream(schedule, words.bytes, 1, element + 1, counter);
        for (size_t i = 0; i < elements_per_block(setup) && w >= p; i++)
            w = load(words.bytes, i, setup->lane) & low;
    }
    sa_wipe(&words, sizeof words);
    return w;
}

/* Adds the elements whose word was rejected. A rejection says nothing about the word that is used
 * instead, and neither do further rejected words: these branches are harmless. */
static void redraw_rejected(const mask_setup *setup, const sa_schedule *schedule, void *acc,
                            const void *words, size_t len, uint64_t first, int sign)
{
    const uint64_t low = ((uint64_t)1 << setup->bits) - 1, p = sa_prime(setup->bits);
    for (size_t i = 0; i < len; i++)
        if ((load(words, i, setup->lane) & low) >= p)
            add_element(acc, i, setup->lane, redraw(setup, schedule, first + i, p), sign, p);
}

/* Adds elements first..first+len of one mask to acc[0..len); they lie in one chunk of the
 * stream. */
static void add_chunk(const mask_setup *setup, const sa_field_kernel *field,
                      const sa_schedule *schedule, void *acc, size_t len, uint64_t first, int sign,
                      chunk *stream)
{
    const size_t per_block = elements_per_block(setup);
    const size_t skip = (size_t)(first % per_block);
    const size_t blocks = (skip + len + per_block - 1) / per_block;
    setup->cipher->keystream(schedule, stream->bytes, blocks, 0, first / per_block);
    int rejected;
    if (setup->lane == 4)
        rejected = field->mask_u32(acc, stream->u32 + skip, len, setup->bits, sign);
    else
        rejected = field->mask_u64(acc, stream->u64 + skip, len, setup->bits, sign);
    if (rejected)
        redraw_rejected(setup, schedule, acc, stream->bytes + skip * setup->lane, len, first, sign);
}

/* The same for all keys and whole steps, by the fused kernel of the cipher. If a word of a key was
 * rejected, the keystream of that key is made again. */
static void add_steps(const mask_setup *setup, const sa_schedule *schedules, const int8_t *signs,
                      size_t count, void *acc, size_t len, uint64_t first, chunk *stream)
{
    const size_t bytes = len * setup->lane;
    const size_t blocks = bytes / setup->cipher->block_bytes;
    const uint64_t counter = first / elements_per_block(setup);
    uint32_t rejected =
        setup->cipher->mask(acc, bytes, schedules, signs, count, counter, setup->bits);
    for (size_t k = 0; rejected; k++, rejected >>= 1)
        if (rejected & 1) {
            setup->cipher->keystream(&schedules[k], stream->bytes, blocks, 0, counter);
            redraw_rejected(setup, &schedules[k], acc, stream->bytes, len, first, signs[k]);
        }
}

static void add_group(const mask_setup *setup, const sa_field_kernel *field,
                      const sa_schedule *schedules, const int8_t *signs, size_t count, uint8_t *acc,
                      size_t len, uint64_t start, chunk *stream)
{
    const size_t per_chunk = CHUNK_BYTES / setup->lane, per_step = SA_MASK_STEP / setup->lane;
    const int fused = setup->cipher->mask && setup->bits != 32;
    size_t done = 0;
    while (done < len) {
        /* The first chunk may be short; the others begin on a block. */
        const uint64_t first = start + done;
        uint8_t *to = acc + done * setup->lane;
        size_t part = per_chunk - (size_t)(first % per_chunk);
        if (part > len - done)
            part = len - done;
        if (fused && first % per_step == 0 && part >= per_step) {
            part -= part % per_step;
            add_steps(setup, schedules, signs, count, to, part, first, stream);
        } else {
            for (size_t k = 0; k < count; k++)
                add_chunk(setup, field, schedules + k, to, part, first, signs[k], stream);
        }
        done += part;
    }
}

static int signs_valid(const int8_t *signs, size_t count)
{
    for (size_t k = 0; k < count; k++)
        if (signs[k] != 1 && signs[k] != -1)
            return 0;
    return 1;
}

/* One call of sa_mask_add_* with checked arguments, and how it is cut into pieces. */
typedef struct {
    mask_setup setup;
    const sa_field_kernel *field;
    uint8_t *acc;
    size_t len, piece; /* in elements */
    uint64_t start;
    const uint8_t *keys;
    const int8_t *signs;
    size_t count;
} mask_call;

/* All masks over one piece of the accumulator. */
static void add_piece(const void *context, size_t number)
{
    const mask_call *call = context;
    const sa_cipher_kernel *cipher = call->setup.cipher;
    const size_t from = number * call->piece, rest = call->len - from;
    const size_t len = rest < call->piece ? rest : call->piece;
    uint8_t *acc = call->acc + from * call->setup.lane;
    sa_schedule schedules[KEY_GROUP];
    chunk stream;
    for (size_t done = 0; done < call->count; done += KEY_GROUP) {
        const size_t group = call->count - done < KEY_GROUP ? call->count - done : KEY_GROUP;
        for (size_t k = 0; k < group; k++)
            cipher->schedule(&schedules[k], call->keys + KEY_BYTES * (done + k));
        add_group(&call->setup, call->field, schedules, call->signs + done, group, acc, len,
                  call->start + from, &stream);
    }
    sa_wipe(schedules, (call->count < KEY_GROUP ? call->count : KEY_GROUP) * sizeof schedules[0]);
    sa_wipe(&stream, sizeof stream);
    sa_wipe_traces();
}

/* The number of threads that have enough work, for all keys together and for each key. */
static size_t useful_threads(size_t len, size_t count, size_t threads)
{
    size_t work;
    if (!__builtin_mul_overflow(len, count, &work) && threads > work / THREAD_WORK)
        threads = work / THREAD_WORK;
    if (threads > len / MIN_PIECE)
        threads = len / MIN_PIECE;
    return threads > 0 ? threads : 1;
}

/* Elements per piece: whole chunks, and several pieces per thread, as threads differ in speed. */
static size_t piece_elements(size_t len, size_t threads, size_t lane)
{
    const size_t per_chunk = CHUNK_BYTES / lane;
    const size_t piece = threads > 1 ? len / (PIECES_PER_THREAD * threads) : len;
    return piece < MIN_PIECE ? MIN_PIECE : (piece + per_chunk - 1) / per_chunk * per_chunk;
}

static int mask_add(void *acc, size_t len, uint64_t start, int bits, int generator,
                    const uint8_t *keys, const int8_t *signs, size_t count, size_t lane,
                    size_t threads)
{
    const sa_cipher_kernel *cipher = sa_cipher(generator);
    if (!cipher || !sa_fits(acc, len, lane) || start > UINT64_MAX - len || threads < 1)
        return SA_EARG;
    if (!sa_fits(keys, count, KEY_BYTES) || !sa_fits(signs, count, 1) || !signs_valid(signs, count))
        return SA_EARG;
    if (!len || !count)
        return SA_OK;
    threads = useful_threads(len, count, threads);
    const mask_call call = {.setup = {cipher, lane, bits},
                            .field = sa_field(),
                            .acc = acc,
                            .len = len,
                            .piece = piece_elements(len, threads, lane),
                            .start = start,
                            .keys = keys,
                            .signs = signs,
                            .count = count};
    sa_parallel(add_piece, &call, (len - 1) / call.piece + 1, threads);
    return SA_OK;
}

int sa_mask_add_u32(uint32_t *acc, size_t len, uint64_t start, int bits, int generator,
                    const uint8_t *keys, const int8_t *signs, size_t count, size_t threads)
{
    if (bits < 16 || bits > 32)
        return SA_EARG;
    return mask_add(acc, len, start, bits, generator, keys, signs, count, sizeof *acc, threads);
}

int sa_mask_add_u64(uint64_t *acc, size_t len, uint64_t start, int bits, int generator,
                    const uint8_t *keys, const int8_t *signs, size_t count, size_t threads)
{
    if (bits < 33 || bits > 62)
        return SA_EARG;
    return mask_add(acc, len, start, bits, generator, keys, signs, count, sizeof *acc, threads);
}
