/* fsm_verbs: the verbs of fsm(1) that take more than a screen of code, each in a file of its
   own. */
#ifndef FSM_VERBS_H
#define FSM_VERBS_H

#include "cli/args.h"
#include "fsm/machine.h"

extern const struct cmd fsm_verb_run, fsm_verb_show, fsm_verb_list, fsm_verb_forget;

/* Print the findings: mistakes as errors, doubtful things as warnings. */
void fsm_say(const char *path, const struct machine_findings *findings);

#endif
