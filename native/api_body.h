/* The entry points of api.c for one lane type: LANE is the type, NAME(x) adds its suffix,
 * WIDTH_FITS(bits) tells whether elements of that width are stored in it. No include guard: it is
 * included once per lane type. */

static int NAME(vector)(const LANE *a, size_t len, int bits)
{
    return WIDTH_FITS(bits) && sa_fits(a, len, sizeof *a);
}

int NAME(sa_check)(const LANE *a, size_t len, int bits)
{
    if (!NAME(vector)(a, len, bits))
        return SA_EARG;
    return sa_field()->NAME(check)(a, len, (LANE)sa_prime(bits));
}

int NAME(sa_add)(LANE *dst, const LANE *a, const LANE *b, size_t len, int bits)
{
    if (!NAME(vector)(dst, len, bits) || !NAME(vector)(a, len, bits) ||
        !NAME(vector)(b, len, bits))
        return SA_EARG;
    sa_field()->NAME(add)(dst, a, b, len, (LANE)sa_prime(bits));
    return SA_OK;
}

int NAME(sa_sub)(LANE *dst, const LANE *a, const LANE *b, size_t len, int bits)
{
    if (!NAME(vector)(dst, len, bits) || !NAME(vector)(a, len, bits) ||
        !NAME(vector)(b, len, bits))
        return SA_EARG;
    sa_field()->NAME(sub)(dst, a, b, len, (LANE)sa_prime(bits));
    return SA_OK;
}

int NAME(sa_neg)(LANE *dst, const LANE *a, size_t len, int bits)
{
    if (!NAME(vector)(dst, len, bits) || !NAME(vector)(a, len, bits))
        return SA_EARG;
    sa_field()->NAME(neg)(dst, a, len, (LANE)sa_prime(bits));
    return SA_OK;
}

int NAME(sa_scale)(LANE *dst, const LANE *a, uint64_t k, size_t len, int bits)
{
    if (!NAME(vector)(dst, len, bits) || !NAME(vector)(a, len, bits))
        return SA_EARG;
    if (k >= sa_prime(bits))
        return SA_ERANGE;
    sa_field()->NAME(scale)(dst, a, (LANE)k, len, bits);
    return SA_OK;
}

int NAME(sa_sum)(LANE *dst, const LANE *rows, size_t count, size_t len, int bits)
{
    if (!NAME(vector)(dst, len, bits) || !sa_fits_matrix(rows, count, len, sizeof *rows))
        return SA_EARG;
    sa_field()->NAME(sum)(dst, rows, count, len, bits);
    return SA_OK;
}

int NAME(sa_pack)(uint8_t *out, const LANE *a, size_t len, int bits)
{
    if (!NAME(vector)(a, len, bits) || !sa_fits(out, len, sizeof *a))
        return SA_EARG;
    return sa_pack()->NAME(pack)(out, a, len, bits);
}

/* Checks all of `in` and dst but the elements, which are checked while they are unpacked. */
static int NAME(packed)(const LANE *dst, const uint8_t *in, size_t len, int bits)
{
    if (!NAME(vector)(dst, len, bits) || !sa_fits(in, len, sizeof *dst))
        return SA_EARG;
    const size_t used = len % 8 * (size_t)bits % 8; /* bits used of the last byte; 0 for all */
    return used && in[sa_packed_bytes(len, bits) - 1] >> used ? SA_EDECODE : SA_OK;
}

int NAME(sa_unpack)(LANE *dst, const uint8_t *in, size_t len, int bits)
{
    const int status = NAME(packed)(dst, in, len, bits);
    return status == SA_OK ? sa_pack()->NAME(unpack)(dst, in, len, bits) : status;
}

/* Subtracts what unpack_add has added. Elements that it left unchanged are recognised: one of the
 * two is still not below p. */
static void NAME(take_back)(LANE *acc, const uint8_t *in, size_t len, int bits)
{
    const LANE p = (LANE)sa_prime(bits);
    LANE added[SA_PIECE];
    for (size_t i = 0; i < len; i += SA_PIECE) {
        const size_t n = len - i < SA_PIECE ? len - i : SA_PIECE;
        sa_pack()->NAME(unpack)(added, in + sa_packed_bytes(i, bits), n, bits);
        for (size_t j = 0; j < n; j++) {
            const LANE a = acc[i + j], x = added[j];
            const LANE before = a < x ? a - x + p : a - x;
            acc[i + j] = a < p && x < p ? before : a;
        }
    }
}

int NAME(sa_unpack_add)(LANE *acc, const uint8_t *in, size_t len, int bits)
{
    int status = NAME(packed)(acc, in, len, bits);
    if (status != SA_OK)
        return status;
    status = sa_pack()->NAME(unpack_add)(acc, in, len, bits);
    if (status == SA_OK)
        return SA_OK;
    NAME(take_back)(acc, in, len, bits);
    return sa_field()->NAME(check)(acc, len, (LANE)sa_prime(bits)) == SA_OK ? status : SA_ERANGE;
}
