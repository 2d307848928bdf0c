/* The field kernels for any target. The compiler vectorises them for the target of the build: with
 * SSE2 on x86-64, with NEON on aarch64. */
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
