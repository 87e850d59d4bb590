#include "base/uuid.h"

#include "base/clock.h"
#include "unit.h"

#include <stdlib.h>

static void new_ids_are_uuids_of_version_7_with_the_time_in_front(void)
{
    char id[UUID_SIZE];
    int64_t before = clock_now_ms(), ms;

    uuid_v7(id);
    CHECK_INT((int64_t)strlen(id), 36);
    for (int i = 0; i < 36; i++)
        if (i == 8 || i == 13 || i == 18 || i == 23)
            CHECK(id[i] == '-');
        else
            CHECK(strchr("0123456789abcdef", id[i]) != NULL);
    CHECK(id[14] == '7');
    CHECK(strchr("89ab", id[19]) != NULL);
    id[8] = '\0';
    id[13] = '\0';
    ms = (int64_t)strtoll(id, NULL, 16) << 16 | strtoll(id + 9, NULL, 16);
    CHECK(ms >= before && ms <= clock_now_ms());
}

/* More than fit into their milliseconds, so that the count overflows on the way. */
static void ids_of_one_process_are_in_order(void)
{
    char id[UUID_SIZE], last[UUID_SIZE] = "";

    for (int i = 0; i < 200000; i++) {
        uuid_v7(id);
        if (strcmp(last, id) >= 0) {
            CHECK_TEXT(id, last);
            return;
        }
        memcpy(last, id, sizeof id);
    }
}

int main(void)
{
    RUN(new_ids_are_uuids_of_version_7_with_the_time_in_front);
    RUN(ids_of_one_process_are_in_order);
    return unit_done();
}
