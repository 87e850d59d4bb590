/* gen COUNT [FIRST]: events as lines, the same for the same numbers. */
#include "bench.h"

int main(int argc, char **argv)
{
    uint64_t n = argc > 1 ? strtoull(argv[1], NULL, 10) : 10;
    uint64_t first = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;
    char line[BENCH_LINE_MAX];

    for (uint64_t i = 0; i < n; i++)
        fwrite(line, 1, bench_event(line, first + i), stdout);
    return fflush(stdout) != 0;
}
