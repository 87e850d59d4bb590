/*
 * Settling some events and claiming the next, in one transaction.
 */
#include "store/group.h"

#include "base/point.h"
#include "deliver/ingest.h"
#include "spool.h"

static struct ingest batch;
static struct err error;

static void publish(int n)
{
    batch = (struct ingest){.store = batch.store, .pending.wait_ms = -1};
    batch.fill = (struct event_fill){.source = "/s", .type = "t", .hops = -1, .priority = -1};
    for (; n > 0; n--)
        CHECK(ingest_put(&batch, (struct ingest_place){0}, STR("1"), &error) == 0);
    CHECK(ingest_commit(&batch, &error) == 0);
    ingest_free(&batch);
}

/* A new group, behind which the log has n events. */
static struct group *group_of(const char *name, int n)
{
    const struct point now = {POINT_END, 0};
    const struct group_terms terms = {.name = name, .from = &now, .attempts = 3};
    struct group *g;

    CHECK(group_open(&g, batch.store, &terms, &error) == 0);
    publish(n);
    return g;
}

static int settle_and_claim(struct group *g, struct group_event **done, int n, size_t max,
                            struct group_event ***out)
{
    struct group_settle settle[4] = {{0}};

    for (int i = 0; i < n; i++)
        settle[i] = (struct group_settle){.event = done[i], .outcome = GROUP_DONE, .took_ms = -1};
    return group_settle_and_claim(g, settle, (size_t)n, max, max, 0, out, &error);
}

static void what_comes_next_is_claimed_with_the_settling(void)
{
    struct group *g = group_of("next", 5);
    struct group_event **got;
    int64_t first;

    CHECK_INT(group_claim(g, 2, 2, 0, &got, &error), 2);
    first = got[0]->entry.seq;
    CHECK_INT(settle_and_claim(g, (struct group_event *[]){got[0], got[1]}, 2, 2, &got), 2);
    CHECK_INT(got[0]->entry.seq, first + 2);
    CHECK_INT(settle_and_claim(g, (struct group_event *[]){got[0], got[1]}, 2, 2, &got), 1);
    CHECK_INT(settle_and_claim(g, (struct group_event *[]){got[0]}, 1, 2, &got), 0);
    group_close(g);
    g = group_of("next", 0);
    CHECK_INT(group_claim(g, 2, 2, 0, &got, &error), 0);
    group_close(g);
}

/* Events that were settled alone are settled; those that were claimed are nobody else's. */
static void when_nothing_can_be_claimed_the_settling_remains(void)
{
    struct group *g = group_of("held", 3), *other;
    const struct group_terms terms = {.name = "held", .attempts = 3};
    struct group_event **got;

    CHECK_INT(group_claim(g, 2, 2, 0, &got, &error), 2);
    CHECK(group_hold(g, INT64_MAX, &error) == 0);
    CHECK_INT(settle_and_claim(g, (struct group_event *[]){got[0]}, 1, 2, &got), 0);
    group_close(g); /* with one event in its hand */
    CHECK(group_open(&other, batch.store, &terms, &error) == 0);
    struct group_stand stand;
    CHECK(group_stand(other, 0, &stand, &error) == 0);
    CHECK_INT(stand.elsewhere, 1);
    group_close(other);
}

int main(void)
{
    if (!unit_open(&batch.store))
        return 1;
    RUN(what_comes_next_is_claimed_with_the_settling);
    RUN(when_nothing_can_be_claimed_the_settling_remains);
    store_close(batch.store);
    return unit_done();
}
