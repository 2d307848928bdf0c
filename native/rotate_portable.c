/* The rotation with vectors of 128 bits: SSE2, NEON, or what the compiler makes of them elsewhere. */
#include "kernels.h"

#define SA_VECTOR 16
#define SA_WIDEN(from) ((lanes_f64){(double)(from)[0], (double)(from)[1]})
#define SA_NARROW(to, v) ((to)[0] = (float)(v)[0], (to)[1] = (float)(v)[1])
#define SA_ROTATE sa_rotate_portable
#define SA_ROTATE_NAME "portable"
#define SA_ROTATE_NEEDS 0
#include "rotate_kernels.h"
