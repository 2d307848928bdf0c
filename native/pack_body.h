/* Unpacking for pack_portable.c, for one lane type: LANE is the type, NAME(x) adds its
 * suffix. No include guard: it is read once for each lane. */

/* Out: dst[i] < 2^bits, or acc[i] below p if it was, the packed elements being below p. */
static inline void NAME(unpack_run)(LANE *restrict dst, const uint8_t *restrict in, size_t len,
                                    int bits, int nine, int add)
{
    uint64_t low = ((uint64_t)1 << bits) - 1;
    LANE p = (LANE)sa_prime(bits);
    size_t group = (size_t)bits;
    for (; len >= 8; len -= 8, in += group, dst += 8)
        for (size_t j = 0; j < 8; j++) {
            LANE x = (LANE)element(in, j * group, low, nine);
            dst[j] = add ? NAME(add)(dst[j], x, p) : x;
        }
    for (size_t j = 0; j < len; j++) {
        LANE x = (LANE)element(in, j * group, low, nine);
        dst[j] = add ? NAME(add)(dst[j], x, p) : x;
    }
}

static inline void NAME(unpack_all)(LANE *dst, const uint8_t *in, size_t len, int bits, int add)
{
    uint8_t tail[SA_TAIL_BYTES];
    size_t head = split(tail, in, len, bits);
    if (bits > 57) {
        NAME(unpack_run)(dst, in, head, bits, 1, add);
        NAME(unpack_run)(dst + head, tail, len - head, bits, 1, add);
    } else {
        NAME(unpack_run)(dst, in, head, bits, 0, add);
        NAME(unpack_run)(dst + head, tail, len - head, bits, 0, add);
    }
    sa_wipe(tail, sizeof tail);
}

static void NAME(unpack)(LANE *dst, const uint8_t *in, size_t len, int bits)
{
    NAME(unpack_all)(dst, in, len, bits, 0);
}

static void NAME(unpack_add)(LANE *acc, const uint8_t *in, size_t len, int bits)
{
    NAME(unpack_all)(acc, in, len, bits, 1);
}
