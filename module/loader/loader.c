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

/* What pyvenv.cfg of a virtual environment says of itself; *value is empty where
 * it says nothing, and outside of virtual environments. */
static void stated(const char *python, const char *key, char *value, size_t room) {
    char path[PATH_MAX], line[PATH_MAX + 64];
    size_t length = strlen(key);
    value[0] = 0;
    snprintf(path, sizeof(path), "%s", python);
    parent(path);
    parent(path);
    if (strlen(path) + sizeof("/pyvenv.cfg") > sizeof(path)) return;
    FILE *file = fopen(strcat(path, "/pyvenv.cfg"), "r");
    while (file && fgets(line, sizeof(line), file)) {
        line[strcspn(line, "\r\n")] = 0;
        if (strncmp(line, key, length) == 0 && strncmp(line + length, " = ", 3) == 0) {
            snprintf(value, room, "%s", line + length + 3);
        }
    }
    if (file) fclose(file);
}

/* The path of the libpython that belongs to executables in `programs`; 0 if there is none. */
static int find_libpython(const char *programs, char *name) {
    static const char *const places[] = {"/lib/", "/lib64/", "/lib/" PYTHON_MULTIARCH "/"};
    char base[PATH_MAX], directory[PATH_MAX];
    snprintf(base, sizeof(base), "%s", programs);
    parent(base);
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        if (snprintf(directory, sizeof(directory), "%s%s", base, places[i]) >= PATH_MAX) continue;
        if (join(name, directory, PYTHON_LIBRARY)) return 1;
    }
    return 0;
}

/* The libpython beside the real executable behind `python`; else beside the one
 * that the environment was made from, where it holds a copy of that (venv
 * --copies); else the system's. */
static void *open_libpython(const char *python, char *name) {
    char programs[PATH_MAX];
    if (realpath(python, programs)) {
        parent(programs);
        if (find_libpython(programs, name)) return dlopen(name, RTLD_NOW | RTLD_GLOBAL);
    }
    stated(python, "home", programs, sizeof(programs));
    if (programs[0] && find_libpython(programs, name)) return dlopen(name, RTLD_NOW | RTLD_GLOBAL);
    snprintf(name, PATH_MAX, "%s", PYTHON_LIBRARY);
    return dlopen(name, RTLD_NOW | RTLD_GLOBAL);
}

/* libpython and the standard library must be of one release. */
static int versions_agree(const char *python, void *libpython, char *detail, size_t room) {
    const char *(*get_version)(void) = (const char *(*)(void))dlsym(libpython, "Py_GetVersion");
    char release[64];
    stated(python, "version", release, sizeof(release));
    const char *version = get_version ? get_version() : "";
    if (strncmp(version, PYTHON_VERSION ".", strlen(PYTHON_VERSION) + 1) != 0 ||
        (release[0] && strncmp(version, release, strcspn(version, " +rabc")) != 0)) {
        snprintf(detail, room, "libpython is %.16s, the environment is of Python %s", version,
                 release[0] ? release : PYTHON_VERSION);
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
