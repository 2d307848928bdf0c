/* Shamir's secret sharing (1979) over F(2^61 - 1) in plain C: dealing, and rebuilding with
 * weights. Values going in and coming out are in [0, p). Sharing and combining run in constant
 * time for given lengths; points are public. */
#include "shamir_portable.h"

/* Values that share an inversion: bounds the stack. */
enum { SA_INVERSIONS = 64 };
/* Products computed side by side, to hide the latency of the multiplications. */
enum { SA_CHAINS = 8 };
/* Rows that combine() reads at a time. */
enum { SA_ROWS = 8 };

/* values[i] = 1 / values[i], all of them non-zero: Montgomery's trick, a few at a time. */
static void invert_all(uint64_t *values, size_t count)
{
    uint64_t before[SA_INVERSIONS];
    for (size_t start = 0; start < count; start += SA_INVERSIONS) {
        uint64_t *v = values + start, product = 1;
        size_t n = count - start < SA_INVERSIONS ? count - start : SA_INVERSIONS;
        for (size_t i = 0; i < n; i++) {
            before[i] = product;
            product = multiply(product, v[i]);
        }
        uint64_t inverse = invert(product);
        for (size_t i = n; i-- > 0;) {
            uint64_t next = multiply(inverse, v[i]);
            v[i] = multiply(inverse, before[i]);
            inverse = next;
        }
    }
}

static void share(uint64_t *restrict shares, const uint64_t *restrict secrets,
                  const uint64_t *restrict coefficients, size_t columns, size_t threshold,
                  const uint64_t *restrict points, size_t count)
{
    uint64_t powers[SA_TERMS + 1];
    size_t terms = threshold - 1;
    for (size_t i = 0; i < count; i++) {
        fill_powers(powers, points[i]);
        for (size_t c = 0; c < columns; c++) {
            uint64_t rest = evaluate(coefficients + c * terms, terms, powers);
            shares[i * columns + c] = canonical(add(secrets[c], multiply(rest, points[i])));
        }
    }
}

/* out[i] = product over j != i of (points[i] - points[j]). */
static void differences(uint64_t *restrict out, const uint64_t *restrict points, size_t count)
{
    for (size_t i = 0; i < count; i += SA_CHAINS) {
        uint64_t x[SA_CHAINS], product[SA_CHAINS];
        size_t chains = count - i < SA_CHAINS ? count - i : SA_CHAINS;
        for (size_t k = 0; k < SA_CHAINS; k++) {
            x[k] = points[k < chains ? i + k : i];
            product[k] = 1;
        }
        for (size_t j = 0; j < i; j++)
            for (size_t k = 0; k < SA_CHAINS; k++)
                product[k] = multiply(product[k], subtract(x[k], points[j]));
        for (size_t j = i + chains; j < count; j++)
            for (size_t k = 0; k < SA_CHAINS; k++)
                product[k] = multiply(product[k], subtract(x[k], points[j]));
        for (size_t k = 0; k < chains; k++) {
            for (size_t j = 0; j < chains; j++)
                if (j != k)
                    product[k] = multiply(product[k], subtract(x[k], x[j]));
            out[i + k] = product[k];
        }
    }
}

/* Lagrange's weight at zero is the product over j != i of x_j / (x_j - x_i): with N the
 * product of all x_j it is N (-1)^(count-1) / (x_i * product of (x_i - x_j)). */
static void weights(uint64_t *restrict out, const uint64_t *restrict points, size_t count)
{
    uint64_t numerator = count % 2 ? 1 : P - 1;
    differences(out, points, count);
    for (size_t i = 0; i < count; i++) {
        numerator = multiply(numerator, points[i]);
        out[i] = multiply(out[i], points[i]);
    }
    invert_all(out, count);
    for (size_t i = 0; i < count; i++)
        out[i] = canonical(multiply(out[i], numerator));
}

/* A word of the dual Reed-Solomon code, as in SCRAPE (Cascudo & David 2017). */
static void parity(uint64_t *restrict out, const uint64_t *restrict points, size_t count,
                   size_t threshold, const uint64_t *restrict random)
{
    uint64_t powers[SA_TERMS + 1];
    differences(out, points, count);
    invert_all(out, count);
    for (size_t i = 0; i < count; i++) {
        fill_powers(powers, points[i]);
        uint64_t value = evaluate(random, count - threshold, powers);
        out[i] = canonical(multiply(out[i], value));
    }
}

static void combine(uint64_t *restrict out, const uint64_t *restrict factors,
                    const uint64_t *restrict shares, size_t count, size_t columns)
{
    for (size_t c = 0; c < columns; c++)
        out[c] = 0;
    for (size_t i = 0; i < count; i += SA_ROWS) {
        const uint64_t *rows = shares + i * columns;
        size_t n = count - i < SA_ROWS ? count - i : SA_ROWS;
        for (size_t c = 0; c < columns; c++) {
            wide sum = out[c];
            for (size_t k = 0; k < n; k++)
                sum += (wide)factors[i + k] * rows[k * columns + c];
            out[c] = reduce(sum);
        }
    }
}

const sa_shamir_kernel sa_shamir_portable = {
    .name = "portable",
    .needs = 0,
    .share = share,
    .weights = weights,
    .parity = parity,
    .combine = combine,
    .decode = sa_shamir_decode_portable,
};
