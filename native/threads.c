/* Runs work in pieces on several threads. They are made for one call and joined before it returns,
 * so that a fork never loses a thread of ours. Without POSIX threads the caller does all pieces. */
#include <stdatomic.h>

#include "kernels.h"

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#define SA_HAVE_THREADS 1
#else
#define SA_HAVE_THREADS 0
#endif

typedef struct {
    void (*work)(const void *context, size_t piece);
    const void *context;
    size_t pieces;
    _Atomic size_t next; /* the first piece that nobody has taken; relaxed order is enough */
} piece_queue;

static void *take_pieces(void *argument)
{
    piece_queue *queue = argument;
    size_t piece;
    while ((piece = atomic_fetch_add_explicit(&queue->next, 1, memory_order_relaxed)) <
           queue->pieces)
        queue->work(queue->context, piece);
    return NULL;
}

void sa_parallel(void (*work)(const void *context, size_t piece), const void *context,
                 size_t pieces, size_t threads)
{
    piece_queue queue = {work, context, pieces, 0};
#if SA_HAVE_THREADS
    /* If a thread cannot be made, the others take its pieces. */
    pthread_t helpers[SA_MAX_THREADS - 1];
    size_t made = 0;
    while (made + 1 < threads && made < SA_MAX_THREADS - 1 &&
           pthread_create(&helpers[made], NULL, take_pieces, &queue) == 0)
        made++;
    take_pieces(&queue);
    while (made > 0)
        pthread_join(helpers[--made], NULL);
#else
    (void)threads;
    take_pieces(&queue);
#endif
}
