package logging

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// plainHandler writes records for people: one line each, the event first, then
// why, without time and level.
type plainHandler struct {
	to    io.Writer
	level slog.Level
}

// Enabled implements slog.Handler.
func (h plainHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.level
}

// Handle implements slog.Handler.
func (h plainHandler) Handle(_ context.Context, r slog.Record) error {
	var line strings.Builder
	line.WriteString("sandboxrun: ")
	if r.Level == slog.LevelWarn {
		line.WriteString("warning: ")
	}
	line.WriteString(r.Message)
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "error" || a.Key == "reason" {
			fmt.Fprintf(&line, ": %v", a.Value)
		} else {
			fmt.Fprintf(&line, " %s=%v", a.Key, a.Value)
		}
		return true
	})
	line.WriteByte('\n')
	_, err := io.WriteString(h.to, line.String())
	return err
}

// WithAttrs implements slog.Handler. A person sees one container at a time
// here and knows its ID.
func (h plainHandler) WithAttrs([]slog.Attr) slog.Handler { return h }

// WithGroup implements slog.Handler.
func (h plainHandler) WithGroup(string) slog.Handler { return h }
