package logging

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
)

// Settings are the values of the flags, as they were written; empty ones are not
// set.
type Settings struct {
	// Debug is --debug, which wins over Level.
	Debug bool
	// Destination is FILE, file:FILE or journald:[IDENTIFIER]; empty is stderr.
	Destination string
	// Level is debug, info, warning or error; empty is what suits the destination.
	Level string
	// Format is text or json; empty is text.
	Format string
}

// SettingError says which flag has a value that cannot be used.
type SettingError struct{ text string }

func (e *SettingError) Error() string { return e.text }

// Open returns the logger that s asks for. The closer is nil where records go to
// stderr: warnings and errors as plain lines, unless s wants more.
func Open(s Settings, stderr io.Writer) (*slog.Logger, io.Closer, error) {
	level, err := s.level()
	if err != nil {
		return nil, nil, err
	}
	if s.Format != "json" && s.Format != "text" && s.Format != "" {
		return nil, nil, &SettingError{fmt.Sprintf("--log-format %q: it must be text or json", s.Format)}
	}
	if identifier, ok := strings.CutPrefix(s.Destination, "journald:"); ok {
		if identifier == "" {
			identifier = "sandboxrun"
		}
		journal, err := openJournal(journalSocket, identifier, level)
		if err != nil {
			return nil, nil, err
		}
		return slog.New(journal), journal.conn, nil
	}
	to := stderr
	var closer io.Closer
	if path := strings.TrimPrefix(s.Destination, "file:"); path != "" {
		file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
		if err != nil {
			return nil, nil, fmt.Errorf("cannot write the log: %w; name a writable file with --log", err)
		}
		to, closer = file, file
	}
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: lowerCaseLevel}
	switch {
	case s.Format == "json":
		return slog.New(slog.NewJSONHandler(to, options)), closer, nil
	case closer != nil || level < slog.LevelWarn:
		return slog.New(slog.NewTextHandler(to, options)), closer, nil
	}
	return slog.New(plainHandler{to, level}), nil, nil
}

func (s Settings) level() (slog.Level, error) {
	switch {
	case s.Debug:
		return slog.LevelDebug, nil
	case s.Level != "":
		return parseLevel(s.Level)
	case s.Destination != "":
		return slog.LevelInfo, nil
	}
	return slog.LevelWarn, nil
}

func parseLevel(value string) (slog.Level, error) {
	switch strings.ToLower(value) {
	case "debug":
		return slog.LevelDebug, nil
	case "info":
		return slog.LevelInfo, nil
	case "warning", "warn":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	}
	return 0, &SettingError{fmt.Sprintf("--log-level %q: it must be debug, info, warning or error", value)}
}

// lowerCaseLevel: containerd takes the last record whose level is "error".
func lowerCaseLevel(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.LevelKey {
		return slog.String(slog.LevelKey, strings.ToLower(a.Value.String()))
	}
	return a
}
