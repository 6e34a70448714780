/* For every line on standard input: the wall clock by a plain system call, which no vDSO sees. */
#define _GNU_SOURCE
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int main(void) {
    char line[64];
    while (fgets(line, sizeof line, stdin)) {
        struct timespec now;
        syscall(SYS_clock_gettime, CLOCK_REALTIME, &now);
        printf("wall=%lld\n", now.tv_sec * 1000000000LL + now.tv_nsec);
        fflush(stdout);
    }
    return 0;
}
