/* Rebuilding weights for Shamir's secret sharing (1979) over F(2^61 - 1). Values going in and
 * coming out of kernels are in [0, p); points are public. The file that includes this defines
 *   SA_SHAMIR, SA_SHAMIR_NAME, SA_SHAMIR_NEEDS   the struct of kernels, its name and CPU features
 *   share(), combine()                           two of its kernels
 *   differences(out, points, count)              out[i] = product over j != i of
 *                                                (points[i] - points[j]), in [0, p] */

/* Values that are inverted together: bounds the stack. */
enum { SA_INVERSIONS = 64 };

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

/* A word of the dual Reed-Solomon code, as in SCRAPE (Cascudo & David 2017). The random
 * polynomial's values are shares of its lowest coefficient. */
static void parity(uint64_t *restrict out, const uint64_t *restrict points, size_t count,
                   size_t threshold, const uint64_t *restrict random)
{
    uint64_t values[SA_INVERSIONS];
    differences(out, points, count);
    invert_all(out, count);
    for (size_t start = 0; start < count; start += SA_INVERSIONS) {
        size_t n = count - start < SA_INVERSIONS ? count - start : SA_INVERSIONS;
        share(values, random, random + 1, 1, count - threshold, points + start, n);
        for (size_t i = 0; i < n; i++)
            out[start + i] = canonical(multiply(out[start + i], values[i]));
    }
}

extern const sa_shamir_kernel SA_SHAMIR;
const sa_shamir_kernel SA_SHAMIR = {
    .name = SA_SHAMIR_NAME,
    .needs = SA_SHAMIR_NEEDS,
    .share = share,
    .weights = weights,
    .parity = parity,
    .combine = combine,
    .decode = sa_shamir_decode_portable,
};
