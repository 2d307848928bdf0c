/* The kernels of rotate_kernels.h for one type: REAL is the type, NAME(x) adds its suffix. No include
 * guard: it is included once per type. */

/* x[i] = x[i] * factor, negated where bit i % 64 of signs[i / 64] is set; one rounding. */
static void NAME(signs)(REAL *x, const uint64_t *signs, size_t len, double factor)
{
    const words_f64 up = 63 - (words_f64)NUMBERS_F64;
    lanes_f64 plus;
    for (size_t k = 0; k < DOUBLES; k++)
        plus[k] = factor;
    size_t i = 0;
    for (; i + 64 <= len; i += 64)
        for (size_t j = 0; j < 64; j += DOUBLES) {
            const words_f64 word = (words_f64){0} + (signs[i / 64] >> j);
            const words_f64 minus = word << up & (uint64_t)1 << 63;
            const lanes_f64 by = (lanes_f64)((words_f64)plus ^ minus);
            NAME(store)(x + i + j, NAME(load)(x + i + j) * by);
        }
    for (; i < len; i++) {
        const double sign = 1 - 2 * (double)(int)(signs[i / 64] >> i % 64 & 1);
        x[i] = (REAL)((double)x[i] * (factor * sign));
    }
}

/* One level of butterflies, between vectors whose numbers differ by `step`. */
SA_INLINE void NAME(level)(NAME(lanes) v[8], const int parts, const int step)
{
#pragma GCC unroll 8
    for (int k = 0; k < parts; k++)
        if (!(k & step)) {
            const NAME(lanes) low = v[k], high = v[k + step];
            v[k] = low + high;
            v[k + step] = low - high;
        }
}

/* All levels between `parts` (2, 4 or 8; a constant where this is inlined) vectors at distances of
 * `stride` elements, the nearest first, for all of a stride; before them those inside of vectors if
 * `inner`, which is for a stride of one vector. */
SA_INLINE void NAME(butterflies)(REAL *x, size_t stride, const int parts, const int inner)
{
    NAME(lanes) v[8];
    for (size_t j = 0; j < stride; j += sizeof v[0] / sizeof *x) {
#pragma GCC unroll 8
        for (int k = 0; k < parts; k++) {
            memcpy(&v[k], x + j + (size_t)k * stride, sizeof v[k]);
            if (inner)
                v[k] = NAME(inner)(v[k]);
        }
        NAME(level)(v, parts, 1);
        if (parts > 2)
            NAME(level)(v, parts, 2);
        if (parts > 4)
            NAME(level)(v, parts, 4);
#pragma GCC unroll 8
        for (int k = 0; k < parts; k++)
            memcpy(x + j + (size_t)k * stride, &v[k], sizeof v[k]);
    }
}

static void NAME(combine)(REAL *x, size_t stride, size_t parts)
{
    if (parts == 8)
        NAME(butterflies)(x, stride, 8, 0);
    else if (parts == 4)
        NAME(butterflies)(x, stride, 4, 0);
    else if (parts == 2)
        NAME(butterflies)(x, stride, 2, 0);
}

static void NAME(transform)(REAL *x, size_t len)
{
    const size_t lanes = SA_VECTOR / sizeof *x;
    size_t done = len < 8 * lanes ? 1 : 8 * lanes; /* elements of the blocks that are transformed */
    if (done > 1)
        for (size_t i = 0; i < len; i += done)
            NAME(butterflies)(x + i, lanes, 8, 1);
    for (; done < lanes && done < len; done *= 2)
        for (size_t i = 0; i < len; i++)
            if (!(i & done)) {
                const REAL low = x[i], high = x[i + done];
                x[i] = low + high;
                x[i + done] = low - high;
            }
    while (done < len) {
        const size_t parts = len / done < 8 ? len / done : 8;
        for (size_t i = 0; i < len; i += parts * done)
            NAME(combine)(x + i, done, parts);
        done *= parts;
    }
}

/* The sum of x[i]^2, in PARTIAL_SUMS sums of every PARTIAL_SUMS-th square. */
static double NAME(squares)(const REAL *x, size_t len)
{
    lanes_f64 sums[PARTIAL_SUMS / DOUBLES] = {{0}};
    double sum[PARTIAL_SUMS];
    size_t i = 0;
    for (; i + PARTIAL_SUMS <= len; i += PARTIAL_SUMS)
#pragma GCC unroll 8
        for (size_t k = 0; k < PARTIAL_SUMS / DOUBLES; k++) {
            const lanes_f64 v = NAME(load)(x + i + k * DOUBLES);
            sums[k] += v * v;
        }
    memcpy(sum, sums, sizeof sum);
    for (size_t k = 0; i < len; i++, k++)
        sum[k] += (double)x[i] * (double)x[i];
    for (size_t half = PARTIAL_SUMS / 2; half > 0; half /= 2)
        for (size_t k = 0; k < half; k++)
            sum[k] += sum[k + half];
    return sum[0];
}
