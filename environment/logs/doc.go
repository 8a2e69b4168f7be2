// Package logs owns what the services of an environment print: files in the
// environment's log directory, one for each instance, written by the supervisor and
// read by the command line without asking it.
//
// INSTANCE.log has a line of JSON for each line of output: its time, its stream and
// its text (docs/environments.md). It never grows beyond a bound: at it, it becomes
// INSTANCE.log.1, that one .2, and so on, and the oldest goes. The contents of
// secrets are replaced before anything is stored, kept in memory or given to a
// probe; see Redactor.
//
// A Writer never fails and never waits for more than one write(2): what a full disk
// does not take is counted, and told in the file once there is room again.
package logs
