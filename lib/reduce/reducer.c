/*
 * The identity of a reducer. A file named on the command line is identified by its contents, so
 * that a fresh checkout or a copy is the same reducer; a command found in PATH by its path, size
 * and modification time, because reading an interpreter takes longer than most reductions.
 */
#include "reduce/fold_priv.h"

#include "base/mem.h"
#include "base/sha1.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LABEL_MAX 200

struct fold_file {
    char *path;
    struct stat st;
};

static void add_text(struct sha1 *sum, const char *text)
{
    sha1_add(sum, text, strlen(text) + 1);
}

static bool is_file(const char *path, struct stat *st)
{
    return stat(path, st) == 0 && S_ISREG(st->st_mode);
}

static void note_file(struct fold_reducer *r, const char *path, const struct stat *st)
{
    r->file = mem_grow(r->file, r->files + 1, sizeof *r->file);
    r->file[r->files++] = (struct fold_file){mem_dup(path, strlen(path)), *st};
}

/* The reducer cannot read an unreadable file either: that the file exists must do. */
static void add_contents(struct sha1 *sum, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char block[65536];
    ssize_t n;

    while (fd >= 0 && (n = read(fd, block, sizeof block)) > 0)
        sha1_add(sum, block, (size_t)n);
    if (fd >= 0)
        close(fd);
}

/* The file that execvp will run, if any. */
static void add_found(struct fold_reducer *r, struct sha1 *sum)
{
    const char *path = getenv("PATH");
    struct buf full = BUF_INIT;
    bool found = false;
    struct stat st;

    for (const char *p = path == NULL ? "/bin:/usr/bin" : path; !found && p != NULL;) {
        int n = (int)strcspn(p, ":");
        buf_reset(&full);
        buf_printf(&full, "%.*s/%s", n == 0 ? 1 : n, n == 0 ? "." : p, r->argv[0]);
        found = is_file(buf_text(&full), &st) && access(buf_text(&full), X_OK) == 0;
        p = p[n] == ':' ? p + n + 1 : NULL;
    }
    if (found) {
        char text[100];
        note_file(r, buf_text(&full), &st);
        add_text(sum, buf_text(&full));
        snprintf(text, sizeof text, "%" PRId64 " %" PRId64 ".%09" PRId64, (int64_t)st.st_size,
                 (int64_t)st.st_mtim.tv_sec, (int64_t)st.st_mtim.tv_nsec);
        add_text(sum, text);
    }
    buf_free(&full);
}

static void forget_files(struct fold_reducer *r)
{
    for (size_t i = 0; i < r->files; i++)
        free(r->file[i].path);
    r->files = 0;
}

/* Stat a file before reading it, so that a later change is noticed. */
static void identify(struct fold_reducer *r)
{
    unsigned char digest[20];
    struct sha1 sum;
    struct stat st;

    forget_files(r);
    sha1_init(&sum);
    for (char *const *word = r->argv; *word != NULL; word++) {
        add_text(&sum, *word);
        if (r->version == NULL && (word > r->argv || strchr(*word, '/') != NULL) &&
            is_file(*word, &st)) {
            note_file(r, *word, &st);
            add_text(&sum, "is a file");
            add_contents(&sum, *word);
        }
    }
    add_text(&sum, "");
    if (r->version != NULL)
        add_text(&sum, r->version);
    else if (strchr(r->argv[0], '/') == NULL)
        add_found(r, &sum);
    sha1_end(&sum, digest);
    for (int i = 0; i < 20; i++)
        snprintf(r->sum + (ptrdiff_t)(2 * i), 3, "%02x", digest[i]);
}

void fold_reducer_open(struct fold_reducer *r, char *const *argv, const char *version)
{
    *r = (struct fold_reducer){.argv = argv, .version = version};
    snprintf(r->sum, sizeof r->sum, "merge");
    if (argv == NULL)
        return;
    buf_puts(&r->label, " |");
    for (char *const *word = argv; *word != NULL; word++) {
        buf_char(&r->label, ' ');
        err_escape(&r->label, *word, strlen(*word));
    }
    if (r->label.n > LABEL_MAX) /* not in the middle of a character */
        r->label.n = js_utf8((struct str){r->label.p, LABEL_MAX});
    identify(r);
}

void fold_reducer_look(struct fold_reducer *r)
{
    struct stat st;

    for (size_t i = 0; i < r->files; i++) {
        const struct stat *was = &r->file[i].st;
        if (stat(r->file[i].path, &st) == 0 && st.st_dev == was->st_dev &&
            st.st_ino == was->st_ino && st.st_size == was->st_size &&
            memcmp(&st.st_mtim, &was->st_mtim, sizeof st.st_mtim) == 0 &&
            memcmp(&st.st_ctim, &was->st_ctim, sizeof st.st_ctim) == 0)
            continue;
        buf_reset(&r->changed);
        buf_puts(&r->changed, r->file[i].path);
        r->changes++;
        identify(r);
        return;
    }
}

void fold_reducer_close(struct fold_reducer *r)
{
    forget_files(r);
    free(r->file);
    buf_free(&r->label);
    buf_free(&r->changed);
}
