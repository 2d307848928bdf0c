/* The entry points of api_rotate.c for one type: REAL is the type, NAME(x) adds its suffix. No include
 * guard: it is included once per type. */

/* Multiplies coordinates first..first + len by factor and their signs. */
static void NAME(signs)(sign_source *source, REAL *x, size_t first, size_t len, double factor)
{
    for (size_t i = 0; i < len; i += BLOCK) {
        const size_t n = len - i < BLOCK ? len - i : BLOCK;
        make_signs(source, first + i, n);
        sa_rotate()->NAME(signs)(x + i, source->words, n, factor);
    }
}

/* Signs and transform of the coordinates first..first + len, a power of two; the inverse has them
 * backwards. It calls itself once for each factor of eight that len has beyond BLOCK. */
static void NAME(turn)(sign_source *source, REAL *x, size_t first, size_t len, double factor,
                       int inverse)
{
    if (len <= BLOCK) {
        if (!inverse)
            NAME(signs)(source, x, first, len, factor);
        sa_rotate()->NAME(transform)(x, len);
        if (inverse)
            NAME(signs)(source, x, first, len, factor);
        return;
    }
    const size_t parts = len / BLOCK < 8 ? len / BLOCK : 8, part = len / parts;
    if (inverse)
        sa_rotate()->NAME(combine)(x, part, parts);
    for (size_t i = 0; i < len; i += part)
        NAME(turn)(source, x + i, first + i, part, factor, inverse);
    if (!inverse)
        sa_rotate()->NAME(combine)(x, part, parts);
}

/* Pass 0 or 1 over all of x: signs and factor everywhere, and the transform of `power` coordinates,
 * at the start of x in pass 0 and at its end in pass 1. */
static void NAME(pass)(sign_source *source, REAL *x, size_t len, size_t power, int number,
                       double factor, int inverse)
{
    const size_t start = number ? len - power : 0, end = start + power;
    source->nonce = (uint64_t)number;
    NAME(signs)(source, x, 0, start, factor);
    NAME(turn)(source, x + start, start, power, factor / sqrt((double)power), inverse);
    NAME(signs)(source, x + end, end, len - end, factor);
}

int NAME(sa_rotate)(REAL *x, size_t len, double factor, int inverse, int generator,
                    const uint8_t *key)
{
    sign_source source = {.cipher = sa_cipher(generator)};
    if (source.cipher == NULL || key == NULL || !sa_fits(x, len, sizeof *x) ||
        !(factor >= -DBL_MAX && factor <= DBL_MAX) || (inverse != 0 && inverse != 1))
        return SA_EARG;
    if (len == 0)
        return SA_OK;
    size_t power = 1;
    while (power <= len / 2)
        power *= 2;
    source.cipher->schedule(&source.schedule, key);
    if (inverse && power < len)
        NAME(pass)(&source, x, len, power, 1, 1, 1);
    NAME(pass)(&source, x, len, power, 0, factor, inverse);
    if (!inverse && power < len)
        NAME(pass)(&source, x, len, power, 1, 1, 0);
    sa_wipe(&source, sizeof source);
    sa_wipe_traces();
    return SA_OK;
}

int NAME(sa_norm)(double *norm, const REAL *x, size_t len)
{
    if (norm == NULL || !sa_fits(x, len, sizeof *x))
        return SA_EARG;
    const double squares = sa_rotate()->NAME(squares)(x, len);
    sa_wipe_traces();
    if (!(squares <= DBL_MAX))
        return SA_ERANGE;
    *norm = sqrt(squares);
    return SA_OK;
}
