/* Runs work in pieces on several threads. They are made for one call and joined before it returns,
 * so that a fork never loses a thread of ours. A piece of masks takes 42 KiB of stack, and no system
 * gives a thread less than the 128 KiB of musl. */
#include <stdatomic.h>

#include "kernels.h"

#if defined(_WIN32)
#include <windows.h>
#else
#include <pthread.h>
#endif

typedef struct {
    void (*work)(const void *context, size_t piece);
    const void *context;
    size_t pieces;
    _Atomic size_t next; /* the first piece that nobody has taken; relaxed order is enough */
} piece_queue;

static void take_pieces(piece_queue *queue)
{
    size_t piece;
    while ((piece = atomic_fetch_add_explicit(&queue->next, 1, memory_order_relaxed)) <
           queue->pieces)
        queue->work(queue->context, piece);
}

#if defined(_WIN32)

typedef HANDLE sa_thread;

static DWORD WINAPI helper(void *queue)
{
    take_pieces(queue);
    return 0;
}

static int start(sa_thread *thread, piece_queue *queue)
{
    *thread = CreateThread(NULL, 0, helper, queue, 0, NULL);
    return *thread != NULL;
}

static void join(sa_thread thread)
{
    WaitForSingleObject(thread, INFINITE);
    CloseHandle(thread);
}

#else

typedef pthread_t sa_thread;

static void *helper(void *queue)
{
    take_pieces(queue);
    return NULL;
}

static int start(sa_thread *thread, piece_queue *queue)
{
    return pthread_create(thread, NULL, helper, queue) == 0;
}

static void join(sa_thread thread) { pthread_join(thread, NULL); }

#endif

void sa_parallel(void (*work)(const void *context, size_t piece), const void *context,
                 size_t pieces, size_t threads)
{
    piece_queue queue = {work, context, pieces, 0};
    /* If a thread cannot be made, the others take its pieces. */
    sa_thread helpers[SA_MAX_THREADS - 1];
    size_t made = 0;
    while (made + 1 < threads && made < SA_MAX_THREADS - 1 && start(&helpers[made], &queue))
        made++;
    take_pieces(&queue);
    while (made > 0)
        join(helpers[--made]);
}
