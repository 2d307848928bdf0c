/* The field kernels compiled for 256-bit registers. */
#include "kernels.h"

#if defined(__x86_64__)

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#else
#pragma GCC target("avx2")
#endif

#define SA_FIELD sa_field_avx2
#define SA_FIELD_NAME "avx2"
#define SA_FIELD_NEEDS SA_CPU_AVX2
#define SA_MINIMUM_LANES 32
#include "field_kernels.h"

#if defined(__clang__)
#pragma clang attribute pop
#endif

#endif
