/*
 * The optional PID 1 of a sandbox: forwards signals to the program, reaps
 * orphans, and ends as the program ends.
 *
 * argv: [0] /proc/self/fd/N  [1] sandboxrun-pid1  [2] N  [3] report fd or -1
 *       [4...] the program and its arguments
 *
 * It is a constructor that never returns, so the Go runtime of this executable
 * is never entered. It has to come before libcontainer's nsexec, because the
 * environment here is the sandbox's own and could hold nsexec's variables.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

enum { EXIT_NOT_EXECUTABLE = 126, EXIT_NOT_FOUND = 127 };

static void die(const char *what)
{
	fprintf(stderr, "sandboxrun: cannot %s: %s\n", what, strerror(errno));
	_exit(1);
}

/*
 * One byte, of any value: the kernel adds who sent it, in the reader's process
 * IDs (SCM_CREDENTIALS, unix(7)). Not to be forged, since the descriptor ends
 * with the exec. By write, which PID 1's own report needs too: a seccomp profile
 * need not allow more. A reader that is gone is no error, nor, with this kind of
 * socket, a SIGPIPE.
 */
static void tell_identity(int report_fd)
{
	ssize_t told = report_fd < 0 ? 0 : write(report_fd, "", 1);
	(void)told;
}

/*
 * The program gets its own process group in the foreground of the terminal,
 * as a shell would give it: otherwise Ctrl-C would reach PID 1 as well, and
 * the program twice.
 */
static void start_program(char **args, const sigset_t *mask, int report_fd)
{
	tell_identity(report_fd);
	setpgid(0, 0);
	if (isatty(STDIN_FILENO))
		tcsetpgrp(STDIN_FILENO, getpid());
	sigprocmask(SIG_SETMASK, mask, NULL);
	/* Sockets that were passed on are for a process of this number, which was
	 * expected to be 1 (sd_listen_fds(3)). */
	const char *listener = getenv("LISTEN_PID");
	if (listener != NULL && strcmp(listener, "1") == 0) {
		char number[16];
		snprintf(number, sizeof number, "%d", getpid());
		setenv("LISTEN_PID", number, 1);
	}
	execvp(args[0], args);
	int err = errno;
	fprintf(stderr, "sandboxrun: cannot start \"%s\": %s\n", args[0], strerror(err));
	_exit(err == ENOENT || err == ENOTDIR ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE);
}

/* Reaps all that has ended; true once the program itself is among them. */
static int reap(pid_t program, int *status)
{
	int ended = 0, st;
	pid_t pid;

	while ((pid = waitpid(-1, &st, WNOHANG)) > 0) {
		if (pid == program) {
			*status = st;
			ended = 1;
		}
	}
	return ended;
}

/* A full socket, which is not ours to fill, must not keep the sandbox alive. */
static void report_and_exit(int status, int report_fd)
{
	if (report_fd >= 0) {
		ssize_t n;
		do
			n = write(report_fd, &status, sizeof status);
		while (n < 0 && errno == EINTR);
	}
	_exit(WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
}

__attribute__((constructor(102))) static void pid1(int argc, char **argv, char **envp)
{
	if (argc < 5 || strcmp(argv[1], "sandboxrun-pid1") != 0)
		return;
	environ = envp;
	/* The executable must not stay reachable through a descriptor, CVE-2019-5736. */
	close(atoi(argv[2]));
	int report_fd = atoi(argv[3]);
	if (report_fd >= 0 && (fcntl(report_fd, F_SETFD, FD_CLOEXEC) < 0 || fcntl(report_fd, F_SETFL, O_NONBLOCK) < 0))
		die("keep the report socket");
	prctl(PR_SET_NAME, "sandboxrun-init");
	/* Keeps /proc/1/fd, mem and the like from the program; exec undoes it there. */
	if (prctl(PR_SET_DUMPABLE, 0) < 0)
		die("close PID 1 to the program");
	/* In a shared PID namespace orphans would go past us otherwise. */
	if (getpid() != 1 && prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
		die("become subreaper");

	sigset_t all, original;
	sigfillset(&all);
	/* Blocked before the fork: no signal is lost between fork and wait. */
	sigprocmask(SIG_SETMASK, &all, &original);
	pid_t program = fork();
	if (program < 0)
		die("fork");
	if (program == 0)
		start_program(argv + 4, &original, report_fd);

	for (;;) {
		int status = 0, sig = sigwaitinfo(&all, NULL);
		if (sig < 0)
			continue; /* EINTR after a stop and continue */
		if (sig != SIGCHLD)
			kill(program, sig);
		else if (reap(program, &status))
			report_and_exit(status, report_fd);
	}
}
