/* Errors of libpq and of servers. */
#include "pgkit/pgkit.h"

#include <string.h>

void pg_words(struct buf *b, const char *words)
{
    err_escape(b, words, strcspn(words, "\n"));
}

/* Before there is a connection, libpq has no results, only words: "…: FATAL:  3D000: database …".
 */
const char *pg_state_in(const char *words)
{
    for (const char *p = words; (p = strstr(p, ": ")) != NULL; p += 2) {
        const char *state = p + 2 + strspn(p + 2, " ");
        if (strspn(state, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") == 5 && state[5] == ':' &&
            strcspn(state, "0123456789") < 5)
            return state;
    }
    return NULL;
}

const struct pg_error *pg_error_of(const char *state)
{
    static const struct pg_error known[] = {
        {"57P", EX_TEMPFAIL, ""},   /* the server shuts down, or starts */
        {"25P03", EX_TEMPFAIL, ""}, /* idle in a transaction for too long */
        {"08", EX_TEMPFAIL, ""},
        {"40", EX_TEMPFAIL, ""},
        {"57014", EX_TEMPFAIL, ""},
        {"53300", EX_TEMPFAIL, ": too many connections: raise max_connections, or end some"},
        {"53100", EX_IOERR, ": the server's disk is full"},
        {"53", EX_IOERR, ""},
        {"58", EX_IOERR, ""},
        {"XX001", EX_IOERR, ": restore the database from a backup"},
        {"XX002", EX_IOERR, ": rebuild the index (REINDEX)"},
        {"25006", EX_UNAVAILABLE,
         ": this server only reads: name its primary, or give several hosts and "
         "target_session_attrs=read-write"},
        {"42501", EX_NOPERM, ": grant it to the role"},
        {"28", EX_NOPERM, ""},
        {"3D", EX_NOINPUT, ""},
        {NULL, 0, ""},
    };
    const struct pg_error *at = known;

    while (at->state != NULL && strncmp(state, at->state, strlen(at->state)) != 0)
        at++;
    return at;
}
