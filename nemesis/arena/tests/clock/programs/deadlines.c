/* For every line "NAME MILLISECONDS" on standard input: prints "waiting", waits in the way of that name until so much
 * later by the wall clock, and prints the outcome (an error number, 0 when it got what it waited for), how late the wall
 * clock was then past the deadline, and how long it took by the monotonic clock, both in nanoseconds. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER, held = PTHREAD_MUTEX_INITIALIZER;
static pthread_rwlock_t read_held = PTHREAD_RWLOCK_INITIALIZER, write_held = PTHREAD_RWLOCK_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static pthread_cond_t monotonic;
static sem_t semaphore, posted;
static struct timespec until;
static int told;

static long long now(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* Holds every lock that others wait for in vain. */
static void *hold(void *ready) {
    pthread_mutex_lock(&held);
    pthread_rwlock_rdlock(&read_held);
    pthread_rwlock_wrlock(&write_held);
    sem_post(ready);
    for (;;)
        sem_wait(&semaphore);
    return NULL;
}

/* Gets the mutex when somebody waits for the condition, and signals after giving it back. */
static void *tell(void *unused) {
    pthread_mutex_lock(&mutex);
    told = 1;
    pthread_mutex_unlock(&mutex);
    pthread_cond_signal(&condition);
    return unused;
}

static void *post(void *unused) {
    sem_post(&posted);
    return unused;
}

static int wait_for(pthread_cond_t *condition) {
    int outcome = 0;
    pthread_mutex_lock(&mutex);
    while (!told && outcome == 0)
        outcome = pthread_cond_timedwait(condition, &mutex, &until);
    pthread_mutex_unlock(&mutex);
    return outcome;
}

static void unlock(void *mutex) {
    pthread_mutex_unlock(mutex);
}

static void *condition_until_cancelled(void *unused) {
    pthread_mutex_lock(&mutex);
    pthread_cleanup_push(unlock, &mutex);
    for (;;)
        pthread_cond_timedwait(&condition, &mutex, &until);
    pthread_cleanup_pop(1);
    return unused;
}

static void *semaphore_until_cancelled(void *unused) {
    for (;;)
        sem_timedwait(&posted, &until);
    return unused;
}

static void *sleep_until_cancelled(void *unused) {
    for (;;)
        clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &until, NULL);
    return unused;
}

/* Whether a thread in such a wait ends when it is cancelled: 0, or else 1. */
static int cancel(void *(*wait)(void *)) {
    pthread_t thread;
    void *result;
    pthread_create(&thread, NULL, wait, NULL);
    pthread_cancel(thread);
    pthread_join(thread, &result);
    return result != PTHREAD_CANCELED;
}

static int wait_as(const char *name) {
    pthread_t thread;
    int outcome;
    told = 0;
    if (!strcmp(name, "condition"))
        return wait_for(&condition);
    if (!strcmp(name, "monotonic"))
        return wait_for(&monotonic);
    if (!strcmp(name, "signalled")) {
        pthread_mutex_lock(&mutex);
        pthread_create(&thread, NULL, tell, NULL);
        for (outcome = 0; !told && outcome == 0;)
            outcome = pthread_cond_timedwait(&condition, &mutex, &until);
        pthread_mutex_unlock(&mutex);
        pthread_join(thread, NULL);
        return outcome;
    }
    if (!strcmp(name, "posted")) {
        pthread_create(&thread, NULL, post, NULL);
        outcome = sem_timedwait(&posted, &until) ? errno : 0;
        pthread_join(thread, NULL);
        return outcome;
    }
    if (!strcmp(name, "semaphore"))
        return sem_timedwait(&posted, &until) ? errno : 0;
    if (!strcmp(name, "mutex"))
        return pthread_mutex_timedlock(&held, &until);
    if (!strcmp(name, "read-lock"))
        return pthread_rwlock_timedrdlock(&write_held, &until);
    if (!strcmp(name, "write-lock"))
        return pthread_rwlock_timedwrlock(&read_held, &until);
    if (!strcmp(name, "sleep"))
        return clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &until, NULL);
    if (!strcmp(name, "invalid")) {
        until.tv_nsec = 1000000000;
        return wait_for(&condition);
    }
    if (!strcmp(name, "cancelled"))
        return cancel(condition_until_cancelled) || cancel(semaphore_until_cancelled) || cancel(sleep_until_cancelled);
    return -1;
}

int main(void) {
    pthread_condattr_t attributes;
    pthread_t thread;
    sem_t ready;
    char name[32];
    long milliseconds;
    sem_init(&semaphore, 0, 0);
    sem_init(&posted, 0, 0);
    sem_init(&ready, 0, 0);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&monotonic, &attributes);
    pthread_create(&thread, NULL, hold, &ready);
    sem_wait(&ready);
    while (scanf("%31s %ld", name, &milliseconds) == 2) {
        clockid_t clock = strcmp(name, "monotonic") ? CLOCK_REALTIME : CLOCK_MONOTONIC;
        long long began = now(CLOCK_MONOTONIC), deadline = now(clock) + milliseconds * 1000000LL;
        until.tv_sec = deadline / 1000000000;
        until.tv_nsec = deadline % 1000000000;
        printf("waiting\n");
        fflush(stdout);
        int outcome = wait_as(name);
        long long late = now(clock) - deadline;
        printf("outcome=%d late=%lld took=%lld\n", outcome, late, now(CLOCK_MONOTONIC) - began);
        fflush(stdout);
    }
    return 0;
}
