/* Argument checks for fields, packing and quantization; the work is done by the active kernels.
 * Everything is checked before anything is written. Sharing is in api_shamir.c, streams and
 * masks are in stream.c. */
#include "checks.h"
#include "kernels.h"

enum {
    SA_CHUNK_WORDS = 1024, /* 4 KiB of keystream */
    SA_PIECE = 1024        /* elements, whole bytes of packed ones */
};

int sa_modulus(uint64_t *p, int bits)
{
    if (p == NULL || bits < 16 || bits > 62)
        return SA_EARG;
    *p = sa_prime(bits);
    return SA_OK;
}

/* ---- fields and packing ---- */

#define LANE uint32_t
#define NAME(stem) stem##_u32
#define WIDTH_FITS(bits) ((bits) >= 16 && (bits) <= 32)
#include "api_body.h"
#undef LANE
#undef NAME
#undef WIDTH_FITS

#define LANE uint64_t
#define NAME(stem) stem##_u64
#define WIDTH_FITS(bits) ((bits) >= 33 && (bits) <= 62)
#include "api_body.h"
#undef LANE
#undef NAME
#undef WIDTH_FITS

/* ---- quantization ---- */

static int is_finite(double x) { return sa_quantize()->finite_f64(&x, 1); }

/* Keystream words from any one on, made in chunks. */
typedef struct {
    const sa_cipher_kernel *cipher;
    uint64_t counter;
    sa_schedule schedule;
    _Alignas(64) uint32_t words[SA_CHUNK_WORDS];
} word_source;

/* Makes at most `count` words, and says how many. The chunk begins on a block of the cipher, whose
 * first `skip` words are not asked for. */
static size_t next_words(word_source *source, size_t count, size_t skip)
{
    const size_t block = source->cipher->block_bytes;
    if (count > SA_CHUNK_WORDS - skip)
        count = SA_CHUNK_WORDS - skip;
    size_t blocks = ((skip + count) * sizeof(uint32_t) + block - 1) / block;
    source->cipher->keystream(&source->schedule, (uint8_t *)source->words, blocks, 0,
                              source->counter);
    source->counter += blocks;
    return count;
}

/* levels / (2 * clip), or 0 if the arguments are out of range. A clip so small or so large
 * that the scale or 2 * clip is infinite is refused: 0 * infinity would be NaN. */
static double quantize_scale(double clip, uint64_t levels)
{
    if (!(clip > 0) || !is_finite(2 * clip) || levels < 1 || levels > UINT32_MAX)
        return 0;
    double scale = (double)levels / (2 * clip);
    return is_finite(scale) ? scale : 0;
}

#define SA_QUANTIZE(STEM, LANE, FLOAT, FINITE)                                                \
    int sa_quantize_##STEM(LANE *q, const FLOAT *x, size_t len, uint64_t start, double clip,  \
                           double bound, uint64_t levels, int generator, const uint8_t *key,  \
                           uint64_t *clipped)                                                 \
    {                                                                                         \
        word_source source;                                                                   \
        double scale = quantize_scale(clip, levels);                                          \
        source.cipher = sa_cipher(generator);                                                 \
        if (scale <= 0 || !(bound >= clip) || source.cipher == NULL || key == NULL ||         \
            clipped == NULL || start > UINT64_MAX - len || !sa_fits(q, len, sizeof *q) ||     \
            !sa_fits(x, len, sizeof *x))                                                      \
            return SA_EARG;                                                                   \
        if (!sa_quantize()->FINITE(x, len))                                                   \
            return SA_ERANGE;                                                                 \
        const uint64_t per_block = source.cipher->block_bytes / sizeof(uint32_t);             \
        source.counter = start / per_block;                                                   \
        source.cipher->schedule(&source.schedule, key);                                       \
        size_t skip = (size_t)(start % per_block);                                            \
        uint64_t total = 0;                                                                   \
        for (size_t i = 0; i < len; skip = 0) {                                               \
            size_t n = next_words(&source, len - i, skip);                                    \
            total += sa_quantize()->quantize_##STEM(q + i, x + i, source.words + skip, n,     \
                                                    clip, bound, scale, (double)levels);      \
            i += n;                                                                           \
        }                                                                                     \
        *clipped = total;                                                                     \
        sa_wipe(&source, sizeof source);                                                      \
        sa_wipe_traces();                                                                     \
        return SA_OK;                                                                         \
    }

SA_QUANTIZE(f32_u32, uint32_t, float, finite_f32)
SA_QUANTIZE(f32_u64, uint64_t, float, finite_f32)
SA_QUANTIZE(f64_u32, uint32_t, double, finite_f64)
SA_QUANTIZE(f64_u64, uint64_t, double, finite_f64)

#define SA_DEQUANTIZE(STEM, FLOAT, LANE)                                                      \
    int sa_dequantize_##STEM(FLOAT *x, const LANE *q, size_t len, double scale, double offset) \
    {                                                                                         \
        if (!sa_fits(x, len, sizeof *x) || !sa_fits(q, len, sizeof *q) ||                     \
            !is_finite(scale) || !is_finite(offset))                                          \
            return SA_EARG;                                                                   \
        sa_quantize()->dequantize_##STEM(x, q, len, scale, offset);                           \
        return SA_OK;                                                                         \
    }

SA_DEQUANTIZE(u32_f32, float, uint32_t)
SA_DEQUANTIZE(u64_f32, float, uint64_t)
SA_DEQUANTIZE(u32_f64, double, uint32_t)
SA_DEQUANTIZE(u64_f64, double, uint64_t)
