/*
 * machine: a state machine, read from JSON in XState's form, and what an event makes of a state.
 * Pure: no file, no clock, no spool.
 *
 *     {"id": "order", "initial": "new", "states": {
 *         "new":  {"on": {"order.placed": "open"}},
 *         "open": {"on": {"payment.made": [{"target": "paid",
 *                     "cond": {"pointer": "/data/cents", "op": ">", "value": 0}}]}},
 *         "paid": {"type": "final"}}}
 *
 * A condition compares what an RFC 6901 pointer names in the event with a value:
 *     two numbers    as integers when both are, of 64 bits at most, else as floating point
 *     two strings    by code points
 *     true, false, null: only == and !=; values of two kinds are !=, and nothing else
 *     nothing there  false, whatever the operator
 *
 * What of XState is not done here is wrong and not passed over: a machine that does less than it
 * says is worse than none.
 */
#ifndef MACHINE_H
#define MACHINE_H

#include "buf.h"
#include "err.h"
#include "json.h"

enum machine_op {
    MACHINE_LESS,
    MACHINE_AT_MOST,
    MACHINE_EQUAL,
    MACHINE_OTHER,
    MACHINE_AT_LEAST,
    MACHINE_MORE,
};

struct machine_rule {
    char *type; /* of the event */
    size_t target;
    char *pointer; /* NULL: no condition */
    enum machine_op op;
    char *value; /* JSON */
};

struct machine_state {
    char *name;
    bool final;
    struct machine_rule *rule; /* in the order in which they are tried */
    size_t rules;
};

struct machine {
    char *name; /* in front of the types of its transitions */
    struct machine_state *state;
    size_t states, initial;
    char **type; /* that occur in an "on", sorted */
    size_t types;
};

/* clang-format off */
#define MACHINE_INIT {0}
/* clang-format on */

/* What is the matter with a machine: texts with a NUL behind each, without the file's name. */
struct machine_findings {
    struct buf wrong;    /* it cannot be run */
    struct buf doubtful; /* states that nothing leads to or that lead nowhere, and the like */
};

/*
 * name: the machine's, unless it has an "id". Returns 0 when nothing is wrong, else -1 with e for
 * text that is not JSON, and with findings for everything else; then m is not to be used, but to
 * be freed. Either way m is overwritten, and must be free before.
 */
int machine_read(struct machine *m, struct str json, struct str name,
                 struct machine_findings *findings, struct err *e);
void machine_free(struct machine *m);
void machine_findings_free(struct machine_findings *findings);

/* Look for what is doubtful in a machine that was read without errors. */
void machine_check(const struct machine *m, struct machine_findings *findings);

/* Does the type occur anywhere? Events of others are not for this machine. */
bool machine_knows(const struct machine *m, struct str type);
bool machine_find(const struct machine *m, struct str state, size_t *out);

enum machine_answer {
    MACHINE_TAKEN,
    MACHINE_REFUSED, /* the state does not accept this type */
    MACHINE_UNMET,   /* it does, but only under conditions, and none holds */
};
/* What event, a line that js_scan has accepted, of this type makes of a state: the first of its
   targets without a condition, or whose condition holds. */
enum machine_answer machine_step(const struct machine *m, size_t from, struct str type,
                                 struct str event, size_t *to);

/* Append the machine as a graph for dot(1). */
void machine_dot(const struct machine *m, struct buf *b);

#endif
