/* Argument checks for Shamir sharing. Points are parameters (SA_EARG if they are not distinct,
 * non-zero elements); all other elements are values (SA_ERANGE if one is not below p). */
#include "checks.h"
#include "kernels.h"

static const uint64_t P = ((uint64_t)1 << 61) - 1;

/* Whether all are below p, in constant time: a larger one shows in its top bits. */
static int in_field(const uint64_t *values, size_t len)
{
    uint64_t bad = 0;
    for (size_t i = 0; i < len; i++)
        bad |= (P - 1 - values[i]) | values[i];
    return (bad >> 61) == 0;
}

/* Whether the points are distinct, non-zero and below p. They are public, and mostly in ascending
 * order: then one pass is enough. */
static int valid_points(const uint64_t *points, size_t count)
{
    int ascending = 1;
    if (!sa_fits(points, count, sizeof *points) || !in_field(points, count))
        return 0;
    for (size_t i = 0; i < count; i++) {
        if (points[i] == 0)
            return 0;
        ascending &= i == 0 || points[i - 1] < points[i];
    }
    for (size_t i = 1; !ascending && i < count; i++) {
        int repeated = 0;
        for (size_t j = 0; j < i; j++)
            repeated |= points[i] == points[j];
        if (repeated)
            return 0;
    }
    return 1;
}

int sa_shamir_share(uint64_t *shares, const uint64_t *secrets, const uint64_t *coefficients,
                    size_t columns, size_t threshold, const uint64_t *points, size_t count)
{
    if (threshold < 1 || !sa_fits(secrets, columns, sizeof *secrets) ||
        !sa_fits_matrix(coefficients, columns, threshold - 1, sizeof *coefficients) ||
        !sa_fits_matrix(shares, count, columns, sizeof *shares) || !valid_points(points, count))
        return SA_EARG;
    if (!in_field(secrets, columns) || !in_field(coefficients, columns * (threshold - 1)))
        return SA_ERANGE;
    sa_shamir()->share(shares, secrets, coefficients, columns, threshold, points, count);
    sa_wipe_traces();
    return SA_OK;
}

int sa_shamir_weights(uint64_t *weights, const uint64_t *points, size_t count)
{
    if (!sa_fits(weights, count, sizeof *weights) || !valid_points(points, count))
        return SA_EARG;
    sa_shamir()->weights(weights, points, count);
    return SA_OK;
}

int sa_shamir_parity(uint64_t *parity, const uint64_t *points, size_t count, size_t threshold,
                     const uint64_t *random)
{
    if (threshold < 1 || threshold >= count || !sa_fits(parity, count, sizeof *parity) ||
        !sa_fits(random, count - threshold, sizeof *random) || !valid_points(points, count))
        return SA_EARG;
    if (!in_field(random, count - threshold))
        return SA_ERANGE;
    sa_shamir()->parity(parity, points, count, threshold, random);
    return SA_OK;
}

int sa_shamir_combine(uint64_t *out, const uint64_t *weights, size_t sums, const uint64_t *shares,
                      size_t count, size_t columns)
{
    if (!sa_fits_matrix(out, sums, columns, sizeof *out) ||
        !sa_fits_matrix(weights, sums, count, sizeof *weights) ||
        !sa_fits_matrix(shares, count, columns, sizeof *shares))
        return SA_EARG;
    if (!in_field(weights, sums * count) || !in_field(shares, count * columns))
        return SA_ERANGE;
    for (size_t s = 0; s < sums; s++)
        sa_shamir()->combine(out + s * columns, weights + s * count, shares, count, columns);
    sa_wipe_traces();
    return SA_OK;
}

int sa_shamir_decode(uint64_t *secret, uint8_t *wrong, const uint64_t *points,
                     const uint64_t *shares, size_t count, size_t threshold, uint64_t *scratch)
{
    if (threshold < 1 || threshold > count || secret == NULL || wrong == NULL ||
        scratch == NULL || sa_shamir_decode_scratch(count) > (size_t)PTRDIFF_MAX / 8 ||
        !sa_fits(shares, count, sizeof *shares) || !valid_points(points, count))
        return SA_EARG;
    if (!in_field(shares, count))
        return SA_ERANGE;
    return sa_shamir()->decode(secret, wrong, points, shares, count, threshold, scratch);
}
