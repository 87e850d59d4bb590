#include "process/environment.h"

#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OURS_MAX 16

static bool of_a_handler(const char *variable)
{
    static const char *const names[] = {
        "EVENT_ID=",    "EVENT_TYPE=",    "EVENT_SOURCE=", "EVENT_SUBJECT=",       "EVENT_SEQ=",
        "EVENT_TIME=",  "EVENT_ATTEMPT=", "EVENT_GROUP=",  "EVENT_CORRELATIONID=", "EVENT_HOPS=",
        "EVENT_SPOOL=", "EVENT_CTL=",     "EVENT_WORKER=", "TRACEPARENT=",         "TRACESTATE=",
    };

    if (strchr("ET", variable[0]) == NULL)
        return false;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strncmp(variable, names[i], strlen(names[i])) == 0)
            return true;
    return false;
}

static void set(struct environment *env, const char *name, struct str value)
{
    if (value.p == NULL)
        return;
    buf_puts(&env->text, name);
    buf_char(&env->text, '=');
    buf_str(&env->text, value);
    buf_char(&env->text, '\0');
}

static void set_number(struct environment *env, const char *name, int64_t value)
{
    char text[24];

    snprintf(text, sizeof text, "%" PRId64, value);
    set(env, name, str_of(text));
}

static size_t inherit(struct environment *env)
{
    size_t all = 0, n = 0;

    while (environ[all] != NULL)
        all++;
    if (env->room < all + OURS_MAX) {
        env->room = all + OURS_MAX;
        env->envp = mem_grow(env->envp, env->room, sizeof *env->envp);
    }
    for (size_t i = 0; i < all; i++)
        if (!of_a_handler(environ[i]))
            env->envp[n++] = environ[i];
    return n;
}

static void set_event(struct environment *env, const struct event *ev, int64_t seq, int64_t attempt)
{
    set(env, "EVENT_ID", ev->id);
    set(env, "EVENT_TYPE", ev->type);
    set(env, "EVENT_SOURCE", ev->source);
    set(env, "EVENT_SUBJECT", ev->subject);
    set(env, "EVENT_TIME", ev->time);
    if (seq > 0)
        set_number(env, "EVENT_SEQ", seq);
    set_number(env, "EVENT_ATTEMPT", attempt);
    set(env, "EVENT_CORRELATIONID", ev->correlationid.p != NULL ? ev->correlationid : ev->id);
    set_number(env, "EVENT_HOPS", ev->hops);
    set(env, "TRACEPARENT", ev->traceparent);
    if (ev->traceparent.p != NULL) /* it means nothing without TRACEPARENT */
        set(env, "TRACESTATE", ev->tracestate);
}

char *const *environment_make(struct environment *env, const struct event *ev, int64_t seq,
                              int64_t attempt, const char *group, const char *spool)
{
    size_t n = inherit(env);

    buf_reset(&env->text);
    if (ev != NULL)
        set_event(env, ev, seq, attempt);
    else
        set_number(env, "EVENT_WORKER", seq);
    set(env, "EVENT_GROUP", str_of(group));
    set(env, "EVENT_SPOOL", str_of(spool));
    set(env, "EVENT_CTL", env->word ? STR("3") : (struct str){NULL, 0});
    /* The text does not move from here on. */
    for (size_t at = 0; at < env->text.n; at += strlen(env->text.p + at) + 1)
        env->envp[n++] = env->text.p + at;
    env->envp[n] = NULL;
    return env->envp;
}

void environment_free(struct environment *env)
{
    buf_free(&env->text);
    free(env->envp);
}
