/* The quantization kernels compiled for 512-bit registers. */
#include "kernels.h"

#if defined(__x86_64__)

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,prefer-vector-width=512")
#endif

/* One instruction each, for eight values. */
static inline double from_u32(uint32_t w) { return (double)(int64_t)w; }

static inline uint64_t to_u64(double v) { return (uint64_t)(int64_t)v; }

#define SA_QUANTIZER sa_quantize_avx512
#define SA_QUANTIZER_NAME "avx512"
#define SA_QUANTIZER_NEEDS SA_CPU_AVX512
#include "quantize_kernels.h"

#if defined(__clang__)
#pragma clang attribute pop
#endif

#endif
