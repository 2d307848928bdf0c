/* Decoding of Shamir sharings over F(2^61 - 1) with wrong shares. It runs only where all shares are
 * known, so its time may depend on them. A polynomial is an array of coefficients, lowest first,
 * and their number. */
#include "shamir_portable.h"

/* The length without leading zeros: 0 for the zero polynomial. */
static size_t trim(const uint64_t *f, size_t len)
{
    while (len > 0 && canonical(f[len - 1]) == 0)
        len--;
    return len;
}

/* f += k g, over the length of g. */
static void add_multiple(uint64_t *restrict f, uint64_t k, const uint64_t *restrict g, size_t len)
{
    for (size_t j = 0; j < len; j++)
        f[j] = add(f[j], multiply(k, g[j]));
}

/* g = product of (x - points[i]), count + 1 coefficients; f = the polynomial of degree below
 * count with f(points[i]) = shares[i]. Newton's interpolation, keeping both polynomials for
 * the points so far: f += g * (share - f(point)) / g(point), then g *= x - point. */
static void interpolate(uint64_t *restrict g, uint64_t *restrict f,
                        const uint64_t *restrict points, const uint64_t *restrict shares,
                        size_t count)
{
    uint64_t powers[SA_TERMS + 1];
    g[0] = 1;
    for (size_t i = 0; i < count; i++) {
        fill_powers(powers, points[i]);
        uint64_t error = subtract(shares[i], evaluate(f, i, powers));
        uint64_t step = multiply(error, invert(evaluate(g, i + 1, powers)));
        uint64_t root = negate(points[i]);
        f[i] = 0;
        g[i + 1] = 0;
        for (size_t j = i + 1; j > 0; j--) {
            f[j - 1] = add(f[j - 1], multiply(step, g[j - 1]));
            g[j] = add(g[j - 1], multiply(root, g[j]));
        }
        g[0] = multiply(root, g[0]);
    }
}

/* f modulo g in the g_len - 1 lowest coefficients of f, and the quotient in those above.
 * In: f_len >= g_len > 0, the leading coefficient of g not zero. */
static void divide(uint64_t *restrict f, size_t f_len, const uint64_t *restrict g, size_t g_len)
{
    uint64_t inverse = invert(g[g_len - 1]);
    for (size_t s = f_len - g_len + 1; s-- > 0;) {
        uint64_t q = multiply(f[s + g_len - 1], inverse);
        add_multiple(f + s, negate(q), g, g_len - 1);
        f[s + g_len - 1] = q;
    }
}

static void swap(uint64_t **a, uint64_t **b)
{
    uint64_t *other = *a;
    *a = *b;
    *b = other;
}

/* Two polynomials of count + 1 coefficients, two of at most floor(count / 2) + 1. */
size_t sa_shamir_decode_scratch(size_t count)
{
    if (count > SIZE_MAX / 32)
        return SIZE_MAX; /* too large for memory; sa_shamir_decode refuses it */
    return 2 * (count + 1) + 2 * (count / 2 + 1);
}

/* Gao's algorithm (2003): run Euclid on g = product of (x - point) and the interpolation f
 * of the shares, until the degree is below (count + threshold) / 2. With r = u g + v f the
 * remainder reached, r / v is the polynomial sought if there is one: v is zero at the wrong
 * shares. Degrees of v never exceed (count - threshold) / 2. */
int sa_shamir_decode_portable(uint64_t *secret, uint8_t *wrong, const uint64_t *points,
                              const uint64_t *shares, size_t count, size_t threshold,
                              uint64_t *scratch)
{
    size_t most = (count - threshold) / 2, errors = 0;
    uint64_t *r0 = scratch, *r1 = r0 + count + 1;
    uint64_t *v0 = r1 + count + 1, *v1 = v0 + most + 1;
    interpolate(r0, r1, points, shares, count);
    for (size_t j = 0; j <= most; j++)
        v0[j] = v1[j] = 0;
    v1[0] = 1;
    size_t r0_len = count + 1, r1_len = trim(r1, count), v1_len = 1;
    while (2 * r1_len >= count + threshold + 2) {
        size_t q_len = r0_len - r1_len + 1;
        const uint64_t *q = r0 + r1_len - 1;
        divide(r0, r0_len, r1, r1_len);
        for (size_t k = 0; k < q_len; k++)
            add_multiple(v0 + k, negate(q[k]), v1, v1_len);
        r0_len = r1_len;
        r1_len = trim(r0, r1_len - 1);
        v1_len += q_len - 1;
        swap(&r0, &r1);
        swap(&v0, &v1);
    }

    /* f = r1 / v1, without remainder and of degree < threshold. */
    uint64_t *f = r1 + v1_len - 1;
    size_t f_len = 0;
    if (r1_len > 0) {
        if (r1_len < v1_len || r1_len - v1_len >= threshold)
            return SA_EDECODE;
        f_len = r1_len - v1_len + 1;
        divide(r1, r1_len, v1, v1_len);
        if (trim(r1, v1_len - 1) > 0)
            return SA_EDECODE;
    }

    /* Check the result against the contract. r0 is free now and holds the comparisons. */
    uint64_t powers[SA_TERMS + 1];
    for (size_t i = 0; i < count; i++) {
        fill_powers(powers, points[i]);
        r0[i] = (uint64_t)(evaluate(f, f_len, powers) != shares[i]);
        errors += (size_t)r0[i];
    }
    if (errors > most)
        return SA_EDECODE;
    for (size_t i = 0; i < count; i++)
        wrong[i] = (uint8_t)r0[i];
    *secret = f_len > 0 ? canonical(f[0]) : 0;
    return SA_OK;
}

