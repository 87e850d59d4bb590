#include "process/environment.h"

#include "base/mem.h"

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

    if (variable[0] != 'E' && variable[0] != 'T')
        return false;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strncmp(variable, names[i], strlen(names[i])) == 0)
            return true;
    return false;
}

/* name: with its "=". */
static void set(struct environment *env, struct str name, struct str value)
{
    if (value.p == NULL)
        return;
    buf_str(&env->text, name);
    buf_add(&env->text, value.p, value.n);
    buf_char(&env->text, '\0');
}

static void set_number(struct environment *env, struct str name, int64_t value)
{
    buf_str(&env->text, name);
    buf_int(&env->text, value);
    buf_char(&env->text, '\0');
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
    set(env, STR("EVENT_ID="), ev->id);
    set(env, STR("EVENT_TYPE="), ev->type);
    set(env, STR("EVENT_SOURCE="), ev->source);
    set(env, STR("EVENT_SUBJECT="), ev->subject);
    set(env, STR("EVENT_TIME="), ev->time);
    if (seq > 0)
        set_number(env, STR("EVENT_SEQ="), seq);
    set_number(env, STR("EVENT_ATTEMPT="), attempt);
    set(env, STR("EVENT_CORRELATIONID="), ev->correlationid.p != NULL ? ev->correlationid : ev->id);
    set_number(env, STR("EVENT_HOPS="), ev->hops);
    set(env, STR("TRACEPARENT="), ev->traceparent);
    if (ev->traceparent.p != NULL) /* it means nothing without TRACEPARENT */
        set(env, STR("TRACESTATE="), ev->tracestate);
}

char *const *environment_make(struct environment *env, const struct event *ev, int64_t seq,
                              int64_t attempt, const char *group, const char *spool)
{
    size_t n = inherit(env);

    buf_reset(&env->text);
    if (ev != NULL)
        set_event(env, ev, seq, attempt);
    else
        set_number(env, STR("EVENT_WORKER="), seq);
    set(env, STR("EVENT_GROUP="), str_of(group));
    set(env, STR("EVENT_SPOOL="), str_of(spool));
    set(env, STR("EVENT_CTL="), env->word ? STR("3") : (struct str){NULL, 0});
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
