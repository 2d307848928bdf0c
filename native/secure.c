/* Wiping memory that held secrets. */
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
