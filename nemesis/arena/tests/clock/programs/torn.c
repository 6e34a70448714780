/* Four threads read the wall clock between two plain system calls, and the monotonic clock beside it, until standard
 * input ends. Prints "before seen after" in nanoseconds for the last readings of each thread, and then how often a
 * thread saw the monotonic clock go back. All the while a timer interrupts the first thread with signals, which must
 * arrive as the kernel sent them. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define THREADS 4
#define KEPT 100000

struct reading {
    long long before, seen, after;
};

static struct reading kept[THREADS][KEPT];
static long counts[THREADS];
static atomic_long backwards;
static atomic_int done;

static long long machine(void) {
    struct timespec now;
    syscall(SYS_clock_gettime, CLOCK_REALTIME, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static long long ask(clockid_t id) {
    struct timespec now;
    clock_gettime(id, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void *read_on(void *number) {
    long thread = (long)number;
    long long last = 0;
    while (!done) {
        struct reading one = {machine(), ask(CLOCK_REALTIME), machine()};
        long long monotonic = ask(CLOCK_MONOTONIC);
        kept[thread][counts[thread]++ % KEPT] = one;
        if (monotonic < last)
            backwards++;
        last = monotonic;
    }
    return NULL;
}

static void interrupted(int signal, siginfo_t *from, void *unused) {
    (void)unused;
    if (signal != SIGALRM || from->si_code != SI_KERNEL)
        abort();
}

int main(void) {
    pthread_t threads[THREADS];
    struct sigaction action = {.sa_sigaction = interrupted, .sa_flags = SA_SIGINFO | SA_RESTART};
    struct itimerval often = {{0, 300}, {0, 300}};
    sigset_t alarm;
    sigaction(SIGALRM, &action, NULL);
    sigemptyset(&alarm);
    sigaddset(&alarm, SIGALRM);
    pthread_sigmask(SIG_BLOCK, &alarm, NULL);
    for (long i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, read_on, (void *)i);
    pthread_sigmask(SIG_UNBLOCK, &alarm, NULL);
    setitimer(ITIMER_REAL, &often, NULL);
    printf("ready\n");
    fflush(stdout);
    while (getchar() != EOF) {
    }
    done = 1;
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < THREADS; i++)
        for (long j = 0; j < counts[i] && j < KEPT; j++)
            printf("%lld %lld %lld\n", kept[i][j].before, kept[i][j].seen, kept[i][j].after);
    printf("backwards=%ld\n", backwards);
    return 0;
}
