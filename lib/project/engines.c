/* Which engine serves a database. */
#include "cli/engine.h"
#include "project/model.h"

const struct model_engine *model_engine_of(const char *database)
{
    return engine_is_address(database) ? &model_postgres : &model_sqlite;
}
