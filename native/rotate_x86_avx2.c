/* The rotation compiled for 256-bit registers. */
#include "kernels.h"

#if defined(__x86_64__)

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#else
#pragma GCC target("avx2")
#endif

#include <immintrin.h>

#define SA_VECTOR 32
#define SA_WIDEN(from) _mm256_cvtps_pd(_mm_loadu_ps(from))
#define SA_NARROW(to, v) _mm_storeu_ps(to, _mm256_cvtpd_ps((__m256d)(v)))
#define SA_ROTATE sa_rotate_avx2
#define SA_ROTATE_NAME "avx2"
#define SA_ROTATE_NEEDS SA_CPU_AVX2
#include "rotate_kernels.h"

#if defined(__clang__)
#pragma clang attribute pop
#endif

#endif
