#include "project/progress.h"

#include "base/io.h"
#include "cli/say.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#define PROGRESS_MS 500

int64_t progress_aside;
static int64_t next_ms;
static bool terminal, shown;

void progress_begin(void)
{
    terminal = isatty(STDERR_FILENO) == 1;
    next_ms = clock_mono_ms() + 2 * PROGRESS_MS;
}

void progress_clear(void)
{
    if (shown)
        io_write(STDERR_FILENO, "\r\033[K", 4);
    shown = false;
}

void progress_show(int64_t seq, int64_t last)
{
    char text[100];
    int64_t now = clock_mono_ms();

    if (!terminal || now < next_ms || seq >= last)
        return;
    next_ms = now + PROGRESS_MS;
    int n = snprintf(text, sizeof text, "\r\033[Kproject: seq %" PRId64 " of %" PRId64 ", %d %%",
                     seq, last, (int)(100.0 * (double)seq / (double)last));
    io_write(STDERR_FILENO, text, (size_t)n);
    shown = true;
}

void progress_set_aside(const char *name, const struct log_entry *entry, const struct err *why)
{
    progress_clear();
    progress_aside++;
    say(SAY_WARN, why->status,
        &(struct say_about){.id = entry->id, .type = entry->type, .group = str_of(name)},
        "%s: set aside", why->text);
}
