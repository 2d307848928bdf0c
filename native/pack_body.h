/* Unpacking for pack_portable.c, for one lane type: LANE is the type, NAME(x) adds its
 * suffix. No include guard: it is included once per lane type. */

/* Out: dst[j] < 2^bits. Returns a word whose top bit is set if one is not below p. */
static inline uint64_t NAME(unpack_run)(LANE *restrict dst, const uint8_t *restrict in, size_t len,
                                        int bits, int nine)
{
    const uint64_t low = ((uint64_t)1 << bits) - 1, last = sa_prime(bits) - 1;
    const size_t group = (size_t)bits;
    uint64_t borrow = 0;
    for (; len >= 8; len -= 8, in += group, dst += 8)
        for (size_t j = 0; j < 8; j++) {
            const uint64_t x = element(in, j * group, low, nine);
            borrow |= last - x;
            dst[j] = (LANE)x;
        }
    for (size_t j = 0; j < len; j++) {
        const uint64_t x = element(in, j * group, low, nine);
        borrow |= last - x;
        dst[j] = (LANE)x;
    }
    return borrow;
}

static int NAME(unpack)(LANE *dst, const uint8_t *in, size_t len, int bits)
{
    uint8_t tail[SA_TAIL_BYTES];
    size_t head = split(tail, in, len, bits);
    uint64_t borrow;
    if (bits > 57) {
        borrow = NAME(unpack_run)(dst, in, head, bits, 1);
        borrow |= NAME(unpack_run)(dst + head, tail, len - head, bits, 1);
    } else {
        borrow = NAME(unpack_run)(dst, in, head, bits, 0);
        borrow |= NAME(unpack_run)(dst + head, tail, len - head, bits, 0);
    }
    sa_wipe(tail, sizeof tail);
    return borrow >> 63 ? SA_EDECODE : SA_OK;
}

static int NAME(unpack_add)(LANE *acc, const uint8_t *in, size_t len, int bits)
{
    const LANE p = (LANE)sa_prime(bits);
    const sa_field_kernel *field = &sa_field_portable;
    LANE x[PIECE];
    int status = SA_OK;
    for (size_t n; len > 0; acc += n, in += sa_packed_bytes(n, bits), len -= n) {
        n = len < PIECE ? len : PIECE;
        if (NAME(unpack)(x, in, n, bits) == SA_OK && field->NAME(check)(acc, n, p) == SA_OK) {
            field->NAME(add)(acc, acc, x, n, p);
            continue;
        }
        status = SA_EDECODE;
        for (size_t j = 0; j < n; j++)
            if (x[j] < p && acc[j] < p)
                field->NAME(add)(acc + j, acc + j, x + j, 1, p);
    }
    return status;
}
