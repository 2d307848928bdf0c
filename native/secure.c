/* Memory that held secrets: wiping and comparing it. */
#include <string.h>

#include "kernels.h"

void sa_wipe(void *memory, size_t bytes)
{
    if (bytes == 0)
        return;
    memset(memory, 0, bytes);
    /* The compiler must assume that this reads the memory, so the stores above stay. */
    __asm__ __volatile__("" : : "r"(memory) : "memory");
}

void sa_wipe_stack(void)
{
    uint8_t below[SA_STACK_BYTES];
    sa_wipe(below, sizeof below);
}

int sa_equal(const uint8_t *a, const uint8_t *b, size_t bytes)
{
    uint32_t difference = 0;
    for (size_t i = 0; i < bytes; i++)
        difference |= (uint32_t)(a[i] ^ b[i]);
    /* Hides the value, so that the comparison below cannot be moved into the loop. */
    __asm__ __volatile__("" : "+r"(difference));
    return (int)((difference - 1) >> 31); /* difference < 2^8: borrows only from zero */
}
