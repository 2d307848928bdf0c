/* Quantization with stochastic rounding in plain C. Every operation is one rounded double
 * operation in the order of docs/WIRE.md, so that any IEEE 754 machine gives the same
 * elements (the build forbids contracting a * b + c). Inputs are secret: no branch on them.
 * The file that includes this chooses the target, and defines
 *   SA_QUANTIZER, SA_QUANTIZER_NAME, SA_QUANTIZER_NEEDS   the struct of kernels, its name and
 *                                                         CPU features
 *   from_u32(w), to_u64(v)   w as a double; the floor of v, for v in [0, 2^32) */
#include <string.h>

#if defined(__FLT_EVAL_METHOD__) && __FLT_EVAL_METHOD__ == 2
#error "doubles must be evaluated in double precision"
#endif

/* Adding one to an exponent of all ones carries into the place of the sign. */
static int finite_f32(const float *x, size_t len)
{
    uint32_t carry = 0;
    for (size_t i = 0; i < len; i++) {
        uint32_t word;
        memcpy(&word, &x[i], sizeof word);
        carry |= (word & 0x7f800000u) + 0x00800000u;
    }
    return (carry >> 31) == 0;
}

static int finite_f64(const double *x, size_t len)
{
    uint64_t carry = 0;
    for (size_t i = 0; i < len; i++) {
        uint64_t word;
        memcpy(&word, &x[i], sizeof word);
        carry |= (word & 0x7ff0000000000000u) + 0x0010000000000000u;
    }
    return (carry >> 63) == 0;
}

/* min(floor((clamp(x) + clip) * scale + u), levels) with u = word * 2^-32, which is exact.
 * In: x finite; 0 < clip, 2 * clip, scale finite; 1 <= levels < 2^32. Out: [0, levels].
 * levels is an integer, so taking the minimum before the floor gives the same, and keeps the
 * conversion in range. */
static inline uint64_t quantize(double x, uint32_t word, double clip, double scale,
                                double levels)
{
    x = x > clip ? clip : x;
    x = x < -clip ? -clip : x;
    double value = (x + clip) * scale + from_u32(word) * 0x1p-32;
    value = value < levels ? value : levels;
    return to_u64(value);
}

static inline uint64_t outside(double x, double bound)
{
    return (uint64_t)((x > bound) | (x < -bound));
}

/* In: any q. The halves convert exactly and their sum rounds once, as (double)q would; that
 * conversion branches on q where the machine has only signed ones. */
static inline double dequantize(uint64_t q, double scale, double offset)
{
    double whole = from_u32((uint32_t)(q >> 32)) * 0x1p32 + from_u32((uint32_t)q);
    return whole * scale - offset;
}

#define SA_QUANTIZE(NAME, LANE, FLOAT)                                                        \
    static uint64_t NAME(LANE *restrict q, const FLOAT *restrict x,                           \
                         const uint32_t *restrict words, size_t len, double clip,             \
                         double bound, double scale, double levels)                           \
    {                                                                                         \
        uint64_t clipped = 0;                                                                 \
        for (size_t i = 0; i < len; i++) {                                                    \
            double value = (double)x[i];                                                      \
            clipped += outside(value, bound);                                                 \
            q[i] = (LANE)quantize(value, words[i], clip, scale, levels);                      \
        }                                                                                     \
        return clipped;                                                                       \
    }

#define SA_DEQUANTIZE(NAME, FLOAT, LANE)                                                      \
    static void NAME(FLOAT *restrict x, const LANE *restrict q, size_t len, double scale,     \
                     double offset)                                                           \
    {                                                                                         \
        for (size_t i = 0; i < len; i++)                                                      \
            x[i] = (FLOAT)dequantize(q[i], scale, offset);                                    \
    }

SA_QUANTIZE(quantize_f32_u32, uint32_t, float)
SA_QUANTIZE(quantize_f32_u64, uint64_t, float)
SA_QUANTIZE(quantize_f64_u32, uint32_t, double)
SA_QUANTIZE(quantize_f64_u64, uint64_t, double)
SA_DEQUANTIZE(dequantize_u32_f32, float, uint32_t)
SA_DEQUANTIZE(dequantize_u64_f32, float, uint64_t)
SA_DEQUANTIZE(dequantize_u32_f64, double, uint32_t)
SA_DEQUANTIZE(dequantize_u64_f64, double, uint64_t)

extern const sa_quantize_kernel SA_QUANTIZER;
const sa_quantize_kernel SA_QUANTIZER = {
    .name = SA_QUANTIZER_NAME,
    .needs = SA_QUANTIZER_NEEDS,
    .finite_f32 = finite_f32,
    .finite_f64 = finite_f64,
    .quantize_f32_u32 = quantize_f32_u32,
    .quantize_f32_u64 = quantize_f32_u64,
    .quantize_f64_u32 = quantize_f64_u32,
    .quantize_f64_u64 = quantize_f64_u64,
    .dequantize_u32_f32 = dequantize_u32_f32,
    .dequantize_u64_f32 = dequantize_u64_f32,
    .dequantize_u32_f64 = dequantize_u32_f64,
    .dequantize_u64_f64 = dequantize_u64_f64,
};
