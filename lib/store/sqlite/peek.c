/*
 * Peeking: the values of a row from where its bytes lie in the file. SQLite's machine takes longer
 * to hand over a dozen columns than all the rest that it does for a row.
 *
 * Between db_peek_begin and db_peek_end SQLite gets the leaves of tables from here, out of blocks
 * that are read ahead: it asks for them by xFetch, by which it would otherwise look at a memory
 * map. (With a map, a bad sector would end the process by a signal; and the page faults cost more
 * than reading.) SQLite goes from position to position and decides which rows there are; db_peek
 * looks for the row in the leaf that was fetched last. What it finds is a guess, until a checksum
 * over all of it is right; it finds nothing of a page that is in the WAL, and of a row that is
 * longer than a page.
 *
 * A block must not outlive a read transaction: a checkpoint may write to the file's pages after it.
 * Within one, nobody writes to a page that the transaction reads in the file.
 */
#include "store/sqlite/sqlite.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK_BYTES (32 << 10)
#define BLOCKS 8    /* a cursor holds one leaf at a time */
#define BRANCHES 16 /* pages that are known to be no leaves: SQLite keeps those in its cache */
#define LEAF 13     /* the first byte of a table's leaf */

struct block {
    int64_t at; /* in the file; -1: nowhere */
    bool read;  /* false: it cannot be, as behind the end of the file */
    int held;   /* how many of its pages SQLite has */
    unsigned char *bytes;
};

struct peek {
    sqlite3_io_methods methods; /* the file's own, with ours in place of two; the first member */
    bool on;
    size_t page_size;
    struct block block[BLOCKS];
    int64_t branch[BRANCHES];
    unsigned blocks, branches;          /* how many there were: the oldest is replaced */
    const unsigned char *latest, *leaf; /* fetched last; in which the last row was found */
    size_t cell;                        /* of the leaf, that the next row is expected in */
};

/* -------------------------------------------------------------------------------------- blocks */

static void forget_blocks(struct peek *peek)
{
    for (int i = 0; i < BLOCKS; i++)
        peek->block[i].at = -1;
    peek->latest = peek->leaf = NULL;
}

static struct block *get_block(struct peek *peek, sqlite3_file *file, int64_t at)
{
    struct block *b;

    for (int i = 0; i < BLOCKS; i++)
        if (peek->block[i].at == at)
            return &peek->block[i];
    for (int i = 0; i < BLOCKS; i++) {
        b = &peek->block[peek->blocks++ % BLOCKS];
        if (b->held > 0)
            continue;
        if (b->bytes == NULL)
            b->bytes = mem_zero(1, BLOCK_BYTES);
        b->at = at;
        b->read = peek->methods.xRead(file, b->bytes, BLOCK_BYTES, at) == SQLITE_OK;
        return b;
    }
    return NULL;
}

static bool is_branch(const struct peek *peek, int64_t at)
{
    for (int i = 0; i < BRANCHES; i++)
        if (peek->branch[i] == at)
            return true;
    return false;
}

/* Where this sets no page, SQLite reads it itself, and reports what is wrong with it. */
static int fetch(sqlite3_file *file, sqlite3_int64 at, int size, void **page)
{
    struct peek *peek = (struct peek *)file->pMethods;
    int64_t in_block = at % BLOCK_BYTES;
    struct block *b;

    *page = NULL;
    if (!peek->on || in_block + size > BLOCK_BYTES || is_branch(peek, at) ||
        (b = get_block(peek, file, at - in_block)) == NULL || !b->read)
        return SQLITE_OK;
    if (b->bytes[in_block] != LEAF) {
        peek->branch[peek->branches++ % BRANCHES] = at;
        return SQLITE_OK;
    }
    b->held++;
    peek->page_size = (size_t)size;
    peek->latest = b->bytes + in_block;
    *page = b->bytes + in_block;
    return SQLITE_OK;
}

/* Without a page: all that is not in use must be fetched again. */
static int unfetch(sqlite3_file *file, sqlite3_int64 at, void *page)
{
    struct peek *peek = (struct peek *)file->pMethods;
    const unsigned char *p = page;

    if (page == NULL)
        forget_blocks(peek);
    for (int i = 0; i < BLOCKS && page != NULL; i++) {
        struct block *b = &peek->block[i];
        b->held -= b->bytes != NULL && p == b->bytes + at % BLOCK_BYTES;
    }
    return SQLITE_OK;
}

static struct peek *peek_new(struct db *db)
{
    struct peek *peek = mem_zero(1, sizeof *peek);
    struct err ignored = ERR_NONE;
    sqlite3_file *file = NULL;

    forget_blocks(peek);
    if (sqlite3_file_control(db->sqlite, "main", SQLITE_FCNTL_FILE_POINTER, &file) != SQLITE_OK ||
        file->pMethods == NULL || file->pMethods->iVersion < 3)
        return peek;
    peek->methods = *file->pMethods;
    peek->methods.xFetch = fetch;
    peek->methods.xUnfetch = unfetch;
    file->pMethods = &peek->methods;
    /* SQLite now asks for pages; SQLITE_CONFIG_MMAP_SIZE keeps it from mapping any. */
    db_exec(db, "PRAGMA mmap_size=1", &ignored);
    return peek;
}

void peek_free(struct peek *peek)
{
    for (int i = 0; peek != NULL && i < BLOCKS; i++)
        free(peek->block[i].bytes);
    free(peek);
}

bool db_peek_begin(struct db *db)
{
    if (db->peek == NULL)
        db->peek = peek_new(db);
    forget_blocks(db->peek);
    /* SQLite may have asked for a page that it has changed itself, and has not written yet. */
    db->peek->on = sqlite3_txn_state(db->sqlite, NULL) != SQLITE_TXN_WRITE;
    return true;
}

void db_peek_end(struct db *db)
{
    db->peek->on = false;
}

/* ---------------------------------------------------------------------------------------- rows */

struct bytes {
    const unsigned char *p, *end;
};

/* SQLite's integer of one to nine bytes. False when the bytes end before it does. */
static inline bool read_varint(struct bytes *b, uint64_t *out)
{
    if (b->p < b->end && *b->p < 0x80) {
        *out = *b->p++;
        return true;
    }
    *out = 0;
    for (int i = 0; i < 9 && b->p < b->end; i++) {
        unsigned char c = *b->p++;
        *out = i == 8 ? *out << 8 | c : *out << 7 | (c & 0x7f);
        if (c < 0x80 || i == 8)
            return true;
    }
    return false;
}

/* The payload of the row with this key, from the next cell of the leaf on. */
static bool find_payload(struct peek *peek, int64_t key, struct bytes *out)
{
    const unsigned char *leaf = peek->leaf;
    uint64_t size, at_key;

    if (leaf == NULL)
        return false;
    for (size_t cells = (size_t)leaf[3] << 8 | leaf[4]; peek->cell < cells; peek->cell++) {
        size_t pointer = 8 + 2 * peek->cell;
        if (pointer + 2 > peek->page_size)
            return false;
        size_t start = (size_t)leaf[pointer] << 8 | leaf[pointer + 1];
        if (start >= peek->page_size)
            return false;
        *out = (struct bytes){leaf + start, leaf + peek->page_size};
        if (!read_varint(out, &size) || !read_varint(out, &at_key) || (int64_t)at_key > key)
            return false;
        if ((int64_t)at_key < key)
            continue;
        if (size > (uint64_t)(out->end - out->p))
            return false;
        out->end = out->p + size;
        peek->cell++;
        return true;
    }
    return false;
}

/* The value of a column; moves b behind it. False when it is not of this type. */
static inline bool read_value(struct bytes *b, uint64_t serial, char type, struct db_value *out)
{
    static const unsigned char sizes[] = {0, 1, 2, 3, 4, 6, 8, 0, 0, 0};
    uint64_t size = serial < 10 ? sizes[serial] : (serial - 12) / 2;

    if (serial == 0) {
        *out = (struct db_value){DB_NONE, {NULL, 0}};
        return type != 'b';
    }
    if (type == 'i' ? serial == 7 || serial > 9 : serial < 12 || serial % 2 != (type == 's'))
        return false;
    if (size > (uint64_t)(b->end - b->p))
        return false;
    if (type != 'i') {
        out->text = (struct str){(const char *)b->p, (size_t)size};
        b->p += size;
        return true;
    }
    uint64_t number = serial > 7 ? serial - 8 : *b->p >= 0x80 ? UINT64_MAX : 0;
    for (; size > 0; size--)
        number = number << 8 | *b->p++;
    out->number = (int64_t)number;
    return true;
}

static bool read_row(struct bytes header, int64_t key, const char *types, struct db_value *out)
{
    struct bytes body = header;
    uint64_t size, serial;

    if (!read_varint(&header, &size) || size > (uint64_t)(body.end - body.p))
        return false;
    header.end = body.p += size;
    /* The key is not in the record again. */
    if (!read_varint(&header, &serial) || serial != 0)
        return false;
    out->number = key;
    while (*++types != '\0')
        if (!read_varint(&header, &serial) || !read_value(&body, serial, *types, ++out))
            return false;
    return header.p == header.end;
}

bool db_peek(struct db *db, int64_t key, const char *types, struct db_value *out)
{
    struct peek *peek = db->peek;
    struct bytes payload;

    if (find_payload(peek, key, &payload))
        return read_row(payload, key, types, out);
    peek->leaf = peek->latest;
    peek->cell = 0;
    return find_payload(peek, key, &payload) && read_row(payload, key, types, out);
}
