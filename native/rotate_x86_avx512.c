/* The rotation compiled for 512-bit registers. */
#include "kernels.h"

#if defined(__x86_64__)

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,prefer-vector-width=512")
#endif

#include <immintrin.h>

#define SA_VECTOR 64
#define SA_WIDEN(from) _mm512_cvtps_pd(_mm256_loadu_ps(from))
#define SA_NARROW(to, v) _mm256_storeu_ps(to, _mm512_cvtpd_ps((__m512d)(v)))
#define SA_ROTATE sa_rotate_avx512
#define SA_ROTATE_NAME "avx512"
#define SA_ROTATE_NEEDS SA_CPU_AVX512
#include "rotate_kernels.h"

#if defined(__clang__)
#pragma clang attribute pop
#endif

#endif
