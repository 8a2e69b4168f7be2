// Package commandline owns what the command lines of this project's programs have
// in common, since sandboxrun and its companions are one program to their user:
// how a wrong command line is told, how help looks, how an error is printed, and
// the defaults of global flags and exit codes. The flags of the log are in package logging.
//
// It refuses to know a command: those are in cmd/.
package commandline
