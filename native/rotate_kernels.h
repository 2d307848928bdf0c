/* The parts of the rotation: signs, butterflies of the fast Walsh-Hadamard transform, and sums of
 * squares, as GCC and Clang vectors. Every operation is one rounded operation, and the order of those
 * on an element does not depend on the width of vectors, so all implementations give the same bits
 * (the build forbids contracting a * b + c). Inputs are secret: no branch or address depends on
 * them. The file that includes this chooses the target, and defines
 *   SA_ROTATE, SA_ROTATE_NAME, SA_ROTATE_NEEDS   the struct of kernels, its name and CPU features
 *   SA_VECTOR                                    bytes of a vector: 16, 32 or 64
 *   SA_WIDEN(from), SA_NARROW(to, v)             floats at `from` as a vector of doubles, and such a
 *                                                vector to floats at `to` */
#include <string.h>

#include "vector.h"

#define SA_INLINE static inline __attribute__((always_inline))

typedef uint32_t words_f32 __attribute__((vector_size(SA_VECTOR)));
typedef uint64_t words_f64 __attribute__((vector_size(SA_VECTOR)));
typedef float lanes_f32 __attribute__((vector_size(SA_VECTOR)));
typedef double lanes_f64 __attribute__((vector_size(SA_VECTOR)));

enum {
    DOUBLES = SA_VECTOR / 8,
    PARTIAL_SUMS = 16 /* of squares; on all targets, for equal results */
};

/* Lane numbers, and the lanes whose numbers differ in one bit change places. */
#if SA_VECTOR == 64
#define NUMBERS_F32 {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
#define NUMBERS_F64 {0, 1, 2, 3, 4, 5, 6, 7}
#define SWAP1_F32 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14
#define SWAP2_F32 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13
#define SWAP4_F32 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11
#define SWAP8_F32 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7
#define SWAP1_F64 1, 0, 3, 2, 5, 4, 7, 6
#define SWAP2_F64 2, 3, 0, 1, 6, 7, 4, 5
#define SWAP4_F64 4, 5, 6, 7, 0, 1, 2, 3
#elif SA_VECTOR == 32
#define NUMBERS_F32 {0, 1, 2, 3, 4, 5, 6, 7}
#define NUMBERS_F64 {0, 1, 2, 3}
#define SWAP1_F32 1, 0, 3, 2, 5, 4, 7, 6
#define SWAP2_F32 2, 3, 0, 1, 6, 7, 4, 5
#define SWAP4_F32 4, 5, 6, 7, 0, 1, 2, 3
#define SWAP1_F64 1, 0, 3, 2
#define SWAP2_F64 2, 3, 0, 1
#else
#define NUMBERS_F32 {0, 1, 2, 3}
#define NUMBERS_F64 {0, 1}
#define SWAP1_F32 1, 0, 3, 2
#define SWAP2_F32 2, 3, 0, 1
#define SWAP1_F64 1, 0
#endif

/* A butterfly of lanes: the lower one gets the sum, the upper one the difference. */
#define SA_LANES(FLOATS, WORDS, v, NUMBERS, step, top, ...)                              \
    ((FLOATS)SA_SHUFFLE(WORDS, v, v, __VA_ARGS__) +                                      \
     (FLOATS)((WORDS)(v) ^ ((((WORDS)NUMBERS / (step)) & 1) << (top))))

SA_INLINE lanes_f32 inner_f32(lanes_f32 v)
{
    v = SA_LANES(lanes_f32, words_f32, v, NUMBERS_F32, 1, 31, SWAP1_F32);
    v = SA_LANES(lanes_f32, words_f32, v, NUMBERS_F32, 2, 31, SWAP2_F32);
#if SA_VECTOR >= 32
    v = SA_LANES(lanes_f32, words_f32, v, NUMBERS_F32, 4, 31, SWAP4_F32);
#endif
#if SA_VECTOR >= 64
    v = SA_LANES(lanes_f32, words_f32, v, NUMBERS_F32, 8, 31, SWAP8_F32);
#endif
    return v;
}

SA_INLINE lanes_f64 inner_f64(lanes_f64 v)
{
    v = SA_LANES(lanes_f64, words_f64, v, NUMBERS_F64, 1, 63, SWAP1_F64);
#if SA_VECTOR >= 32
    v = SA_LANES(lanes_f64, words_f64, v, NUMBERS_F64, 2, 63, SWAP2_F64);
#endif
#if SA_VECTOR >= 64
    v = SA_LANES(lanes_f64, words_f64, v, NUMBERS_F64, 4, 63, SWAP4_F64);
#endif
    return v;
}

/* As many values as a vector holds doubles, as doubles; and back, rounded to the type. */
SA_INLINE lanes_f64 load_f32(const float *from) { return (lanes_f64)SA_WIDEN(from); }

SA_INLINE void store_f32(float *to, lanes_f64 v) { SA_NARROW(to, v); }

SA_INLINE lanes_f64 load_f64(const double *from)
{
    lanes_f64 v;
    memcpy(&v, from, sizeof v);
    return v;
}

SA_INLINE void store_f64(double *to, lanes_f64 v) { memcpy(to, &v, sizeof v); }

#define REAL float
#define NAME(stem) stem##_f32
#include "rotate_body.h"
#undef REAL
#undef NAME

#define REAL double
#define NAME(stem) stem##_f64
#include "rotate_body.h"
#undef REAL
#undef NAME

extern const sa_rotate_kernel SA_ROTATE;
const sa_rotate_kernel SA_ROTATE = {
    .name = SA_ROTATE_NAME,
    .needs = SA_ROTATE_NEEDS,
    .signs_f32 = signs_f32,
    .signs_f64 = signs_f64,
    .transform_f32 = transform_f32,
    .transform_f64 = transform_f64,
    .combine_f32 = combine_f32,
    .combine_f64 = combine_f64,
    .squares_f32 = squares_f32,
    .squares_f64 = squares_f64,
};
