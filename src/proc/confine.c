/* OOM scores and cgroups of children. Runs in: postmaster, before the first fork; each child at its
 * birth. Owns: the paths. Source: PostgreSQL's fork_process.c for the two variables; systemd's
 * CGROUP_DELEGATION for who may make groups where. */
#include "proc/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/log.h"
#include "conf/conf.h"

static const char *const group_names[] = {
    [CONFINE_POSTMASTER] = "postmaster",
    [CONFINE_AUX] = "aux",
    [CONFINE_BACKENDS] = "backends",
};
static_assert(ELEMENTSOF(group_names) == CONFINE_GROUPS, "a name per group");

static struct {
    const char *oom_file; /* NULL: scores are not touched */
    const char *oom_value;
    char own[PATH_MAX]; /* "": no groups */
} plan;

/* A file of the kernel's takes one write. Returns 0 or -errno. */
static int
tell_kernel(const char *path, const char *text)
{
    CLEANUP(closep) int fd = open(path, O_WRONLY | O_CLOEXEC);

    if (fd < 0 || write(fd, text, strlen(text)) < 0)
        return -errno;
    return 0;
}

/* At most cap - 1 bytes, with a NUL. Returns 0 or -errno. */
static int
read_text(const char *path, char *to, size_t cap)
{
    CLEANUP(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, to, cap - 1);

    to[n > 0 ? n : 0] = '\0';
    return n < 0 ? -errno : 0;
}

static const char *
file_of(const char *own, const char *group, const char *name, char *ret, size_t cap)
{
    (void) snprintf(ret, cap, "%s/%s%s%s", own, group, group[0] != '\0' ? "/" : "", name);
    return ret;
}

/* ---- groups ---- */
enum confine_group
confine_group_of(enum child_kind kind)
{
    switch (kind) {
    case CHILD_BACKEND:
    case CHILD_DEAD_END:
    case CHILD_AV_WORKER:
        return CONFINE_BACKENDS;
    case CHILD_SYSLOGGER:
    case CHILD_STARTUP:
    case CHILD_CHECKPOINTER:
    case CHILD_BGWRITER:
    case CHILD_WALWRITER:
    case CHILD_ARCHIVER:
    case CHILD_AV_LAUNCHER:
    case CHILD_STATS:
    case CHILD_BGWORKER:
        return CONFINE_AUX;
    case CHILD_KINDS:
        break;
    }
    ASSERT(false);
    return CONFINE_AUX;
}

int
confine_own_group(const char *mount, const char *text, char *ret, size_t cap, struct err *e)
{
    static const char leaf[] = "/postmaster";
    const char *at = strncmp(text, "0::", 3) == 0 ? text : strstr(text, "\n0::");
    size_t n;

    if (at == NULL || mount == NULL)
        return ERR(e, CONFIG_FILE_ERROR,
                   "child_cgroups needs the unified cgroup hierarchy, which is not there");
    at += at == text ? 3 : 4;
    n = strcspn(at, "\n");
    if (n >= strlen(leaf) && strncmp(at + n - strlen(leaf), leaf, strlen(leaf)) == 0)
        n -= strlen(leaf);
    if (n + strlen(mount) + 1 > cap)
        return ERR(e, CONFIG_FILE_ERROR, "the path of our cgroup is too long");
    (void) snprintf(ret, cap, "%s%.*s", mount, (int) n, at);
    return 0;
}

static int
refuse_group(const char *path, int errnum, struct err *e)
{
    (void) ERR(e, CONFIG_FILE_ERROR, "could not make cgroup \"%s\": %s", path,
               strerrordesc_np(errnum));
    err_detail(e, "child_cgroups is on, but this part of the cgroup tree is not ours.");
    err_hint(e, "The unit needs Delegate=yes and ProtectControlGroups=no: copy 60-delegate.conf of "
                "the documentation, or set child_cgroups = off.");
    return -ERR_CONFIG_FILE_ERROR;
}

/* All controllers that the unit was given go on to the groups. One that cannot is no fault: not
 * every one works below every other. */
static void
pass_controllers(const char *own)
{
    char path[PATH_MAX + 64];
    char words[512];
    char one[80];
    char *rest = words;
    char *word;

    if (read_text(file_of(own, "", "cgroup.controllers", path, sizeof path), words, sizeof words) <
        0)
        return;
    (void) file_of(own, "", "cgroup.subtree_control", path, sizeof path);
    while ((word = strsep(&rest, " \n")) != NULL) {
        if (word[0] == '\0')
            continue;
        (void) snprintf(one, sizeof one, "+%s", word);
        (void) tell_kernel(path, one);
    }
}

static int
limit_backends(const char *own, int64_t bytes, struct err *e)
{
    char path[PATH_MAX + 64];
    char text[32];
    int r;

    if (bytes > 0)
        (void) snprintf(text, sizeof text, "%" PRId64, bytes);
    else
        (void) snprintf(text, sizeof text, "max"); /* another start may have set one */
    r = tell_kernel(file_of(own, group_names[CONFINE_BACKENDS], "memory.max", path, sizeof path),
                    text);
    if (r == 0 || bytes == 0)
        return 0;
    (void) ERR(e, CONFIG_FILE_ERROR, "could not limit the memory of backends: \"%s\": %s", path,
               strerrordesc_np(-r));
    err_hint(e, "backends_memory_max needs the memory controller in Delegate=.");
    return -ERR_CONFIG_FILE_ERROR;
}

int
confine_make_groups(const char *own, int64_t backends_memory_max, struct err *e)
{
    char path[PATH_MAX + 64];
    int r;

    for (size_t i = 0; i < ELEMENTSOF(group_names); i++) {
        (void) snprintf(path, sizeof path, "%s/%s", own, group_names[i]);
        if (mkdir(path, 0755) < 0 && errno != EEXIST)
            return refuse_group(path, errno, e);
    }
    /* A group with controllers has no processes of its own: first out of it, then pass them on. */
    r = tell_kernel(
        file_of(own, group_names[CONFINE_POSTMASTER], "cgroup.procs", path, sizeof path), "0");
    if (r < 0)
        return refuse_group(path, -r, e);
    pass_controllers(own);
    return limit_backends(own, backends_memory_max, e);
}

/* ---- the postmaster ---- */
static int
prepare_groups(const struct conf_values *v, struct err *e)
{
    static const char *const mounts[] = { "/sys/fs/cgroup", "/sys/fs/cgroup/unified" };
    char text[PATH_MAX + 1024];
    const char *mount = NULL;
    struct statfs st;
    int r;

    if (!v->child_cgroups && v->backends_memory_max > 0)
        return ERR(e, CONFIG_FILE_ERROR, "backends_memory_max needs child_cgroups = on");
    if (!v->child_cgroups)
        return 0;
    if (read_text("/proc/self/cgroup", text, sizeof text) < 0)
        return ERR_ERRNO(e, "could not read file \"%s\"", "/proc/self/cgroup");
    for (size_t i = 0; i < ELEMENTSOF(mounts) && mount == NULL; i++)
        if (statfs(mounts[i], &st) == 0 && st.f_type == CGROUP2_SUPER_MAGIC)
            mount = mounts[i];
    r = confine_own_group(mount, text, plan.own, sizeof plan.own, e);
    if (r == 0)
        r = confine_make_groups(plan.own, v->backends_memory_max, e);
    if (r == 0)
        log_msg(LOG_LEVEL_LOG, "child processes have cgroups below \"%s\"", plan.own);
    return r;
}

int
confine_prepare(const struct conf_values *v, struct err *e)
{
    plan.oom_file = getenv("PG_OOM_ADJUST_FILE");   /* NOLINT: one thread */
    plan.oom_value = getenv("PG_OOM_ADJUST_VALUE"); /* NOLINT */
    if (plan.oom_file != NULL && plan.oom_file[0] == '\0')
        plan.oom_file = NULL;
    if (plan.oom_value == NULL || plan.oom_value[0] == '\0')
        plan.oom_value = "0";
    return prepare_groups(v, e);
}

/* ---- a child ---- */
void
confine_child(enum child_kind kind)
{
    char path[PATH_MAX + 64];
    int r = plan.oom_file != NULL ? tell_kernel(plan.oom_file, plan.oom_value) : 0;

    if (r < 0)
        log_msg(LOG_LEVEL_DEBUG, "could not write \"%s\" to \"%s\": %s", plan.oom_value,
                plan.oom_file, strerrordesc_np(-r));
    if (plan.own[0] == '\0')
        return;
    r = tell_kernel(
        file_of(plan.own, group_names[confine_group_of(kind)], "cgroup.procs", path, sizeof path),
        "0");
    if (r < 0)
        log_msg(LOG_LEVEL_LOG, "could not enter cgroup \"%s\": %s", path, strerrordesc_np(-r));
}
