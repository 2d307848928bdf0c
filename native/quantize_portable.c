/* The quantization kernels for any machine. */
#include "kernels.h"

/* Conversions from and to signed integers. On a machine that has only these, a conversion of
 * unsigned integers would branch on the value. */
static inline double from_u32(uint32_t w) { return (double)(int64_t)w; }

static inline uint64_t to_u64(double v) { return (uint64_t)(int64_t)v; }

#define SA_QUANTIZER sa_quantize_portable
#define SA_QUANTIZER_NAME "portable"
#define SA_QUANTIZER_NEEDS 0
#include "quantize_kernels.h"
