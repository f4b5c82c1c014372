/* host/progress.c: progress lines. */
#include "progress.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define TERMINAL_INTERVAL_NS 200000000u
#define PLAIN_INTERVAL_NS 10000000000u

uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

char *format_duration(double seconds, char *text, uint32_t size) {
    uint64_t s = seconds > 0 ? (uint64_t)(seconds + 0.5) : 0;
    if (s >= 3600)
        snprintf(text, size, "%llu h %02llu min", (unsigned long long)s / 3600,
                 (unsigned long long)s / 60 % 60);
    else if (s >= 60)
        snprintf(text, size, "%llu min %02llu s", (unsigned long long)s / 60, (unsigned long long)s % 60);
    else
        snprintf(text, size, "%llu s", (unsigned long long)s);
    return text;
}

char *format_bytes(uint64_t bytes, char *text, uint32_t size) {
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    if (bytes < 1024) {
        snprintf(text, size, "%llu B", (unsigned long long)bytes);
        return text;
    }
    double v = (double)bytes / 1024;
    uint32_t u = 0;
    for (; v >= 1024 && u < 5; u++)
        v /= 1024;
    snprintf(text, size, v < 10 ? "%.2f %s" : "%.1f %s", v, units[u]);
    return text;
}

void progress_start(progress *p, const char *what, double total) {
    *p = (progress){.total = total > 0 ? total : 1, .start_ns = now_ns(), .terminal = isatty(STDERR_FILENO)};
    p->shown_ns = p->start_ns;
    snprintf(p->what, sizeof p->what, "%s", what);
}

void progress_show(progress *p, double done, const char *note) {
    uint64_t now = now_ns();
    if (p->silent || now - p->shown_ns < (p->terminal ? TERMINAL_INTERVAL_NS : PLAIN_INTERVAL_NS))
        return;
    p->shown_ns = now;
    double share = done / p->total, elapsed = (double)(now - p->start_ns) * 1e-9;
    char left[32] = "", line[81];
    if (share > 0.01 && share < 1)
        format_duration(elapsed * (1 - share) / share, left, sizeof left);
    snprintf(line, sizeof line, "%s: %3.0f %%%s%s%s%s", p->what, 100 * (share < 1 ? share : 1),
             left[0] ? ", about " : "", left, left[0] ? " left" : "", note ? note : "");
    if (p->terminal)
        fprintf(stderr, "\r%-79.79s", line);
    else
        fprintf(stderr, "%s\n", line);
    p->line_open = p->terminal;
    fflush(stderr);
}

void progress_end(progress *p) {
    if (p->line_open)
        fprintf(stderr, "\r%79s\r", "");
    p->line_open = false;
}
