#ifndef SANDBOXRUN_TIMER_SLACK_H
#define SANDBOXRUN_TIMER_SLACK_H

/* The timer slack, in nanoseconds, that this process was started with. */
extern unsigned long sandboxrun_timer_slack;

#endif
