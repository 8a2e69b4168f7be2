// Package logging owns where log records go and in which form: lines for people,
// slog's text or JSON to a file, or journald. All programs of this project have
// the same flags for it (--debug, --log, --log-level, --log-format).
//
// It refuses a level or form that it does not know (SettingError), before
// anything is opened. It keeps no logger of its own: what Open returns is passed on.
package logging
