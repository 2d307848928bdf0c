/* Adds keystream from registers to an accumulator, for the fused kernels of all ciphers. The file
 * that includes this defines
 *   SA_VECTOR              bytes of a vector
 *   SA_MINIMUM, SA_MAXIMUM(a, b)  of unsigned 32-bit lanes
 *   SA_NEGATIVE(v)         all ones in the 64-bit lanes whose top bit is set, else zero
 *   SA_ANY(v)              non-zero if any bit is set
 * for any vectors of that size. `lane` (4 or 8) is the size of an element in bytes; like
 * `negative` it is a constant where this is inlined. */

#define SA_INLINE static inline __attribute__((always_inline))

typedef uint32_t sa_words __attribute__((vector_size(SA_VECTOR)));
typedef uint64_t sa_wides __attribute__((vector_size(SA_VECTOR)));

typedef struct {
    sa_words low;  /* 2^bits - 1 in every element */
    sa_words p;    /* p(bits) in every element */
    sa_words seen; /* narrow: the greatest words so far; wide: ones where all were below p */
} sa_mask;

SA_INLINE sa_words sa_everywhere(uint64_t x, int lane)
{
    return lane == 4 ? (sa_words){0} + (uint32_t)x : (sa_words)((sa_wides){0} + x);
}

SA_INLINE sa_mask sa_mask_of(int bits, int lane)
{
    return (sa_mask){
        .low = sa_everywhere(((uint64_t)1 << bits) - 1, lane),
        .p = sa_everywhere(sa_prime(bits), lane),
        .seen = sa_everywhere(lane == 4 ? 0 : UINT64_MAX, lane),
    };
}

/* In: elements of acc below p, 2p fitting a lane; any words. Out: acc +- the words' low bits mod
 * p, or acc itself where these are not below p. */
SA_INLINE sa_words sa_mask_narrow(sa_mask *m, sa_words acc, sa_words words, int negative)
{
    /* A word that is replaced by p changes nothing. Of s and s -+ p the smaller one is below p: the
     * other one has wrapped around, or is not reduced. */
    const sa_words w = (sa_words)SA_MINIMUM(words & m->low, m->p);
    const sa_words s = negative ? acc - w : acc + w;
    m->seen = (sa_words)SA_MAXIMUM(m->seen, w);
    return (sa_words)SA_MINIMUM(s, negative ? s + m->p : s - m->p);
}

SA_INLINE sa_words sa_mask_wide(sa_mask *m, sa_words acc, sa_words words, int negative)
{
    const sa_wides p = (sa_wides)m->p, w = (sa_wides)(words & m->low);
    const sa_wides below = (sa_wides)SA_NEGATIVE(w - p);
    const sa_wides s = negative ? (sa_wides)acc - (w & below) : (sa_wides)acc + ((w - p) & below);
    m->seen &= (sa_words)below;
    return (sa_words)(s + (p & (sa_wides)SA_NEGATIVE(s)));
}

SA_INLINE sa_words sa_mask_vector(sa_mask *m, sa_words acc, sa_words words, int lane, int negative)
{
    return lane == 4 ? sa_mask_narrow(m, acc, words, negative)
                     : sa_mask_wide(m, acc, words, negative);
}

/* 1 if a word was not below p, else 0. */
SA_INLINE int sa_mask_rejected(const sa_mask *m, int lane)
{
    return SA_ANY(lane == 4 ? (sa_words)(m->seen == m->p) : ~m->seen) != 0;
}
