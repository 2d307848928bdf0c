/* Bit packing in plain C, for any width of 16..62: eight elements are exactly `bits` bytes.
 * The width is public, so branches on it (and on positions) are harmless. Both directions go
 * through unaligned little-endian 64-bit words; api.c refuses to compile elsewhere. */
#include <string.h>

#include "kernels.h"

/* A word that is read at an element's first byte may end up to 8 bytes after its group. Elements
 * near the end of the input are therefore read from a padded copy of its last bytes: fewer than
 * bits + 8 bytes, after which up to 9 more may be read. */
enum { SA_SLACK = 8, SA_TAIL_BYTES = 96 };

enum { PIECE = 1024 }; /* elements that are added at once */

extern const sa_field_kernel sa_field_portable;

static inline uint64_t load(const uint8_t *in)
{
    uint64_t word;
    memcpy(&word, in, sizeof word);
    return word;
}

/* The element that begins at bit `at`. From 58 bits on it may extend into a ninth byte. */
static inline uint64_t element(const uint8_t *in, size_t at, uint64_t low, int nine)
{
    const uint8_t *from = in + at / 8;
    unsigned shift = at % 8;
    uint64_t word = load(from) >> shift;
    if (nine)
        word |= (uint64_t)from[8] << 1 << (63 - shift);
    return word & low;
}

/* Copies the last bytes into the tail; returns how many elements can be read from `in`. */
static size_t split(uint8_t tail[SA_TAIL_BYTES], const uint8_t *in, size_t len, int bits)
{
    size_t bytes = sa_packed_bytes(len, bits), group = (size_t)bits;
    size_t groups = bytes < SA_SLACK ? 0 : (bytes - SA_SLACK) / group;
    size_t head = groups * group;
    memset(tail, 0, SA_TAIL_BYTES);
    if (bytes > head)
        memcpy(tail, in + head, bytes - head);
    return 8 * groups;
}

/* Writes fields of bits, filling a word from the bottom and storing it when it is full. */
typedef struct {
    uint8_t *out;
    uint64_t word;
    int filled;
} bit_writer;

/* In: x < 2^width, width < 64; bits above that would go into the fields that follow. */
static inline void put(bit_writer *writer, uint64_t x, int width)
{
    writer->word |= x << writer->filled;
    writer->filled += width;
    if (writer->filled >= 64) {
        memcpy(writer->out, &writer->word, sizeof writer->word);
        writer->out += sizeof writer->word;
        writer->filled -= 64;
        writer->word = x >> (width - writer->filled); /* what did not fit */
    }
}

static inline void finish(bit_writer *writer)
{
    for (; writer->filled > 0; writer->filled -= 8, writer->word >>= 8)
        *writer->out++ = (uint8_t)writer->word;
}

/* Two elements at a time, because each write has to wait for the one before. */
static int pack_u32(uint8_t *restrict out, const uint32_t *restrict a, size_t len, int bits)
{
    bit_writer writer = {out, 0, 0};
    size_t i = 0;
    if (bits == 32) {
        if (len > 0)
            memcpy(out, a, len * sizeof *a);
        i = len;
    }
    for (; len - i >= 2; i += 2)
        put(&writer, a[i] | (uint64_t)a[i + 1] << bits, 2 * bits);
    if (i < len)
        put(&writer, a[i], bits);
    finish(&writer);
    return sa_field_portable.check_u32(a, len, (uint32_t)sa_prime(bits));
}

static int pack_u64(uint8_t *restrict out, const uint64_t *restrict a, size_t len, int bits)
{
    bit_writer writer = {out, 0, 0};
    for (size_t i = 0; i < len; i++)
        put(&writer, a[i], bits);
    finish(&writer);
    return sa_field_portable.check_u64(a, len, sa_prime(bits));
}

#define LANE uint32_t
#define NAME(stem) stem##_u32
#include "pack_body.h"
#undef LANE
#undef NAME

#define LANE uint64_t
#define NAME(stem) stem##_u64
#include "pack_body.h"
#undef LANE
#undef NAME

const sa_pack_kernel sa_pack_portable = {
    .name = "portable",
    .needs = 0,
    .pack_u32 = pack_u32,
    .pack_u64 = pack_u64,
    .unpack_u32 = unpack_u32,
    .unpack_u64 = unpack_u64,
    .unpack_add_u32 = unpack_add_u32,
    .unpack_add_u64 = unpack_add_u64,
};
