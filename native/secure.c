/* Wiping memory that held secrets. */
#include <string.h>

#include "kernels.h"

/* Vector registers that a compiler may use here: callers keep nothing in them, except in those that
 * the compiler then saves. */
#if defined(__x86_64__)
#define SA_VECTORS                                                                             \
    "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", \
        "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"
#elif defined(__aarch64__)
#define SA_VECTORS                                                                           \
    "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", \
        "v14", "v15", "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25", \
        "v26", "v27", "v28", "v29", "v30", "v31"
#endif

void sa_wipe(void *memory, size_t bytes)
{
    if (bytes == 0)
        return;
    memset(memory, 0, bytes);
    /* The compiler must assume that this reads the memory, so the stores above stay. */
    __asm__ __volatile__("" : : "r"(memory) : "memory");
}

/* Only AVX-512 has registers 16..31; vzeroall clears the others, whatever their width. */
static void wipe_registers(void)
{
#if defined(__x86_64__)
    if (sa_cpu_features() & SA_CPU_AVX512)
        __asm__ __volatile__(".irp n,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n\t"
                             "vpxord %%zmm\\n, %%zmm\\n, %%zmm\\n\n\t.endr" ::);
    if (sa_cpu_features() & SA_CPU_AVX2)
        __asm__ __volatile__("vzeroall" ::: SA_VECTORS);
    else
        __asm__ __volatile__(".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n\t"
                             "pxor %%xmm\\n, %%xmm\\n\n\t.endr" ::: SA_VECTORS);
#elif defined(__aarch64__)
    __asm__ __volatile__(".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,"
                         "25,26,27,28,29,30,31\n\tmovi v\\n\\().2d, #0\n\t.endr" ::: SA_VECTORS);
#endif
}

void sa_wipe_traces(void)
{
    uint8_t below[SA_STACK_BYTES];
    sa_wipe(below, sizeof below);
    wipe_registers();
}
