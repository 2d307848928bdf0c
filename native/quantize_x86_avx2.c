/* The quantization kernels compiled for 256-bit registers. */
#include <string.h>

#include "kernels.h"

#if defined(__x86_64__)

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#else
#pragma GCC target("avx2")
#endif

/* AVX2 converts no 64-bit integers, but the lowest bits of 2^52 + w are those of w, for an
 * integer w below 2^52. */
static inline double from_u32(uint32_t w)
{
    uint64_t bits = 0x4330000000000000u | w;
    double sum;
    memcpy(&sum, &bits, sizeof sum);
    return sum - 0x1p52;
}

/* The sum rounds v to an integer next to it, which is one too many where it is above v. */
static inline uint64_t to_u64(double v)
{
    double sum = v + 0x1p52;
    uint64_t bits;
    memcpy(&bits, &sum, sizeof bits);
    return (bits - (uint64_t)(sum - 0x1p52 > v)) & 0xffffffffu;
}

#define SA_QUANTIZER sa_quantize_avx2
#define SA_QUANTIZER_NAME "avx2"
#define SA_QUANTIZER_NEEDS SA_CPU_AVX2
#include "quantize_kernels.h"

#if defined(__clang__)
#pragma clang attribute pop
#endif

#endif
