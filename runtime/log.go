package runtime

import (
	"context"
	"io"
	"log/slog"
	"strings"

	"github.com/sirupsen/logrus"
)

// BridgeLogs sends what libcontainer logs, through logrus' standard logger, to
// log. It is for main, once, before anything else of this package: the
// standard logger is the process's own.
func BridgeLogs(log *slog.Logger) {
	logrus.SetOutput(io.Discard)
	logrus.SetLevel(logrusLevel(log))
	logrus.AddHook(logBridge{log})
}

type logBridge struct{ log *slog.Logger }

func (logBridge) Levels() []logrus.Level { return logrus.AllLevels }

// Fire implements logrus.Hook.
func (b logBridge) Fire(e *logrus.Entry) error {
	// Our own, which are not for other processes; see adaptHooks.
	if strings.HasPrefix(e.Message, "cannot serialize hook of type configs.FuncHook") {
		return nil
	}
	// Asked for on every failed start, and there is nothing to ask where an ordinary user has no cgroup.
	if e.Level == logrus.WarnLevel && e.Message == "unable to get oom kill count" {
		e.Level = logrus.DebugLevel
	}
	// Of CRIU's log, of which our error names the place and the point.
	if e.Level == logrus.WarnLevel && isQuotedCRIULog(e.Message) {
		e.Level = logrus.DebugLevel
	}
	attrs := make([]slog.Attr, 0, len(e.Data))
	for key, value := range e.Data {
		attrs = append(attrs, slog.Any(key, value))
	}
	b.log.LogAttrs(context.Background(), slogLevel(e.Level), e.Message, attrs...)
	return nil
}

func slogLevel(level logrus.Level) slog.Level {
	switch {
	case level <= logrus.ErrorLevel:
		return slog.LevelError
	case level == logrus.WarnLevel:
		return slog.LevelWarn
	case level == logrus.InfoLevel:
		return slog.LevelInfo
	default:
		return slog.LevelDebug
	}
}
