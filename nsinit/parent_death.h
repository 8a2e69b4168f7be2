#ifndef SANDBOXRUN_PARENT_DEATH_H
#define SANDBOXRUN_PARENT_DEATH_H

/* The parent death signal this process had when it was started, 0 for none. */
extern int sandboxrun_parent_death_signal;

#endif
