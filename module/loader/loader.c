/* Stage one: redisai.so, which redis-server loads. It has no Python in it.
 *
 * Redis opens modules RTLD_LOCAL, but extension modules such as numpy expect
 * libpython's symbols to be global. So this loader finds the Python environment
 * that it was installed into, opens that libpython RTLD_GLOBAL, and then opens
 * redisai_core.so, which lies beside it, and hands over. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef int (*core_load)(void *ctx, void **argv, int argc, const char *module_dir, const char *python);
typedef void (*log_function)(void *ctx, const char *level, const char *format, ...);

static const char anchor; /* its address tells dladdr where we are */
static log_function redis_log;

static int fail(void *ctx, const char *what, const char *detail) {
    if (redis_log) redis_log(ctx, "warning", "RedisAI could not be loaded: %s%s", what, detail ? detail : "");
    return 1;
}

static void parent(char *path) {
    char *slash = strrchr(path, '/');
    if (slash) *slash = 0;
}

/* path = first + rest, 0 when that file cannot be read */
static int join(char *path, const char *first, const char *rest) {
    return snprintf(path, PATH_MAX, "%s%s", first, rest) < PATH_MAX && access(path, R_OK) == 0;
}

/* The executable of the environment: REDISAI_PYTHON; else the first virtual
 * environment at or above our directory (or in a .venv there); else, for a
 * package in <prefix>/lib/pythonX.Y/site-packages, <prefix>/bin/pythonX.Y. */
static int find_python(const char *module_dir, char *python) {
    char directory[PATH_MAX], found[PATH_MAX];
    const char *chosen = getenv("REDISAI_PYTHON");
    if (chosen) return snprintf(python, PATH_MAX, "%s", chosen) < PATH_MAX && access(python, X_OK) == 0;
    snprintf(directory, sizeof(directory), "%s", module_dir);
    for (; directory[0]; parent(directory)) {
        if (join(found, directory, "/pyvenv.cfg") && join(python, directory, "/bin/python3")) return 1;
        if (join(found, directory, "/.venv/pyvenv.cfg") && join(python, directory, "/.venv/bin/python3")) return 1;
        if (strchr(directory + 1, '/') == NULL) break;
    }
    snprintf(directory, sizeof(directory), "%s", module_dir);
    for (int up = 0; up < 4; up++) parent(directory);
    return join(python, directory, "/bin/python" PYTHON_VERSION);
}

/* The libpython beside the real executable behind `python`, else the system's. */
static void *open_libpython(const char *python, char *name) {
    static const char *const places[] = {"/lib/", "/lib64/", "/lib/" PYTHON_MULTIARCH "/"};
    char base[PATH_MAX];
    if (realpath(python, base)) {
        parent(base);
        parent(base);
        for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
            char directory[PATH_MAX];
            if (snprintf(directory, sizeof(directory), "%s%s", base, places[i]) >= PATH_MAX) continue;
            if (join(name, directory, PYTHON_LIBRARY)) return dlopen(name, RTLD_NOW | RTLD_GLOBAL);
        }
    }
    snprintf(name, PATH_MAX, "%s", PYTHON_LIBRARY);
    return dlopen(name, RTLD_NOW | RTLD_GLOBAL);
}

/* libpython and the standard library must be of one release. A virtual
 * environment says of which release it is; *stated is empty where none does. */
static void stated_version(const char *python, char *stated, size_t room) {
    char path[PATH_MAX], line[256];
    snprintf(path, sizeof(path), "%s", python);
    parent(path);
    parent(path);
    stated[0] = 0;
    if (strlen(path) + sizeof("/pyvenv.cfg") > sizeof(path)) return;
    FILE *file = fopen(strcat(path, "/pyvenv.cfg"), "r");
    while (file && fgets(line, sizeof(line), file)) {
        char version[64];
        if (sscanf(line, "version = %63[0-9.]", version) == 1) snprintf(stated, room, "%s", version);
    }
    if (file) fclose(file);
}

static int versions_agree(const char *python, void *libpython, char *detail, size_t room) {
    const char *(*get_version)(void) = (const char *(*)(void))dlsym(libpython, "Py_GetVersion");
    char stated[64];
    stated_version(python, stated, sizeof(stated));
    const char *version = get_version ? get_version() : "";
    if (strncmp(version, PYTHON_VERSION ".", strlen(PYTHON_VERSION) + 1) != 0 ||
        (stated[0] && strncmp(version, stated, strcspn(version, " +rabc")) != 0)) {
        snprintf(detail, room, "libpython is %.16s, the environment is of Python %s", version,
                 stated[0] ? stated : PYTHON_VERSION);
        return 0;
    }
    return 1;
}

int RedisModule_OnLoad(void *ctx, void **argv, int argc) {
    int (*get_api)(const char *, void *) = *(int (**)(const char *, void *))ctx;
    get_api("RedisModule_Log", &redis_log);
    char module_dir[PATH_MAX], python[PATH_MAX], path[PATH_MAX], detail[256];
    Dl_info self;
    if (!dladdr(&anchor, &self) || !realpath(self.dli_fname, module_dir)) return fail(ctx, "its path is unknown", NULL);
    parent(module_dir);
    if (!find_python(module_dir, python)) {
        return fail(ctx, "no Python " PYTHON_VERSION " environment found; set REDISAI_PYTHON to its executable", NULL);
    }
    void *libpython = open_libpython(python, path);
    if (!libpython) return fail(ctx, "", dlerror());
    if (!versions_agree(python, libpython, detail, sizeof(detail))) return fail(ctx, detail, NULL);
    if (!join(path, module_dir, "/redisai_core.so")) return fail(ctx, "there is no ", path);
    void *core = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!core) return fail(ctx, "", dlerror());
    core_load load = (core_load)dlsym(core, "redisai_core_load");
    if (!load) return fail(ctx, "", dlerror());
    return load(ctx, argv, argc, module_dir, python);
}
