/* The field kernels compiled for 512-bit registers. */
#include "kernels.h"

#if defined(__x86_64__)

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,prefer-vector-width=512")
#endif

#define SA_FIELD sa_field_avx512
#define SA_FIELD_NAME "avx512"
#define SA_FIELD_NEEDS SA_CPU_AVX512
#define SA_MINIMUM_LANES 64
#include "field_kernels.h"

#if defined(__clang__)
#pragma clang attribute pop
#endif

#endif
