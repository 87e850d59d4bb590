/*
 * machine: a state machine, read from JSON in XState's form, and the state that follows an event.
 * Pure: no file, no clock, no spool.
 *
 *     {"id": "order", "initial": "new", "states": {
 *         "new":  {"on": {"order.placed": "open"}},
 *         "open": {"on": {"payment.made": [{"target": "paid",
 *                     "cond": {"pointer": "/data/cents", "op": ">", "value": 0}}]}},
 *         "paid": {"type": "final"}}}
 *
 * A condition compares what an RFC 6901 pointer names in the event with a value:
 *     two numbers        as integers when both are 64-bit integers, else as floating point
 *     two strings        by code point
 *     true, false, null  only with == and !=
 *     different types    only != holds
 *     nothing there      no operator holds
 *
 * A machine that uses other parts of XState is refused: a machine that does less than its file
 * says is worse than none.
 */
#ifndef FSM_MACHINE_H
#define FSM_MACHINE_H

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"

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
    char *name; /* the prefix of its transitions' types */
    struct machine_state *state;
    size_t states, initial;
    char **type; /* the types that occur in an "on", sorted */
    size_t types;
};

/* clang-format off */
#define MACHINE_INIT {0}
/* clang-format on */

/* What is wrong with a machine: texts, each ending with a NUL, without the file's name. */
struct machine_findings {
    struct buf wrong;    /* it cannot be run */
    struct buf doubtful; /* unreachable states, states without a way out, and the like */
};

/*
 * name: the machine's name, unless it has an "id". Returns 0 when nothing is wrong. Otherwise
 * returns -1, with e filled in for text that is not JSON, and findings for everything else; m may
 * then only be freed. m is overwritten in any case, so it must be free or fresh before the call.
 */
int machine_read(struct machine *m, struct str json, struct str name,
                 struct machine_findings *findings, struct err *e);
void machine_free(struct machine *m);
void machine_findings_free(struct machine_findings *findings);

/* Add what is doubtful in a machine that was read without errors. */
void machine_check(const struct machine *m, struct machine_findings *findings);

/* Does the type occur in any state? Events of other types are not for this machine. */
bool machine_knows(const struct machine *m, struct str type);
bool machine_find(const struct machine *m, struct str state, size_t *out);

enum machine_answer {
    MACHINE_TAKEN,
    MACHINE_REFUSED, /* the state does not accept this type */
    MACHINE_UNMET,   /* the state accepts it under conditions, and none holds */
};
/* The state that follows an event of this type (a line that js_scan has accepted): the first target
   that has no condition or whose condition holds. */
enum machine_answer machine_step(const struct machine *m, size_t from, struct str type,
                                 struct str event, size_t *to);

/* Append the machine as a graph for dot(1). */
void machine_dot(const struct machine *m, struct buf *b);

#endif
