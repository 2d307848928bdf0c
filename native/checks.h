/* Checks of pointers and lengths, for all entry points. */
#ifndef SA_CHECKS_H
#define SA_CHECKS_H

#include <stddef.h>
#include <stdint.h>

/* Whether `memory` can hold len elements of `width` bytes. */
static inline int sa_fits(const void *memory, size_t len, size_t width)
{
    return (memory != NULL || len == 0) && len <= (size_t)PTRDIFF_MAX / width;
}

/* The same for a matrix. */
static inline int sa_fits_matrix(const void *memory, size_t rows, size_t columns, size_t width)
{
    size_t len;
    return !__builtin_mul_overflow(rows, columns, &len) && sa_fits(memory, len, width);
}

#endif
