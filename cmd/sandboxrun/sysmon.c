/*
 * A command lives for milliseconds, in which Go's monitor thread would wake up
 * a thousand times; see package nsinit/patience, which does the same for a
 * container's init. The thread that starts containers gives them the slack that
 * this process was started with.
 */
#include <stdlib.h>
#include <sys/prctl.h>

enum { PATIENT_NS = 2000000 };

__attribute__((constructor(103))) static void be_patient(void)
{
	if (getenv("_LIBCONTAINER_INITPIPE") == NULL)
		prctl(PR_SET_TIMERSLACK, PATIENT_NS);
}
