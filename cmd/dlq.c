/* dlq: inspect dead letters, requeue them to their groups, or drop them. */
#include "dlq/verbs.h"

int main(int argc, char **argv)
{
    const struct cmd verbs[] = {dlq_list, dlq_show, dlq_stats, dlq_try, dlq_retry, dlq_drop, {0}};
    const struct cmd self = {
        .name = "dlq",
        .about = "inspect, retry or drop dead letters",
        .examples = {"dlq list", "dlq show -g charge -n 1", "dlq retry -g charge --all"},
        .verbs = verbs,
    };

    return args_verb(&self, argc, argv);
}
