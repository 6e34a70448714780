/* Waits in the ways programs wait, one second each, while somebody else looks at its clock, and prints what came of
 * each wait: its error, if any, and whether it lasted as long as it should. Before that its threads change their user
 * together, for which the C library uses a real-time signal. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/select.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + now.tv_nsec * 1e-9;
}

static void report(const char *name, double since, int error) {
    double lasted = now() - since;
    printf("%s=%s ", name, error ? "error" : lasted < 0.99 ? "short" : lasted > 3 ? "long" : "good");
}

static void *idle(void *unused) {
    pause();
    return unused;
}

int main(void) {
    pthread_t thread;
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t condition;
    pthread_condattr_t monotonic;
    struct timespec second = {1, 0}, until;
    sigset_t none;
    double since;
    pthread_create(&thread, NULL, idle, NULL);
    printf("user=%s ", setuid(getuid()) ? "error" : "good");
    printf("\n");
    fflush(stdout);
    since = now();
    report("sleep", since, nanosleep(&second, NULL));
    sigemptyset(&none);
    since = now();
    report("ppoll", since, ppoll(NULL, 0, &second, &none));
    since = now();
    report("poll", since, poll(NULL, 0, 1000));
    since = now();
    report("pselect", since, pselect(0, NULL, NULL, NULL, &second, &none));
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&condition, &monotonic);
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec++;
    since = now();
    pthread_mutex_lock(&mutex);
    report("condition", since, pthread_cond_timedwait(&condition, &mutex, &until) != ETIMEDOUT);
    printf("\n");
    fflush(stdout);
    return 0;
}
