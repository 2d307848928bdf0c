/* The whole C surface of the native core. No preprocessor lines: this text is read both by
 * the compiler and by cffi's cdef().
 *
 * Conventions. Lengths are in elements unless the name says bytes. `bits` is the width b of
 * the field, 16..62, and p(b) the largest prime below 2^b; widths up to 32 live in uint32_t
 * lanes (_u32), wider ones in uint64_t lanes (_u64). Field elements are in [0, p), both in and
 * out; callers guarantee it, and sa_check_* tests it. Every function returns a status, allocates
 * nothing (the system allocates the stacks of threads), does no I/O, and, unless stated otherwise,
 * writes nothing through its outputs unless it returns SA_OK. A pointer may be null only
 * when its length is zero. `dst` may be the same array as an input of the same type, but may not
 * partly overlap it. */

enum sa_status {
    SA_OK = 0,
    SA_EARG = -1,    /* an argument is outside its documented range */
    SA_ERANGE = -2,  /* a value is outside its range: NaN, infinity, element or factor >= p */
    SA_EDECODE = -3  /* encoded bytes are not canonical, or shares do not decode */
};

/* Keystream generators. These are not the suite numbers in messages: a suite names all algorithms
 * of a session, and its generator is one of them. */
enum sa_generator {
    SA_AES256CTR = 1, /* block 16 bytes; block = nonce then counter, both big-endian */
    SA_CHACHA20 = 2,  /* block 64 bytes; words 12-13 counter, 14-15 nonce, little-endian */
};

/* ---- implementations -------------------------------------------------------------------
 * A family is a group of kernels that are chosen together ("aes", "chacha", "field", ...).
 * Implementations of a family are numbered from the portable one (0) upwards; the fastest
 * usable one is active from the first call on. */
int sa_family_count(void);
const char *sa_family_name(int family);
int sa_implementation_count(int family);
const char *sa_implementation_name(int family, int implementation);
int sa_implementation_usable(int family, int implementation); /* 1 when CPU and OS have it */
int sa_active(int family);                                    /* index of the active one */
int sa_family_generator(int family); /* the generator that these kernels make, 0 if none */
int sa_select(int family, int implementation);                /* force one: for tests */
int sa_cpu_feature_count(void);
const char *sa_cpu_feature_name(int feature);
int sa_cpu_feature_present(int feature);

/* ---- streams and masks ------------------------------------------------------------------ */

/* out[0..bytes) = keystream of (generator, key[32], nonce) from the start of block `counter`. */
int sa_stream(int generator, uint8_t *out, size_t bytes, const uint8_t *key, uint64_t nonce,
              uint64_t counter);

/* acc[j] += sign_k * mask_k[start + j] mod p for every key k: `keys` holds count keys of 32
 * bytes, `signs` count values +1 or -1. Element i of a mask is the low `bits` bits of word i
 * (little-endian, one lane wide) of the stream at nonce 0; if that is not below p, it is those of
 * the first word of the stream at nonce i + 1 that are. Large work is done by up to `threads`
 * threads, one of them the caller, and never more than 64; the result does not depend on their
 * number. threads >= 1. */
int sa_mask_add_u32(uint32_t *acc, size_t len, uint64_t start, int bits, int generator,
                    const uint8_t *keys, const int8_t *signs, size_t count, size_t threads);
int sa_mask_add_u64(uint64_t *acc, size_t len, uint64_t start, int bits, int generator,
                    const uint8_t *keys, const int8_t *signs, size_t count, size_t threads);

/* ---- field vectors ---------------------------------------------------------------------- */

int sa_modulus(uint64_t *p, int bits);
int sa_check_u32(const uint32_t *a, size_t len, int bits); /* SA_ERANGE if any a[i] >= p */
int sa_check_u64(const uint64_t *a, size_t len, int bits);
int sa_add_u32(uint32_t *dst, const uint32_t *a, const uint32_t *b, size_t len, int bits);
int sa_add_u64(uint64_t *dst, const uint64_t *a, const uint64_t *b, size_t len, int bits);
int sa_sub_u32(uint32_t *dst, const uint32_t *a, const uint32_t *b, size_t len, int bits);
int sa_sub_u64(uint64_t *dst, const uint64_t *a, const uint64_t *b, size_t len, int bits);
int sa_neg_u32(uint32_t *dst, const uint32_t *a, size_t len, int bits);
int sa_neg_u64(uint64_t *dst, const uint64_t *a, size_t len, int bits);
/* dst = a * k mod p, with k in [0, p). */
int sa_scale_u32(uint32_t *dst, const uint32_t *a, uint64_t k, size_t len, int bits);
int sa_scale_u64(uint64_t *dst, const uint64_t *a, uint64_t k, size_t len, int bits);
/* dst[j] = sum of rows[i * len + j] over i < count, mod p; dst is not one of the rows. */
int sa_sum_u32(uint32_t *dst, const uint32_t *rows, size_t count, size_t len, int bits);
int sa_sum_u64(uint64_t *dst, const uint64_t *rows, size_t count, size_t len, int bits);

/* ---- packing: `bits` bits per element, least significant bit first, ceil(len*bits/8) bytes */

/* SA_ERANGE if any a[i] >= p; the content of out is then undefined. */
int sa_pack_u32(uint8_t *out, const uint32_t *a, size_t len, int bits);
int sa_pack_u64(uint8_t *out, const uint64_t *a, size_t len, int bits);
/* SA_EDECODE if an element is >= p (the content of dst is then undefined) or a padding bit is
 * set. */
int sa_unpack_u32(uint32_t *dst, const uint8_t *in, size_t len, int bits);
int sa_unpack_u64(uint64_t *dst, const uint8_t *in, size_t len, int bits);
/* SA_EDECODE as above, or SA_ERANGE if any acc[i] >= p; acc is then unchanged. */
int sa_unpack_add_u32(uint32_t *acc, const uint8_t *in, size_t len, int bits);
int sa_unpack_add_u64(uint64_t *acc, const uint8_t *in, size_t len, int bits);

/* ---- quantization -----------------------------------------------------------------------
 * q[i] = min(floor((clamp(x[i], -clip, clip) + clip) * scale + u), levels) in double
 * precision without fused operations, where scale = levels / (2 * clip) and u = word start + i
 * (32-bit little-endian) of the stream at nonce 0, times 2^-32. clip finite and > 0, levels in
 * 1..2^32-1, and scale finite. *clipped counts the |x[i]| > bound, with bound >= clip: a clip that
 * was rounded up to the type of the caller's values. SA_ERANGE if any x[i] is NaN or infinite. */
int sa_quantize_f32_u32(uint32_t *q, const float *x, size_t len, uint64_t start, double clip,
                        double bound, uint64_t levels, int generator, const uint8_t *key,
                        uint64_t *clipped);
int sa_quantize_f32_u64(uint64_t *q, const float *x, size_t len, uint64_t start, double clip,
                        double bound, uint64_t levels, int generator, const uint8_t *key,
                        uint64_t *clipped);
int sa_quantize_f64_u32(uint32_t *q, const double *x, size_t len, uint64_t start, double clip,
                        double bound, uint64_t levels, int generator, const uint8_t *key,
                        uint64_t *clipped);
int sa_quantize_f64_u64(uint64_t *q, const double *x, size_t len, uint64_t start, double clip,
                        double bound, uint64_t levels, int generator, const uint8_t *key,
                        uint64_t *clipped);
/* x[i] = (double)q[i] * scale - offset, rounded to the output type at the end; scale and offset
 * are finite. */
int sa_dequantize_u32_f32(float *x, const uint32_t *q, size_t len, double scale, double offset);
int sa_dequantize_u64_f32(float *x, const uint64_t *q, size_t len, double scale, double offset);
int sa_dequantize_u32_f64(double *x, const uint32_t *q, size_t len, double scale, double offset);
int sa_dequantize_u64_f64(double *x, const uint64_t *q, size_t len, double scale, double offset);

/* ---- rotation ---------------------------------------------------------------------------
 * A random rotation without padding (Ailon & Chazelle 2009, with two overlapping transforms for a
 * length that is no power of two). Let P be the largest power of two that is not above len, H the
 * Walsh-Hadamard transform of length P divided by sqrt(P), and S_n the signs from the stream at nonce
 * n: bit j of byte i is the sign of coordinate 8 i + j of x, and a set bit is minus. Forward:
 * x *= factor * S_0, then H on x[0..P), and, unless P = len, x *= S_1, then H on x[len-P..len). The
 * inverse (1, else 0) undoes that, last step first, and multiplies by factor. factor is finite. Sums
 * are rounded to the type of x; all implementations give the same bits, but for those of a NaN. A
 * NaN or an infinity spreads to all of x. */
int sa_rotate_f32(float *x, size_t len, double factor, int inverse, int generator,
                  const uint8_t *key);
int sa_rotate_f64(double *x, size_t len, double factor, int inverse, int generator,
                  const uint8_t *key);
/* *norm = the L2 norm in double precision, the same on all implementations. SA_ERANGE if the sum of
 * squares is not finite: a NaN, an infinity, or doubles around 1e154 and above. */
int sa_norm_f32(double *norm, const float *x, size_t len);
int sa_norm_f64(double *norm, const double *x, size_t len);

/* ---- noise -------------------------------------------------------------------------------
 * acc[i] = acc[i] + X_i mod p with independent integers X_i, drawn by integers alone. */

/* |X_i| is the number of thresholds that are at most U_i, for 128-bit thresholds in ascending
 * order, whose high words are thresholds[0..count) and whose low words are thresholds[count..2 *
 * count); 1 <= count < 2^31. U_i has the high word i (64-bit little-endian) of the stream at nonce
 * 0, and the low word 0 of the stream at nonce i + 2, which is made only if the high word is that
 * of a threshold. X_i is negative if bit i % 8 of byte i / 8 of the stream at nonce 1 is set. Time
 * does not depend on what is drawn (but for those equal words). Up to 1,024 thresholds, of those with
 * a high word of all ones counting one, no address in memory does either. */
int sa_skellam_add_u32(uint32_t *acc, size_t len, int bits, const uint64_t *thresholds,
                       size_t count, int generator, const uint8_t *key);
int sa_skellam_add_u64(uint64_t *acc, size_t len, int bits, const uint64_t *thresholds,
                       size_t count, int generator, const uint8_t *key);
/* X_i is discrete Gaussian: P(X_i = k) is in proportion to exp(-k^2 / (2 sigma^2)), with sigma^2 =
 * variance * 2^-16 and 1 <= variance <= 2^56; but |X_i| >= 128 * t, of chance below 2^-11000,
 * is not drawn. Samples take the words (32-bit little-endian) of the stream at nonce 0 one
 * after the other, so their time depends on what is drawn. The algorithms are 1 to 3 of Canonne,
 * Kamath & Steinke (2020, arXiv 2004.00010), with t = floor(sigma) + 1:
 *
 * 1. u = below(t). With chance exp(-u / t) go on, else begin again.
 * 2. v = 0; while exp(-1) holds, v = v + 1; at v = 128 begin again.
 * 3. y = u + t * v; minus = below(2). If minus = 1 and y = 0, begin again.
 * 4. With chance exp(-a / b) the sample is y, or -y if minus = 1, else begin again; here
 *    a = (y * t * 2^16 - variance)^2 and b = 2^17 * variance * t^2, so that
 *    a / b = (y - sigma^2 / t)^2 / (2 sigma^2).
 *
 * below(n) is uniform in 0..n-1: as many words as n - 1 takes, the first one lowest, cut to the bits
 * of n - 1; again with the next words until that is below n. For n = 1 it takes no word.
 * exp(-1): k = 1; while below(k) = 0, k = k + 1; it holds if k is odd.
 * exp(-a / b): for each time that b can be taken from a, exp(-1) must hold, or it fails at once; with
 * what is left of a: k = 1; while below(k) = 0 and then below(b) < a, k = k + 1; it holds if k is
 * odd. */
int sa_gaussian_add_u32(uint32_t *acc, size_t len, int bits, uint64_t variance, int generator,
                        const uint8_t *key);
int sa_gaussian_add_u64(uint64_t *acc, size_t len, int bits, uint64_t variance, int generator,
                        const uint8_t *key);
/* *high * 2^64 + *low = the sum of (q[i] - centre)^2, as integers; SA_ERANGE if a difference is
 * 2^31 or more in absolute value. */
int sa_sum_squares_u32(uint64_t *low, uint64_t *high, const uint32_t *q, size_t len,
                       uint64_t centre);
int sa_sum_squares_u64(uint64_t *low, uint64_t *high, const uint64_t *q, size_t len,
                       uint64_t centre);

/* ---- Shamir sharing over F(2^61 - 1) -----------------------------------------------------
 * All values are below 2^61 - 1 (SA_ERANGE), points distinct and non-zero (SA_EARG). No output
 * overlaps an input. */

/* shares[i * columns + c] = f_c(points[i]), where f_c has constant term secrets[c] and, for
 * k in 1..threshold-1, coefficient coefficients[c * (threshold - 1) + k - 1] of x^k. */
int sa_shamir_share(uint64_t *shares, const uint64_t *secrets, const uint64_t *coefficients,
                    size_t columns, size_t threshold, const uint64_t *points, size_t count);
/* Lagrange weights at zero: sum of weights[i] * f(points[i]) = f(0) for deg f < count. */
int sa_shamir_weights(uint64_t *weights, const uint64_t *points, size_t count);
/* Parity-check weights: sum of parity[i] * f(points[i]) = 0 for deg f < threshold, and for
 * any other word with probability 2^-61 over the count - threshold uniform values `random`.
 * parity[i] = g(points[i]) / product over j != i of (points[i] - points[j]), where g has the
 * coefficients `random`, lowest first. threshold < count. */
int sa_shamir_parity(uint64_t *parity, const uint64_t *points, size_t count, size_t threshold,
                     const uint64_t *random);
/* out[s * columns + c] = sum over i of weights[s * count + i] * shares[i * columns + c]. */
int sa_shamir_combine(uint64_t *out, const uint64_t *weights, size_t sums, const uint64_t *shares,
                      size_t count, size_t columns);
/* Unique decoding (Gao 2003): the polynomial of degree < threshold that agrees with all but
 * at most floor((count - threshold) / 2) of the shares, its value at zero in *secret, and
 * wrong[i] = 1 where shares[i] disagrees. SA_EDECODE if there is none. `scratch` has
 * sa_shamir_decode_scratch(count) elements. */
size_t sa_shamir_decode_scratch(size_t count);
int sa_shamir_decode(uint64_t *secret, uint8_t *wrong, const uint64_t *points,
                     const uint64_t *shares, size_t count, size_t threshold,
                     uint64_t *scratch);

/* ---- memory ------------------------------------------------------------------------------ */

void sa_wipe(void *memory, size_t bytes); /* not optimised away */
