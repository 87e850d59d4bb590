/* dialect: what engines say differently, as PostgreSQL says it. See driver.h. */
#ifndef STORE_DIALECT_H
#define STORE_DIALECT_H

/* Its planner finds the index by itself. */
#define BY_EVENT_PRIORITY ""
#define BY_EVENT_ID ""
#define BY_EVENT_VERSION ""
#define BY_ITEM_DUE ""
#define BY_ITEM_SUBJECT ""
#define BY_ITEM_DEAD ""
#define BY_CLAIM_OWNER ""
#define BY_CLAIM_LEASE ""
#define BY_CONSUMER_GROUP ""
#define THEN_JOIN " JOIN "
#define LESSER(a, b) "least(" a "," b ")"
#define GREATER(a, b) "greatest(" a "," b ")"
#define DB_PRIORITIES "generate_series(0,9) AS p(value)"
/* A division by zero ends the transaction. */
#define MUST_CHANGE(change) "WITH c AS (" change " RETURNING 1) SELECT 1/count(*) FROM c"
#define MUST_FIND(what) "SELECT 1/count(*) " what
#define RETURNING_ID(column) " RETURNING " column
#define NO_BYTES "''::bytea"
#define PAGE_LIMIT " LIMIT 1000"
/* Events in a statement, or fewer: each column is an array. */
#define APPEND_ROWS 250
#define APPEND_FEWER true
#define APPEND_UNASKED true
#define ROWS_9 "SELECT * FROM unnest(?,?,?,?,?,?,?,?,?)"
/* Events that are looked up at once, with lines that may be long. */
#define APPEND_LOOK 60
#define PAIRS "unnest(?,?) WITH ORDINALITY k(id,source,n)"
#define ROWS_AT_ONCE 250
#define ROWS_OF(arguments) "SELECT * FROM unnest(" arguments ")"
/* While somebody looks at the past, each change of a row makes it slower to find. */
#define ADD_UP(keys, sums) ""
#define FOLD_NOW(random) ((random) % 256 == 0)
#define HAS_NUL(text) "false" /* refused by the server */

#endif
