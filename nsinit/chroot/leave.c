#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/mount.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef MS_SLAVE
#define MS_SLAVE (1 << 19)
#endif

/* The mount namespace of whoever started this process; 0 in any other process than an init. */
static ino_t callers_namespace;

/* Runs before nsexec (an earlier priority), which copies the variable into the processes that it forks. */
__attribute__((constructor(101))) static void note_mount_namespace(void)
{
	struct stat ns;

	if (getenv("_LIBCONTAINER_INITPIPE") && stat("/proc/self/ns/mnt", &ns) == 0)
		callers_namespace = ns.st_ino;
}

static void give_up(const char *what)
{
	fprintf(stderr, "sandboxrun init: cannot make the changed root (chroot) the root of the container's mount namespace: %s: %s\n",
		what, strerror(errno));
	exit(1);
}

static int same_directory(const struct statx *a, const struct statx *b)
{
	return a->stx_mnt_id == b->stx_mnt_id && a->stx_ino == b->stx_ino && a->stx_dev_major == b->stx_dev_major &&
	       a->stx_dev_minor == b->stx_dev_minor;
}

/* The steps are those of pivot_root(2), "pivot_root(".", ".")", on a copy of the caller's tree. */
static void pivot_to(int root)
{
	int tree;

	/* Nothing of what follows may reach the host. */
	if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) != 0)
		give_up("make mounts slaves");
	tree = syscall(SYS_open_tree, root, "", AT_EMPTY_PATH | AT_RECURSIVE | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (tree < 0)
		give_up("copy mounts");
	if (syscall(SYS_move_mount, tree, "", root, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) != 0)
		give_up("mount the copy");
	if (fchdir(tree) != 0)
		give_up("enter the copy");
	if (syscall(SYS_pivot_root, ".", ".") != 0)
		give_up("pivot_root");
	if (umount2(".", MNT_DETACH) != 0)
		give_up("detach the host's root");
	if (chdir("/") != 0 || close(tree) != 0)
		give_up("enter the new root");
}

/*
 * Only in the process that goes on to start Go, which nsexec has named, and
 * which has no second thread yet, as setns(2) demands. Joining the namespace
 * that one is in already leads to its root.
 */
__attribute__((constructor)) static void leave_chroot(void)
{
	char name[16] = "", directory[PATH_MAX];
	struct statx before, after;
	struct stat ns;
	int root, cwd, namespace;

	prctl(PR_GET_NAME, name);
	if (!callers_namespace || strcmp(name, "runc:[2:INIT]") != 0)
		return;
	namespace = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	if (namespace < 0 || fstat(namespace, &ns) != 0)
		give_up("open /proc/self/ns/mnt");
	if (ns.st_ino == callers_namespace) { /* the host's: it stays as it is */
		close(namespace);
		return;
	}
	root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	cwd = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0 || cwd < 0)
		give_up("open / and .");
	if (statx(root, "", AT_EMPTY_PATH, STATX_INO | STATX_MNT_ID, &before) != 0)
		give_up("statx /");
	if (!getcwd(directory, sizeof(directory)))
		strcpy(directory, "/");
	if (setns(namespace, CLONE_NEWNS) != 0)
		give_up("setns");
	if (statx(AT_FDCWD, "/", 0, STATX_INO | STATX_MNT_ID, &after) != 0)
		give_up("statx the namespace's root");
	if (same_directory(&before, &after)) {
		if (fchdir(cwd) != 0)
			give_up("return to the working directory");
	} else {
		pivot_to(root);
		if (chdir(directory) != 0)
			give_up("return to the working directory");
	}
	close(namespace);
	close(root);
	close(cwd);
}
