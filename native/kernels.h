/* The interface of kernels to the dispatcher: one struct of function pointers per family, and one
 * constant instance of it per implementation (file <family>_<isa>.c). Kernels do not check their
 * arguments: stream.c and api.c do. */
#ifndef SA_KERNELS_H
#define SA_KERNELS_H

#if !defined(__GNUC__) && !defined(__clang__)
#error "secagg needs GCC or Clang: on Windows clang-cl, or llvm-mingw or MinGW-w64, not cl.exe"
#elif !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "secagg needs a little-endian machine: keystreams and packed vectors are read in place"
#elif defined(__i386__) && !defined(__SSE2_MATH__)
#error "secagg needs doubles that round as doubles: on 32-bit x86 add -msse2 -mfpmath=sse"
#endif

#include <stddef.h>
#include <stdint.h>

#include "api.h"

/* CPU features, as bits of a set; sa_cpu_feature_* lists them in this order. */
enum {
    SA_CPU_AESNI = 1u << 0,
    SA_CPU_AVX2 = 1u << 1,
    SA_CPU_AVX512 = 1u << 2, /* F, BW, VL, DQ, with the OS saving the registers */
    SA_CPU_VAES = 1u << 3,
    SA_CPU_VBMI = 1u << 4, /* AVX-512 VBMI and VBMI2: bytes and bits across a register */
    SA_CPU_IFMA = 1u << 5, /* AVX-512 IFMA: 52-bit products */
    SA_CPU_ARM_AES = 1u << 6
};
uint32_t sa_cpu_features(void); /* those that both CPU and operating system support */

/* A key schedule of any cipher implementation. */
enum { SA_SCHEDULE_BYTES = 1024 };
typedef struct {
    _Alignas(64) uint8_t bytes[SA_SCHEDULE_BYTES];
} sa_schedule;

/* Bytes that sa_cipher_kernel.mask works on at once, and the largest block in bytes. */
enum { SA_MASK_STEP = 1024, SA_MAX_BLOCK = 64 };

typedef struct {
    const char *name;
    uint32_t needs;     /* CPU features */
    size_t block_bytes; /* of the cipher: a power of two, 8 to SA_MAX_BLOCK */
    void (*schedule)(sa_schedule *schedule, const uint8_t key[32]);
    /* out = `blocks` whole blocks of keystream from block `counter` (wrapping mod 2^64). */
    void (*keystream)(const sa_schedule *schedule, uint8_t *out, size_t blocks, uint64_t nonce,
                      uint64_t counter);
    /* Null, or a function that adds masks from registers without storing them. For each of `count`
     * keys, at most 32, it adds to or subtracts from acc[0..bytes) the keystream words at nonce 0
     * from block `counter` on; elements have `bits` bits, but not 32. `bytes` is a multiple of
     * SA_MASK_STEP, and `counter` of the number of blocks in SA_MASK_STEP bytes. Bit k of the
     * result is set if key k had a word >= p: those elements are unchanged, and the caller must
     * redraw them. (Whether a word was rejected says nothing about the one used in its place, so a
     * branch on it is harmless.) */
    uint32_t (*mask)(void *acc, size_t bytes, const sa_schedule *schedules, const int8_t *signs,
                     size_t count, uint64_t counter, int bits);
} sa_cipher_kernel;

typedef struct {
    const char *name;
    uint32_t needs;
    int (*check_u32)(const uint32_t *a, size_t len, uint32_t p);
    int (*check_u64)(const uint64_t *a, size_t len, uint64_t p);
    void (*add_u32)(uint32_t *dst, const uint32_t *a, const uint32_t *b, size_t len, uint32_t p);
    void (*add_u64)(uint64_t *dst, const uint64_t *a, const uint64_t *b, size_t len, uint64_t p);
    void (*sub_u32)(uint32_t *dst, const uint32_t *a, const uint32_t *b, size_t len, uint32_t p);
    void (*sub_u64)(uint64_t *dst, const uint64_t *a, const uint64_t *b, size_t len, uint64_t p);
    void (*neg_u32)(uint32_t *dst, const uint32_t *a, size_t len, uint32_t p);
    void (*neg_u64)(uint64_t *dst, const uint64_t *a, size_t len, uint64_t p);
    void (*scale_u32)(uint32_t *dst, const uint32_t *a, uint32_t k, size_t len, int bits);
    void (*scale_u64)(uint64_t *dst, const uint64_t *a, uint64_t k, size_t len, int bits);
    void (*sum_u32)(uint32_t *dst, const uint32_t *rows, size_t count, size_t len, int bits);
    void (*sum_u64)(uint64_t *dst, const uint64_t *rows, size_t count, size_t len, int bits);
    /* Adds masks: w is the low bits of words[i]; if w is below p, acc[i] +-= w. Returns non-zero
     * if any w was >= p: those elements are unchanged, as above. */
    int (*mask_u32)(uint32_t *acc, const uint32_t *words, size_t len, int bits, int sign);
    int (*mask_u64)(uint64_t *acc, const uint64_t *words, size_t len, int bits, int sign);
} sa_field_kernel;

typedef struct {
    const char *name;
    uint32_t needs;
    /* SA_OK, or SA_ERANGE if an element is >= p: then the output is undefined. */
    int (*pack_u32)(uint8_t *out, const uint32_t *a, size_t len, int bits);
    int (*pack_u64)(uint8_t *out, const uint64_t *a, size_t len, int bits);
    /* SA_OK, or SA_EDECODE if an element is >= p; all are written in either case. */
    int (*unpack_u32)(uint32_t *dst, const uint8_t *in, size_t len, int bits);
    int (*unpack_u64)(uint64_t *dst, const uint8_t *in, size_t len, int bits);
    /* SA_OK, or SA_EDECODE if an element of either is >= p; acc[i] is unchanged at these i. */
    int (*unpack_add_u32)(uint32_t *acc, const uint8_t *in, size_t len, int bits);
    int (*unpack_add_u64)(uint64_t *acc, const uint8_t *in, size_t len, int bits);
} sa_pack_kernel;

typedef struct {
    const char *name;
    uint32_t needs;
    int (*finite_f32)(const float *x, size_t len); /* 1 or 0 */
    int (*finite_f64)(const double *x, size_t len);
    /* `words` holds len random 32-bit words; the result is the number of values beyond `bound`. */
    uint64_t (*quantize_f32_u32)(uint32_t *q, const float *x, const uint32_t *words, size_t len,
                                 double clip, double bound, double scale, double levels);
    uint64_t (*quantize_f32_u64)(uint64_t *q, const float *x, const uint32_t *words, size_t len,
                                 double clip, double bound, double scale, double levels);
    uint64_t (*quantize_f64_u32)(uint32_t *q, const double *x, const uint32_t *words, size_t len,
                                 double clip, double bound, double scale, double levels);
    uint64_t (*quantize_f64_u64)(uint64_t *q, const double *x, const uint32_t *words, size_t len,
                                 double clip, double bound, double scale, double levels);
    void (*dequantize_u32_f32)(float *x, const uint32_t *q, size_t len, double scale, double offset);
    void (*dequantize_u64_f32)(float *x, const uint64_t *q, size_t len, double scale, double offset);
    void (*dequantize_u32_f64)(double *x, const uint32_t *q, size_t len, double scale, double offset);
    void (*dequantize_u64_f64)(double *x, const uint64_t *q, size_t len, double scale, double offset);
} sa_quantize_kernel;

/* Lengths of transforms, strides and parts are powers of two. */
typedef struct {
    const char *name;
    uint32_t needs;
    /* x[i] *= factor, in double precision, and the sign of bit i of `signs`: a set one is minus. */
    void (*signs_f32)(float *x, const uint64_t *signs, size_t len, double factor);
    void (*signs_f64)(double *x, const uint64_t *signs, size_t len, double factor);
    /* The Walsh-Hadamard transform, without a factor. */
    void (*transform_f32)(float *x, size_t len);
    void (*transform_f64)(double *x, size_t len);
    /* The same of each x[i], x[i + stride], ..., parts of them (2, 4 or 8), for i < stride, which is
     * 64 or more: makes one transform of `parts`. */
    void (*combine_f32)(float *x, size_t stride, size_t parts);
    void (*combine_f64)(double *x, size_t stride, size_t parts);
    double (*squares_f32)(const float *x, size_t len); /* their sum, in double precision */
    double (*squares_f64)(const double *x, size_t len);
} sa_rotate_kernel;

/* Words that sa_noise_kernel.count works on at once, and the most thresholds that it compares with
 * one after the other; beyond that it searches, at addresses that depend on the words. */
enum { SA_COUNT_STEP = 32, SA_SCANNED = 1024 };

typedef struct {
    const char *name;
    uint32_t needs;
    /* counts[i] = the number of thresholds that are at most words[i]; len is a multiple of
     * SA_COUNT_STEP. Returns non-zero if a word may be equal to a threshold. */
    int (*count)(uint32_t *counts, const uint64_t *words, size_t len, const uint64_t *thresholds,
                 size_t count);
    /* acc[i] += counts[i] mod p, or -= where bit i % 8 of signs[i / 8] is set; counts[i] is at most
     * (folds + 1) * p - 1. `signs` can be read in whole words of 32 bits. */
    void (*add_signed_u32)(uint32_t *acc, const uint32_t *counts, const uint8_t *signs, size_t len,
                           uint32_t p, uint32_t folds);
    void (*add_signed_u64)(uint64_t *acc, const uint32_t *counts, const uint8_t *signs, size_t len,
                           uint64_t p, uint32_t folds);
    /* low and high = the sums of the low and of the high 32 bits of (q[i] - centre)^2; len is less
     * than 2^32. SA_OK, or SA_ERANGE if a difference is 2^31 or more. */
    int (*squares_u32)(uint64_t *low, uint64_t *high, const uint32_t *q, size_t len,
                       uint64_t centre);
    int (*squares_u64)(uint64_t *low, uint64_t *high, const uint64_t *q, size_t len,
                       uint64_t centre);
} sa_noise_kernel;

typedef struct {
    const char *name;
    uint32_t needs;
    void (*share)(uint64_t *shares, const uint64_t *secrets, const uint64_t *coefficients,
                  size_t columns, size_t threshold, const uint64_t *points, size_t count);
    void (*weights)(uint64_t *weights, const uint64_t *points, size_t count);
    void (*parity)(uint64_t *parity, const uint64_t *points, size_t count, size_t threshold,
                   const uint64_t *random);
    void (*combine)(uint64_t *out, const uint64_t *weights, const uint64_t *shares, size_t count,
                    size_t columns);
    int (*decode)(uint64_t *secret, uint8_t *wrong, const uint64_t *points,
                  const uint64_t *shares, size_t count, size_t threshold, uint64_t *scratch);
} sa_shamir_kernel;

/* The active implementations. The first call of one of these functions detects the CPU. */
const sa_cipher_kernel *sa_cipher(int generator); /* null for an unknown one */
const sa_field_kernel *sa_field(void);
const sa_pack_kernel *sa_pack(void);
const sa_quantize_kernel *sa_quantize(void);
const sa_rotate_kernel *sa_rotate(void);
const sa_noise_kernel *sa_noise(void);
const sa_shamir_kernel *sa_shamir(void);

/* Calls work(context, piece) once for each piece below `pieces`, in any order, on at most `threads`
 * threads (and SA_MAX_THREADS), one of which is the caller. Returns when all pieces are done. */
enum { SA_MAX_THREADS = 64 };
void sa_parallel(void (*work)(const void *context, size_t piece), const void *context,
                 size_t pieces, size_t threads);

/* Wipes secrets that compiled code left in vector registers, and on the stack below the caller's
 * frame, where functions that have returned saved registers; the deepest of them takes 11 KiB. */
enum { SA_STACK_BYTES = 16384 };
void sa_wipe_traces(void) __attribute__((noinline));

/* 2^bits - p(bits) for bits in 16..62: at most 129. */
uint64_t sa_delta(int bits);
static inline uint64_t sa_prime(int bits) { return ((uint64_t)1 << bits) - sa_delta(bits); }

static inline size_t sa_packed_bytes(size_t len, int bits) {
    return len / 8 * (size_t)bits + (len % 8 * (size_t)bits + 7) / 8;
}

#endif
