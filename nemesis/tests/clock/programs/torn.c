/* Four threads read the wall clock between two plain system calls until standard input ends. Each reading must be the
 * machine's time plus nothing or plus the step given in nanoseconds; anything else is torn. The monotonic clock must
 * never go back. Prints the number of readings of each kind. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static atomic_long plain, stepped, torn, backwards;
static atomic_int done;
static long long step;

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

static void *read_on(void *unused) {
    long long last = 0;
    while (!done) {
        long long before = machine(), seen = ask(CLOCK_REALTIME), after = machine();
        long long monotonic = ask(CLOCK_MONOTONIC);
        if (before <= seen && seen <= after)
            plain++;
        else if (before + step <= seen && seen <= after + step)
            stepped++;
        else
            torn++;
        if (monotonic < last)
            backwards++;
        last = monotonic;
    }
    return unused;
}

int main(int count, char **arguments) {
    pthread_t threads[4];
    step = count > 1 ? atoll(arguments[1]) : 0;
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, read_on, NULL);
    printf("ready\n");
    fflush(stdout);
    while (getchar() != EOF) {
    }
    done = 1;
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    printf("plain=%ld stepped=%ld torn=%ld backwards=%ld\n", plain, stepped, torn, backwards);
    return 0;
}
