/* What the parts of the known-answer program share. */
#ifndef SELFTEST_H
#define SELFTEST_H

#include <stddef.h>

/* Threads here get a stack that can be read afterwards. Windows has no such thing: what is left on
 * stacks and in registers is checked on other systems only. */
#if !defined(_WIN32)
#define OWN_STACKS 1
enum { STACK_ALIGNMENT = 1 << 14 }; /* a page, also on macOS */
#endif

extern char where[128]; /* the implementations under test */

/* Counts a check, and says which one failed. */
void check(int ok, const char *what, size_t detail);

/* Number of a family, or -1. */
int family(const char *name);

/* Forces an implementation: 0 when this machine cannot run it. */
int force(int f, int implementation);

/* Every implementation of every family against the portable one. */
void compare_implementations(void);

/* What calls on secrets leave on the stack and in registers. */
void check_residue(void);

#endif
