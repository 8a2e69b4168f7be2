#include <sys/prctl.h>

#include "timer_slack.h"

unsigned long sandboxrun_timer_slack;

/* Before package patience raises it. */
__attribute__((constructor(101))) static void note_timer_slack(void)
{
	sandboxrun_timer_slack = prctl(PR_GET_TIMERSLACK);
}
