/* The moduli: p(b), the largest prime below 2^b, as its distance from 2^b. The test-suite
 * recomputes the table and proves the primes. */
#include "kernels.h"

enum { SA_FIRST_BITS = 16 };

static const uint8_t deltas[] = {
    15, 1, 5, 1, 3, 9, 3, 15,              /* 16..23 */
    3, 39, 5, 39, 57, 3, 35, 1,            /* 24..31 */
    5, 9, 41, 31, 5, 25, 45, 7,            /* 32..39 */
    87, 21, 11, 57, 17, 55, 21, 115,       /* 40..47 */
    59, 81, 27, 129, 47, 111, 33, 55,      /* 48..55 */
    5, 13, 27, 55, 93, 1, 57               /* 56..62 */
};

uint64_t sa_delta(int bits) { return deltas[bits - SA_FIRST_BITS]; }
