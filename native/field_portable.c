/* The field kernels for any target. */
#include "kernels.h"

#define SA_FIELD sa_field_portable
#define SA_FIELD_NAME "portable"
#define SA_FIELD_NEEDS 0
#define SA_MINIMUM_LANES 0
#include "field_kernels.h"
