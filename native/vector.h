/* Four 32-bit lanes as GCC and Clang vectors, which they lower to SSE2, NEON or plain integer
 * code: what the portable ciphers are written in. */
#ifndef SA_VECTOR_H
#define SA_VECTOR_H

#include <stdint.h>
#include <string.h>

typedef uint8_t sa_v16x8 __attribute__((vector_size(16)));
typedef uint16_t sa_v8x16 __attribute__((vector_size(16)));
typedef uint32_t sa_v4 __attribute__((vector_size(16)));
typedef uint64_t sa_v2x64 __attribute__((vector_size(16)));

/* Selects lanes of the pair (a, b) by constant indices; `type` is the vector type of both. */
#if defined(__clang__)
#define SA_SHUFFLE(type, a, b, ...) __builtin_shufflevector((type)(a), (type)(b), __VA_ARGS__)
#else
#define SA_SHUFFLE(type, a, b, ...) __builtin_shuffle((type)(a), (type)(b), (type){__VA_ARGS__})
#endif

static inline sa_v4 sa_v4_load(const void *from)
{
    sa_v4 v;
    memcpy(&v, from, sizeof v);
    return v;
}

static inline void sa_v4_store(void *to, sa_v4 v) { memcpy(to, &v, sizeof v); }

#endif
