/* db_peek: what it finds in the file is what SQLite says. */
#include "store/sqlite/sqlite.h"

#include "unit.h"

#include <stdlib.h>
#include <unistd.h>

#define ROWS 3000
#define TYPES "iiiiiiissssb"
#define WHOLE                                                                                      \
    "SELECT seq,recorded,priority,due,expires,version,sums,id,source,type,subject,line FROM "      \
    "event "

static const int64_t numbers[] = {
    0,
    1,
    -1,
    2,
    127,
    128,
    -128,
    -129,
    32767,
    32768,
    -32769,
    1 << 23,
    -(1 << 23) - 1,
    INT32_MAX,
    -1234567,
    2147483648,
    -2147483649,
    1LL << 47,
    -(1LL << 47) - 1,
    INT64_MAX,
    -INT64_MAX,
};
#define NUMBERS (sizeof numbers / sizeof numbers[0])

static struct db *db;
static struct err e = ERR_NONE;

static void put(int i)
{
    static char text[9000];
    char id[20];

    snprintf(id, sizeof id, "%d", i);
    memset(text, 'a' + i % 26, sizeof text);
    struct str type = {text, (size_t)i % 130},
               line = {text, (size_t)(i % 250 == 0 ? 9000 : i % 299)};
    CHECK_INT(db_run(db, &e,
                     SQL("put", "INSERT INTO event(seq,recorded,priority,due,expires,version,sums,"
                                "id,source,type,subject,line) VALUES(?,?,?,?,?,NULL,?,?,?,?,?,?)"),
                     "iiioiitsssb", (int64_t)i * 3, numbers[(size_t)i % NUMBERS], (int64_t)i % 10,
                     i % 2 == 0 ? DB_NONE : numbers[(size_t)i % 7],
                     numbers[(size_t)i * 5 % NUMBERS], numbers[(size_t)i * 11 % NUMBERS], id,
                     STR(""), type, i % 3 == 0 ? (struct str){NULL, 0} : type, line),
              1);
}

static void compare(int64_t seq, const struct db_value *peeked)
{
    struct db_value whole[12];
    struct query *q = db_query(db, &e, SQL("whole", WHOLE "WHERE seq=?"), "i", seq);

    CHECK_INT(db_row(db, q, &e), 1);
    db_values(q, TYPES, whole);
    for (int i = 0; i < 7; i++)
        CHECK_INT(peeked[i].number, whole[i].number);
    for (int i = 7; i < 12; i++) {
        CHECK(str_eq(peeked[i].text, whole[i].text));
        CHECK((peeked[i].text.p == NULL) == (whole[i].text.p == NULL));
    }
    db_done(q);
}

/* How many of all rows from this one on can be peeked at; *rows: how many there are. */
static int peek_from(int64_t seq, int *rows)
{
    struct db_value v[12];
    int found = 0;

    *rows = 0;
    db_peek_begin(db);
    struct query *q =
        db_query(db, &e, SQL("peek", "SELECT seq FROM event WHERE seq>=? ORDER BY seq"), "i", seq);
    while (db_row(db, q, &e) > 0) {
        int64_t at = db_i64(q, 0);
        ++*rows;
        CHECK(!db_peek(db, at - 1, TYPES, v));
        if (!db_peek(db, at, TYPES, v))
            continue;
        compare(at, v);
        found++;
    }
    db_peek_end(db);
    return found;
}

static void rows_in_the_file_are_found(void)
{
    int rows, found = peek_from(0, &rows);

    CHECK_INT(rows, ROWS);
    CHECK(found <= ROWS - ROWS / 250); /* the others are longer than a page */
    CHECK(found > ROWS * 9 / 10);
    found = peek_from(4000, &rows);
    CHECK_INT(rows, ROWS - 4000 / 3);
    CHECK(found > rows * 8 / 10);
}

/* The file has the pages as they were. */
static void rows_in_the_wal_are_those_of_the_wal(void)
{
    int rows;

    CHECK_INT(db_begin(db, DB_NORMAL, &e), 0);
    for (int64_t seq = 300; seq <= ROWS * 3; seq += 300)
        CHECK_INT(db_run(db, &e,
                         SQL("change", "UPDATE event SET recorded=recorded/2,type='changed',"
                                       "line=x'01' WHERE seq=?"),
                         "i", seq),
                  1);
    CHECK_INT(db_run(db, &e, SQL("prune", "DELETE FROM event WHERE seq%3000=3"), ""), 3);
    CHECK_INT(peek_from(0, &rows), 0); /* within the transaction */
    CHECK_INT(rows, ROWS - 3);
    CHECK_INT(db_commit(db, false, &e), 0);
    CHECK(peek_from(0, &rows) > ROWS / 4);
    CHECK_INT(rows, ROWS - 3);
    CHECK(db_move_wal(db));
    CHECK(peek_from(0, &rows) > ROWS * 8 / 10);
}

static void rows_of_another_kind_are_not(void)
{
    struct db_value v[12];
    const char *const types[] = {"i", "iiiiiiissss", "iiiiiiisssbb", "iiiiiisssssb", TYPES "i"};
    int found = 0;

    db_peek_begin(db);
    struct query *q =
        db_query(db, &e, SQL("kinds", "SELECT seq FROM event WHERE seq>0 ORDER BY seq"), "");
    for (size_t i = 0; db_row(db, q, &e) > 0; i++)
        found += db_peek(db, db_i64(q, 0), types[i % 5], v);
    CHECK_INT(found, 0);
    db_peek_end(db);
}

int main(void)
{
    char dir[] = "/tmp/peek.XXXXXX", path[64];

    if (mkdtemp(dir) == NULL)
        return 1;
    snprintf(path, sizeof path, "%s/spool", dir);
    CHECK_INT(db_open(&db, path, STORE_CREATE, NULL, &e), 1);
    CHECK_INT(db_begin(db, DB_NORMAL, &e), 0);
    for (int i = 1; i <= ROWS; i++)
        put(i);
    CHECK_INT(db_commit(db, false, &e), 0);
    CHECK(db_move_wal(db));
    RUN(rows_in_the_file_are_found);
    RUN(rows_in_the_wal_are_those_of_the_wal);
    RUN(rows_of_another_kind_are_not);
    db_close(db);
    file_remove_draft(path);
    strcat(path, "-lock");
    unlink(path);
    rmdir(dir);
    return unit_done();
}
