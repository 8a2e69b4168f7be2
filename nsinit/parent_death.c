#include <sys/prctl.h>

#include "parent_death.h"

int sandboxrun_parent_death_signal;

/*
 * Runs before libcontainer's nsexec (an earlier constructor priority), in the
 * first process that the supervisor forks. The memory of this process, and so
 * the variable, is copied into every process that nsexec forks from it, while
 * the kernel clears the signal itself at each fork.
 */
__attribute__((constructor(101))) static void note_parent_death_signal(void)
{
	prctl(PR_GET_PDEATHSIG, &sandboxrun_parent_death_signal);
}
