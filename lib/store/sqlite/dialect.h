/* dialect: what engines say differently, as SQLite says it. See driver.h. */
#ifndef STORE_DIALECT_H
#define STORE_DIALECT_H

#define BY_EVENT_PRIORITY " INDEXED BY event_priority"
#define BY_EVENT_ID " INDEXED BY event_id"
#define BY_EVENT_VERSION " INDEXED BY event_version"
#define BY_ITEM_DUE " INDEXED BY item_due"
#define BY_ITEM_SUBJECT " INDEXED BY item_subject"
#define BY_ITEM_DEAD " INDEXED BY item_dead"
#define BY_CLAIM_OWNER " INDEXED BY claim_owner"
#define BY_CLAIM_LEASE " INDEXED BY claim_lease"
#define BY_CONSUMER_GROUP " INDEXED BY consumer_group"
#define THEN_JOIN " CROSS JOIN "
#define LESSER(a, b) "min(" a "," b ")"
#define GREATER(a, b) "max(" a "," b ")"
#define DB_PRIORITIES "json_each('[0,1,2,3,4,5,6,7,8,9]') p"
#define MUST_CHANGE(change) change
#define MUST_FIND(what) "SELECT 1 " what
#define RETURNING_ID(column) "" /* it costs 20,000 instructions */
#define NO_BYTES "x''"
#define PAGE_LIMIT ""
/* Events in a statement: always as many, since each row has its place in the text. With 8 an event
   costs 700 more instructions, with 32 200 less. */
#define APPEND_ROWS 20
#define APPEND_FEWER false
#define APPEND_UNASKED false
#define ROWS_9 "VALUES" ROWS_9_4 "," ROWS_9_4 "," ROWS_9_4 "," ROWS_9_4 "," ROWS_9_4
#define ROWS_9_4 ROWS_9_1 "," ROWS_9_1 "," ROWS_9_1 "," ROWS_9_1
#define ROWS_9_1 "(?,?,?,?,?,?,?,?,?)"
#define APPEND_LOOK 1
#define PAIRS "(SELECT ? AS id,? AS source,1 AS n) k"
#define ROWS_AT_ONCE 1
#define ROWS_OF(arguments) "VALUES(" arguments ")"
#define ADD_UP(keys, sums) " ON CONFLICT(" keys ") DO UPDATE SET " sums
#define FOLD_NOW(random) false
#define HAS_NUL(text) "instr(CAST(" text " AS BLOB),x'00')"

#endif
