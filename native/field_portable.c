/* The field kernels for any target. The compiler makes vector code of them for the machine that
 * the build is for: SSE2 on x86-64, NEON on aarch64. */
#include "kernels.h"

#define SA_FIELD sa_field_portable
#define SA_FIELD_NAME "portable"
#define SA_FIELD_NEEDS 0
#if defined(__aarch64__)
#define SA_MINIMUM_LANES 32
#else
#define SA_MINIMUM_LANES 0
#endif
#include "field_kernels.h"
