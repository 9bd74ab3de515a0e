/* Module load: what redis-server calls through the loader, in order. */
#include <stdio.h>

#include "command_info.h"
#include "commands.h"
#include "internal.h"

rai_command_handlers rai_handlers;
rai_load_hooks rai_hooks;

/* What COMMAND DOCS, key permissions (Redis 7.0) and ACL categories (7.4) are made of.
 * A server that finds fault with it runs the command all the same. */
static void describe_command(RedisModuleCtx *ctx, const char *name, const RedisModuleCommandInfo *info,
                             const char *categories) {
    if (RedisModule_GetCommand == NULL || RedisModule_SetCommandInfo == NULL) return;
    RedisModuleCommand *command = RedisModule_GetCommand(ctx, name);
    if (RedisModule_SetCommandInfo(command, info) != REDISMODULE_OK) {
        RedisModule_Log(ctx, "warning", "this server has no use for the description of %s", name);
    }
    if (RedisModule_SetCommandACLCategories == NULL) return;
    if (RedisModule_SetCommandACLCategories(command, categories) != REDISMODULE_OK) {
        RedisModule_Log(ctx, "warning", "%s is not in the ACL categories %s", name, categories);
    }
}

static int register_commands(RedisModuleCtx *ctx) {
    if (RedisModule_AddACLCategory) RedisModule_AddACLCategory(ctx, "ai");
#define REGISTER(handler, name, flags, first, last, step, categories)                                           \
    if (RedisModule_CreateCommand(ctx, name, rai_handlers.handler, flags, first, last, step) != REDISMODULE_OK) \
        return REDISMODULE_ERR;                                                                                 \
    describe_command(ctx, name, &info_of_##handler, categories);
    COMMAND_TABLE(REGISTER)
    return REDISMODULE_OK;
}

static void shutting_down(RedisModuleCtx *ctx, RedisModuleEvent event, uint64_t subevent, void *data) {
    (void)event, (void)subevent, (void)data;
    RedisModule_Log(ctx, "notice", "Clearing resources on shutdown");
    rai_shut_down();
}

/* One for all who need it: Redis keeps one subscription for each module and event, the last. */
static void cron(RedisModuleCtx *ctx, RedisModuleEvent event, uint64_t subevent, void *data) {
    (void)ctx, (void)event, (void)subevent, (void)data;
    rai_replication_paused(); /* for Redis 6.2; later ones look in every turn (queue.c) */
    rai_divisions_renew();
}

static int check_server(RedisModuleCtx *ctx) {
    int version = RedisModule_GetServerVersion();
    RedisModule_Log(ctx, "notice", "Redis version found by RedisAI: %d.%d.%d - oss", version >> 16, version >> 8 & 255,
                    version & 255);
    RedisModule_Log(ctx, "notice", "RedisAI version %d, git_sha=%s", rai_version_number(), rai_git_sha());
    return REDISMODULE_OK;
}

/* When nothing can fail any more: Redis 7.0 goes on calling what a module that could not be loaded subscribed to. */
static void subscribe(RedisModuleCtx *ctx) {
    RedisModuleEvent shutdown_event = {REDISMODULE_EVENT_SHUTDOWN, 1};
    RedisModule_SubscribeToServerEvent(ctx, shutdown_event, shutting_down);
    rai_queues_subscribe(ctx);
    RedisModuleEvent cron_event = {REDISMODULE_EVENT_CRON_LOOP, 1};
    RedisModule_SubscribeToServerEvent(ctx, cron_event, cron);
    rai_hooks.subscribe(ctx);
    rai_flows_subscribe(ctx);
}

/* Called by the loader. module_dir holds the package, python is its executable. */
__attribute__((visibility("default"))) int redisai_core_load(RedisModuleCtx *ctx, RedisModuleString **argv, int argc,
                                                             const char *module_dir, const char *python) {
    const char *missing = redis_api_resolve(ctx);
    if (missing) {
        fprintf(stderr, "redisai: this server lacks %s; Redis 6.2 or later is needed\n", missing);
        return REDISMODULE_ERR;
    }
    if (RedisModule_IsModuleNameBusy("ai")) return REDISMODULE_ERR;
    RedisModule_SetModuleAttribs(ctx, "ai", rai_version_number(), REDISMODULE_APIVER_1);
    /* While a replica loads a new data set beside the old one, values of both exist: they know nothing of each other.
     * A key that was opened for writing need not have been written (notifications.py signals those that were). */
    RedisModule_SetModuleOptions(ctx, REDISMODULE_OPTIONS_HANDLE_IO_ERRORS |
                                          REDISMODULE_OPTIONS_HANDLE_REPL_ASYNC_LOAD |
                                          REDISMODULE_OPTION_NO_IMPLICIT_SIGNAL_MODIFIED);
    rai_log_init(ctx);
    rai_models_init();
    rai_queues_init();
    if (check_server(ctx) || rai_watchdog_init() || rai_interpreter_start(ctx, module_dir, python) ||
        register_commands(ctx) || rai_hooks.register_types(ctx) || rai_hooks.register_info(ctx)) {
        return REDISMODULE_ERR;
    }
    if (rai_shared_api_export(ctx) != REDISMODULE_OK) return REDISMODULE_ERR;
    if (rai_hooks.load_arguments(ctx, argv, argc, module_dir) != REDISMODULE_OK) return REDISMODULE_ERR;
    subscribe(ctx);
    rai_thread_prefer();
    rai_divisions_init();
    rai_queue_of_device("CPU"); /* after THREADS_PER_QUEUE is known */
    return REDISMODULE_OK;
}
