/* The kernels of field_portable.c for one lane type: LANE is the type, NAME(x) adds its
 * suffix. No include guard: it is included once per lane type. Unless stated otherwise, elements
 * are in [0, p), both in and out. */

/* a - t mod p. In: a in [0, p), t in [0, p]. Out: [0, p). */
static inline LANE NAME(subtract)(LANE a, LANE t, LANE p)
{
    LANE borrow = NAME(below)(a, t);
    return (a - t) + (p & (0 - borrow));
}

/* In: any values. */
static int NAME(check)(const LANE *a, size_t len, LANE p)
{
    LANE bad = 0;
    for (size_t i = 0; i < len; i++)
        bad |= NAME(outside)(a[i], p);
    return bad ? SA_ERANGE : SA_OK;
}

static void NAME(add)(LANE *dst, const LANE *a, const LANE *b, size_t len, LANE p)
{
    SA_INDEPENDENT
    for (size_t i = 0; i < len; i++)
        dst[i] = NAME(subtract)(a[i], p - b[i], p); /* a + b itself may not fit a lane */
}

static void NAME(sub)(LANE *dst, const LANE *a, const LANE *b, size_t len, LANE p)
{
    SA_INDEPENDENT
    for (size_t i = 0; i < len; i++)
        dst[i] = NAME(subtract)(a[i], b[i], p);
}

static void NAME(neg)(LANE *dst, const LANE *a, size_t len, LANE p)
{
    SA_INDEPENDENT
    for (size_t i = 0; i < len; i++)
        dst[i] = NAME(subtract)(0, a[i], p);
}

static void NAME(scale)(LANE *dst, const LANE *a, LANE k, size_t len, int bits)
{
    uint32_t d = (uint32_t)sa_delta(bits);
    SA_INDEPENDENT
    for (size_t i = 0; i < len; i++)
        dst[i] = NAME(multiply)(a[i], k, bits, d);
}

/* dst[0..len) = the sum of count rows that lie `stride` elements apart; len is at most
 * SA_SUM_COLUMNS. The accumulators are reduced only when another element could overflow. */
static void NAME(sum_columns)(LANE *restrict dst, const LANE *restrict rows, size_t count,
                              size_t stride, size_t len, int bits)
{
    uint64_t sums[SA_SUM_COLUMNS];
    uint64_t limit = NAME(sum_rows)(bits), room = limit;
    uint32_t d = (uint32_t)sa_delta(bits);
    for (size_t j = 0; j < len; j++)
        sums[j] = 0;
    for (size_t i = 0; i < count; i++, room--) {
        const LANE *row = rows + i * stride;
        if (room == 0) {
            for (size_t j = 0; j < len; j++)
                sums[j] = reduce_narrow(sums[j], bits, d);
            room = limit;
        }
        for (size_t j = 0; j < len; j++)
            sums[j] += row[j];
    }
    for (size_t j = 0; j < len; j++)
        dst[j] = (LANE)reduce_narrow(sums[j], bits, d);
}

static void NAME(sum)(LANE *dst, const LANE *rows, size_t count, size_t len, int bits)
{
    for (size_t j = 0; j < len; j += SA_SUM_COLUMNS) {
        size_t columns = len - j < SA_SUM_COLUMNS ? len - j : SA_SUM_COLUMNS;
        NAME(sum_columns)(dst + j, rows + j, count, len, columns, bits);
    }
}

/* In: any words. A rejected word is turned into zero, which changes nothing. */
static inline int NAME(mask_signed)(LANE *restrict acc, const LANE *restrict words, size_t len,
                                    int bits, int negative)
{
    LANE low = (LANE)(((uint64_t)1 << bits) - 1);
    LANE p = (LANE)sa_prime(bits);
    LANE accepted = (LANE)-1;
    for (size_t i = 0; i < len; i++) {
        LANE w = words[i] & low;
        LANE keep = 0 - NAME(below)(w, p);
        w &= keep;
        accepted &= keep;
        acc[i] = NAME(subtract)(acc[i], negative ? w : p - w, p);
    }
    return accepted == 0;
}

/* The same if 2p fits a lane: a sum needs no test for overflow, and the smaller of s and s -+ p is
 * the one below p, as the other has wrapped around. */
static inline int NAME(mask_roomy)(LANE *restrict acc, const LANE *restrict words, size_t len,
                                   int bits, int negative)
{
    LANE low = (LANE)(((uint64_t)1 << bits) - 1);
    LANE p = (LANE)sa_prime(bits);
    LANE accepted = (LANE)-1;
    for (size_t i = 0; i < len; i++) {
        LANE w = words[i] & low;
        LANE keep = w < p ? (LANE)-1 : 0;
        accepted &= keep;
        LANE s = negative ? acc[i] - (w & keep) : acc[i] + (w & keep);
        LANE t = negative ? s + p : s - p;
        acc[i] = s < t ? s : t;
    }
    return accepted == 0;
}

static int NAME(mask)(LANE *acc, const LANE *words, size_t len, int bits, int sign)
{
    /* One call per sign, so that every loop is compiled for its sign. */
    if (8 * sizeof(LANE) <= SA_MINIMUM_LANES && bits < 8 * (int)sizeof(LANE))
        return sign < 0 ? NAME(mask_roomy)(acc, words, len, bits, 1)
                        : NAME(mask_roomy)(acc, words, len, bits, 0);
    if (sign < 0)
        return NAME(mask_signed)(acc, words, len, bits, 1);
    return NAME(mask_signed)(acc, words, len, bits, 0);
}
