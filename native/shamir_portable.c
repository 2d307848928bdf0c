/* Shamir's secret sharing (1979) over F(2^61 - 1) in plain C: dealing, and rebuilding with
 * weights. Values going in and coming out are in [0, p). Sharing and combining run in constant
 * time for given lengths; points are public. */
#include "shamir_portable.h"

/* Products computed side by side, to hide the latency of the multiplications. */
enum { SA_CHAINS = 8 };
/* Rows that combine() reads at a time. */
enum { SA_ROWS = 8 };

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

static void combine(uint64_t *restrict out, const uint64_t *restrict factors,
                    const uint64_t *restrict shares, size_t count, size_t columns)
{
    for (size_t c = 0; c < columns; c++)
        out[c] = 0;
    for (size_t i = 0; i < count; i += SA_ROWS) {
        const uint64_t *rows = shares + i * columns;
        size_t n = count - i < SA_ROWS ? count - i : SA_ROWS;
        for (size_t c = 0; c < columns; c++) {
            wide sum = wide_of(out[c]);
            for (size_t k = 0; k < n; k++)
                sum = wide_sum(sum, wide_product(factors[i + k], rows[k * columns + c]));
            out[c] = reduce(sum);
        }
    }
}

#define SA_SHAMIR sa_shamir_portable
#define SA_SHAMIR_NAME "portable"
#define SA_SHAMIR_NEEDS 0
#include "shamir_kernels.h"
