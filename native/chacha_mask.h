/* Masks from ChaCha20 without storing keystream, for the vectors of chacha_body.h. The accumulator
 * is transposed to the order in which the cipher makes words (word i of LANES blocks in vector i),
 * the words of all keys are added, and it is transposed back: cheaper than to transpose every key's
 * words. */

enum { PER_BLOCK = 16 / LANES, TILE = LANES * BLOCK };

/* Converts vectors in the order of memory to words, and back: two halves of a transposition. */
static inline void load_words(lanes words[16], const uint8_t *from)
{
    lanes rows[16], columns[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++)
        memcpy(&rows[i], from + SA_VECTOR * (i % LANES * PER_BLOCK + i / LANES), SA_VECTOR);
    store_blocks((uint8_t *)columns, rows);
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++)
        words[i] = columns[i % LANES * PER_BLOCK + i / LANES];
    sa_wipe(columns, sizeof columns);
}

/* Joins words 2i and 2i + 1, the halves of 64-bit elements, to these elements, and back. */
static inline void join(lanes x[16])
{
#pragma GCC unroll 8
    for (int i = 0; i < 16; i += 2) {
        const lanes low = JOIN_LOW(x[i], x[i + 1]), high = JOIN_HIGH(x[i], x[i + 1]);
        x[i] = low;
        x[i + 1] = high;
    }
}

static inline void split(lanes x[16])
{
#pragma GCC unroll 8
    for (int i = 0; i < 16; i += 2) {
        const lanes even = SPLIT_EVEN(x[i], x[i + 1]), odd = SPLIT_ODD(x[i], x[i + 1]);
        x[i] = even;
        x[i + 1] = odd;
    }
}

SA_INLINE void add_key(lanes acc[16], const lanes state[16], sa_mask *mask, int lane, int negative)
{
    lanes x[16];
    words_of(x, state);
    if (lane == 8)
        join(x);
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++)
        acc[i] = sa_mask_vector(mask, acc[i], x[i], lane, negative);
}

SA_INLINE uint32_t mask_lane(uint8_t *acc, size_t bytes, const sa_schedule *schedules,
                             const int8_t *signs, size_t count, uint64_t counter, int bits,
                             int lane)
{
    lanes words[16], state[16];
    uint32_t rejected = 0;
    for (; bytes > 0; bytes -= TILE, acc += TILE, counter += LANES) {
        load_words(words, acc);
        if (lane == 8)
            join(words);
        for (size_t k = 0; k < count; k++) {
            sa_mask m = sa_mask_of(bits, lane);
            set_key(state, &schedules[k], 0);
            set_counters(state, counter);
            if (signs[k] < 0)
                add_key(words, state, &m, lane, 1);
            else
                add_key(words, state, &m, lane, 0);
            rejected |= (uint32_t)sa_mask_rejected(&m, lane) << k;
        }
        if (lane == 8)
            split(words);
        store_blocks(acc, words);
    }
    sa_wipe(words, sizeof words);
    sa_wipe(state, sizeof state);
    return rejected;
}

static uint32_t mask(void *acc, size_t bytes, const sa_schedule *schedules, const int8_t *signs,
                     size_t count, uint64_t counter, int bits)
{
    return bits < 32 ? mask_lane(acc, bytes, schedules, signs, count, counter, bits, 4)
                     : mask_lane(acc, bytes, schedules, signs, count, counter, bits, 8);
}
