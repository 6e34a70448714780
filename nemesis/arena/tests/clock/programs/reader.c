/* For every line on standard input: every wall clock, then every monotonic clock, in nanoseconds, each as
 * "name=value". A clock that answers an error prints its errno as "name!errno". */
#include <errno.h>
#include <stdio.h>
#include <sys/time.h>
#include <time.h>

static void show(const char *name, clockid_t id) {
    struct timespec now;
    if (clock_gettime(id, &now) == 0)
        printf("%s=%lld ", name, now.tv_sec * 1000000000LL + now.tv_nsec);
    else
        printf("%s!%d ", name, errno);
}

int main(void) {
    char line[64];
    while (fgets(line, sizeof line, stdin)) {
        struct timeval day;
        struct timezone zone = {77, 77};
        time_t seconds, returned;
        show("wall", CLOCK_REALTIME);
        gettimeofday(&day, NULL);
        printf("day=%lld ", day.tv_sec * 1000000000LL + day.tv_usec * 1000LL);
        gettimeofday(&day, &zone);
        printf("zone=%d ", zone.tz_minuteswest);
        returned = time(&seconds);
        printf("time=%lld same=%d null=%d ", seconds * 1000000000LL, returned == seconds, time(NULL) - seconds <= 1);
        show("coarse", CLOCK_REALTIME_COARSE);
        show("tai", CLOCK_TAI);
        show("mono", CLOCK_MONOTONIC);
        show("mono-coarse", CLOCK_MONOTONIC_COARSE);
        show("raw", CLOCK_MONOTONIC_RAW);
        show("boot", CLOCK_BOOTTIME);
        show("cpu", CLOCK_PROCESS_CPUTIME_ID);
        show("none", 4242);
        printf("\n");
        fflush(stdout);
    }
    return 0;
}
